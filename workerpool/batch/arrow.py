"""Records as Arrow tables: the schema, and batches made of records. Imports pyarrow when something is asked for.

Headers are a map of text by text: Parquet, Arrow and what reads them have that type, and need no second parser. Other
JSON is its text, as its values have no type in common.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Column, Columns, Kind, json_text, text_of, time_text
from workerpool.batch.record import Record
from workerpool.extras import load

if TYPE_CHECKING:
    import pyarrow as pa


def pyarrow(purpose: str) -> Any:
    """Return the library, or raise `OptionError`."""
    return load("pyarrow", "parquet", purpose)


def schema_of(columns: Columns) -> pa.Schema:
    """Return the schema of a table with `columns`; every one of them may be null."""
    arrow = pyarrow("an Arrow table")
    return arrow.schema([(column.name, _type(arrow, column)) for column in columns.columns])


def prepare(columns: Columns) -> pa.Schema:
    """Return the schema of a table that is to be written, and have Arrow ready for its first row.

    With its first array pyarrow imports pandas if that is there, for seconds on some machines: in the middle of a run
    that would look as if the output were slow.
    """
    schema = schema_of(columns)
    table_of((), columns, schema)
    return schema


def table_of(records: Iterable[Record], columns: Columns, schema: pa.Schema) -> pa.Table:
    """Return `records` as a table; what a record lacks is null."""
    arrow = pyarrow("an Arrow table")
    rows = list(columns.rows(records, _CELLS))
    values = zip(*rows, strict=True) if rows else ([] for _ in columns.names)
    return arrow.table([arrow.array(column, field.type) for column, field in zip(values, schema, strict=True)], schema)


def values_of(column: Column, cells: Iterable[Any]) -> list[Any]:
    """Return what the cells of an Arrow column stand for, as Python's objects, in the form that they have in a row."""
    if column.kind is Kind.TIME:
        return [None if cell is None else time_text(cell, column.scale) for cell in cells]
    convert = _READERS.get(column.kind)
    return [*cells] if convert is None else [None if cell is None else convert(cell) for cell in cells]


def _type(arrow: Any, column: Column) -> pa.DataType:
    if column.kind is Kind.DECIMAL:
        return arrow.decimal128(column.precision, column.scale)
    if column.kind is Kind.TIME:
        return arrow.timestamp("us" if column.scale > 3 else "ms", tz="UTC")
    return {
        Kind.TEXT: arrow.string(),
        Kind.SHORT: arrow.int32(),
        Kind.LONG: arrow.int64(),
        Kind.REAL: arrow.float64(),
        Kind.BOOLEAN: arrow.bool_(),
        Kind.MAP: arrow.map_(arrow.string(), arrow.string()),
        Kind.JSON: arrow.string(),
    }[column.kind]


def _pairs(value: dict[Any, Any]) -> list[tuple[str, str]]:
    return [(text_of(name), text_of(text)) for name, text in value.items()]


_CELLS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: text_of,
    Kind.TIME: datetime.fromisoformat,
    Kind.DECIMAL: Decimal,
    Kind.JSON: json_text,
    Kind.MAP: _pairs,
}


def _digits(value: Decimal) -> str:
    return f"{value:f}"


_READERS: dict[Kind, Callable[[Any], Any]] = {Kind.MAP: dict, Kind.JSON: json.loads, Kind.DECIMAL: _digits}

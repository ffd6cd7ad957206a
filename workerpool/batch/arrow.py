"""Records as Arrow tables: the schema, and batches made of records. Imports pyarrow when something is asked for.

Headers are a map of text by text: Parquet, Arrow and what reads them have that type, and need no second parser.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Columns, Kind, text_of
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
    types = {
        Kind.TEXT: arrow.string(),
        Kind.SHORT: arrow.int32(),
        Kind.LONG: arrow.int64(),
        Kind.REAL: arrow.float64(),
        Kind.BOOLEAN: arrow.bool_(),
        Kind.TIME: arrow.timestamp("ms", tz="UTC"),
        Kind.MAP: arrow.map_(arrow.string(), arrow.string()),
    }
    pairs = zip(columns.names, columns.kinds, strict=True)
    return arrow.schema([(name, types[kind]) for name, kind in pairs])


def table_of(records: Iterable[Record], columns: Columns, schema: pa.Schema) -> pa.Table:
    """Return `records` as a table; what a record lacks is null."""
    arrow = pyarrow("an Arrow table")
    rows = list(columns.rows(records, _cell))
    values = zip(*rows, strict=True) if rows else ([] for _ in columns.names)
    return arrow.table([arrow.array(column, field.type) for column, field in zip(values, schema, strict=True)], schema)


def _cell(kind: Kind, value: Any) -> Any:
    if kind is Kind.TEXT:
        return text_of(value)
    if kind is Kind.TIME:
        return datetime.fromisoformat(value)
    return [(text_of(name), text_of(text)) for name, text in value.items()] if kind is Kind.MAP else value

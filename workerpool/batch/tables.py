"""Outcomes as rows, Arrow tables and data frames, for programs that load results themselves.

Everything is read lazily, in batches: `rows` and `arrow_batches` hold one at a time. Columns and types are those of the
outputs of a run, the same whatever the values are. Arrow needs the extra `parquet`, data frames need `pandas`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from workerpool.batch.arrow import pyarrow, schema_of, table_of
from workerpool.batch.columns import columns_of
from workerpool.batch.record import PAGE, Record, check_include, record_of
from workerpool.batch.schemas.options import check_schema
from workerpool.batch.schemas.schema import Schema, schema_option
from workerpool.checks import check_callable
from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.model import Outcome

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

Receive = Callable[[Record], object]
SchemaLike = Schema | str | os.PathLike[str] | None

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of bodies in a batch: with more of them it has fewer rows."""


def rows(
    outcomes: Iterable[Outcome],
    *,
    include: Collection[str] = (),
    size: int = 1000,
    schema: SchemaLike = None,
    rejects: Receive | None = None,
) -> Iterator[list[Record]]:
    """Yield what is written of `outcomes`, in lists of up to `size` records, as they come.

    `include` adds ``headers`` and ``body``, as `workerpool run --include` does, and ``page``, the number of each page
    where pages are followed; a list has fewer records than `size` if
    the bodies in it come to 16 MiB. A record's fields are those of a line of JSON output. Raises `OptionError`.

    With a `schema` (or the name of its file) the lists hold its typed rows, decimals and times as text; `rejects` is
    called with each reject, so that none is lost unseen: ``rejects=bad.append`` will do.
    """
    check_include([name for name in include if name != PAGE] if not isinstance(include, str) else include)
    if size < 1:
        raise OptionError(f"size={size!r}: a batch has 1 row or more")
    typed = schema_option(schema)
    check_schema(typed, upsert=False, rejects=None, include=include)
    if typed is not None:
        return _typed_rows(outcomes, typed, size, _receiver(rejects))
    return _rows(outcomes, frozenset(include), size)


def arrow_batches(
    outcomes: Iterable[Outcome],
    *,
    include: Collection[str] = (),
    size: int = 1000,
    schema: SchemaLike = None,
    rejects: Receive | None = None,
) -> pa.RecordBatchReader:
    """Return a reader of `outcomes` as Arrow batches, made as they come and as they are asked for.

    DuckDB, Polars and whatever else knows Arrow's streams read it as it is, once, without a copy, on a thread of their
    own. Batches are as long as the lists of `rows`, the types are those of `to_arrow`. Raises `OptionError`.
    """
    arrow = pyarrow("arrow_batches()")
    typed = schema_option(schema)
    columns = columns_of(include) if typed is None else typed.columns()
    made = schema_of(columns)
    lists = rows(outcomes, include=include, size=size, schema=typed, rejects=rejects)
    tables = (table_of(records, columns, made) for records in lists)
    return arrow.RecordBatchReader.from_batches(made, (batch for table in tables for batch in table.to_batches()))


def to_arrow(
    outcomes: Iterable[Outcome],
    *,
    include: Collection[str] = (),
    schema: SchemaLike = None,
    rejects: Receive | None = None,
) -> pa.Table:
    """Return `outcomes` as a table, a chunk for each batch of rows. Raises `OptionError` without pyarrow.

    Status and attempts are int32, bytes int64, elapsed float64 seconds, started_at a timestamp of milliseconds in UTC,
    headers a map of strings, the rest strings and booleans. With a `schema`, see `rows`, the columns and types are its:
    int64, float64, decimal128, timestamps of microseconds in UTC, json as strings.
    """
    pyarrow("to_arrow()")
    return arrow_batches(outcomes, include=include, schema=schema, rejects=rejects).read_all()


def to_pandas(
    outcomes: Iterable[Outcome],
    *,
    include: Collection[str] = (),
    schema: SchemaLike = None,
    rejects: Receive | None = None,
) -> pandas.DataFrame:
    """Return `outcomes` as a data frame; its columns have the types of `to_arrow`, kept by pandas as Arrow's own.

    So a status that is missing stays an integer column's <NA>. Raises `OptionError` without pandas or pyarrow.
    """
    frames = load("pandas", "pandas", "to_pandas()")
    table = to_arrow(outcomes, include=include, schema=schema, rejects=rejects)
    return table.to_pandas(types_mapper=frames.ArrowDtype)


def _receiver(rejects: Receive | None) -> Receive:
    if rejects is None:
        raise OptionError("schema= needs rejects=, a function that is given what becomes no row: rejects=bad.append")
    check_callable("rejects", rejects, "a function of a reject")
    return rejects


def _typed_rows(outcomes: Iterable[Outcome], schema: Schema, size: int, receive: Receive) -> Iterator[list[Record]]:
    mapper = schema.mapper()
    batch: list[Record] = []
    for outcome in outcomes:
        made, rejected = mapper.map(outcome)
        for reject in rejected:
            receive(reject)
        batch += made
        while len(batch) >= size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch


def _rows(outcomes: Iterable[Outcome], include: Collection[str], size: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    room = MOST_BYTES
    for outcome in outcomes:
        record = record_of(outcome, include)
        del outcome  # its body must not live until the next one comes
        batch.append(record)
        room -= record["bytes"] if "body" in include else 0
        if len(batch) >= size or room <= 0:
            yield batch
            batch, room = [], MOST_BYTES
    if batch:
        yield batch

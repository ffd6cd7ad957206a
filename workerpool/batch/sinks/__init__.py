"""Places for the results of a batch, picked by the output's name: `sink_for` a run, `durable_sink_for` a job.

| module | owns |
|---|---|
| `base` | what a run or a job needs of a place for its records, as protocols |
| `formats` | which formats there are, what names mean them, and what writes them |
| `batched` | a run's sink: records in batches |
| `plain` | a run's plain file, and standard output |
| `staged` | a job's sink: a partial that becomes the output in one step, over a store |
| `appended` | the store of text, packed or not: `jsonl` and `csv` make its rows |
| `parts` | the store of columns: a part a batch, merged in the end; `parquet` is such a file |
| `sqlite`, `postgres` | stores; `database_url` says which table is meant |
| `sql` | the store for any other database; `sql_url` says which, `sql_types` its cells, `sql_locks` whose it is |
| `sqlite_upsert`, `postgres_upsert`, `sql_upsert` | the same for tables that rows are merged into, by their key |
| `sql_tables` | what MariaDB and DuckDB say of a table that is there |
| `remote` | the store of objects at URLs, by fsspec; `remote_content` makes its parts, and the output of them |
| `storable` | what text of a database may not hold |
| `standard_output`, `callback` | for jobs: what cannot take anything back |
| `place`, `position`, `sentences` | where a partial is; how far it has come; what is said of it |
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from workerpool.batch.columns import Columns, columns_of
from workerpool.batch.sinks.base import Cadence, DurableSink, Sink
from workerpool.batch.sinks.batched import BatchedSink
from workerpool.batch.sinks.formats import STDOUT, Format, format_of, is_packed, is_remote
from workerpool.batch.sinks.jsonl import encode, encode_row
from workerpool.batch.sinks.place import PARTIAL, is_one_file
from workerpool.batch.sinks.plain import PlainFile, StandardOutput
from workerpool.batch.sinks.staged import MergedSink, StagedSink
from workerpool.batch.sinks.standard_output import StandardOutputSink
from workerpool.batch.sources.base import STDIN
from workerpool.errors import OptionError
from workerpool.redact import redact

__all__ = [
    "STDOUT",
    "Cadence",
    "DurableSink",
    "Sink",
    "check_apart",
    "durable_sink_for",
    "file_of",
    "format_of",
    "sink_for",
]


def sink_for(
    output: str,
    *,
    format: str | None = None,
    include: Collection[str] = (),
    overwrite: bool = False,
    typed: Columns | None = None,
) -> Sink:
    """Return the sink, not yet opened, of a run for a path, ``-`` or a database's URL; raises `OptionError`.

    `typed`: the columns of a schema, in place of those of records.
    """
    chosen, columns = format_of(output, format), typed or columns_of(include)
    if chosen.rows is None or is_packed(output) or is_remote(output) or columns.key:
        staged = _staged(chosen, output, columns)
        if columns.is_typed and chosen.rows is None:  # values go to their cells as they are
            return BatchedSink(staged, lambda row: row, overwrite=overwrite)
        return BatchedSink(staged, encode_row if columns.is_typed else encode, overwrite=overwrite)
    rows = chosen.rows_of(columns)
    plain = StandardOutput(rows.header) if output == STDOUT else PlainFile(output, rows.header)
    return BatchedSink(plain, rows.line, overwrite=overwrite)


def durable_sink_for(
    output: str, *, format: str | None = None, include: Collection[str] = (), typed: Columns | None = None
) -> DurableSink:
    """Return the sink of a job for `output`, neither begun nor resumed; raises `OptionError`.

    `typed`: the columns of a schema, in place of those of records. To read records back, `include` may be anything.
    """
    chosen, columns = format_of(output, format), typed or columns_of(include, job=True)
    if output == STDOUT and not columns.key:
        return StandardOutputSink(chosen.rows_of(columns))
    return _staged(chosen, output, columns)


def _staged(chosen: Format, output: str, columns: Columns) -> StagedSink:
    store = chosen.store_of(output, columns)
    return MergedSink(store) if columns.key else StagedSink(store)


def check_apart(output: str, sources: Sequence[str]) -> None:
    """Raise `OptionError` if writing `output` would write over one of `sources`, before that is read."""
    if "://" in output and output in sources:
        raise OptionError(f"the output {redact(output)} is one of the sources: name another one")
    for source in sources if output != STDOUT and "://" not in output else ():
        path = file_of(source)
        if path is not None and any(is_one_file(path, its) for its in (output, os.path.realpath(output) + PARTIAL)):
            raise OptionError(f"the output {output} is one of the sources: name another one")


def file_of(source: str) -> str | None:
    """The file that a source is, be it one with a database in it; None if it is none."""
    if "://" in source:
        return source.partition(":///")[2].partition("?")[0] or None
    return None if source in ("", STDIN) else source

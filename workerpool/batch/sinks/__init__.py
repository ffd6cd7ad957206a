"""Places for the results of a batch, picked by the output's name: `sink_for` a run, `durable_sink_for` a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from workerpool.batch.columns import Columns, columns_of
from workerpool.batch.record import fields_of
from workerpool.batch.sinks.appended import AppendedStore, Rows
from workerpool.batch.sinks.base import Cadence, DurableSink, Sink
from workerpool.batch.sinks.batched import BatchedSink
from workerpool.batch.sinks.csv import CsvRows, header_and_encoder
from workerpool.batch.sinks.database_url import SCHEMES
from workerpool.batch.sinks.jsonl import JsonRows, encode
from workerpool.batch.sinks.parquet import ParquetStore
from workerpool.batch.sinks.place import PARTIAL
from workerpool.batch.sinks.plain import PlainFile, StandardOutput
from workerpool.batch.sinks.postgres import PostgresStore
from workerpool.batch.sinks.sqlite import SqliteStore
from workerpool.batch.sinks.staged import StagedSink, Store
from workerpool.batch.sinks.standard_output import StandardOutputSink
from workerpool.errors import OptionError

FORMATS = ("jsonl", "csv", "parquet", "sqlite")
"""What a file may hold."""

POSTGRES = "postgres"
STDOUT = "-"

_ENDINGS = {**{format: format for format in FORMATS}, "sqlite3": "sqlite", "db": "sqlite"}
_PACKED = ".gz"
_LINES = ("jsonl", "csv")
_TABLES: dict[str, Callable[[str, Columns], Store]] = {
    "parquet": ParquetStore,
    "sqlite": SqliteStore,
    POSTGRES: PostgresStore,
}

__all__ = [
    "FORMATS",
    "STDOUT",
    "Cadence",
    "DurableSink",
    "Sink",
    "check_apart",
    "durable_sink_for",
    "format_of",
    "sink_for",
]


def format_of(output: str, format: str | None = None) -> str:
    """Return what is written to `output`: `format` if given, or what its name says; raises `OptionError`.

    It is one of `FORMATS`, or ``postgres`` for a database's URL.
    """
    if "://" in output:
        return _database(output, format)
    if format is not None and format not in FORMATS:
        raise OptionError(f"the format {format!r} is unknown: write {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    ending = "" if output == STDOUT else Path(output.lower().removesuffix(_PACKED)).suffix[1:]
    chosen = format or ("jsonl" if output == STDOUT else _ENDINGS.get(ending))
    if chosen is None:
        endings = ".jsonl, .csv, .jsonl.gz, .csv.gz, .parquet or .sqlite"
        raise OptionError(f"the output {output}: end its name in {endings}, or give --format")
    if chosen not in _LINES and output == STDOUT:
        raise OptionError(f"the format {chosen} cannot go to standard output: name a file with -o")
    if chosen not in _LINES and _is_packed(output):
        raise OptionError(f"the output {output}: {chosen} is not packed by gzip: leave out .gz")
    return chosen


def sink_for(
    output: str,
    *,
    format: str | None = None,
    include: Collection[str] = (),
    overwrite: bool = False,
) -> Sink:
    """Return the sink, not yet opened, of a run for a path, ``-`` or a database's URL; raises `OptionError`."""
    chosen = format_of(output, format)
    if chosen not in _LINES or _is_packed(output):
        return BatchedSink(_durable(output, chosen, columns_of(include)), overwrite=overwrite)
    header, line = (b"", encode) if chosen == "jsonl" else header_and_encoder(fields_of(include))
    plain = StandardOutput(header) if output == STDOUT else PlainFile(output, header)
    return BatchedSink(plain, line, overwrite=overwrite)


def durable_sink_for(output: str, *, format: str | None = None, include: Collection[str] = ()) -> DurableSink:
    """Return the sink of a job for `output`, neither begun nor resumed; raises `OptionError`.

    To read back its records, `include` may be anything.
    """
    chosen = format_of(output, format)
    return _durable(output, chosen, columns_of(include, job=True))


def _durable(output: str, format: str, columns: Columns) -> DurableSink:
    if format in _TABLES:
        return StagedSink(_TABLES[format](output, columns))
    rows: Rows = JsonRows() if format == "jsonl" else CsvRows(columns)
    if output == STDOUT:
        return StandardOutputSink(rows)
    return StagedSink(AppendedStore(output, rows, packed=_is_packed(output)))


def check_apart(output: str, sources: Sequence[str]) -> None:
    """Raise `OptionError` if writing `output` would write over one of `sources`, before that is read."""
    for source in sources if output != STDOUT and "://" not in output else ():
        if _is_same(source, output) or _is_same(source, os.path.realpath(output) + PARTIAL):
            raise OptionError(f"the output {output} is one of the sources: name another one")


def _is_same(source: str, output: str) -> bool:
    try:
        return os.path.isfile(output) and os.path.samefile(source, output)
    except (OSError, ValueError):
        return False


def _is_packed(output: str) -> bool:
    return output.lower().endswith(_PACKED)


def _database(output: str, format: str | None) -> str:
    """Return the format of an output that is a URL; errors show its scheme and no more, as it may hold a password."""
    shown = f"{output.partition('://')[0]}://…"
    if not output.lower().startswith(SCHEMES):
        raise OptionError(f"the output {shown} is no database that is known here: write postgresql://…, or name a file")
    if format is not None:
        raise OptionError(f"the output {shown} is a database's table, so --format {format} says nothing: leave it out")
    return POSTGRES

"""Places for the results of a batch, picked by the output's name: `sink_for` a run, `durable_sink_for` a job."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from workerpool.batch.columns import Columns, columns_of
from workerpool.batch.record import fields_of
from workerpool.batch.sinks.appended import AppendedSink, Rows
from workerpool.batch.sinks.base import Cadence, DurableSink, FileSink, Sink
from workerpool.batch.sinks.csv import CsvRows, csv_sink
from workerpool.batch.sinks.jsonl import JsonRows, jsonl_sink
from workerpool.batch.sinks.place import PARTIAL
from workerpool.batch.sinks.standard_output import StandardOutputSink
from workerpool.batch.sinks.target import FileTarget, StdoutTarget
from workerpool.errors import OptionError

FORMATS = ("jsonl", "csv")
STDOUT = "-"
_LATER = frozenset({"parquet", "sqlite", "sqlite3", "db"})
_PACKED = ".gz"

__all__ = [
    "FORMATS",
    "STDOUT",
    "Cadence",
    "DurableSink",
    "FileSink",
    "Sink",
    "durable_sink_for",
    "format_of",
    "sink_for",
]


def format_of(output: str, format: str | None = None) -> str:
    """Return what is written to `output`: `format` if given, or what its name says; raises `OptionError`."""
    ending = "" if output == STDOUT else Path(output.lower().removesuffix(_PACKED)).suffix[1:]
    if "://" in output or ending in _LATER:
        raise OptionError(f"the output {_kind(output)} comes in a later release: name a .jsonl or .csv file, or -")
    if format is not None and format not in FORMATS:
        raise OptionError(f"the format {format!r} is unknown: write {' or '.join(FORMATS)}")
    if format is None and output != STDOUT and ending not in FORMATS:
        raise OptionError(f"the output {output}: end its name in .jsonl or .csv, or give --format")
    return format or ending or FORMATS[0]


def sink_for(
    output: str,
    *,
    format: str | None = None,
    include: Collection[str] = (),
    overwrite: bool = False,
    sources: Sequence[str] = (),
) -> Sink:
    """Return the sink of a run for `output`, a path or ``-``, not yet opened; raises `OptionError`.

    `sources` are the paths that the batch reads: writing over one of them would empty it before it is read.
    """
    chosen = format_of(output, format)
    _check_apart(output, sources)
    target = StdoutTarget() if output == STDOUT else FileTarget(output, overwrite=overwrite)
    return jsonl_sink(target) if chosen == "jsonl" else csv_sink(target, fields_of(include))


def durable_sink_for(
    output: str,
    *,
    format: str | None = None,
    include: Collection[str] = (),
    overwrite: bool = False,
    sources: Sequence[str] = (),
) -> DurableSink:
    """Return the sink of a job for `output`, neither begun nor resumed; raises `OptionError`.

    `sources` are the paths that the batch reads. That the output is not there already, unless `overwrite`, is checked
    by `begin`.
    """
    chosen = format_of(output, format)
    _check_apart(output, sources)
    return _durable(output, chosen, columns_of(include, job=True), overwrite)


def _durable(output: str, format: str, columns: Columns, overwrite: bool) -> DurableSink:
    rows: Rows = JsonRows() if format == "jsonl" else CsvRows(columns)
    if output == STDOUT:
        return StandardOutputSink(rows)
    return AppendedSink(output, rows, packed=output.lower().endswith(_PACKED), overwrite=overwrite)


def _check_apart(output: str, sources: Sequence[str]) -> None:
    """Raise `OptionError` if writing `output` would write over one of `sources`."""
    for source in sources if output != STDOUT else ():
        if _is_same(source, output) or _is_same(source, os.path.realpath(output) + PARTIAL):
            raise OptionError(f"the output {output} is one of the sources: name another one")


def _is_same(source: str, output: str) -> bool:
    try:
        return os.path.isfile(output) and os.path.samefile(source, output)
    except (OSError, ValueError):
        return False


def _kind(output: str) -> str:
    """Name an output without what a database URL may hold of secrets."""
    return f"{output.partition('://')[0]}://…" if "://" in output else output

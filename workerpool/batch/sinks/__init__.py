"""Places for the results of a batch. `open_sink` picks one by the output's name."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from workerpool.batch.record import fields_of
from workerpool.batch.sinks.base import FileSink, Sink
from workerpool.batch.sinks.csv import csv_sink
from workerpool.batch.sinks.jsonl import jsonl_sink
from workerpool.batch.sinks.target import FileTarget, StdoutTarget
from workerpool.errors import OptionError

FORMATS = ("jsonl", "csv")
STDOUT = "-"
_LATER = frozenset({"parquet", "sqlite", "sqlite3", "db"})

__all__ = ["FORMATS", "STDOUT", "FileSink", "Sink", "format_of", "sink_for"]


def format_of(output: str, format: str | None = None) -> str:
    """Return what is written to `output`: `format` if given, or what its name says; raises `OptionError`."""
    ending = "" if output == STDOUT else Path(output.lower()).suffix[1:]
    if "://" in output or ending in _LATER:
        raise OptionError(f"the output {_kind(output)} comes in a later release: name a .jsonl or .csv file, or -")
    if ending == "gz":
        raise OptionError(f"the output {output} would be packed, which is not done here: give -o - and pipe it to gzip")
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
    """Return the sink for `output`, a path or ``-``, not yet opened; raises `OptionError`.

    `sources` are the paths that the batch reads: writing over one of them would empty it before it is read.
    """
    chosen = format_of(output, format)
    if output != STDOUT:
        for source in sources:
            if _is_same(source, output):
                raise OptionError(f"the output {output} is one of the sources: name another one")
    target = StdoutTarget() if output == STDOUT else FileTarget(output, overwrite=overwrite)
    return jsonl_sink(target) if chosen == "jsonl" else csv_sink(target, fields_of(include))


def _is_same(source: str, output: str) -> bool:
    try:
        return os.path.isfile(output) and os.path.samefile(source, output)
    except (OSError, ValueError):
        return False


def _kind(output: str) -> str:
    """Name an output without what a database URL may hold of secrets."""
    return f"{output.partition('://')[0]}://…" if "://" in output else output

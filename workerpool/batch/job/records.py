"""The records of a run read back: those in its output, and those in the ledger, on their way there. It only reads.

An SQLite output that is not finished is locked for that, and a transaction undone in which its writer was killed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import RunRow
from workerpool.batch.job.terms import FUNCTION, columns_in
from workerpool.batch.record import PAGE
from workerpool.batch.sinks import STDOUT, durable_sink_for
from workerpool.errors import SinkError

UNREADABLE = (
    SinkError, OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError, OverflowError,
    RecursionError,
)  # fmt: skip
"""What reading an output may raise in which others have written, or which is another's altogether."""


def went_to(run: RunRow) -> str | None:
    """Name where the records of a run went if they cannot be read back."""
    output = run.settings["--output"]
    return {STDOUT: "standard output", FUNCTION: FUNCTION}.get(output)


def records_of(
    ledger: LedgerReader, run: RunRow, fields: Sequence[str], output: str | None = None
) -> Iterator[tuple[Any, ...]]:
    """Yield some `fields` of every record, as `DurableSink.entries` does; may raise any of `UNREADABLE`.

    `output`: the output once more, if it is a URL with a password, which the ledger does not keep.
    """
    settings = run.settings
    name = output or str(settings["--output"])
    include = () if settings.get("--pages") is None else (PAGE,)
    sink = durable_sink_for(name, format=settings.get("--format"), include=include, typed=columns_in(settings))
    # What is beside a finished output is nobody's: a --retry-failed that was killed before it began leaves it.
    yield from sink.entries(None if run.is_finished else run.position, fields)
    for line in ledger.held_records():
        record = json.loads(line)
        yield tuple([record[field] for field in fields])

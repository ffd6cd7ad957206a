"""The records of a run read back by who only looks: those of a job's directory, or of an output by itself.

It only reads, also while a run goes on: then what its output held a moment ago; but see `batch.job.records` on SQLite.
One thread.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Generic, TypeVar

from workerpool.batch.job.again import why_not
from workerpool.batch.job.lock import holder_of
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.records import UNREADABLE, records_of, went_to
from workerpool.batch.job.schema import RunRow
from workerpool.batch.job.status import has_job
from workerpool.batch.sinks import durable_sink_for
from workerpool.batch.sinks.formats import ENDINGS, format_of
from workerpool.errors import JobError, OptionError
from workerpool.redact import HIDDEN, redact

T = TypeVar("T")


class RecordsBack(Generic[T]):
    """The records at `path`, of each what `make` makes of the values of some `fields`. Each iteration reads anew.

    `make` raises `ValueError`, `TypeError` or `OverflowError` for values that a record cannot have.

    `took`: seconds from the run's beginning to its end, None if it has none or was interrupted in between. `run`: the
    job's run, if its sources can be read again, and `sources` their names. `spares_damaged`: leave out lines of a JSON
    lines output that are no records, and count them in `damaged`; else they are an error. `breaks_off`: of a packed one
    what follows was cut off, or cannot be unpacked.

    Raises `JobError`, here or while iterating, where there is nothing to be read.
    """

    def __init__(
        self,
        path: str,
        fields: Sequence[str],
        make: Callable[[tuple[Any, ...]], T],
        *,
        spares_damaged: bool = False,
    ) -> None:
        self.path = path
        self.name = redact(path)
        self.took: float | None = None
        self.sources: tuple[str, ...] = ()
        self.run: RunRow | None = None
        self.damaged = 0
        self.breaks_off = False
        self._fields = fields
        self._make = make
        self._spares_damaged = spares_damaged
        self._output = path
        self._format: str | None = None
        self._is_job = has_job(path)
        if self._is_job:
            self._look_at_job()
        elif not (os.path.isfile(path) or "://" in path):
            raise JobError(
                f"{self.name} is neither a job's directory nor a file of records: name one that was given to --job, "
                "or the output of a run"
            )
        else:
            self._check_format()

    def __iter__(self) -> Iterator[T]:
        try:
            yield from self._entries()
        except OptionError as error:
            raise JobError(f"the records of {self.name} cannot be read back: {error}") from error
        except UNREADABLE as error:
            raise JobError(
                f"the records of {self.name} cannot be read back: {redact(str(error))}{self._hint()}"
            ) from error

    def _check_format(self) -> None:
        try:
            self._format = format_of(self.path, None).name
        except OptionError as error:
            raise JobError(
                f"{self.name} is no file of records: name an output of a run, which ends in {ENDINGS}, "
                "or a job's directory"
            ) from error

    def _look_at_job(self) -> None:
        with closing(LedgerReader(self.path)) as ledger:
            run = ledger.run()
            if run is None:
                raise JobError(f"{self.name}: no run of this job has begun, so there are no timings")
            if run.is_finished and run.ended is not None and not run.continued:
                self.took = run.ended - run.began
            rows = [*ledger.sources()]
        self._output = str(run.settings["--output"])
        if run.settings.get("--schema") is not None:
            raise JobError(
                f"{self.name}: its rows are those of a schema, and tell no timings; name a job or an output of records"
            )
        if (place := went_to(run)) is not None:
            raise JobError(
                f"the records of {self.name} went to {place}, and cannot be read back: if they are in a file, name that"
            )
        if not any(why_not(row, run) for row in rows):
            self.sources, self.run = tuple(run.settings["SOURCE"]), run

    def _entries(self) -> Iterator[T]:
        if not self._is_job:
            if self._spares_damaged and self._format == "jsonl" and "://" not in self.path:
                yield from self._whole_lines()
            else:
                yield from map(self._make, durable_sink_for(self.path).entries(None, self._fields))
            return
        # One look at the ledger for both: a run may be taking records from there to the output just now.
        with closing(LedgerReader(self.path)) as ledger:
            run = ledger.run()
            assert run is not None
            yield from map(self._make, records_of(ledger, run, self._fields))

    def _whole_lines(self) -> Iterator[T]:
        self.damaged = 0
        self.breaks_off = False
        is_packed = self.path.endswith(".gz")
        with gzip.open(self.path) if is_packed else open(self.path, "rb") as file:
            for line in self._lines(file):
                try:
                    record = json.loads(line)
                    made = self._make(tuple([record[field] for field in self._fields]))
                except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                    self.damaged += 1
                else:
                    yield made

    def _lines(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """The lines of a file, up to where it was cut off or damaged if it is packed."""
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.breaks_off = True

    def _hint(self) -> str:
        if not self._is_job:
            return ""
        if HIDDEN in self._output:
            return "; name the database's URL itself, with its password"
        return "; a run holds the job: try again when it has ended" if holder_of(self.path) is not None else ""

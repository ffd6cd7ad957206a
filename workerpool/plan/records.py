"""The records of a finished run, read back as timings: of a job's directory, or of an output by itself.

It only reads, also while a run goes on: then what its output held a moment ago; but see `batch.job.records` on SQLite.
One thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

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

FIELDS = ("url", "ok", "status", "attempts", "elapsed", "final_url")


class Sent(NamedTuple):
    """A request that was sent: how it ended, after how many attempts, in how many seconds from its first send."""

    url: str
    ok: bool
    status: int | None
    attempts: int
    elapsed: float
    final_url: str | None


class Records:
    """The records at `path`. Iterating gives those of requests that were sent, and reads anew each time.

    `took`: seconds from the run's beginning to its end, None if it has none or was interrupted in between. `run`: the
    job's run, if its sources can be read again, and `sources` their names.

    Raises `JobError`, here or while iterating, where there is nothing to be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = redact(path)
        self.took: float | None = None
        self.sources: tuple[str, ...] = ()
        self.run: RunRow | None = None
        self._output = path
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

    def __iter__(self) -> Iterator[Sent]:
        try:
            for url, ok, status, attempts, elapsed, final_url in self._entries():
                if attempts:
                    answered = None if status is None else int(status)
                    yield Sent(str(url), bool(ok), answered, int(attempts), float(elapsed), final_url or None)
        except OptionError as error:
            raise JobError(f"the records of {self.name} cannot be read back: {error}") from error
        except UNREADABLE as error:
            raise JobError(
                f"the records of {self.name} cannot be read back: {redact(str(error))}{self._hint()}"
            ) from error

    def _check_format(self) -> None:
        try:
            format_of(self.path, None)
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

    def _entries(self) -> Iterator[tuple[Any, ...]]:
        if not self._is_job:
            yield from durable_sink_for(self.path).entries(None, FIELDS)
            return
        # One look at the ledger for both: a run may be taking records from there to the output just now.
        with closing(LedgerReader(self.path)) as ledger:
            run = ledger.run()
            assert run is not None
            yield from records_of(ledger, run, FIELDS)

    def _hint(self) -> str:
        if not self._is_job:
            return ""
        if HIDDEN in self._output:
            return "; name the database's URL itself, with its password"
        return "; a run holds the job: try again when it has ended" if holder_of(self.path) is not None else ""

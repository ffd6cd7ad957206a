"""The opening of a job: what this execution does, and everything that can be refused, before anything is sent.

Options or sources that are not those of the run that is to be continued, an output that would be lost. One thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workerpool.batch.bodies import Bodies, check_directory
from workerpool.batch.job.books import JobBooks
from workerpool.batch.job.history import HistoryKeeper
from workerpool.batch.job.inputs import Inputs, change_all, count_inputs
from workerpool.batch.job.keys import Claims, UniqueKeys
from workerpool.batch.job.ledger import Ledger
from workerpool.batch.job.lock import JobLock
from workerpool.batch.job.prepare import Habits, Preparation
from workerpool.batch.job.schema import RunRow, SourceRow
from workerpool.batch.job.states import ENDED, State
from workerpool.batch.job.terms import check_sources, check_terms, rejects_of, source_rows, terms_of
from workerpool.batch.record import all_included
from workerpool.batch.schemas.options import columns_for
from workerpool.batch.schemas.rejects_file import RejectsFile, check_rejects_apart
from workerpool.batch.sinks import DurableSink, check_apart, durable_sink_for
from workerpool.batch.sinks.callback import CallbackSink
from workerpool.batch.sources.base import Sources
from workerpool.errors import OptionError
from workerpool.history import Limits
from workerpool.saving import Name

if TYPE_CHECKING:
    from workerpool.batch.job.job import Job


def sink_of(job: Job, paths: Sequence[str]) -> DurableSink:
    """Return the sink of a job's output; raises `OptionError`. Nothing is touched."""
    output: str | None = None
    if callable(job.output):
        sink: DurableSink = CallbackSink(job.output)
    else:
        output = os.fspath(job.output)
        include = all_included(job.include, job.save, job.pages)
        sink = durable_sink_for(output, format=job.format, include=include, typed=columns_for(job))
        check_apart(output, paths)
    if job.typed is not None:
        check_rejects_apart(rejects_of(job), output, paths)
    if not sink.is_exactly_once and not job.at_least_once:
        raise OptionError(
            f"{sink.name} cannot be told what it has already: after a crash some records would come twice. "
            "Name a file, or give at_least_once=True"
        )
    return sink


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """A job that is held by this process: its `books` for a `Run`, and `close` for its end.

    `told`: a sentence about what goes on, None for a run that begins. `before`: how many inputs had ended before.
    `run`: its number. `rejects`: the file that these are written to at the run's end, None without a schema.
    """

    books: JobBooks
    sources: Sources
    run: int
    told: str | None
    before: int
    lock: JobLock = field(repr=False)
    rejects: str | None = None

    @property
    def names(self) -> str:
        """What it reads, for people."""
        return " ".join(path or "requests of a program" for path in self.sources.paths)

    @property
    def total(self) -> int | None:
        """How many inputs this execution has to do, None if that cannot be told."""
        count = self.sources.count()
        return None if count is None else max(0, count - self.before)

    def history(self, limits: Limits) -> HistoryKeeper:
        """What keeps the history of this execution, which begins now and has to keep to `limits`."""
        return HistoryKeeper(self.books.directory, self.run, limits)

    def close(self) -> None:
        """Let go of the lock. The books are closed by the run."""
        self.lock.release()


class Opening:
    """Decides what this execution does: begin a run, go on with one, or fetch the failures of a finished one."""

    def __init__(self, job: Job, sources: Sources, sink: DurableSink, ledger: Ledger, lock: JobLock) -> None:
        self._job = job
        self._directory = os.fspath(job.directory)
        self._sources = sources
        self._sink = sink
        self._ledger = ledger
        self._lock = lock
        self._terms = terms_of(job, sources.paths)

    def open(self) -> OpenJob:
        job, ledger = self._job, self._ledger
        run = ledger.run()
        self._check_leftover(run)
        rows = source_rows(self._sources)
        told = None
        if run is None or (not job.retry_failed and (run.is_finished or job.restart)):
            self._begin(rows, run)
        else:
            check_terms(self._directory, run, self._terms)
            for note in check_sources(ledger, self._sources, rows):
                job.note(note)
            self._check_bodies(run)
            told = self._retry(run) if job.retry_failed and run.is_finished else self._go_on(run)
            ledger.continue_run(self._terms, rows)
        run = ledger.run()
        assert run is not None
        counts = count_inputs(ledger)
        return OpenJob(
            books=self._books(run),
            sources=self._sources,
            run=run.number,
            told=told,
            before=sum(counts[state] for state in ENDED),
            lock=self._lock,
            rejects=run.settings.get("--rejects"),
        )

    def _check_leftover(self, run: RunRow | None) -> None:
        output = self._terms["--output"]
        leftover = self._sink.leftover()
        # What is beside the output of a finished run is another job's.
        is_ours = self._ledger.is_making(output) or (
            run is not None and not run.is_finished and run.settings["--output"] == output
        )
        if leftover is not None and not is_ours and not self._job.overwrite:
            raise OptionError(
                f"{leftover} is there, and is not this job's: another job that writes to {self._sink.name} has an "
                "unfinished run. Finish that, name another output, or give overwrite=True to remove it"
            )

    def _begin(self, rows: Sequence[SourceRow], before: RunRow | None) -> None:
        output, rejects = self._terms["--output"], self._terms.get("--rejects")
        self._check_bodies(before)
        if rejects is not None:  # those of the run before are the job's own
            is_own = before is not None and before.settings.get("--rejects") == rejects
            RejectsFile(rejects).check(overwrite=is_own or self._job.overwrite or self._job.upsert)
        # Noted first: whoever is killed in between leaves an output that the next execution knows as its own.
        with self._ledger.making(output):
            position = self._sink.begin(overwrite=self._job.overwrite or self._ledger.made == output)
        self._ledger.begin_run(self._terms, position, rows, ordered=self._job.ordered)

    def _check_bodies(self, before: RunRow | None) -> None:
        """Look at where bodies go; `before`: the job's run before this one, whose directory is its own.

        Not so where that named bodies by their content, as anybody's files may be among those.
        """
        if self._job.save is not None:
            said = {} if before is None else before.settings
            is_own = said.get("--bodies") == self._terms["--bodies"] and not Name(said["--body-name"]).is_by_content
            check_directory(self._job.save, overwrite=self._job.overwrite, is_own=is_own)

    def _go_on(self, run: RunRow) -> str:
        self._sink.resume(run.position)
        counts = count_inputs(self._ledger)
        return (
            f"going on with run {run.number} of {self._directory}: {sum(counts[s] for s in ENDED):,} inputs have ended"
        )

    def _retry(self, run: RunRow) -> str:
        failed = [State.FAILED, State.SPENT]
        count = sum(count_inputs(self._ledger)[state] for state in failed)
        with self._ledger.making(self._terms["--output"]):
            position = self._sink.reopen(run.kept or run.position)
        self._ledger.reopen_run(position, [*change_all(self._ledger, failed, State.DEFERRED)])
        return f"fetching {count:,} inputs again that have failed in run {run.number} of {self._directory}"

    def _books(self, run: RunRow) -> JobBooks:
        job, ledger, sources = self._job, self._ledger, self._sources
        conditional = job.conditional
        if conditional is None:
            has_bodies = "body" in job.include or job.save is not None or job.typed is not None
            conditional = job.pages is None and (not has_bodies or job.only_changed)
        keys = f"{ledger.id} {run.number}" if job.idempotency_keys else None
        inputs, claims = Inputs(ledger, sources), Claims(ledger)
        habits = Habits(conditional=conditional, skip_recent=job.skip_recent, keys=keys)
        return JobBooks(
            job,
            ledger,
            inputs,
            self._sink,
            Preparation(ledger, habits, inputs.identity),
            run,
            claims,
            UniqueKeys(claims, sources.where) if job.unique_keys else None,
            None if job.save is None else Bodies(job.save, claims, inputs.identity, sources.where),
        )

"""A `Job`: a durable batch in a directory, and the opening of its books for one execution.

Everything that can be refused is refused here, before anything is sent: a lock that another run holds, options or
sources that are not those of the run that is to be continued, an output that would be lost. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from workerpool.batch.job.books import JobBooks, Plan
from workerpool.batch.job.inputs import Inputs, change_all, count_inputs
from workerpool.batch.job.ledger import Ledger, RunRow, SourceRow
from workerpool.batch.job.lock import JobLock
from workerpool.batch.job.prepare import Habits, Preparation
from workerpool.batch.job.states import ENDED, State
from workerpool.batch.job.terms import check_sources, check_terms, source_rows, terms_of
from workerpool.batch.sinks import DurableSink, durable_sink_for
from workerpool.batch.source import Sources
from workerpool.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch whose state is kept in `directory`, so that a run of it can be ended at any instruction and continued.

    `sources`: names of files, ``-`` for standard input. `output`: a path, a database's URL, or ``-``. `input_format`,
    `format`, `include`, `ordered`, `overwrite`: as for `workerpool run`. `window`: requests in memory at once.

    `retry_rounds`: further rounds, at the end of the run, for failures that may be tried again. `retry_failed`: go on
    with a finished run, and fetch what has failed in it. `restart`: give up an unfinished run and begin anew.
    `wait_lock`: seconds to wait for another run of the job to end.
    `conditional`: ask the server only for what has changed since it was fetched last; None does so unless bodies are
    recorded. `only_changed`: leave out of the output what has not. `skip_recent`: seconds for which an answer is good
    enough not to ask again. `dedupe`: fetch a URL that several inputs name once. `idempotency_keys`: send an
    ``Idempotency-Key`` with requests whose method may not be repeated, so that they are. `at_least_once`: take an
    output that cannot be told what it has already.

    `note` is told sentences about what is left out or goes on.
    """

    directory: str
    sources: Sequence[str]
    output: str
    input_format: str | None = None
    format: str | None = None
    include: Collection[str] = ()
    ordered: bool = False
    overwrite: bool = False
    window: int | None = None
    retry_rounds: int = 0
    retry_failed: bool = False
    restart: bool = False
    wait_lock: float = 0.0
    conditional: bool | None = None
    only_changed: bool = False
    skip_recent: float | None = None
    dedupe: bool = False
    idempotency_keys: bool = False
    at_least_once: bool = False
    note: Callable[[str], None] = field(default=lambda sentence: None, compare=False)

    def open(self) -> OpenJob:
        """Take the lock, and make everything ready to fetch what is to be fetched; close what this returns.

        Raises `OptionError`, `SourceError`, `SinkError`, `JobError`, and `JobHeld` while another run holds the job.
        """
        self._check()
        sources = Sources(self.sources, format=self.input_format, note=self.note)
        sources.check()
        lock = JobLock(self.directory, self.wait_lock)
        try:
            ledger = Ledger(self.directory)
            try:
                return _Opening(self, sources, lock, ledger).open()
            except BaseException:
                ledger.close()
                raise
        except BaseException:
            lock.release()
            raise

    def _check(self) -> None:
        if self.retry_failed and self.ordered:
            raise OptionError(
                "--retry-failed with --ordered: what has failed stands between the others there; leave out --ordered, "
                "or use --retry-rounds, whose records come in their places"
            )
        if self.retry_failed and self.restart:
            raise OptionError("--retry-failed and --restart: the one goes on with a run, the other gives it up")
        if self.retry_rounds and "-" in self.sources:
            raise OptionError(
                "--retry-rounds reads the sources again, and standard input can be read once: name a file"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """A job that is held by this process: its `books` for a `Run`, and `close` for its end.

    `told`: a sentence about what goes on, None for a run that begins. `before`: how many inputs had ended before.
    `run`: its number.
    """

    books: JobBooks
    sources: Sources
    run: int
    told: str | None
    before: int
    lock: JobLock = field(repr=False)

    def close(self) -> None:
        """Let go of the lock. The books are closed by the run."""
        self.lock.release()


class _Opening:
    """Decides what this execution does: begin a run, go on with one, or fetch the failures of a finished one."""

    def __init__(self, job: Job, sources: Sources, lock: JobLock, ledger: Ledger) -> None:
        self._job = job
        self._sources = sources
        self._lock = lock
        self._ledger = ledger

    def open(self) -> OpenJob:
        job, ledger = self._job, self._ledger
        terms = terms_of(
            [source.path for source in self._sources.sources],
            job.output,
            format=job.format,
            input_format=job.input_format,
            include=job.include,
            ordered=job.ordered,
            dedupe=job.dedupe,
            only_changed=job.only_changed,
            idempotency_keys=job.idempotency_keys,
        )
        run = ledger.run()
        sink = self._sink(run, terms["--output"])
        rows = source_rows(self._sources)
        told = None
        if run is None or (not job.retry_failed and (run.is_finished or job.restart)):
            self._begin(sink, terms, rows)
        elif job.retry_failed and run.is_finished:
            check_terms(job.directory, run, terms)
            told = self._retry(sink, run, terms, rows)
        else:
            check_terms(job.directory, run, terms)
            told = self._go_on(sink, run, terms, rows)
        run = ledger.run()
        assert run is not None
        counts = count_inputs(ledger)
        return OpenJob(
            books=self._books(sink, run),
            sources=self._sources,
            run=run.number,
            told=told,
            before=sum(counts[state] for state in ENDED),
            lock=self._lock,
        )

    def _sink(self, run: RunRow | None, output: str) -> DurableSink:
        job = self._job
        sink = durable_sink_for(
            job.output,
            format=job.format,
            include=job.include,
            overwrite=job.overwrite or self._ledger.made == output,
            sources=[source.path for source in self._sources.sources],
        )
        if not sink.is_exactly_once and not job.at_least_once:
            raise OptionError(
                f"{sink.name} cannot be told what it has already: after a crash some records would come twice. "
                "Name a file, or give --at-least-once"
            )
        leftover = sink.leftover()
        is_ours = run is not None and run.settings["--output"] == output
        if leftover is not None and not is_ours and not job.overwrite:
            raise OptionError(
                f"{leftover} is there, and is not this job's: another job that writes to {sink.name} has an unfinished "
                "run. Finish that, name another output, or give --overwrite to remove it"
            )
        return sink

    def _begin(self, sink: DurableSink, terms: dict[str, Any], rows: Sequence[SourceRow]) -> None:
        position = sink.begin()
        self._ledger.begin_run(terms, position, rows, ordered=self._job.ordered)

    def _go_on(self, sink: DurableSink, run: RunRow, terms: dict[str, Any], rows: Sequence[SourceRow]) -> str:
        for note in check_sources(self._ledger, self._sources, rows):
            self._job.note(note)
        sink.resume(run.position)
        self._ledger.continue_run(terms, rows)
        counts = count_inputs(self._ledger)
        return f"going on with run {run.number} of {self._job.directory}: {sum(counts[s] for s in ENDED):,} inputs have ended"

    def _retry(self, sink: DurableSink, run: RunRow, terms: dict[str, Any], rows: Sequence[SourceRow]) -> str:
        for note in check_sources(self._ledger, self._sources, rows):
            self._job.note(note)
        failed = [State.FAILED, State.SPENT]
        count = sum(count_inputs(self._ledger)[state] for state in failed)
        position = sink.reopen(run.kept or run.position)
        self._ledger.reopen_run(position, [*change_all(self._ledger, failed, State.DEFERRED)])
        self._ledger.continue_run(terms, rows)
        return f"fetching {count:,} inputs again that have failed in run {run.number} of {self._job.directory}"

    def _books(self, sink: DurableSink, run: RunRow) -> JobBooks:
        job, ledger, sources = self._job, self._ledger, self._sources
        pipes = [number for number, source in enumerate(sources.sources) if not source.is_file]
        conditional = job.conditional
        if conditional is None:
            conditional = "body" not in job.include or job.only_changed
        keys = f"{ledger.id} {run.number}" if job.idempotency_keys else None
        return JobBooks(
            ledger,
            Inputs(ledger, sources, [source.path for source in sources.sources], pipes),
            sink,
            Preparation(ledger, Habits(conditional=conditional, skip_recent=job.skip_recent, keys=keys)),
            Plan(
                include=frozenset(job.include),
                ordered=job.ordered,
                window=job.window,
                rounds=job.retry_rounds,
                only_changed=job.only_changed,
                dedupe=job.dedupe,
            ),
            run,
        )

"""`workerpool run`: puts a pool, sources, a sink and a display together, and tells how it ended.

The main thread fetches and writes. Signals and progress have a thread each. Results go to the sink alone, everything
that is said goes to standard error, and no secret of a URL is said.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from workerpool import events
from workerpool.batch.bodies import check_directory, scratch_bodies
from workerpool.batch.codes import HELD, NOT_WRITTEN, OK, USAGE
from workerpool.batch.progress import Pace
from workerpool.batch.record import all_included, needs_bodies
from workerpool.batch.result import BROKEN, DEADLINE, RunResult, last_word
from workerpool.batch.run import Books, Run
from workerpool.batch.schemas.forms import form_of
from workerpool.batch.schemas.options import check_schema
from workerpool.batch.schemas.rejects_file import RejectsFile, check_rejects_apart, rejects_path
from workerpool.batch.schemas.schema import schema_option
from workerpool.batch.sinks import STDOUT, check_apart, sink_for
from workerpool.batch.sources.base import Sources
from workerpool.batch.sources.choice import sources_for
from workerpool.batch.straight import StraightBooks, scratch_duplicates
from workerpool.batch.template.making import making_of
from workerpool.cli.arguments import RunSettings
from workerpool.cli.exporting import Exporter, exported
from workerpool.cli.signals import Signals, exit_code, name_of
from workerpool.cli.speaker import LogStream, Speaker
from workerpool.cluster import make_pool
from workerpool.errors import Cancelled, JobError, JobHeld, SinkError, SourceError, WorkerPoolError
from workerpool.history import Limits
from workerpool.model import Outcome
from workerpool.pool import WorkerPool
from workerpool.report.summary import Took, summarize
from workerpool.report.totals import Tally
from workerpool.report.why import Allowed
from workerpool.view.live import Progress, make_progress
from workerpool.wording import duration, plural, row

if TYPE_CHECKING:
    from workerpool.batch.job.opening import OpenJob


def run(settings: RunSettings, *, owns_process: bool = False) -> int:
    """Carry out `workerpool run` and return its exit code.

    `owns_process` allows it to end the process instead, where only requests whose results are lost would be waited for.
    """
    if settings.options.verify is False:  # the user asked for it, and needs no library's word on it
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    speaker = Speaker(quiet=settings.quiet, as_json=settings.log_format == "json")
    with ExitStack() as stack:
        if settings.log_format is not None:
            stack.callback(events.configure(settings.log_format, LogStream()))  # type: ignore[arg-type]
        for warning in settings.warnings:
            speaker.note(warning)
        try:
            return _run(settings, speaker, owns_process)
        except WorkerPoolError as error:  # refused before anything was sent
            code = _code_of_refusal(error)
            speaker.error(str(error) if settings.job is None else f"{error} (exit {code})")
            return code


def _code_of_refusal(error: WorkerPoolError) -> int:
    if isinstance(error, JobHeld):
        return HELD
    return NOT_WRITTEN if isinstance(error, SinkError) else USAGE


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a run needs, opened. `job` is None for one that is not kept. `rejects`: the file for these, if any."""

    books: Books
    sources: Sources
    job: OpenJob | None = None
    rejects: str | None = None

    @property
    def before(self) -> int:
        """Inputs that had ended before this execution."""
        return 0 if self.job is None else self.job.before

    @property
    def total(self) -> int | None:
        """How many inputs this execution has to do, None if that cannot be told."""
        return self.sources.count() if self.job is None else self.job.total


def _run(settings: RunSettings, speaker: Speaker, owns_process: bool) -> int:
    # Everything that can be refused is, before anything is sent; the output last, as opening it empties it.
    with ExitStack() as stack:
        pool = make_pool(
            settings.processes,
            cluster=settings.cluster,
            bodies=needs_bodies(settings.include, settings.pages, settings.schema),
            thread_name_prefix="workerpool",
            **settings.pool,
        )
        wait = False
        try:
            exporter = stack.enter_context(exported(settings.metrics, settings.metrics_file, speaker))
            ready = (
                _open_straight(settings, speaker, stack)
                if settings.job is None
                else _open_job(settings, speaker, stack)
            )
            code = _Execution(settings, speaker, ready, pool, exporter, owns_process).carry_out()
            wait = code != NOT_WRITTEN  # else requests are still in flight, and their results have nowhere to go
            return code
        finally:
            pool.shutdown(wait=wait, cancel_futures=True)


def _open_straight(settings: RunSettings, speaker: Speaker, stack: ExitStack) -> _Ready:
    sources = sources_for(
        settings.sources,
        format=settings.input_format,
        query=settings.query,
        making=making_of(settings.template),
        note=speaker.note,
    )
    include = all_included(settings.include, settings.save, settings.pages)
    schema = schema_option(settings.schema)
    check_schema(schema, upsert=settings.upsert, rejects=settings.rejects, include=settings.include, save=settings.save)
    sink = sink_for(
        settings.output,
        format=settings.format,
        include=include,
        overwrite=settings.overwrite,
        typed=None if schema is None else schema.columns(upsert=settings.upsert),
    )
    rejects = None if schema is None else RejectsFile(rejects_path(settings.output, settings.rejects))
    check_apart(settings.output, sources.paths)
    if rejects is not None:
        check_rejects_apart(rejects.path, settings.output, sources.paths)
        rejects.check(overwrite=settings.overwrite or settings.upsert)  # an upsert is run again and again
    sources.check()
    duplicates = stack.enter_context(scratch_duplicates(sources.paths)) if settings.dedupe else None
    bodies = None
    if settings.save is not None:
        check_directory(settings.save, overwrite=settings.overwrite)
        bodies = stack.enter_context(scratch_bodies(settings.save, sources.paths, sources.where))
    sink.open()
    if rejects is not None:
        rejects.open()
    books = StraightBooks(
        sources,
        sink,
        form=form_of(schema, include),
        rejects=rejects,
        ordered=settings.ordered,
        duplicates=duplicates,
        bodies=bodies,
        pages=settings.pages,
    )
    return _Ready(books, sources, rejects=None if rejects is None else rejects.path)


def _open_job(settings: RunSettings, speaker: Speaker, stack: ExitStack) -> _Ready:
    assert settings.job is not None
    from workerpool.batch.job.job import Job  # a run without one has the use of no ledger, and of its memory

    job = Job(note=speaker.note, **settings.job)
    opened = stack.enter_context(closing(job.open()))
    return _Ready(opened.books, opened.sources, opened, opened.rejects)


class _Execution:
    """One run with its display, its signals and its end."""

    def __init__(
        self,
        settings: RunSettings,
        speaker: Speaker,
        ready: _Ready,
        pool: WorkerPool,
        exporter: Exporter | None,
        owns_process: bool,
    ) -> None:
        self._settings = settings
        self._speaker = speaker
        self._ready = ready
        self._books = ready.books
        self._pool = pool
        self._owns_process = owns_process
        self._tally = Tally()
        self._progress: Progress | None = None
        self._exporter = exporter
        self._cpu = 0.0  # seconds, of the run
        # Who looks: here, in the log, at the metrics, or at a job by `top`. Nobody knows how many pages there will be.
        looks = settings.has_progress or events.is_on("run.progress") or settings.metrics or settings.job is not None
        is_counted = settings.pages is None and looks
        self._run = Run(
            pool,
            ready.books,
            sources=" ".join(ready.sources.paths if settings.query else settings.sources),  # those hide a password
            total=ready.total if is_counted else None,
            deadline=settings.deadline,
            observe=self._observe,
            on_broken=self._leave_broken,
            history=None if ready.job is None else ready.job.history(self._limits()),
        )
        self._signals = Signals(self._drain, self._stop_now)

    def carry_out(self) -> int:
        if self._ready.job is not None and self._ready.job.told is not None:
            self._speaker.tell(f"workerpool: {self._ready.job.told}.")
        if self._exporter is not None:
            self._exporter.begin(self._run.moment)
        with self._signals, self._display():
            began = time.process_time()
            result = self._run.execute()
            self._cpu = time.process_time() - began
        self._end_metrics(result.exit_code)
        self._tell_end(result)
        return result.exit_code

    def _observe(self, outcome: Outcome) -> None:
        if self._exporter is not None:
            self._exporter.observe(outcome)
        if self._ready.job is None or not isinstance(outcome.error, Cancelled):  # a job fetches those the next time
            self._tally.add(outcome)

    @contextmanager
    def _display(self) -> Iterator[None]:
        if not self._settings.has_progress:
            yield
            return
        to_terminal = self._settings.output == STDOUT and os.isatty(1)
        pace = Pace()
        self._progress = make_progress(
            lambda: pace.look(self._run.moment()), title=self._title(), to_terminal=to_terminal
        )
        self._progress.start()
        try:
            yield
        finally:
            self._progress.stop()

    def _end_metrics(self, code: int) -> None:
        if self._exporter is not None:
            self._exporter.end(code)

    def _title(self) -> str:
        books = self._books
        return books.name if books.run is None else f"{books.directory}: run {books.run}"

    # -- signals, in their own thread ---------------------------------------------------------------------------------

    def _drain(self, number: int) -> None:
        in_flight = self._pool.statistics().in_flight
        self._run.drain(name_of(number))  # before anything is said: a terminal that has gone may hold that up
        self._speaker.tell(
            f"{name_of(number)}: finishing {plural(in_flight, 'request')} in flight, sending no more; "
            "once more stops at once."
        )

    def _stop_now(self, number: int) -> NoReturn:
        self._run.stop_now()
        if self._progress is not None:
            self._progress.leave()
        if self._ready.job is None:
            self._speaker.tell(f"{name_of(number)} again: stopped.", self._where(), self._how_to_go_on())
        else:
            self._say_last_word(f"stopped by a second {name_of(number)}", exit_code(number))
        self._end_metrics(exit_code(number))
        os._exit(exit_code(number))

    # -- a sink that failed, in the run's second thread ---------------------------------------------------------------

    def _leave_broken(self, error: SinkError | JobError) -> None:
        if not self._owns_process:
            return
        if self._progress is not None:
            self._progress.leave()
        self._run.stop_now()
        self._speaker.error(str(error))
        self._say_last_word(BROKEN, NOT_WRITTEN)
        self._end_metrics(NOT_WRITTEN)
        os._exit(NOT_WRITTEN)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _tell_end(self, result: RunResult) -> None:
        totals, figures = self._tally.totals(), self._pool.statistics()
        if totals.requests or result.error is None:
            if self._ready.before:
                self._speaker.tell(f"After {plural(self._ready.before, 'input')} that had ended before, this time:")
            cpu = self._cpu + getattr(self._pool, "cpu", 0.0)  # of other processes
            took = Took(elapsed=result.elapsed, cpu=cpu, cores=os.cpu_count() or 1)
            summary = summarize(totals, figures, self._allowed(), took)
            self._speaker.say("\n".join([summary, *self._rows(result)]))
        if result.stopped is not None and self._ready.job is None:
            self._speaker.tell(self._why(result), self._where(), self._how_to_go_on())
        if result.error is not None:
            is_source = isinstance(result.error, SourceError)
            ending = f". {self._where()} {self._how_to_go_on()}" if is_source and self._ready.job is None else ""
            self._speaker.error(f"{result.error}{ending}")
        if self._ready.job is not None:
            self._speaker.last_word(str(result), is_well=result.exit_code == OK)

    def _rows(self, result: RunResult) -> Iterator[str]:
        """Say what a schema has made of the answers."""
        path = self._ready.rejects
        if path is not None:
            is_there = self._ready.job is None or self._books.is_whole
            where = f", with their reasons in {path}" if is_there else ", whose reasons are written at the end"
            rejected = f"; {result.rejected:,} rejected{where}" if result.rejected else ""
            yield from row("rows", f"{result.written:,} written{rejected}")

    def _allowed(self) -> Allowed:
        settings, options = self._settings, self._settings.options
        is_ordered = settings.ordered and settings.job is None  # a job puts its outcomes into order when it has them
        processes = getattr(self._pool, "size", settings.processes)  # of a cluster
        return Allowed(workers=options.workers, budgets=options.budgets, ordered=is_ordered, processes=processes)

    def _limits(self) -> Limits:
        return Limits.of(self._settings.options, processes=self._settings.processes)

    def _say_last_word(self, how: str, code: int) -> None:
        """Say what the run of a job has come to, for a process that ends before it."""
        books = self._books
        if books.run is not None:
            name = f"{books.directory}: run {books.run}"
            self._speaker.last_word(last_word(name, how, code, books.inputs, books.rejected), is_well=False)

    def _why(self, result: RunResult) -> str:
        why = "Interrupted"
        if result.stopped == DEADLINE:
            why = f"Stopped at the deadline, {duration(self._settings.deadline or 0.0)},"
        cancelled = f"; {plural(result.cancelled, 'request')} that had been read were cancelled" * bool(
            result.cancelled
        )
        return f"{why} before the end of the input{cancelled}."

    def _where(self) -> str:
        return f"{plural(self._books.written, 'result')} went to {self._books.name}."

    def _how_to_go_on(self) -> str:
        if self._settings.output == STDOUT:
            return "A rerun starts over."
        return "A rerun starts over: give --overwrite, or another OUTPUT."

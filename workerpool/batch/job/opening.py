"""The opening of a job: what this execution does, and everything that can be refused, before anything is sent.

Options or sources that are not those of the run that is to be continued, an output that would be lost. One thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workerpool.batch.given import GivenRequests
from workerpool.batch.job.books import JobBooks, Plan
from workerpool.batch.job.inputs import Inputs, change_all, count_inputs
from workerpool.batch.job.keys import UniqueKeys
from workerpool.batch.job.ledger import Ledger, RunRow, SourceRow
from workerpool.batch.job.prepare import Habits, Preparation
from workerpool.batch.job.states import ENDED, State
from workerpool.batch.job.terms import check_sources, check_terms, source_rows, terms_of
from workerpool.batch.sinks import DurableSink, durable_sink_for
from workerpool.batch.sinks.callback import CallbackSink, Receive
from workerpool.batch.source import Sources
from workerpool.errors import OptionError


@dataclass(frozen=True, slots=True)
class Opened:
    """The `books` of an execution of the run numbered `run`, what it goes on with, and how many inputs had ended."""

    books: JobBooks
    run: int
    told: str | None
    before: int


def sink_of(job: Options, paths: Sequence[str], *, overwrite: bool) -> DurableSink:
    """Return the sink of a job's output; raises `OptionError`. Nothing is touched."""
    if callable(job.output):
        sink: DurableSink = CallbackSink(job.output)
    else:
        sink = durable_sink_for(
            os.fspath(job.output), format=job.format, include=job.include, overwrite=overwrite, sources=paths
        )
    if not sink.is_exactly_once and not job.at_least_once:
        raise OptionError(
            f"{sink.name} cannot be told what it has already: after a crash some records would come twice. "
            "Name a file, or give --at-least-once"
        )
    return sink


class Options(Protocol):
    """What is read of a `Job`."""

    @property
    def output(self) -> str | os.PathLike[str] | Receive: ...

    @property
    def input_format(self) -> str | None: ...

    @property
    def format(self) -> str | None: ...

    @property
    def include(self) -> Collection[str]: ...

    @property
    def ordered(self) -> bool: ...

    @property
    def overwrite(self) -> bool: ...

    @property
    def window(self) -> int | None: ...

    @property
    def retry_rounds(self) -> int: ...

    @property
    def retry_failed(self) -> bool: ...

    @property
    def restart(self) -> bool: ...

    @property
    def conditional(self) -> bool | None: ...

    @property
    def only_changed(self) -> bool: ...

    @property
    def skip_recent(self) -> float | None: ...

    @property
    def dedupe(self) -> bool: ...

    @property
    def unique_keys(self) -> bool: ...

    @property
    def idempotency_keys(self) -> bool: ...

    @property
    def at_least_once(self) -> bool: ...

    @property
    def note(self) -> Callable[[str], None]: ...


class Opening:
    """Decides what this execution does: begin a run, go on with one, or fetch the failures of a finished one."""

    def __init__(self, job: Options, directory: str, sources: Sources | GivenRequests, ledger: Ledger) -> None:
        self._job = job
        self._directory = directory
        self._sources = sources
        self._ledger = ledger
        self._output = job.output if callable(job.output) else os.fspath(job.output)

    def open(self) -> Opened:
        job, ledger = self._job, self._ledger
        terms = terms_of(
            self._sources.paths,
            self._output,
            format=job.format,
            input_format=job.input_format,
            include=job.include,
            ordered=job.ordered,
            dedupe=job.dedupe,
            unique_keys=job.unique_keys,
            only_changed=job.only_changed,
            idempotency_keys=job.idempotency_keys,
        )
        run = ledger.run()
        sink = self._sink(run, terms["--output"])
        try:
            return self._open(sink, run, terms)
        except BaseException:
            sink.close()
            raise

    def _open(self, sink: DurableSink, run: RunRow | None, terms: dict[str, Any]) -> Opened:
        job, ledger = self._job, self._ledger
        rows = source_rows(self._sources)
        told = None
        if run is None or (not job.retry_failed and (run.is_finished or job.restart)):
            self._begin(sink, terms, rows)
        elif job.retry_failed and run.is_finished:
            check_terms(self._directory, run, terms)
            told = self._retry(sink, run, terms, rows)
        else:
            check_terms(self._directory, run, terms)
            told = self._go_on(sink, run, terms, rows)
        run = ledger.run()
        assert run is not None
        counts = count_inputs(ledger)
        return Opened(self._books(sink, run), run.number, told, sum(counts[state] for state in ENDED))

    def _sink(self, run: RunRow | None, output: str) -> DurableSink:
        job = self._job
        sink = sink_of(job, self._sources.paths, overwrite=job.overwrite or self._ledger.made == output)
        leftover = sink.leftover()
        # What is beside the output of a finished run is another job's.
        is_ours = self._ledger.is_making(output) or (
            run is not None and not run.is_finished and run.settings["--output"] == output
        )
        if leftover is not None and not is_ours and not job.overwrite:
            raise OptionError(
                f"{leftover} is there, and is not this job's: another job that writes to {sink.name} has an unfinished "
                "run. Finish that, name another output, or give --overwrite to remove it"
            )
        return sink

    def _begin(self, sink: DurableSink, terms: dict[str, Any], rows: Sequence[SourceRow]) -> None:
        # Noted first: whoever is killed in between leaves an output that the next execution knows as its own.
        with self._ledger.making(terms["--output"]):
            position = sink.begin()
        self._ledger.begin_run(terms, position, rows, ordered=self._job.ordered)

    def _go_on(self, sink: DurableSink, run: RunRow, terms: dict[str, Any], rows: Sequence[SourceRow]) -> str:
        for note in check_sources(self._ledger, self._sources, rows):
            self._job.note(note)
        sink.resume(run.position)
        self._ledger.continue_run(terms, rows)
        counts = count_inputs(self._ledger)
        return (
            f"going on with run {run.number} of {self._directory}: {sum(counts[s] for s in ENDED):,} inputs have ended"
        )

    def _retry(self, sink: DurableSink, run: RunRow, terms: dict[str, Any], rows: Sequence[SourceRow]) -> str:
        for note in check_sources(self._ledger, self._sources, rows):
            self._job.note(note)
        failed = [State.FAILED, State.SPENT]
        count = sum(count_inputs(self._ledger)[state] for state in failed)
        with self._ledger.making(terms["--output"]):
            position = sink.reopen(run.kept or run.position)
        self._ledger.reopen_run(position, [*change_all(self._ledger, failed, State.DEFERRED)])
        self._ledger.continue_run(terms, rows)
        return f"fetching {count:,} inputs again that have failed in run {run.number} of {self._directory}"

    def _books(self, sink: DurableSink, run: RunRow) -> JobBooks:
        job, ledger, sources = self._job, self._ledger, self._sources
        conditional = job.conditional
        if conditional is None:
            conditional = "body" not in job.include or job.only_changed
        keys = f"{ledger.id} {run.number}" if job.idempotency_keys else None
        inputs = Inputs(
            ledger,
            sources,
            sources.paths,
            unsought=sources.unsought,
            waiting=sources.unsought if sources.may_wait else (),
        )
        habits = Habits(conditional=conditional, skip_recent=job.skip_recent, keys=keys)
        return JobBooks(
            ledger,
            inputs,
            sink,
            Preparation(ledger, habits, inputs.place),
            Plan(
                include=frozenset(job.include),
                ordered=job.ordered,
                window=job.window,
                rounds=job.retry_rounds,
                only_changed=job.only_changed,
                dedupe=job.dedupe,
            ),
            run,
            UniqueKeys(ledger, sources.where) if job.unique_keys else None,
        )

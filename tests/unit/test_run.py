"""A run: every outcome is written, a failing source or sink ends it with what was got, and it drains when told to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requests import Response

from workerpool.batch.progress import Moment
from workerpool.batch.record import Record
from workerpool.batch.result import DEADLINE
from workerpool.batch.run import Run
from workerpool.batch.sinks import sink_for
from workerpool.batch.straight import StraightBooks
from workerpool.errors import Cancelled, SinkError, SourceError, StatusError
from workerpool.events import EVENTS
from workerpool.model import Idle, Outcome, Request, Underway
from workerpool.statistics import PoolStatistics


class FakePool:
    """Answers at once; once drained, everything else is cancelled. `hold` makes it wait for the drain."""

    def __init__(self, hold_at: int | None = None) -> None:
        self.is_drained = threading.Event()
        self._hold_at = hold_at
        self.is_closed = False

    def drain(self) -> None:
        self.is_drained.set()

    rate = 50.0

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(sent=7, in_flight=2, parked=1)

    def batches(
        self, requests: Iterable[str | Request | Idle], **options: Any
    ) -> Generator[list[Outcome | Underway], None, None]:
        try:
            for number, request in enumerate(requests, 1):
                assert isinstance(request, Request)
                if number == self._hold_at:
                    assert self.is_drained.wait(30)
                yield [self._answer(request)]
        finally:
            self.is_closed = True

    def _answer(self, request: Request) -> Outcome:
        if self.is_drained.is_set():
            return Outcome(request, error=Cancelled("told to end"))
        response = Response()
        response.status_code, response._content = (404 if "bad" in request.url else 200), b"x"
        return Outcome(request, response, StatusError("no", status=404) if "bad" in request.url else None)


class ListSource:
    def __init__(self, *urls: str, error: SourceError | None = None) -> None:
        self._urls = urls
        self._error = error
        self.is_stopped = False

    may_wait = False

    def __iter__(self) -> Iterator[Request]:
        for url in self._urls:
            if self.is_stopped:
                return
            yield Request(url)
        if self._error:
            raise self._error

    def stop(self) -> None:
        self.is_stopped = True


class MemorySink:
    name = "memory"

    def __init__(
        self, fail_at: int | None = None, fail_on_flush: bool = False, bug: BaseException | None = None
    ) -> None:
        self.records: list[Record] = []
        self.flushed = threading.Event()
        self._fail_at = fail_at
        self._fail_on_flush = fail_on_flush
        self._bug = bug

    @property
    def written(self) -> int:
        return len(self.records)

    def open(self) -> None: ...

    def write(self, *records: Record, size: int = 0) -> None:
        for record in records:
            if len(self.records) == self._fail_at:
                raise SinkError("full", records=len(self.records))
            self.records.append(record)

    def flush(self) -> None:
        self.flushed.set()
        if self._bug is not None:
            raise self._bug
        if self._fail_on_flush:
            raise SinkError("full")

    def close(self) -> None:
        if self._fail_on_flush:
            raise SinkError("cannot be closed")

    def abort(self) -> None: ...


def execute(pool: FakePool, source: ListSource, sink: Any, **options: Any) -> Any:
    return Run(pool, StraightBooks(source, sink), **options).execute()


def test_every_outcome_is_written_and_counted() -> None:
    sink, seen = MemorySink(), list[Outcome]()
    result = execute(FakePool(), ListSource("http://a/", "http://bad/"), sink, observe=seen.append)
    assert [record["url"] for record in sink.records] == ["http://a/", "http://bad/"]
    assert (result.read, result.ok, result.failed, result.cancelled, result.written) == (2, 1, 1, 0, 2)
    assert result.is_whole
    assert len(seen) == 2


def test_of_a_source_that_breaks_off_everything_read_is_written_first() -> None:
    sink, error = MemorySink(), SourceError("cut short")
    result = execute(FakePool(), ListSource("http://a/", "http://b/", error=error), sink)
    assert (len(sink.records), result.error, result.is_whole) == (2, error, False)


def test_a_sink_that_fails_ends_the_run_and_gives_up_the_rest() -> None:
    pool, sink = FakePool(), MemorySink(fail_at=2)
    result = execute(pool, ListSource(*["http://a/"] * 10), sink)
    assert isinstance(result.error, SinkError)
    assert (result.ok, result.written, pool.is_closed) == (2, 2, True)


def test_a_sink_that_fails_while_nothing_arrives_ends_the_run_too() -> None:
    pool = FakePool(hold_at=1)
    result = execute(pool, ListSource("http://a/"), MemorySink(fail_on_flush=True))
    assert isinstance(result.error, SinkError)
    assert str(result.error) == "full"  # why it ended, and not what came of that at its close


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), SystemExit(1)])
def test_a_sink_that_fails_in_an_unforeseen_way_ends_the_run_with_that_error(bug: BaseException) -> None:
    pool = FakePool(hold_at=2)
    with pytest.raises(type(bug)):
        execute(pool, ListSource(*"abc"), MemorySink(bug=bug))
    assert pool.is_drained.is_set()


def test_a_run_that_a_failed_sink_cannot_end_at_once_says_so() -> None:
    class Busy(FakePool):
        """What it sends takes as long as it wants, drained or not."""

        def drain(self) -> None: ...

    pool, told = Busy(hold_at=1), list[SinkError]()

    def on_broken(error: SinkError) -> None:
        told.append(error)
        pool.is_drained.set()

    result = execute(pool, ListSource("http://a/"), MemorySink(fail_on_flush=True), on_broken=on_broken)
    assert [str(error) for error in told] == ["full"]
    assert isinstance(result.error, SinkError)


def test_results_are_flushed_while_nothing_else_arrives() -> None:
    pool, sink = FakePool(hold_at=2), MemorySink()
    run = Run(pool, StraightBooks(ListSource("http://a/", "http://b/"), sink))
    thread = threading.Thread(target=run.execute)
    thread.start()
    assert sink.flushed.wait(10)
    run.drain("enough")
    thread.join(10)
    assert not thread.is_alive()


def test_a_drained_run_stops_reading_and_says_why() -> None:
    pool, source, sink = FakePool(hold_at=2), ListSource(*["http://a/"] * 10), MemorySink()
    run = Run(pool, StraightBooks(source, sink))
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(run.execute()))
    thread.start()
    assert sink.flushed.wait(10)
    run.drain("SIGTERM")
    run.drain("SIGHUP")
    thread.join(10)
    (result,) = results
    assert (result.stopped, result.ok, result.cancelled, result.read) == ("SIGTERM", 1, 1, 2)
    assert source.is_stopped


def test_the_deadline_drains() -> None:
    result = execute(FakePool(hold_at=2), ListSource(*["http://a/"] * 3), MemorySink(), deadline=0.05)
    assert (result.stopped, result.ok, result.cancelled) == (DEADLINE, 1, 1)


def test_a_deadline_that_stopped_nothing_is_no_stop() -> None:
    class LateSource(ListSource):
        def __iter__(self) -> Iterator[Request]:
            yield Request("http://a/")

    class Patient(FakePool):
        """Finishes what it has, as a send in flight does."""

        def batches(
            self, requests: Iterable[str | Request | Idle], **options: Any
        ) -> Generator[list[Outcome | Underway], None, None]:
            taken = list(requests)
            assert self.is_drained.wait(30)
            yield [Outcome(request) for request in taken if isinstance(request, Request)]

    result = execute(Patient(), LateSource(), MemorySink(), deadline=0.05)
    assert (result.stopped, result.ok, result.is_whole) == (None, 1, True)


def test_an_error_of_the_observer_closes_the_sink(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = sink_for(str(path))
    sink.open()

    def fail(outcome: Outcome) -> None:
        raise RuntimeError("observer")

    with pytest.raises(RuntimeError, match="observer"):
        execute(FakePool(), ListSource("http://a/", "http://b/"), sink, observe=fail)
    assert len(path.read_text().splitlines()) == 1


def test_the_result_has_what_was_sent_and_the_bytes_of_all_bodies() -> None:
    result = execute(FakePool(), ListSource("http://a/", "http://bad/", "junk"), MemorySink())
    assert (result.sent, result.bytes, result.output) == (7, 3, "memory")


class Told(logging.Handler):
    """Keeps events of some name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.of = name
        self.fields: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "") == self.of:
            self.fields.append(record.fields)  # type: ignore[attr-defined]


@pytest.fixture
def told() -> Iterator[Told]:
    """A host that has configured its logging."""
    handler, logger = Told("run.progress"), logging.getLogger("workerpool")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_progress_is_logged_every_so_many_seconds_and_told(told: Told) -> None:
    pool, moments = FakePool(hold_at=3), list[Moment]()

    def progress(moment: Moment) -> None:
        moments.append(moment)
        if len(moments) == 2:
            pool.is_drained.set()

    execute(
        pool, ListSource("http://a/", "http://bad/", "http://c/"), MemorySink(), total=9, progress=progress,
        progress_every=0.01,
    )  # fmt: skip
    first = moments[0]
    assert (first.done, first.total, first.ok, first.failed, first.pool.in_flight, first.allowed) == (
        2,
        9,
        1,
        1,
        2,
        50.0,
    )
    (failure,) = first.failures
    assert (failure.url, failure.reason) == ("http://bad/", "404 Not Found")
    assert told.fields[0].keys() == set(EVENTS["run.progress"][1])
    assert told.fields[0].items() >= {"done": 2, "total": 9, "ok": 1, "failed": 1, "in_flight": 2, "parked": 1}.items()
    assert len(told.fields) >= 2


def test_no_progress_is_told_before_its_time(told: Told) -> None:
    pool, sink = FakePool(hold_at=2), MemorySink()
    run = Run(
        pool, StraightBooks(ListSource("http://a/", "http://b/"), sink), progress=lambda moment: pytest.fail("told")
    )
    thread = threading.Thread(target=run.execute)
    thread.start()
    assert sink.flushed.wait(10)
    pool.drain()
    thread.join(10)
    assert (thread.is_alive(), told.fields) == (False, [])


def test_an_error_of_who_is_told_of_the_progress_ends_the_run() -> None:
    pool = FakePool(hold_at=2)

    def progress(moment: Moment) -> None:
        raise RuntimeError("no display")

    with pytest.raises(RuntimeError, match="no display"):
        execute(pool, ListSource(*"abc"), MemorySink(), progress=progress, progress_every=0.01)
    assert pool.is_drained.is_set()

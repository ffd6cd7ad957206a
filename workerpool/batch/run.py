"""One execution of a batch: requests from its sources through a pool into a sink, ended early if asked to.

Two threads: the caller's, in `Run.execute`, which takes outcomes and writes them; and a housekeeper of ours, which
flushes the sink, so that a reader sees results within half a second, and watches the deadline. `drain` and `stop_now`
come from any thread. No signal handlers, nothing on the terminal: that is the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from workerpool import events
from workerpool.batch.ahead import read_ahead
from workerpool.batch.record import record_of
from workerpool.batch.sinks.base import Sink
from workerpool.errors import Cancelled, SinkError, SourceError
from workerpool.model import IDLE, Idle, Outcome, Request

FLUSH_EVERY = 0.25
"""Seconds between two flushes of the sink."""

BROKEN_GRACE = 1.0
"""Seconds that a run whose sink has failed gets to end by itself before `on_broken` is called."""

DEADLINE = "deadline"
"""The reason given when the run stopped at its deadline."""


class Pool(Protocol):
    """What a run needs of a `WorkerPool`."""

    def stream(
        self, requests: Iterable[str | Request | Idle], *, ordered: bool = False, window: int | None = None
    ) -> Generator[Outcome, None, None]: ...

    def drain(self) -> None: ...


class Source(Protocol):
    """What a run needs of `batch.source.Sources`."""

    @property
    def may_wait(self) -> bool: ...

    def __iter__(self) -> Iterator[Request]: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    `read` counts the requests that its sources gave, `ok`, `failed` and `cancelled` how they ended (`read` is more
    than these three if the run was stopped), `written` the records that are safe. `stopped` is the reason it was told
    to drain, None if it went to its end, and then `error` says whether its source or its sink failed.
    """

    read: int
    ok: int
    failed: int
    cancelled: int
    written: int
    elapsed: float
    stopped: str | None = None
    error: SourceError | SinkError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every request of the sources was answered by the server or refused as invalid."""
        return self.stopped is None and self.error is None


@dataclass(slots=True)
class Counts:
    """A run's counts while it goes on; written by its thread, read by any."""

    read: int = 0
    ok: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def done(self) -> int:
        return self.ok + self.failed + self.cancelled


class Run:
    """One execution of a batch, to be executed once. The sink is opened by the caller, and closed here.

    `observe` is called with every outcome, in the caller's thread. `deadline`: seconds after which it drains.
    `on_broken` is called, in another thread, if the sink has failed and the run cannot end because what is in flight
    takes its time: its results have nowhere to go, so a program may want to exit.
    """

    def __init__(
        self,
        pool: Pool,
        source: Source,
        sink: Sink,
        *,
        include: Collection[str] = (),
        ordered: bool = False,
        window: int | None = None,
        deadline: float | None = None,
        observe: Callable[[Outcome], None] = lambda outcome: None,
        on_broken: Callable[[SinkError], None] = lambda error: None,
    ) -> None:
        self._pool = pool
        self._source = source
        self._sink = sink
        self._include = frozenset(include)
        self._ordered = ordered
        self._window = window
        self._deadline = deadline
        self._observe = observe
        self._on_broken = on_broken
        self._lock = threading.Lock()  # guards _reason
        self._reason: str | None = None
        self._ended = threading.Event()
        self._source_error: SourceError | None = None
        self._is_read_to_end = False
        self._started = 0.0
        self.counts = Counts()

    def execute(self) -> RunResult:
        """Fetch everything and write it; returns how that ended. Raises only what is a bug, or the caller's `observe`.

        A source that breaks off ends the reading: what was read is fetched and written. A sink that fails ends the
        run, since results would be lost.
        """
        self._started = time.monotonic()
        keeper = threading.Thread(target=self._keep_house, name="workerpool-run", daemon=True)
        keeper.start()
        sink_error = None
        try:
            self._take_all()
        except SinkError as error:
            sink_error = error
        finally:
            self._ended.set()
            keeper.join()
            sink_error = self._close_sink() or sink_error
        return self._result(sink_error)

    def drain(self, reason: str) -> None:
        """Finish what is being sent, give up the rest, and end; the first `reason` is kept. Any thread."""
        with self._lock:
            if self._reason is not None or self._ended.is_set():
                return
            self._reason = reason
        events.emit("run.draining", reason=reason)
        self._source.stop()
        self._pool.drain()

    def stop_now(self) -> None:
        """Write what has come in, for a process that is about to end. Any thread; returns within about a second."""
        self._sink.abort()

    @property
    def is_draining(self) -> bool:
        return self._reason is not None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started if self._started else 0.0

    def _take_all(self) -> None:
        with closing(self._pool.stream(self._requests(), ordered=self._ordered, window=self._window)) as outcomes:
            for outcome in outcomes:
                self._take(outcome)
                del outcome  # its body must not live until the next one comes

    def _requests(self) -> Iterator[Request | Idle]:
        """Read the source; its error ends the reading here, as inside the pool's stream it would cost the results."""
        try:
            for request in read_ahead(self._source) if self._source.may_wait else self._source:
                self.counts.read += request is not IDLE
                yield request
            self._is_read_to_end = not self.is_draining
        except SourceError as error:
            self._source_error = error

    def _take(self, outcome: Outcome) -> None:
        self._sink.write(record_of(outcome, self._include))
        if outcome.ok:
            self.counts.ok += 1
        elif isinstance(outcome.error, Cancelled):
            self.counts.cancelled += 1
        else:
            self.counts.failed += 1
        self._observe(outcome)

    def _keep_house(self) -> None:
        while not self._ended.wait(FLUSH_EVERY):
            if self._deadline is not None and self.elapsed >= self._deadline:
                self.drain(DEADLINE)
            try:
                self._sink.flush()
            except SinkError as error:
                self._break_off(error)
                return

    def _break_off(self, error: SinkError) -> None:
        """End the run for a sink that failed. The sink raises its error again in the run's thread, once that wakes."""
        self._source.stop()
        self._pool.drain()
        if not self._ended.wait(BROKEN_GRACE):
            self._on_broken(error)

    def _close_sink(self) -> SinkError | None:
        try:
            self._sink.close()
        except SinkError as error:
            return error
        return None

    def _result(self, sink_error: SinkError | None) -> RunResult:
        counts = self.counts
        missed_nothing = self._is_read_to_end and counts.done == counts.read and not counts.cancelled
        return RunResult(
            read=counts.read,
            ok=counts.ok,
            failed=counts.failed,
            cancelled=counts.cancelled,
            written=self._sink.written,
            elapsed=self.elapsed,
            # A deadline that came while the last answers did has stopped nothing; a person's signal always counts.
            stopped=None if self._reason == DEADLINE and missed_nothing else self._reason,
            error=sink_error or self._source_error,
        )

"""One execution of a batch: everything fetched through a pool and entered in its books, ended early if asked to.

The caller's thread, in `Run.execute`, takes outcomes and enters them. A housekeeper of ours flushes the books, so that
a reader sees results within half a second, and tells the progress; a third thread watches the deadline, if there is
one. `drain` and `stop_now` come from any thread. No signal handlers, nothing on the terminal: that is the caller's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from workerpool import events
from workerpool.batch.progress import Failed, Moment, Pace
from workerpool.batch.result import DEADLINE, RunResult
from workerpool.endings import in_short
from workerpool.errors import Cancelled, JobError, RequestError, SinkError, SourceError
from workerpool.model import Idle, Outcome, Request, Underway
from workerpool.paging import Chains, Pages
from workerpool.redact import redact
from workerpool.statistics import PoolStatistics

FLUSH_EVERY = 0.25
"""Seconds between two flushes of the books."""

BROKEN_GRACE = 1.0
"""Seconds that a run whose sink has failed gets to end by itself before `on_broken` is called."""

PROGRESS_EVERY = 10.0
"""Seconds between two ``run.progress`` events."""

LAST_FAILURES = 5
"""Failures that are kept for who watches the run."""

LONGEST_URL = 1_000
"""Characters of a URL that are kept with one."""


class Pool(Protocol):
    """What a run needs of a `WorkerPool`."""

    def batches(
        self,
        requests: Iterable[str | Request | Idle],
        *,
        ordered: bool = False,
        window: int | None = None,
        receipts: bool = False,
        before_send: Callable[[Request], None] | None = None,
        pages: Pages | Chains | None = None,
    ) -> Generator[list[Outcome | Underway], None, None]: ...

    def drain(self) -> None: ...

    def statistics(self) -> PoolStatistics: ...

    @property
    def rate(self) -> float | None: ...


class Keeper(Protocol):
    """Keeps a run's history. Raises nothing."""

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count what has ended. The run's thread."""

    def look(self, pool: Pool, *, is_last: bool = False) -> None:
        """Look at the pool and write down what there is, if it is time, or this is the last look. Any other thread."""


Take = Callable[[Sequence[Outcome]], None]
"""Is told of outcomes once they are entered."""


class Books(Protocol):
    """What a run reads its requests from, and enters their outcomes in.

    `name` is the output's, for sentences; `written` counts the records that are safe, `read` the requests that were
    read. `source_error`: why a source could not be read to its end. `is_whole`: whether every input has its outcome.
    Of a job: its `directory`, the number of its `run`, and once they are closed its `inputs` by what has become of
    them, also in executions before this one. These are None without a job.
    `rejected`: what of the answers became no row of a schema, also in executions before this one.
    """

    @property
    def name(self) -> str: ...

    @property
    def written(self) -> int: ...

    @property
    def read(self) -> int: ...

    @property
    def source_error(self) -> SourceError | None: ...

    @property
    def is_whole(self) -> bool: ...

    @property
    def directory(self) -> str | None: ...

    @property
    def run(self) -> int | None: ...

    @property
    def inputs(self) -> Mapping[str, int] | None: ...

    @property
    def rejected(self) -> int: ...

    def fetch(self, pool: Pool, take: Take) -> None:
        """Fetch everything there is to fetch, and enter it; raises `SinkError` and `JobError`."""

    def stop(self, reason: str) -> None:
        """Read no more. Any thread."""

    def flush(self, look: Callable[[], Moment]) -> None:
        """Let others see what was entered, and how the run is; raises `SinkError`. The housekeeper's thread."""

    def close(self) -> None:
        """Bring everything to its place, and let go; raises `SinkError`."""

    def abort(self) -> None:
        """Write what was entered if that can be done at once, for a process that is about to end. Raises nothing."""


@dataclass(slots=True)
class Counts:
    """A run's counts while it goes on; written by its thread, read by any."""

    ok: int = 0
    failed: int = 0
    cancelled: int = 0
    bytes: int = 0
    failures: tuple[Failed, ...] = ()  # the last ones

    @property
    def done(self) -> int:
        return self.ok + self.failed + self.cancelled

    def fail(self, outcome: Outcome, error: RequestError) -> None:
        """Count a request that has failed."""
        self.failed += 1
        latest = Failed(time.time(), redact(outcome.request.url[:LONGEST_URL]), in_short(error))
        self.failures = (latest, *self.failures[: LAST_FAILURES - 1])


class Run:
    """One execution of a batch, to be executed once. The books are opened by the caller, and closed here.

    `sources` names what it reads, for people; `total` is how many requests that is, if it is known. `observe` is called
    with every outcome, in the caller's thread, and `progress` every `progress_every` seconds with a moment of the run,
    in the housekeeper's; what they raise ends the run. `deadline`: seconds after which it drains. `history` keeps what
    a report is made of.
    `on_broken` is called, in another thread, if the sink has failed and the run cannot end because what is in flight
    takes its time: its results have nowhere to go, so a program may want to exit.
    """

    def __init__(
        self,
        pool: Pool,
        books: Books,
        *,
        sources: str = "",
        total: int | None = None,
        deadline: float | None = None,
        observe: Callable[[Outcome], None] = lambda outcome: None,
        progress: Callable[[Moment], None] | None = None,
        progress_every: float = PROGRESS_EVERY,
        on_broken: Callable[[SinkError | JobError], None] = lambda error: None,
        history: Keeper | None = None,
    ) -> None:
        self._pool = pool
        self._books = books
        self._sources = sources
        self._total = total
        self._deadline = deadline
        self._observe = observe
        self._progress = progress
        self._progress_every = progress_every
        self._on_broken = on_broken
        self._history = history
        self._lock = threading.Lock()  # guards _reason
        self._reason: str | None = None
        self._failure: BaseException | None = None  # the first one
        self._ended = threading.Event()
        self._started = 0.0
        self.counts = Counts()

    def execute(self) -> RunResult:
        """Fetch everything and enter it; returns how that ended. Raises only what is a bug, or comes from the caller's
        functions: `observe`, or one that receives the records.

        A source that breaks off ends the reading: what was read is fetched and written. A sink that fails ends the
        run, since results would be lost.
        """
        self._started = time.monotonic()
        events.emit("run.started", sources=self._sources, output=self._books.name)
        keeper = threading.Thread(target=self._keep_house, name="workerpool-run", daemon=True)
        keeper.start()
        timer = self._start_timer()
        try:
            self._books.fetch(self._pool, self._take)
        except (SinkError, JobError) as error:
            self._failure = self._failure or error
        finally:
            self._ended.set()
            if timer is not None:
                timer.cancel()
                timer.join()
            keeper.join()
            self._keep_history(is_last=True)  # before the books are closed, which may take long
            self._close_books()
            self._keep_history(is_last=True)
        failure = self._failure
        if failure is not None and not isinstance(failure, (SinkError, JobError)):
            raise failure
        result = self._result(failure)
        self._tell(result)
        return result

    def _tell(self, result: RunResult) -> None:
        if result.cancelled:
            events.emit("run.cancelled", requests=result.cancelled)
        events.emit(
            "run.finished",
            inputs=result.read,
            ok=result.ok,
            failed=result.failed,
            cancelled=result.cancelled,
            elapsed=result.elapsed,
        )

    def drain(self, reason: str) -> None:
        """Finish what is being sent, give up the rest, and end; the first `reason` is kept. Any thread."""
        with self._lock:
            if self._reason is not None or self._ended.is_set():
                return
            self._reason = reason
        events.emit("run.draining", reason=reason)
        self._books.stop(reason)
        self._pool.drain()

    def stop_now(self) -> None:
        """Write what has come in, for a process that is about to end. Any thread; returns within about a second."""
        self._books.abort()

    def moment(self) -> Moment:
        """How far it is. Any thread."""
        counts = self.counts
        return Moment(
            done=counts.done,
            ok=counts.ok,
            failed=counts.failed,
            cancelled=counts.cancelled,
            is_draining=self._reason is not None,
            total=self._total,
            allowed=self._pool.rate,
            pool=self._pool.statistics(),
            failures=counts.failures,
        )

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        counts = self.counts
        if self._history is not None:
            self._history.add(outcomes)
        for outcome in outcomes:
            if outcome.error is None:
                counts.ok += 1
            elif isinstance(outcome.error, Cancelled):
                counts.cancelled += 1
            else:
                counts.fail(outcome, outcome.error)
            counts.bytes += outcome.size
            self._observe(outcome)

    def _start_timer(self) -> threading.Timer | None:
        """Watch the deadline on a thread that waits for nothing else: a flush may take long."""
        if self._deadline is None:
            return None
        timer = threading.Timer(min(self._deadline, threading.TIMEOUT_MAX), self.drain, [DEADLINE])
        timer.name, timer.daemon = "workerpool-deadline", True
        timer.start()
        return timer

    def _keep_house(self) -> None:
        pace, next_progress = Pace(), self._started + self._progress_every
        while not self._ended.wait(FLUSH_EVERY):
            try:
                self._books.flush(lambda: pace.look(self.moment()))
                self._keep_history()
                if time.monotonic() >= next_progress:
                    next_progress = time.monotonic() + self._progress_every
                    self._tell_progress(pace)
            except BaseException as error:  # whatever it is: without a housekeeper no record would go anywhere
                self._break_off(error)
                return

    def _keep_history(self, *, is_last: bool = False) -> None:
        if self._history is not None:
            self._history.look(self._pool, is_last=is_last)

    def _tell_progress(self, pace: Pace) -> None:
        moment = pace.look(self.moment())
        events.emit(
            "run.progress",
            done=moment.done,
            total=moment.total,
            ok=moment.ok,
            failed=moment.failed,
            rate=moment.rate,
            left=moment.left,
            in_flight=moment.pool.in_flight,
            parked=moment.pool.parked,
        )
        if self._progress is not None:
            self._progress(moment)

    def _break_off(self, error: BaseException) -> None:
        """End the run for books that cannot be kept; it says so once the run's thread has ended what is in flight."""
        self._failure = self._failure or error
        self._books.stop(str(error) or type(error).__name__)
        self._pool.drain()
        if not self._ended.wait(BROKEN_GRACE) and isinstance(error, (SinkError, JobError)):
            self._on_broken(error)

    def _close_books(self) -> None:
        try:
            self._books.close()
        except (SinkError, JobError) as error:
            self._failure = self._failure or error

    def _result(self, failure: SinkError | JobError | None) -> RunResult:
        counts, books = self.counts, self._books
        # What came with the last answer has cut nothing short. Without a job a signal is told in any case.
        is_late = books.is_whole and not counts.cancelled and (self._reason == DEADLINE or books.run is not None)
        return RunResult(
            output=books.name,
            read=books.read,
            ok=counts.ok,
            failed=counts.failed,
            cancelled=counts.cancelled,
            sent=self._pool.statistics().sent,
            bytes=counts.bytes,
            written=books.written,
            elapsed=time.monotonic() - self._started,
            directory=books.directory,
            run=books.run,
            inputs=books.inputs,
            rejected=books.rejected,
            stopped=None if is_late else self._reason,
            error=failure or books.source_error,
        )

"""A clock that tests move by hand, or that leaps ahead by itself: an hour of backoff passes in milliseconds.

Any thread may call anything here. The clock owns no thread and never reads the machine's time.
"""

from __future__ import annotations

import math
import threading

from workerpool.errors import OptionError

_YIELD = 1e-4
"""Real seconds for which an automatic wait lets other threads have the condition before it moves the clock."""

_SLACK = 1e-9
"""Seconds by which a wait is woken early: reading + (end - reading) may come out a rounding error above `end`."""


class _Waiter:
    """One thread inside `ManualClock.wait`: the condition it waits on, and the time at which its wait ends."""

    __slots__ = ("condition", "end")

    def __init__(self, condition: threading.Condition, end: float) -> None:
        self.condition = condition
        self.end = end


class ManualClock:
    """A `workerpool.clock.Clock` whose time moves only when it is told to.

    `start`: the first value of `now`, in seconds. `epoch`: what `time` adds to `now`, in seconds since 1970.
    `auto`: False, and a wait lasts until it is notified or `advance` has gone past its end. True, and a wait with a
    number of seconds moves the clock to its own end at once, unless it is notified in the 0.1 ms of real time for
    which it first lets go of the condition; a wait without a number still waits to be notified. An automatic clock
    suits code that has nothing to do but wait: it also leaps while another thread is busy with real work.

    Seconds count from the thread's last reading of `now`, if it has taken one since its last wait: ``wait(condition,
    end - clock.now())`` then ends at `end` even if the clock is moved in the middle of that line, and a single
    `advance` is enough. (Seconds that were not worked out from a reading may so end early, once.) Waking is coarse: a
    wait that is over wakes every thread that waits on the same condition. The `Clock` contract allows both.

    >>> clock = ManualClock(auto=True)
    >>> with (condition := threading.Condition()):
    ...     clock.wait(condition, 3600)
    >>> clock.now()
    3600.0
    """

    # Lock order. `wait` is entered with the caller's condition held and takes the clock's lock inside it, so the one
    # order in use is condition, then clock. `advance` needs both and would turn it round: it therefore takes the
    # clock's lock, notes whose wait is over, lets go, and only then takes each condition in turn. It holds at most one
    # lock at any time, so it is in no cycle.
    #
    # No wake-up is lost in the gap. A waiter enters the list while it holds its condition, and lets go of that only
    # inside `Condition.wait`, when it is already queued there. So an `advance` that finds it in the list gets its
    # condition, and notifies, only after it has begun to wait; and an `advance` that does not find it had moved the
    # time before the waiter, under the same lock, looked whether its end is past.

    def __init__(self, start: float = 0.0, auto: bool = False, *, epoch: float = 1_700_000_000.0) -> None:
        self._auto = auto
        self._epoch = epoch
        self._lock = threading.Lock()  # guards _now and _waiters
        self._entered = threading.Condition(self._lock)  # notified when a waiter enters
        self._now = float(start)
        self._waiters: list[_Waiter] = []
        self._readings = threading.local()  # .last: this thread's last reading of `now`, until a wait uses it

    def __repr__(self) -> str:
        return f"<ManualClock now={self.now():g} waiting={self.waiting}{' auto' if self._auto else ''}>"

    def now(self) -> float:
        """Seconds since the clock's own zero."""
        with self._lock:
            self._readings.last = self._now
            return self._now

    def time(self) -> float:
        """Seconds since 1970: `epoch` and `now` together."""
        return self._epoch + self.now()

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on `condition`, which the caller holds, until it is notified or the clock has moved by `seconds`.

        None waits to be notified. Raises RuntimeError if the condition is not held.
        """
        end = math.inf if seconds is None else self._base() + seconds
        if self._auto and seconds is not None:
            # Letting go first keeps a caller that loops here from shutting out the very thread that would notify it.
            if not condition.wait(_YIELD):
                self._move_to(end)
        else:
            self._wait_until(condition, end)

    def _base(self) -> float:
        """Return this thread's last reading of `now` if no wait has used it yet, else the time."""
        with self._lock:
            return float(self._readings.__dict__.pop("last", self._now))

    def _wait_until(self, condition: threading.Condition, end: float) -> None:
        waiter = _Waiter(condition, end)
        with self._lock:
            is_over = end <= self._now
            if not is_over:
                self._waiters.append(waiter)
                self._entered.notify_all()
        if is_over:
            condition.wait(0)
            return
        try:
            condition.wait()
        finally:
            with self._lock:
                self._waiters.remove(waiter)

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds` and wake every wait that ends by then.

        Returns once they are notified, which may be before they run. Call it without holding a condition that a thread
        waits on. Raises `OptionError` if `seconds` is below zero.
        """
        if not (seconds >= 0 and math.isfinite(seconds)):
            raise OptionError(f"seconds={seconds!r} must be zero or more: a clock does not go back")
        with self._lock:
            self._now = round(self._now + seconds, 9)  # so that ten times 0.1 is 1.0
            limit = self._now + _SLACK
            over = {id(waiter.condition): waiter.condition for waiter in self._waiters if waiter.end <= limit}
        for condition in over.values():
            with condition:
                condition.notify_all()

    def _move_to(self, end: float) -> None:
        """Move the time to `end` unless it is past that; an automatic clock has nobody to wake."""
        with self._lock:
            self._now = max(self._now, end)

    def advance_to_next(self) -> float:
        """Move the clock to the end of the earliest wait, wake it, and return the seconds moved.

        Raises RuntimeError if no thread waits for a time.
        """
        with self._lock:
            seconds = min((waiter.end for waiter in self._waiters), default=math.inf) - self._now
        if math.isinf(seconds):
            raise RuntimeError("no thread waits for a time on this clock")
        seconds = max(0.0, seconds)
        self.advance(seconds)
        return seconds

    @property
    def waiting(self) -> int:
        """How many threads are inside `wait`, with or without a number of seconds."""
        with self._lock:
            return len(self._waiters)

    def wait_until_waiting(self, count: int = 1, timeout: float = 10.0) -> None:
        """Block, for at most `timeout` real seconds, until at least `count` threads are inside `wait`.

        This is how a test knows that it may `advance`. Raises TimeoutError.
        """
        with self._entered:
            if not self._entered.wait_for(lambda: len(self._waiters) >= count, timeout):
                raise TimeoutError(f"{len(self._waiters)} threads wait on the clock after {timeout:g} s, not {count}")

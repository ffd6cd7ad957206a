"""Time as the pool sees it: one object to ask, one way to wait, so that tests and simulations can bring their own.

A clock owns no thread. `now` and `time` may be called from any thread; `wait` from the thread that holds the condition.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

NEVER, LONG_AGO = float("inf"), float("-inf")
"""A time that does not come, and one that was before all others."""

LEAST = 0.001
"""Seconds that something gets whose time has run out: zero means other things to sockets, and it fails soon enough."""


class Clock(Protocol):
    """What the pool needs of time. `workerpool.testing.ManualClock` is the other implementation."""

    def now(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""

    def time(self) -> float:
        """Seconds since the epoch, for dates in headers and records; it may jump."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on `condition`, which the caller holds, until it is notified or `seconds` have passed.

        Returns early without a reason at times, as conditions do: callers look at their state again.
        """


class SystemClock:
    """The machine's own clocks."""

    now = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        condition.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))

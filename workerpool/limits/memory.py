"""A rate's home in this process's memory.

It waits for nothing. Whoever asks takes a slot that has come, or learns when to ask again, and waits without the lock
that guards this: a waiting thread never keeps another one from its slot.
"""

from __future__ import annotations

from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import GROUPING, LeakyBucket, slot_from
from workerpool.limits.windows import Window
from workerpool.rate import Rate


class MemoryLimiter:
    """A `LeakyBucket`, and a `Window` for each quota beside it.

    `grouping`: seconds that a waiter may add to a slot's time in order to take several at one waking.
    """

    def __init__(self, rate: Rate, burst: int = 1) -> None:
        self._bucket = LeakyBucket(rate.interval, burst)
        self._windows = tuple(map(Window, rate.quotas))
        self.grouping = GROUPING if rate.interval < 0.001 else 0.0

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        """Take a slot that has come by `now`; returns its time, or None if none has.

        `since`: how long the caller has been waiting without a break. A slot that came meanwhile counts from its own
        time, not from `now`, if it is at most `LATENESS` old: so a late waking does not lower the rate.
        """
        if self.next_at(weight) > now:
            return None
        for window in self._windows:
            window.take(now, weight)
        return self._bucket.take(slot_from(now, since), weight)

    def next_at(self, weight: int = 1) -> float:
        """When to ask again: the time of the next slot, in the past if one is free now."""
        at = self._bucket.next_at(weight)
        if self._windows:
            at = max(at, *(window.next_at(weight) for window in self._windows))
        return at

    @property
    def rests_at(self) -> float:
        """The time from which on this limiter holds nothing worth keeping."""
        return max(self._bucket.empty_at, *(window.rests_at for window in self._windows), LONG_AGO)

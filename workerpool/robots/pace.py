"""A site's Crawl-delay, as a limiter beside the pool's own: whatever a request weighs, it is one request."""

from __future__ import annotations

from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import slot_from


class Pace:
    """One request every `delay` seconds, which any thread may set: it counts from the next request on.

    The rest is the scheduler's, under the lock of its caller. When the next slot comes hangs on the last request alone:
    so one that was seen to be free is still so when it is taken.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._next_at = LONG_AGO

    def next_at(self, weight: int = 1) -> float:
        return self._next_at

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        if self._next_at > now:
            return None
        time = max(self._next_at, slot_from(now, since))
        self._next_at = time + self.delay
        return time

    @property
    def rests_at(self) -> float:
        return self._next_at

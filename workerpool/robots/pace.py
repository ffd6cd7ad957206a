"""A site's Crawl-delay, as a limiter beside the pool's own: whatever a request weighs, it is one request."""

from __future__ import annotations

from workerpool.config import Rate
from workerpool.limits import MemoryLimiter


class Pace:
    """One request every `delay` seconds; any thread."""

    grouping = 0.0

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._limiter = MemoryLimiter(Rate(1, delay))

    def next_at(self, weight: int = 1) -> float:
        return self._limiter.next_at()

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        return self._limiter.try_take(now, since=since)

    def rests_at(self) -> float:
        return self._limiter.rests_at()

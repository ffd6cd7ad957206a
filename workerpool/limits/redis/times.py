"""The server's clock, as seen from here: from how long its answers take, and never ahead of it."""

from __future__ import annotations

from collections import deque

from workerpool.limits.redis.terms import SECOND

KEPT = 100
"""Answers by which the two clocks are compared; older ones would know less, as clocks drift."""
STEP = 0.002
"""Seconds by which two answers may contradict each other before one of the clocks has been set."""


class Times:
    """Between two clocks. What it makes of a server's time is at most an answer's way too late, and never too early."""

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._base = 0  # a time of the server's: what is far from it would be less exact
        self._ahead = 0.0

    def note(self, at: int, asked: float, answered: float) -> bool:
        """Learn from an answer that was made at a time of the server's; whether its clock, or this one, was set."""
        self._base = self._base or at
        server = (at - self._base) / SECOND
        low, high = asked - server, answered - server
        was_set = any(low > other + STEP or high < least - STEP for least, other in self._bounds)
        if was_set:
            self._bounds.clear()
        self._bounds.append((low, high))
        self._ahead = min(other for _, other in self._bounds)
        return was_set

    def here(self, at: int) -> float:
        return (at - self._base) / SECOND + self._ahead

    def there(self, at: float) -> int:
        return self._base + int((at - self._ahead) * SECOND)

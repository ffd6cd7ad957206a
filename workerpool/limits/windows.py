"""How much may be sent in a window that nothing spreads: a quota such as 1,000 an hour. Told the time; never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from workerpool.clock import LONG_AGO, NEVER
from workerpool.limits.bucket import LATENESS
from workerpool.rate import Rate

PARTS = 200
"""Into so many parts of a window what was sent is counted: a part leaves with its latest send, so up to a two hundredth
of the quota is used late, and memory does not grow with it."""


class Window:
    """At most `rate.count` in any `rate.seconds`, as soon as they are wanted. What weighs more takes all of it.

    `parts`: into how many parts of it what was sent is counted. `sent` is all its state.

    What it handles badly: a demand that is higher than the quota all the time comes in surges a window apart; the pace
    beside it (`Rate`) says how fast these are.
    """

    __slots__ = ("_count", "_most", "_part", "_sent", "_total", "seconds")

    def __init__(self, rate: Rate, parts: int = PARTS) -> None:
        self.seconds = rate.seconds + LATENESS  # grants may be that much older than they say
        self._count = rate.count
        self._most = int(rate.count)
        self._part = rate.seconds / parts
        self._sent: deque[list[float]] = deque()
        self._total = 0.0

    @property
    def sent(self) -> Iterable[list[float]]:
        """What still counts: the first and the last time of each part, and its weight. May be set."""
        return self._sent

    @sent.setter
    def sent(self, sent: Iterable[list[float]]) -> None:
        self._sent = deque(sent)
        self._total = sum(weight for _, _, weight in self._sent)

    @property
    def rests_at(self) -> float:
        """The time from which on nothing counts any more."""
        return self._sent[-1][1] + self.seconds if self._sent else LONG_AGO

    def next_at(self, weight: int = 1) -> float:
        """The time from which on so much fits."""
        excess = self._total + min(weight, self._most) - self._count
        if excess <= 0:
            return LONG_AGO
        for _, last, sent in self._sent:
            excess -= sent
            if excess <= 0:
                return last + self.seconds
        return NEVER  # not reached: without all that was sent there is room for any weight

    def take(self, at: float, weight: int = 1) -> None:
        """Count what is sent at `at`, times that never go back."""
        weight = min(weight, self._most)
        while self._sent and self._sent[0][1] + self.seconds <= at:
            self._total -= self._sent.popleft()[2]
        if self._sent and at - self._sent[-1][0] < self._part:
            self._sent[-1][1] = max(at, self._sent[-1][1])
            self._sent[-1][2] += weight
        else:
            self._sent.append([at, at, weight])
        self._total += weight

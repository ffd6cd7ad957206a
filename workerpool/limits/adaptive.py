"""A stub, until the learners are merged."""

from __future__ import annotations

from workerpool.config import Rate
from workerpool.limits.answer import Answer


class AdaptiveRate:
    grouping = 0.0

    def __init__(self, ceiling: Rate | None = None) -> None:
        self.rate = 10.0

    def next_at(self, weight: int = 1) -> float:
        return 0.0

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        return now

    def rests_at(self) -> float:
        return 0.0

    def hear(self, answer: Answer, now: float) -> None:
        pass


class AdaptiveConnections:
    def __init__(self, most: int) -> None:
        self.limit = most

    def hear(self, answer: Answer, now: float) -> None:
        pass

"""How long requests took, in buckets. One thread adds, any may read: a reader makes a copy, which is one step."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the buckets, in seconds; the last bucket has none."""


class Durations:
    """Counts durations by bucket, and their sum."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.sum += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Upper ends, as Prometheus writes them, and how many durations were not longer."""
        return [*zip([*map(repr, BOUNDS), "+Inf"], accumulate([*self._counts]), strict=True)]

"""Counts of positive numbers from which every percentile can be told within a bound. One thread."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

AT_ONCE = 64
"""Numbers that are put into their buckets together."""


class Histogram:
    """Counts of positive numbers in buckets whose ends grow by 2 %, so that a bucket's middle is within 1 % of all.

    The bucket of x is ceil(log x / log g), and stands for 2 g^i / (g + 1), with g = (1 + a) / (1 - a) for a relative
    error of a (Masson, Rim and Lee, "DDSketch", VLDB 2019). What is under a microsecond counts as one.

    Sum and largest are exact.
    """

    ERROR = 0.01
    _GROWTH = (1 + ERROR) / (1 - ERROR)
    _LOG = math.log(_GROWTH)
    _LOWEST = math.ceil(math.log(1e-6) / _LOG)

    __slots__ = ("_buckets", "_largest", "_new", "_total")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._total = 0.0
        self._largest = 0.0
        self._new: list[float] = []  # numbers that are in no bucket yet: many at once take a third of the time

    def add(self, value: float) -> None:
        new = self._new
        new.append(value)
        if len(new) >= AT_ONCE:
            self._enter()

    def add_all(self, values: list[float]) -> None:
        """Count several, of which there is one at least."""
        log, ceil, by, lowest = math.log, math.ceil, 1 / self._LOG, self._LOWEST
        self._buckets.update([ceil(log(value) * by) if value > 1e-6 else lowest for value in values])
        self._total += sum(values)
        self._largest = max(self._largest, *values)

    def _enter(self) -> None:
        if self._new:
            self.add_all(self._new)
            self._new = []

    def take(self, other: Histogram) -> None:
        """Count all the numbers of another one, too."""
        self._enter()
        other._enter()
        self._buckets.update(other._buckets)
        self._total += other._total
        self._largest = max(self._largest, other._largest)

    @property
    def total(self) -> float:
        """Their sum."""
        self._enter()
        return self._total

    @property
    def largest(self) -> float:
        """The largest of them; 0.0 where there are none."""
        self._enter()
        return self._largest

    @property
    def count(self) -> int:
        """How many numbers there are."""
        self._enter()
        return self._buckets.total()

    @property
    def mean(self) -> float:
        """The mean; 0.0 where there are no numbers."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Return the value that `share` (0 to 1) of the numbers do not exceed; 0.0 where there are none."""
        left = max(1, math.ceil(share * self.count))  # which puts all into their buckets
        for index in sorted(self._buckets):
            left -= self._buckets[index]
            if left <= 0:
                return min(2 * self._GROWTH**index / (self._GROWTH + 1), max(self._largest, 1e-6))
        return 0.0

    def bars(self, merged: int) -> list[tuple[float, int]]:
        """Where each bar ends and how many numbers are in it, `merged` buckets a bar, lowest first, empty ones too."""
        self._enter()
        bars: Counter[int] = Counter()
        for index, count in self._buckets.items():
            bars[index // merged] += count
        if not bars:
            return []
        return [(self._GROWTH ** (bar * merged + merged - 1), bars[bar]) for bar in range(min(bars), max(bars) + 1)]

    def as_json(self) -> list[Any]:
        """What `from_json` makes a histogram of."""
        return [self.total, self.largest, [*self._buckets], [*self._buckets.values()]]

    @classmethod
    def from_json(cls, said: list[Any]) -> Histogram:
        """Raises `ValueError` or `TypeError` for what `as_json` has not written."""
        total, largest, buckets, counts = said
        made = cls()
        made._total, made._largest = float(total), float(largest)
        made._buckets = Counter(dict(zip(map(int, buckets), map(int, counts), strict=True)))
        return made

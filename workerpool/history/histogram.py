"""Counts of positive numbers from which every percentile can be told within a bound. One thread."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any


class Histogram:
    """Counts of positive numbers in buckets whose ends grow by 2 %, so that a bucket's middle is within 1 % of all.

    The bucket of x is ceil(log x / log g), and stands for 2 g^i / (g + 1), with g = (1 + a) / (1 - a) for a relative
    error of a (Masson, Rim and Lee, "DDSketch", VLDB 2019). What is under a microsecond counts as one.

    `merged`: how many of these buckets are counted as one, to take less room: with 5 of them the error is 5 %.
    `total` and `largest` are exact.
    """

    ERROR = 0.01
    _GROWTH = (1 + ERROR) / (1 - ERROR)
    _LOG = math.log(_GROWTH)
    _LOWEST = math.ceil(math.log(1e-6) / _LOG)

    __slots__ = ("_buckets", "_merged", "largest", "total")

    def __init__(self, merged: int = 1) -> None:
        self._merged = merged
        self._buckets: Counter[int] = Counter()
        self.total = 0.0
        self.largest = 0.0

    @classmethod
    def bucket_of(cls, value: float) -> int:
        """The bucket of a number, before any are merged."""
        return math.ceil(math.log(value) / cls._LOG) if value > 1e-6 else cls._LOWEST

    def add(self, value: float) -> None:
        self.count_in(self.bucket_of(value), value)

    def count_in(self, bucket: int, value: float) -> None:
        """Count a number whose bucket is known already: the logarithm is what takes the time."""
        self._buckets[bucket // self._merged] += 1
        self.total += value
        if value > self.largest:
            self.largest = value

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return self._buckets.total()

    @property
    def mean(self) -> float:
        """The mean; 0.0 where there are no numbers."""
        return self.total / self.count if self._buckets else 0.0

    def quantile(self, share: float) -> float:
        """Return the value that `share` (0 to 1) of the numbers do not exceed; 0.0 where there are none."""
        left = max(1, math.ceil(share * self.count))
        for index in sorted(self._buckets):
            left -= self._buckets[index]
            if left <= 0:
                return min(self._middle(index), self.largest)
        return 0.0

    def bars(self, merged: int) -> list[tuple[float, int]]:
        """Where each bar ends and how many numbers are in it, `merged` of the finest buckets a bar, lowest first.

        `merged` is a multiple of the histogram's own. Bars without numbers are among them.
        """
        bars: Counter[int] = Counter()
        for index, count in self._buckets.items():
            bars[index * self._merged // merged] += count
        if not bars:
            return []
        return [(self._end(bar, merged), bars[bar]) for bar in range(min(bars), max(bars) + 1)]

    def as_json(self) -> list[Any]:
        """What `from_json` makes a histogram of."""
        return [self._merged, self.total, self.largest, [*self._buckets], [*self._buckets.values()]]

    @classmethod
    def from_json(cls, said: list[Any]) -> Histogram:
        """Raises `ValueError` or `TypeError` for what `as_json` has not written."""
        merged, total, largest, buckets, counts = said
        made = cls(int(merged))
        made.total, made.largest = float(total), float(largest)
        made._buckets = Counter(dict(zip(map(int, buckets), map(int, counts), strict=True)))
        return made

    def copy(self) -> Histogram:
        made = Histogram(self._merged)
        made.total, made.largest, made._buckets = self.total, self.largest, self._buckets.copy()
        return made

    def _end(self, index: int, merged: int) -> float:
        """The largest number of a bucket."""
        return float(self._GROWTH ** (index * merged + merged - 1))

    def _middle(self, index: int) -> float:
        """What is as many percent above a bucket's lower end as it is below its upper one."""
        upper = self._end(index, self._merged)
        lower = upper / self._GROWTH**self._merged
        return 2 * upper * lower / (upper + lower)

"""Counts over time, in a bounded number of buckets that widen as the time grows. One thread."""

from __future__ import annotations

from typing import Any

from workerpool.statistics import Wait

WAITS = tuple(wait.name.lower() for wait in Wait if wait is not Wait.IDLE)

SUMS = ("sent", "retried", "refused", "ok", "failed", "opened", "reused", "retired", *WAITS)
"""What is added up in a bucket: attempts that began, those of them after a first one, attempts that ended with 429 or
503, requests that ended; sockets; and the seconds of each of the `Waits`."""

PEAKS = ("in_flight", "parked", "open")
"""What the largest value of a bucket is kept of: requests being sent, requests put off, sockets open."""

COLUMNS = (*SUMS, *PEAKS)
PLACE = {name: place for place, name in enumerate(COLUMNS)}
_FIRST_PEAK = len(SUMS)

SHORTEST = 0.25
"""Seconds of a bucket in the beginning: the run's housekeeper looks as often."""

MOST = 512
"""Buckets, at most: above that they are twice as wide. They take 0.5 MB."""

Row = list[float]


class Series:
    """A row of `COLUMNS` for each stretch of `width` seconds in which something happened, by seconds since the epoch.

    A time in which no process ran takes no room, so a run that goes on after a week is no coarser for that.
    """

    def __init__(self, width: float = SHORTEST, most: int = MOST) -> None:
        self.width = width
        self._most = most
        self.rows: dict[int, Row] = {}

    def at(self, seconds: float) -> Row:
        """The row of a moment, to be added to, and not to be kept."""
        row = self.rows.get(int(seconds // self.width))
        return self._new(seconds) if row is None else row

    def _new(self, seconds: float) -> Row:
        while len(self.rows) >= self._most:
            self._widen()
            row = self.rows.get(int(seconds // self.width))
            if row is not None:
                return row
        row = self.rows[int(seconds // self.width)] = [0] * len(COLUMNS)
        return row

    def _widen(self) -> None:
        self.width *= 2
        wider: dict[int, Row] = {}
        for index, row in self.rows.items():
            before = wider.get(index // 2)
            wider[index // 2] = row if before is None else _together(before, row)
        self.rows = wider

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes a series of. Columns without a number are left out."""
        times = sorted(self.rows)
        columns = {
            name: [_plain(self.rows[time][place]) for time in times]
            for name, place in PLACE.items()
            if any(self.rows[time][place] for time in times)
        }
        return {"width": self.width, "times": times, "columns": columns}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Series:
        """Raises `ValueError`, `KeyError` or `TypeError` for what `as_json` has not written."""
        made = cls(float(said["width"]))
        for place, time in enumerate(said["times"]):
            made.rows[int(time)] = [said["columns"][name][place] if name in said["columns"] else 0 for name in COLUMNS]
        return made


def _together(one: Row, other: Row) -> Row:
    sums = [a + b for a, b in zip(one[:_FIRST_PEAK], other[:_FIRST_PEAK], strict=True)]
    peaks = [max(a, b) for a, b in zip(one[_FIRST_PEAK:], other[_FIRST_PEAK:], strict=True)]
    return sums + peaks


def _plain(number: float) -> float:
    return number if isinstance(number, int) else round(number, 4)

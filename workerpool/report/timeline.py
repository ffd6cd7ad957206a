"""A run's course over time, on an axis from which the time is cut out in which nothing ran. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from workerpool.history import COLUMNS, Execution, History, Series
from workerpool.history.series import MOST, PEAKS, PLACE, WAITS, Row

STOPPED = 64
"""Buckets in a row at which nobody has looked, after which the process or the machine was stopped, or a clock set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Buckets of `width` seconds: where each begins, in seconds since the epoch (`times`) and on the axis (`at`).

    `columns`: as in the series, those with numbers. `breaks`: where on the axis time was cut out. `began` and `ended`
    are None where nothing was sent; `seconds` is how long it lasted without what was cut out.
    """

    width: float
    times: Sequence[float] = ()
    at: Sequence[float] = ()
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    breaks: Sequence[float] = ()
    began: float | None = None
    ended: float | None = None
    seconds: float = 0.0


def timeline_of(history: History) -> Timeline:
    """The course of a run. Stretches without anything are rows of zeros; those in which nothing ran are cut out."""
    series = history.fold.series
    if not series.rows:
        return Timeline(width=series.width)
    is_looked_at = bool(history.executions)
    if not is_looked_at:
        series = _fitted(series)
    indexes, breaks = _indexes(series, history.executions)
    width = series.width
    nothing = [0.0] * len(COLUMNS)
    rows = [series.rows.get(index, nothing) for index in indexes]
    if is_looked_at:
        rows = [*_carried(rows)]
    columns = {
        name: [round(row[place], 4) for row in rows]
        for place, name in enumerate(COLUMNS)
        if any(r[place] for r in rows)
    }
    return Timeline(
        width=width,
        times=[index * width for index in indexes],
        at=[place * width for place in range(len(indexes))],
        columns=columns,
        breaks=[place * width for place in breaks],
        began=indexes[0] * width,
        ended=(indexes[-1] + 1) * width,
        seconds=len(indexes) * width,
    )


def _indexes(series: Series, executions: Sequence[Execution]) -> tuple[list[int], list[int]]:
    """The buckets to show, in their order, and before which of them time was cut out, by its place."""
    indexes: list[int] = []
    breaks = []
    for index in sorted(series.rows):
        if indexes and index > indexes[-1] + 1:
            between = (indexes[-1] + 1) * series.width, index * series.width
            began_anew = any(between[0] <= one.began <= between[1] + series.width for one in executions[1:])
            if executions and (began_anew or index - indexes[-1] > STOPPED):
                breaks.append(len(indexes))
            else:
                indexes += range(indexes[-1] + 1, index)
        indexes.append(index)
    return indexes, breaks


_LOOKS = [PLACE[name] for name in (*WAITS, *PEAKS)]
"""What is known of a bucket because somebody has looked in it, and not by what has ended."""

_WAITS = [PLACE[name] for name in WAITS]


def _carried(rows: Iterable[Row]) -> Iterator[Row]:
    """The same, but where nobody has looked at the pool, which was a moment late, with what was seen before."""
    before: Row | None = None
    for row in rows:
        if before is not None and not any(row[place] for place in _WAITS):
            row = [*row]
            for place in _LOOKS:
                row[place] = before[place]
        yield row
        before = row


def _fitted(series: Series) -> Series:
    """The same in buckets so wide that there are few enough of them from the first to the last."""
    width, first, last = series.width, min(series.rows), max(series.rows)
    factor = 1
    while (last // factor) - (first // factor) >= MOST:
        factor *= 2
    wider = Series(width * factor)
    for index, row in series.rows.items():
        into = wider.at(index * width)
        for place, value in enumerate(row):
            into[place] += value  # records have no peaks
    return wider

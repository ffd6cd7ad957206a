"""The statistics of several pools as those of one. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from operator import add
from typing import Any

from workerpool.statistics import PoolStatistics, Waits

_OF_NOW = frozenset(
    {
        *("workers", "active", "callables_queued", "queued", "parked", "in_flight", "hosts"),
        *("sockets_open", "sockets_idle", "downloads", "by_state"),
    }
)
"""The fields that are about one moment; the others count what has been done."""

_NAMES = [one.name for one in fields(PoolStatistics)]

_SECONDS = [one.name for one in fields(Waits) if one.name != "hosts"]

NOTHING = PoolStatistics()


def added(parts: Iterable[PoolStatistics]) -> PoolStatistics:
    """Add up the figures of pools that run side by side, or one after the other."""
    total = _values(NOTHING)
    for part in parts:
        total = [*map(add, total, _values(part))]
    return PoolStatistics(*total)


def with_age(figures: PoolStatistics, seconds: float) -> PoolStatistics:
    """Count as the pool's own work what is missing to its age: the time in which its process was starting."""
    waits = figures.waits
    missing = seconds - sum(getattr(waits, name) for name in _SECONDS)
    return replace(figures, waits=replace(waits, ready=waits.ready + max(0.0, missing)))


def only_past(figures: PoolStatistics) -> PoolStatistics:
    """What a pool that has ended has done."""
    return replace(figures, **{name: getattr(NOTHING, name) for name in _OF_NOW})


def _values(figures: PoolStatistics) -> list[Any]:
    return [getattr(figures, name) for name in _NAMES]

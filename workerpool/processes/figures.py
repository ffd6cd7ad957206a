"""The statistics of several pools as those of one. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from operator import add
from typing import Any

from workerpool.statistics import PoolStatistics

_OF_NOW = frozenset(
    {
        *("workers", "active", "callables_queued", "queued", "parked", "in_flight", "hosts"),
        *("sockets_open", "sockets_idle"),
    }
)
"""The fields that are about one moment; the others count what has been done."""

_NAMES = [one.name for one in fields(PoolStatistics)]

NOTHING = PoolStatistics(**dict.fromkeys(_NAMES, 0))


def added(parts: Iterable[PoolStatistics]) -> PoolStatistics:
    """Add up the figures of pools that run side by side, or one after the other."""
    total = [0] * len(_NAMES)
    for part in parts:
        total = [*map(add, total, _values(part))]
    return PoolStatistics(*total)


def only_past(figures: PoolStatistics) -> PoolStatistics:
    """What a pool that has ended has done."""
    return replace(figures, **dict.fromkeys(_OF_NOW, 0))


def _values(figures: PoolStatistics) -> list[Any]:
    return [getattr(figures, name) for name in _NAMES]

"""How far a run is: a `Moment` of it, and the pace that several make. Values and arithmetic; one thread has a pace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from workerpool.saving import Download

LOOK_BACK = 10.0
"""Seconds over which a rate is measured."""

FIRST_LEFT = 2.0
"""Seconds of a run before which no time left is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A run at one moment: requests that ended, and how; sends so far; what the pool is doing now.

    `bytes_saved`: of bodies that go to files, so far; `downloads`: those that are being received now. `budget_away`:
    seconds without a shared budget's server. `total`: how many requests there are for this execution, None if that is
    not known. Filled in by a `Pace`: `rate`, sends a second,
    lately; `saving_rate`, bytes a second of bodies that go to files; `left`, seconds until the end at this pace, None
    if that cannot be told; `elapsed`, seconds.
    """

    done: int
    ok: int
    failed: int
    cancelled: int = 0
    sent: int
    in_flight: int
    parked: int
    is_draining: bool = False
    bytes_saved: int = 0
    budget_away: float = 0.0
    downloads: tuple[Download, ...] = ()
    total: int | None = None
    rate: float = 0.0
    saving_rate: float = 0.0
    left: float | None = None
    elapsed: float = 0.0


class Pace:
    """Rates over the last seconds, and the time that is left."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()
        self._samples: deque[tuple[float, int, int, int]] = deque([(self._started, 0, 0, 0)])

    def look(self, moment: Moment) -> Moment:
        """Return `moment` with its rate, the time left and the time passed."""
        now = self._now()
        self._samples.append((now, moment.sent, moment.done, moment.bytes_saved))
        while len(self._samples) > 2 and now - self._samples[0][0] > LOOK_BACK:
            self._samples.popleft()
        then, sent, done, saved = self._samples[0]
        seconds = max(now - then, 1e-3)
        elapsed = now - self._started
        left = _left(moment, (moment.done - done) / seconds) if elapsed >= FIRST_LEFT else None
        return replace(
            moment,
            rate=(moment.sent - sent) / seconds,
            saving_rate=(moment.bytes_saved - saved) / seconds,
            left=left,
            elapsed=elapsed,
        )


def _left(moment: Moment, speed: float) -> float | None:
    if moment.total is None or speed <= 0 or moment.done >= moment.total:
        return None
    return (moment.total - moment.done) / speed

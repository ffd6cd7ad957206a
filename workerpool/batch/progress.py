"""How far a run is: a `Moment` of it, and the pace that several make. Values and arithmetic; one thread has a pace.

A moment is all that a display needs, also in another process: it goes there as JSON.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from workerpool.saving import Download
from workerpool.statistics import Hosts, HostState, HostWait, PoolStatistics, Waits

LOOK_BACK = 10.0
"""Seconds over which a rate is measured."""

FIRST_LEFT = 2.0
"""Seconds of a run before which no time left is told."""

HISTORY = 60
"""Seconds whose rates are kept."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that has failed in the end: `at`, seconds since the epoch; its URL, without secrets; why, in short."""

    at: float
    url: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A run at one moment: requests that ended, and how; what the pool has done, and is doing now.

    `total`: how many requests there are for this execution, None if that is not known. `allowed`: requests a second
    that its budget lets be sent, None without one. `failures`: the last ones, the latest first. Filled in by a `Pace`:
    `rate`, sends a second, lately; `history`, the same for each of the last seconds, the latest last; `saving_rate`,
    bytes a second of bodies that go to files; `left`, seconds until the end at this pace, None if that cannot be told;
    `elapsed`, seconds.
    """

    done: int = 0
    ok: int = 0
    failed: int = 0
    cancelled: int = 0
    is_draining: bool = False
    total: int | None = None
    allowed: float | None = None
    pool: PoolStatistics = field(default_factory=PoolStatistics)
    failures: tuple[Failed, ...] = ()
    rate: float = 0.0
    history: tuple[float, ...] = ()
    saving_rate: float = 0.0
    left: float | None = None
    elapsed: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` makes one of."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Moment:
        """Raise `TypeError`, `KeyError` or `AttributeError` for what is no moment, or one of another version."""
        pool = said["pool"]
        waits, states = pool["waits"], pool["by_state"]
        return cls(
            **{
                **said,
                "pool": PoolStatistics(
                    **{
                        **pool,
                        "downloads": tuple(Download(**one) for one in pool["downloads"]),
                        "waits": Waits(**{**waits, "hosts": tuple(HostWait(**one) for one in waits["hosts"])}),
                        "by_state": Hosts(**{**states, "some": tuple(HostState(**one) for one in states["some"])}),
                    }
                ),
                "failures": tuple(Failed(**one) for one in said["failures"]),
                "history": tuple(said["history"]),
            }
        )


class Pace:
    """Rates over the last seconds, and the time that is left."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()
        self._samples: deque[tuple[float, int, int, int]] = deque([(self._started, 0, 0, 0)])
        self._history: deque[float] = deque(maxlen=HISTORY)
        self._noted = (self._started, 0)  # when the history was last added to, and the sends until then

    def look(self, moment: Moment) -> Moment:
        """Return `moment` with its rate, the time left and the time passed."""
        now = self._now()
        pool = moment.pool
        self._samples.append((now, pool.sent, moment.done, pool.bytes_saved))
        while len(self._samples) > 2 and now - self._samples[0][0] > LOOK_BACK:
            self._samples.popleft()
        then, sent, done, saved = self._samples[0]
        seconds = max(now - then, 1e-3)
        elapsed = now - self._started
        left = _left(moment, (moment.done - done) / seconds) if elapsed >= FIRST_LEFT else None
        return replace(
            moment,
            rate=(pool.sent - sent) / seconds,
            history=self._note(now, pool.sent),
            saving_rate=(pool.bytes_saved - saved) / seconds,
            left=left,
            elapsed=elapsed,
        )

    def _note(self, now: float, sent: int) -> tuple[float, ...]:
        """Add to the history what was sent in the seconds that have passed since, and return it."""
        at, before = self._noted
        passed = int(now - at)
        if passed:
            self._history.extend([(sent - before) / (now - at)] * min(passed, HISTORY))
            self._noted = (now, sent)
        return tuple(self._history)


def _left(moment: Moment, speed: float) -> float | None:
    if moment.total is None or speed <= 0 or moment.done >= moment.total:
        return None
    if moment.allowed is not None:  # what was sent at once at the beginning cannot be kept up
        speed = min(speed, moment.allowed)
    return (moment.total - moment.done) / speed

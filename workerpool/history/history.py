"""A run's history: the fold of its outcomes, what its pool was seen to do, pauses of hosts, and its executions.

The run's thread adds outcomes, its housekeeper looks at the pool and writes the history down, so there is a lock. A
look takes what a pool's statistics take, and is taken as often as a bucket of the series is wide.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from heapq import nlargest
from typing import Any

from workerpool.history.execution import Execution, Limits, together
from workerpool.history.fold import Fold, Recorded
from workerpool.history.series import PLACE, SHORTEST, WAITS
from workerpool.model import Outcome
from workerpool.statistics import PoolStatistics
from workerpool.wording import shown_host

VERSION = 1
"""Of what is written down; another version of workerpool may have another."""

PAUSES = 400
"""Pauses that are kept: above twice as many, the longest. Of each host all that were seen count, and their seconds."""

EXECUTIONS = 50
"""Executions that are kept apart: of more, the first ones are one."""

RARELY = 5.0
"""Seconds between two looks, at most."""

_SOCKETS = {
    "opened": ("sockets_opened",),
    "reused": ("sockets_reused",),
    "retired": ("sockets_retired", "sockets_lost"),
}


@dataclass(slots=True)
class Pause:
    """From `began` to `ended`, seconds since the epoch, a host was left alone, as it had refused or kept failing."""

    host: str
    began: float
    ended: float


class History:
    """A run so far. `pauses` of hosts, also by host how many they were, and how long in all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self.fold = Fold()
        self.executions: list[Execution] = []
        self.pauses: list[Pause] = []
        self.paused: dict[str, list[float]] = {}  # by host: how often, and for how many seconds
        self._going_on: dict[str, Pause] = {}  # by host; also those that are not kept
        self._last: PoolStatistics | None = None
        self._looked_at = float("-inf")

    # -- a run that goes on -------------------------------------------------------------------------------------------

    def begin(self, now: float, limits: Limits | None = None, cores: int = 1) -> None:
        """Begin with another execution. `now`, here and below: seconds since the epoch."""
        with self._lock:
            if len(self.executions) >= EXECUTIONS:
                first = together(self.executions[:2])
                self.executions[:2] = [] if first is None else [first]
            self.executions.append(Execution(began=now, limits=limits, cores=cores))
            self._last, self._looked_at = None, float("-inf")

    def add(self, outcomes: Iterable[Outcome]) -> None:
        with self._lock:
            add = self.fold.add
            for outcome in outcomes:
                add(outcome)

    def fold_records(self, records: Iterable[Recorded]) -> None:
        """Count what records tell, in place of outcomes."""
        for record in records:
            self.fold.add_record(record)

    def is_due(self, now: float) -> bool:
        """Whether to look at the pool; also where the clock was set back."""
        return now < self._looked_at or now - self._looked_at >= min(RARELY, self.fold.series.width) - SHORTEST / 10

    def look(self, figures: PoolStatistics, now: float, elapsed: float, cpu: float) -> None:
        """Take what the pool has done since the last look, `elapsed` seconds after this execution's beginning."""
        with self._lock:
            execution = self.executions[-1]
            execution.seconds, execution.cpu = elapsed, cpu
            execution.take(figures)
            self._enter(figures, now)
            self._enter_pauses(figures, now)
            self._last, self._looked_at = figures, now

    def _enter(self, figures: PoolStatistics, now: float) -> None:
        row, last = self.fold.series.at(now), self._last
        for column, names in _SOCKETS.items():
            done = sum(getattr(figures, name) - (getattr(last, name) if last else 0) for name in names)
            row[PLACE[column]] += max(0, done)
        for name in WAITS:
            seconds = getattr(figures.waits, name) - (getattr(last.waits, name) if last else 0.0)
            if seconds > 0:
                row[PLACE[name]] += seconds
        for column, value in (
            ("in_flight", figures.in_flight),
            ("parked", figures.parked),
            ("open", figures.sockets_open),
        ):
            row[PLACE[column]] = max(row[PLACE[column]], value)

    def _enter_pauses(self, figures: PoolStatistics, now: float) -> None:
        going_on = self._going_on = {host: pause for host, pause in self._going_on.items() if pause.ended >= now}
        for one in figures.by_state.some:
            if one.state not in ("paused", "broken") or one.rest <= 0:
                continue
            name = shown_host(one.host)
            pause = going_on.get(name)
            count = self.paused.setdefault(name, [0, 0.0])
            if pause is None:
                pause = going_on[name] = Pause(name, now, now)
                self.pauses.append(pause)
                count[0] += 1
            count[1] += max(0.0, now + one.rest - pause.ended)
            pause.ended = max(pause.ended, now + one.rest)
        if len(self.pauses) > 2 * PAUSES:
            longest = nlargest(PAUSES, self.pauses, key=lambda pause: pause.ended - pause.began)
            self.pauses = sorted(longest, key=lambda pause: pause.began)

    # -- to a file and back -------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes a history of."""
        with self._lock:
            return {
                "version": VERSION,
                "fold": self.fold.as_json(),
                "executions": [one.as_json() for one in self.executions],
                "pauses": [asdict(one) for one in self.pauses],
                "paused": self.paused,
            }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> History:
        """Raises `ValueError`, `KeyError` or `TypeError` for what `as_json` of this version has not written."""
        if said["version"] != VERSION:
            raise ValueError(f"it is of version {said['version']}, and this one reads {VERSION}")
        made = cls()
        made.fold = Fold.from_json(said["fold"])
        made.executions = [Execution.from_json(one) for one in said["executions"]]
        made.pauses = [Pause(**one) for one in said["pauses"]]
        made._going_on = {one.host: one for one in made.pauses}
        made.paused = {host: [int(count), float(seconds)] for host, (count, seconds) in said["paused"].items()}
        return made

    @property
    def course(self) -> Execution | None:
        """All executions as one."""
        return together(self.executions)

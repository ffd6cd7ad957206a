"""What the origin counts: arrivals and connections, from the server's side.

`Ledger` is live: the origin's thread writes to it, any thread reads. `Records` is a frozen copy, also what comes as
JSON from an origin in another process.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal

from workerpool.errors import OptionError
from workerpool.testing.origin.replies import Arrival

RecordMode = bool | Literal["times"]
"""True keeps arrivals and their times, ``"times"`` only the times (8 bytes each), False nothing but the counts."""


REFUSALS = frozenset({429, 503})
"""Statuses of answers that count as refusals, whatever gave them: a limit of the origin's, or a script."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """Connections since the start or the last reset: `opened`, `open` now, and the most open at once, `peak`."""

    opened: int = 0
    open: int = 0
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of requests since the start or the last reset: `accepted`, or `refused` with a 429 or a 503.

    `at_once`: the most that were being answered at the same time. `seconds`: how long answering took, summed over the
    requests whose answer is out, or whose client was gone before.
    """

    accepted: int = 0
    refused: int = 0
    at_once: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Records:
    """The server's count at one moment.

    `requests`: in all. `sockets`, `answers`: of all addresses together. `times`: `time.monotonic` seconds of each
    arrival, in order; `refusals`: of those that were refused; both empty if the origin does not record them. The same
    per loopback address: `requests_at`, `sockets_at`, `times_at`, `answers_at`, `refusals_at`.
    """

    requests: int
    sockets: Sockets
    requests_at: Mapping[str, int] = field(default_factory=dict)
    sockets_at: Mapping[str, Sockets] = field(default_factory=dict)
    times_at: Mapping[str, Sequence[float]] = field(default_factory=dict)
    answers: Answers = Answers()
    answers_at: Mapping[str, Answers] = field(default_factory=dict)
    refusals_at: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def times(self) -> Sequence[float]:
        return _of(self.times_at)

    @property
    def refusals(self) -> Sequence[float]:
        return _of(self.refusals_at)

    def busiest(self, window_seconds: float, address: str | None = None) -> int:
        """The most arrivals in any window of that many seconds, at one address or at all of them."""
        return busiest(_of(self.times_at, address), window_seconds)

    def rate(self, address: str | None = None) -> float:
        """Arrivals per second from the first to the last, 0.0 if there are fewer than two."""
        times = _of(self.times_at, address)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def per_second(self, address: str | None = None) -> list[tuple[int, int]]:
        """How many requests were accepted and how many refused, in each second from the first arrival on."""
        times = _of(self.times_at, address)
        if not times:
            return []
        arrivals, refusals = ([0] * (int(times[-1] - times[0]) + 1) for _ in range(2))
        for moment in times:
            arrivals[int(moment - times[0])] += 1
        for moment in _of(self.refusals_at, address):
            refusals[int(moment - times[0])] += 1
        return [(came - refused, refused) for came, refused in zip(arrivals, refusals, strict=True)]

    def incidents(self, gap_seconds: float = 1.0, address: str | None = None) -> int:
        """How often refusals began: one that comes at most `gap_seconds` after another is of the same incident."""
        if not gap_seconds > 0:
            raise OptionError(f"gap_seconds={gap_seconds!r} must be above zero")
        moments = _of(self.refusals_at, address)
        return bool(moments) + sum(later - earlier > gap_seconds for earlier, later in pairwise(moments))

    def to_json(self) -> dict[str, Any]:
        """The same as what `json.dumps` takes; `from_json` reads it."""
        return {
            "requests": self.requests,
            "sockets": asdict(self.sockets),
            "requests_at": dict(self.requests_at),
            "sockets_at": {address: asdict(sockets) for address, sockets in self.sockets_at.items()},
            "times_at": {address: list(times) for address, times in self.times_at.items()},
            "answers": asdict(self.answers),
            "answers_at": {address: asdict(answers) for address, answers in self.answers_at.items()},
            "refusals_at": {address: list(times) for address, times in self.refusals_at.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Records:
        return cls(
            requests=value["requests"],
            sockets=Sockets(**value["sockets"]),
            requests_at=value["requests_at"],
            sockets_at={address: Sockets(**sockets) for address, sockets in value["sockets_at"].items()},
            times_at=value["times_at"],
            answers=Answers(**value["answers"]),
            answers_at={address: Answers(**answers) for address, answers in value["answers_at"].items()},
            refusals_at=value["refusals_at"],
        )


def _of(times_at: Mapping[str, Sequence[float]], address: str | None = None) -> Sequence[float]:
    """Return the times of one address or of all, in order."""
    chosen = times_at.values() if address is None else [times_at.get(address, ())]
    return sorted(moment for times in chosen for moment in times)


def busiest(times: Sequence[float], window_seconds: float) -> int:
    """The most of `times`, which are sorted, in any window of that many seconds (its end not included)."""
    if not window_seconds > 0:
        raise OptionError(f"window_seconds={window_seconds!r} must be above zero")
    most = first = 0
    for last, moment in enumerate(times):
        while moment - times[first] >= window_seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


class _Tally:
    """The counts of one address, or of all."""

    def __init__(self) -> None:
        self.open = self.now = 0
        self.reset()

    def reset(self) -> None:
        self.opened = self.requests = self.accepted = self.refused = 0
        self.peak, self.at_once, self.seconds = self.open, self.now, 0.0
        self.times, self.refusals = array("d"), array("d")

    def add_socket(self) -> None:
        self.opened += 1
        self.open += 1
        self.peak = max(self.peak, self.open)

    def add_request(self) -> None:
        self.requests += 1
        self.now += 1
        self.at_once = max(self.at_once, self.now)

    def end_request(self, seconds: float) -> None:
        self.now -= 1
        self.seconds += seconds

    def sockets(self) -> Sockets:
        return Sockets(self.opened, self.open, self.peak)

    def answers(self) -> Answers:
        return Answers(self.accepted, self.refused, self.at_once, self.seconds)


class Ledger:
    """Counts as they happen. `limit`: how many arrivals are kept, the newest; times and counts have no limit."""

    def __init__(self, addresses: Iterable[str], record: RecordMode, limit: int) -> None:
        self._record = record
        # Guards every field below, and is notified of each change while somebody waits. Reentrant, so that a predicate
        # may read the origin's counts.
        self._changed = threading.Condition(threading.RLock())
        self._waiting = 0
        self._all = _Tally()
        self._at = {address: _Tally() for address in addresses}
        self._arrivals: deque[Arrival] = deque(maxlen=limit)

    def add_connection(self, address: str) -> None:
        with self._changed:
            self._all.add_socket()
            self._at[address].add_socket()
            self._notify()

    def is_at_peak(self, address: str) -> bool:
        """Whether one more connection would be the most at once, there or in all."""
        with self._changed:
            return any(tally.open >= tally.peak for tally in (self._all, self._at[address]))

    def remove_connection(self, address: str) -> None:
        with self._changed:
            self._all.open -= 1
            self._at[address].open -= 1
            self._notify()

    def add_arrival(self, arrival: Arrival) -> None:
        with self._changed:
            tally = self._at[arrival.address]
            tally.add_request()
            self._all.add_request()
            if self._record:
                tally.times.append(arrival.time)
                if self._record is True:
                    self._arrivals.append(arrival)
            self._notify()

    def add_answer(self, arrival: Arrival, status: int) -> None:
        """Note with what status `arrival`, which was added before, is answered."""
        with self._changed:
            tally = self._at[arrival.address]
            if status not in REFUSALS:
                tally.accepted += 1
                self._all.accepted += 1
                return
            tally.refused += 1
            self._all.refused += 1
            if self._record:
                tally.refusals.append(arrival.time)

    def end_arrival(self, arrival: Arrival, now: float) -> None:
        """Note that `arrival`, which was added before, is not being answered any more."""
        with self._changed:
            for tally in (self._all, self._at[arrival.address]):
                tally.end_request(now - arrival.time)
            self._notify()

    def _notify(self) -> None:
        if self._waiting:
            self._changed.notify_all()

    def arrivals(self) -> tuple[Arrival, ...]:
        with self._changed:
            return tuple(self._arrivals)

    def requests(self) -> int:
        with self._changed:
            return self._all.requests

    def sockets(self, address: str | None = None) -> Sockets:
        with self._changed:
            return (self._all if address is None else self._at[address]).sockets()

    def records(self) -> Records:
        with self._changed:
            return Records(
                requests=self._all.requests,
                sockets=self._all.sockets(),
                requests_at={address: tally.requests for address, tally in self._at.items()},
                sockets_at={address: tally.sockets() for address, tally in self._at.items()},
                times_at={address: tally.times[:] for address, tally in self._at.items()},
                answers=self._all.answers(),
                answers_at={address: tally.answers() for address, tally in self._at.items()},
                refusals_at={address: tally.refusals[:] for address, tally in self._at.items()},
            )

    def reset(self) -> None:
        """Start counting anew; what is open or being answered stays counted as that, and as the most so far."""
        with self._changed:
            self._all.reset()
            for tally in self._at.values():
                tally.reset()
            self._arrivals.clear()
            self._notify()

    def wait_until(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Wait until `predicate` holds, looking after every change; False if `timeout` seconds pass first."""
        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(predicate, timeout)
            finally:
                self._waiting -= 1

"""What the origin counts: arrivals and connections, from the server's side.

`Ledger` is live: the origin's thread writes to it, any thread reads. `Records` is a frozen copy, also what comes as
JSON from an origin in another process.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workerpool.errors import OptionError
from workerpool.testing.origin.replies import Arrival

RecordMode = bool | Literal["times"]
"""True keeps arrivals and their times, ``"times"`` only the times (8 bytes each), False nothing but the counts."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """Connections since the start or the last reset: `opened`, `open` now, and the most open at once, `peak`."""

    opened: int = 0
    open: int = 0
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Records:
    """The server's count at one moment.

    `requests`: in all. `sockets`: of all addresses together. `times`: `time.monotonic` seconds of each arrival, in
    order; empty if the origin does not record them. The same per loopback address: `requests_at`, `sockets_at`,
    `times_at`.
    """

    requests: int
    sockets: Sockets
    requests_at: Mapping[str, int] = field(default_factory=dict)
    sockets_at: Mapping[str, Sockets] = field(default_factory=dict)
    times_at: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def times(self) -> Sequence[float]:
        return sorted(moment for times in self.times_at.values() for moment in times)

    def busiest(self, window_seconds: float, address: str | None = None) -> int:
        """The most arrivals in any window of that many seconds, at one address or at all of them."""
        return busiest(self.times if address is None else sorted(self.times_at.get(address, ())), window_seconds)

    def rate(self, address: str | None = None) -> float:
        """Arrivals per second from the first to the last, 0.0 if there are fewer than two."""
        times = self.times if address is None else sorted(self.times_at.get(address, ()))
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def to_json(self) -> dict[str, Any]:
        """The same as what `json.dumps` takes; `from_json` reads it."""
        return {
            "requests": self.requests,
            "sockets": _sockets_json(self.sockets),
            "requests_at": dict(self.requests_at),
            "sockets_at": {address: _sockets_json(sockets) for address, sockets in self.sockets_at.items()},
            "times_at": {address: list(times) for address, times in self.times_at.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Records:
        return cls(
            requests=value["requests"],
            sockets=Sockets(**value["sockets"]),
            requests_at=value["requests_at"],
            sockets_at={address: Sockets(**sockets) for address, sockets in value["sockets_at"].items()},
            times_at=value["times_at"],
        )


def _sockets_json(sockets: Sockets) -> dict[str, int]:
    return {"opened": sockets.opened, "open": sockets.open, "peak": sockets.peak}


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

    __slots__ = ("open", "opened", "peak", "requests", "times")

    def __init__(self) -> None:
        self.opened = self.open = self.peak = self.requests = 0
        self.times = array("d")

    def add_socket(self) -> None:
        self.opened += 1
        self.open += 1
        self.peak = max(self.peak, self.open)

    def reset(self) -> None:
        self.opened = self.requests = 0
        self.peak = self.open
        self.times = array("d")

    def sockets(self) -> Sockets:
        return Sockets(self.opened, self.open, self.peak)


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

    def remove_connection(self, address: str) -> None:
        with self._changed:
            self._all.open -= 1
            self._at[address].open -= 1
            self._notify()

    def add_arrival(self, arrival: Arrival) -> None:
        with self._changed:
            tally = self._at[arrival.address]
            tally.requests += 1
            self._all.requests += 1
            if self._record:
                tally.times.append(arrival.time)
                if self._record is True:
                    self._arrivals.append(arrival)
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
            )

    def reset(self) -> None:
        """Start counting anew; connections that are open stay counted as open, and as the peak so far."""
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

"""What was sent in the longer windows of an account, its quotas: 1,000 an hour, over all processes."""

from __future__ import annotations

import mmap
import struct

from workerpool.clock import LONG_AGO
from workerpool.errors import BudgetError
from workerpool.limits.file.records import Record
from workerpool.limits.file.times import Times
from workerpool.limits.windows import Window
from workerpool.rate import Rate

MOST_QUOTAS = 2
"""The most windows of different lengths that an account can keep."""
PARTS = 30
"""Into so many parts each is counted: up to a thirtieth of a quota is used late."""


_NOTED = struct.Struct("<8sdd")  # boot, clock and date of the last write
_WINDOW = struct.Struct("<dHd")  # seconds, parts, the first time of the last part
_PART = struct.Struct("<df")  # its last time, its weight
_MOST_PARTS = PARTS + 3  # those that begin or end outside of the window among them


class History:
    """The windows of one account, as they were at the last look; none if it has no quotas."""

    __slots__ = ("_found", "_quotas", "_record", "_times", "_windows")

    def __init__(self, times: Times) -> None:
        self._record = Record(0, 0)
        self._times = times
        self._quotas: tuple[Rate, ...] = ()
        self._windows: dict[float, tuple[Rate, Window]] = {}  # by their seconds
        self._found: dict[float, list[list[float]]] = {}  # what was sent in each window that the file knows

    def __bool__(self) -> bool:
        return bool(self._windows)

    @property
    def is_broken(self) -> bool:
        return self._record.state == "broken"

    def move(self, record: Record) -> None:
        """Be kept in another record; `look`, or `begin`, follows."""
        self._record = record

    def agree(self, quotas: tuple[Rate, ...]) -> None:
        """Set the quotas; of what a new one counts, nothing is known before."""
        if quotas != self._quotas:
            self._quotas = quotas
            self._windows = {quota.seconds: (quota, Window(quota, PARTS)) for quota in quotas}
            self._fill()

    def look(self, file: mmap.mmap) -> bool:
        """Read it if it has changed; whether it can be read."""
        if self._record.look(file):
            self._read()
        return not self.is_broken

    def next_at(self, weight: int) -> float:
        """The time from which on so much fits into every window."""
        at = LONG_AGO
        for _, window in self._windows.values():
            at = max(at, window.next_at(weight))
        return at

    def take(self, file: mmap.mmap, weight: int, now: float) -> None:
        """Count what is sent."""
        for _, window in self._windows.values():
            window.take(now, weight)
        self._write(file, now)

    def begin(self, file: mmap.mmap, now: float, *, used_up_at: float) -> None:
        """Forget all, and take every quota for used up at a time."""
        self._found = {}
        self._fill()
        if not self._windows and self._record.state == "blank":
            return
        for quota, window in self._windows.values():
            if used_up_at + window.seconds > now:
                window.take(used_up_at, int(quota.count))
        self._write(file, now)

    @property
    def rests_at(self) -> float:
        """The time from which on nothing counts any more."""
        return max((window.rests_at for _, window in self._windows.values()), default=LONG_AGO)

    def _read(self) -> None:
        self._found = {}
        payload = self._record.payload
        if payload:
            boot, noted_at, date = _NOTED.unpack_from(payload)
            shift = self._times.shift(boot, noted_at, date)
            at = _NOTED.size
            while at < len(payload):
                seconds, parts, first = _WINDOW.unpack_from(payload, at)
                at += _WINDOW.size
                end = at + parts * _PART.size
                sent = [[last + shift, last + shift, weight] for last, weight in _PART.iter_unpack(payload[at:end])]
                if sent:
                    sent[-1][0] = first + shift
                self._found[seconds] = sent
                at = end
        self._fill()

    def _fill(self) -> None:
        for seconds, (_, window) in self._windows.items():
            window.sent = [[*part] for part in self._found.get(seconds, ())]

    def _write(self, file: mmap.mmap, now: float) -> None:
        pieces = [_NOTED.pack(self._times.boot, now, now + self._times.ahead)]
        self._found |= {seconds: [*window.sent] for seconds, (_, window) in self._windows.items()}
        # Those first that hold now; of another one that is remembered as well, those may want to know who come next.
        for seconds in sorted(self._found, key=lambda seconds: seconds not in self._windows)[:MOST_QUOTAS]:
            sent = self._found[seconds]
            pieces.append(_WINDOW.pack(seconds, len(sent), sent[-1][0] if sent else now))
            pieces += [_PART.pack(last, weight) for _, last, weight in sent]
        self._record.write(file, b"".join(pieces))


def joined(all_quotas: list[tuple[Rate, ...]], path: str) -> tuple[Rate, ...]:
    """The quotas that keep to all of several; raises `BudgetError` if these have too many different windows."""
    strictest: dict[float, Rate] = {}
    for quotas in all_quotas:
        for quota in quotas:
            known = strictest.get(quota.seconds)
            strictest[quota.seconds] = quota if known is None or quota.count < known.count else known
    if len(strictest) > MOST_QUOTAS:
        raise BudgetError(
            f"the programs that use the budget in {path} name quotas in {len(strictest)} different windows "
            f"({', '.join(map(str, strictest.values()))}): {MOST_QUOTAS} is the most"
        )
    return tuple(strictest[seconds] for seconds in sorted(strictest))

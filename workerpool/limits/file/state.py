"""What changes with each slot of an account: how full its bucket is, its host's pause, and how that starts anew."""

from __future__ import annotations

import mmap
import struct

from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import LeakyBucket, slot_from
from workerpool.limits.file.records import Record
from workerpool.limits.file.times import Times

REMEMBERED = 300.0
"""Seconds after a pause for which a host that starts anew is remembered to do so."""

KEY_SIZE = 16

_STATE = struct.Struct("<16s8sddddddHH")


class State:
    """One account's state, as it was at the last look.

    `interval`: seconds between two slots, 0 for no rate. `not_before`: nothing is sent before. `counts_until`: until
    then something counts against its quotas. `places`: how many sends may be under way over all processes while the
    host starts anew after a pause, 0 if it does not; `ended`: how many have ended since there were so many places.
    """

    __slots__ = ("_bucket", "_key", "_record", "_times", "counts_until", "ended", "interval", "not_before", "places")

    def __init__(self, key: bytes, times: Times) -> None:
        self._key = key
        self._times = times
        self._record = Record(0, 0)
        self.interval = 0.0
        self.not_before = self.counts_until = LONG_AGO
        self.places = self.ended = 0
        self._bucket = LeakyBucket(0.0)

    def move(self, record: Record) -> None:
        """Be kept in another record; `look` or `begin` follows."""
        self._record = record
        self._read()

    def agree(self, interval: float, burst: int) -> None:
        """Set the rate: seconds between two slots, 0 for none."""
        self.interval = self._bucket.interval = interval
        self._bucket.burst = burst

    def look(self, file: mmap.mmap) -> bool:
        """Read it if it has changed; whether it is whole, and this account's."""
        if self._record.look(file):
            self._read()
        return self._record.payload.startswith(self._key)

    @property
    def is_broken(self) -> bool:
        return self._record.state == "broken"

    def next_at(self, weight: int) -> float:
        """The time of the next slot, in the past if one is free now."""
        return max(self.not_before, self._bucket.next_at(weight)) if self.interval else self.not_before

    def take(self, now: float, weight: int, since: float | None) -> float:
        """Take the slot that `next_at` says has come; returns its time. `write` follows."""
        return self._bucket.take(slot_from(now, since), weight)

    def pause(self, until: float) -> None:
        """Begin a pause, or prolong it; afterwards the host starts with one request at a time. `write` follows."""
        self.not_before = max(self.not_before, until)
        self.places, self.ended = 1, 0

    def grow(self, limit: int) -> None:
        """Note that a send has ended while the host starts anew: one place more after each round. `write` follows."""
        self.ended += 1
        if self.ended >= self.places:
            self.places, self.ended = self.places + 1, 0
            if self.places >= limit:
                self.places = 0

    @property
    def rests_at(self) -> float:
        """The time from which on it holds nothing worth keeping."""
        return max(self._bucket.empty_at, self.counts_until, self.not_before + (REMEMBERED if self.places else 0.0))

    def begin(
        self,
        file: mmap.mmap,
        now: float,
        *,
        used_up_at: float = LONG_AGO,
        not_before: float = LONG_AGO,
        counts_until: float = LONG_AGO,
    ) -> None:
        """Make it a new account's, whose burst was used up at a time, and of which nothing is sent before another."""
        self._forget()
        self.not_before, self.counts_until = not_before, counts_until
        self._bucket.empty_at = used_up_at + self._bucket.burst * self.interval
        self.write(file, now)

    def write(self, file: mmap.mmap, now: float) -> None:
        times, bucket = self._times, self._bucket
        self._record.write(
            file,
            _STATE.pack(
                self._key, times.boot, now, now + times.ahead, bucket.empty_at, bucket.latest, self.not_before,
                self.counts_until, self.places, self.ended,
            ),
        )  # fmt: skip

    def _forget(self) -> None:
        self._bucket.empty_at = self._bucket.latest = self.not_before = self.counts_until = LONG_AGO
        self.places = self.ended = 0

    def _read(self) -> None:
        self._forget()
        if not self._record.payload:
            return
        _, boot, noted_at, date, *times, self.places, self.ended = _STATE.unpack(self._record.payload)
        shift = self._times.shift(boot, noted_at, date)
        bucket = self._bucket
        bucket.empty_at, bucket.latest, self.not_before, self.counts_until = (moment + shift for moment in times)

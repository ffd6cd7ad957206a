"""A bucket's home in this process's memory, for any number of threads.

Slots are reserved under the lock, first come, first served, and waited for outside of it by whoever reserved them: a
waiting thread never keeps another from reserving.
"""

from __future__ import annotations

import threading

from workerpool.config import Rate
from workerpool.errors import SlotTimeout
from workerpool.limits.bucket import LeakyBucket, Slot


class MemoryLimiter:
    """A `LeakyBucket` behind a lock. It waits for nothing: `reserve` says when, the caller waits until then."""

    def __init__(self, rate: Rate, burst: int = 1) -> None:
        self._lock = threading.Lock()  # guards _bucket
        self._bucket = LeakyBucket(rate, burst)
        self.grouping = self._bucket.grouping

    def reserve(self, now: float, weight: int = 1, *, max_wait: float | None = None) -> Slot:
        """Take the next slot at or after `now`.

        Raises `SlotTimeout`, the slot given back, if it would come more than `max_wait` seconds after `now`.
        """
        with self._lock:
            slot = self._bucket.reserve(now, weight)
            if max_wait is None or slot.time - now <= max_wait:
                return slot
            self._bucket.give_back(slot)
        raise SlotTimeout(f"the next slot comes in {slot.time - now:.1f} s; {max_wait:.1f} s were allowed for waiting")

    def give_back(self, slot: Slot) -> None:
        """Return a slot that was not used."""
        with self._lock:
            self._bucket.give_back(slot)

    def regrant(self, slot: Slot, now: float) -> Slot:
        """Keep `slot` if it is at most `LATENESS` old, or exchange it for one at or after `now`."""
        with self._lock:
            return self._bucket.regrant(slot, now)

    def rests_at(self) -> float:
        """The time from which on this limiter holds nothing worth keeping."""
        with self._lock:
            return self._bucket.rests_at()

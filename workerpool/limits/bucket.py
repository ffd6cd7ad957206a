"""The leaky bucket's arithmetic: told what time it is, it says when the next slot is. It never reads a clock or waits.

Not thread-safe: a home (`workerpool.limits.memory`) guards it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from workerpool.config import Rate
from workerpool.errors import OptionError

LATENESS = 0.010
"""Seconds by which a grant may come after its slot's time and still count as made at that time.

Threads wake up 0.1 to 5 ms late on a busy machine. Were each such delay added to the next slot's time, 200/s would
end near 190/s. The price: a server may see `LATENESS` worth of slots more in any window, 2 at 200/s.
"""

GROUPING = 0.005
"""Seconds of slots that are granted together above 1,000/s, where a thread cannot be woken for each."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """Permission to send `weight` requests' worth at `time` (seconds on the caller's clock)."""

    time: float
    weight: int = 1
    # The bucket's state around this reservation: what lets `give_back` undo it while it is the last one.
    before: tuple[float, float] = (0.0, 0.0)
    after: float = 0.0


class LeakyBucket:
    """`rate` slots a second, evenly spaced, with up to `burst` at once after a rest.

    In every window of W seconds the granted weight is at most ``burst + rate * W``. This is the virtual scheduling form
    of the generic cell rate algorithm (ITU-T I.371, annex A): the state is one number, the time at which the bucket
    would be empty again.

    What it handles badly: traffic that must all start at one moment (give it a burst), and slots reserved far ahead
    by callers that then go away without `give_back`: those pass unused.
    """

    __slots__ = ("_empty_at", "_given_back", "_interval", "_latest", "burst", "rate")

    def __init__(self, rate: Rate, burst: int = 1) -> None:
        self.rate = rate
        self.burst = burst
        self._interval = rate.interval
        self._empty_at = float("-inf")
        self._latest = float("-inf")  # grants never go back in time, or the bound would not hold
        self._given_back: list[Slot] = []

    @property
    def grouping(self) -> float:
        """Seconds that a waiter may add to a slot's time in order to take several at one waking."""
        return GROUPING if self._interval < 0.001 else 0.0

    def reserve(self, now: float, weight: int = 1) -> Slot:
        """Take the next free slot at or after `now`, in the order of the calls.

        Raises `OptionError` for a weight above the burst, which no window could ever hold.
        """
        if weight > self.burst:
            raise OptionError(f"weight={weight} is more than burst={self.burst} allows: raise the burst to {weight}")
        if self._given_back:
            slot = self._take_given_back(now, weight)
            if slot is not None:
                return slot
        time = max(now, self._latest, self._empty_at + (weight - self.burst) * self._interval)
        before = (self._empty_at, self._latest)
        self._empty_at = max(self._empty_at, time) + weight * self._interval
        self._latest = time
        return Slot(time, weight, before, self._empty_at)

    def give_back(self, slot: Slot) -> None:
        """Return a slot that was not used. The last one taken is undone; an earlier one waits for the next caller."""
        if slot.after == self._empty_at:
            self._empty_at, self._latest = slot.before
        else:
            heapq.heappush(self._given_back, slot)

    def regrant(self, slot: Slot, now: float) -> Slot:
        """Return `slot` if it is at most `LATENESS` old at `now`, or else exchange it for one at or after `now`."""
        if now - slot.time <= LATENESS:
            return slot
        self.give_back(slot)
        return self.reserve(now, slot.weight)

    def rests_at(self) -> float:
        """The time from which on the bucket is as good as new, and may be forgotten."""
        return self._empty_at

    def _take_given_back(self, now: float, weight: int) -> Slot | None:
        """The earliest returned slot of this weight that is still to come; those whose time has passed are dropped."""
        while self._given_back and self._given_back[0].time < now:
            heapq.heappop(self._given_back)
        if self._given_back and self._given_back[0].weight == weight:
            return heapq.heappop(self._given_back)
        return None

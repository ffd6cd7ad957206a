"""The leaky bucket's arithmetic: told what time it is, it says when the next slot is. Reads no clock, waits never."""

from __future__ import annotations

from workerpool.clock import LONG_AGO

LATENESS = 0.010
"""Seconds by which a grant may come after its slot's time and still count as made at that time.

Threads wake up 0.1 to 5 ms late on a busy machine. Were each such delay added to the next slot's time, 200/s would
end near 190/s. The price: a server may see `LATENESS` worth of slots more in any window, 2 at 200/s.
"""

GROUPING = 0.005
"""Seconds of slots that are granted together above 1,000/s, where a thread cannot be woken for each."""


def slot_from(now: float, since: float | None) -> float:
    """The time from which on a slot may have come that is taken `now`, by somebody who has waited `since` then without
    a break: at most `LATENESS` ago, so that a late waking does not lower the rate."""
    return now if since is None else min(now, max(since, now - LATENESS))


class LeakyBucket:
    """A slot every `interval` seconds, with up to `burst` at once after a rest.

    In every window of W seconds the granted weight is at most ``burst + W / interval``. This is the virtual scheduling
    form of the generic cell rate algorithm (ITU-T I.371, annex A): the state is one number, the time at which the
    bucket would be empty again. What weighs more than the burst goes by itself, when the bucket is empty.

    Its state is `empty_at` and `latest`, the time of the last grant. A home may set these and its terms at any time.

    What it handles badly: traffic that must all start at one moment (give it a burst), and a demand that pauses: slots
    are not saved up beyond the burst.
    """

    __slots__ = ("burst", "empty_at", "interval", "latest")

    def __init__(self, interval: float, burst: int = 1) -> None:
        self.interval = interval
        self.burst = burst
        self.empty_at = LONG_AGO  # from then on it is as good as new
        self.latest = LONG_AGO  # grants never go back in time, or the bound would not hold

    def next_at(self, weight: int = 1) -> float:
        """The time of the next slot; in the past if one is free now."""
        at = self.empty_at + min(0, weight - self.burst) * self.interval
        return max(self.latest, at)

    def take(self, at: float, weight: int = 1) -> float:
        """Take the next slot at or after `at`, and return its time."""
        next_at = self.next_at(weight)
        time = max(next_at, at)
        self.empty_at = (max(time, self.empty_at)) + weight * self.interval
        self.latest = time
        return time

"""A `Lane`: one host's queue, its budget, its pause. Only the scheduler touches it, under the lock of its caller."""

from __future__ import annotations

from collections import deque

from workerpool.limits import MemoryLimiter
from workerpool.tickets import NEVER, Ticket

LONG_AGO = float("-inf")


class Lane:
    """One host's queue, budget and pause."""

    __slots__ = (
        "callers", "callers_turn", "ended", "head_at", "host", "in_flight", "limiter", "listed", "not_before", "places",
        "queue", "refused_until", "rests", "since", "timer",
    )  # fmt: skip

    def __init__(self, host: str, places: int, limiter: MemoryLimiter | None) -> None:
        self.host = host
        self.places = places  # how many may be in flight: the budget, or fewer for a while after a pause
        self.ended = 0  # how many have ended since it had this many places, while they are fewer than the budget
        self.queue: deque[Ticket] = deque()
        self.limiter = limiter
        self.in_flight = 0
        self.not_before = LONG_AGO  # the host's pause ends
        self.refused_until = LONG_AGO  # until then its requests end unsent
        self.since: float | None = None  # since when the queue has waited for slots without a break
        self.head_at: float | None = None  # since when the head of the queue has had a place, and waits for slots
        self.listed = False  # stands in the ring
        self.timer = NEVER  # the earliest time at which the heap holds this lane
        self.callers = 0  # how many callers wait for a place
        self.callers_turn = True
        self.rests = False  # stands in the heap of resting lanes

    def is_open(self, now: float) -> bool:
        """Whether something is queued that may be sent now, as far as its host is concerned."""
        if not self.queue or self.in_flight >= self.places:
            return False
        return (self.limiter is None and self.not_before <= now) or self.opens_at(now) <= now

    def opens_at(self, now: float) -> float:
        """When the head of the queue may be sent, places apart."""
        if self.refused_until > now:
            return now  # refusals are told at once
        if self.limiter is None:
            return self.not_before
        return max(self.not_before, self.limiter.next_at(self.queue[0].request.weight))

    def shrink(self) -> None:
        """Begin again with one place."""
        self.places, self.ended = 1, 0

    def grow(self) -> None:
        """Give one place more when as many requests have ended as there are places: after each round of them."""
        self.ended += 1
        if self.ended >= self.places:
            self.places, self.ended = self.places + 1, 0

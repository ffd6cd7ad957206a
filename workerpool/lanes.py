"""A `Lane`: one host's queue, its budget, its pause. Only the scheduler touches it, under the lock of its caller."""

from __future__ import annotations

from collections import deque

from workerpool.limits import MemoryLimiter
from workerpool.tickets import NEVER, Ticket

LONG_AGO = float("-inf")


class Lane:
    """One host's queue, budget and pause."""

    __slots__ = (
        "callers", "callers_turn", "head_at", "host", "in_flight", "limiter", "listed", "not_before", "places", "queue",
        "refused_until", "rests", "since", "timer",
    )  # fmt: skip

    def __init__(self, host: str, places: int, limiter: MemoryLimiter | None) -> None:
        self.host = host
        self.places: float = places  # how many may be in flight: the budget, or fewer for a while after a pause
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

"""A `Trip`: where a request stands between its sends, and what these took. And the `Step` that follows each send.

Numbers only: a trip asks no clock, no policy and no transport. One request is on one thread at a time, so it needs no
lock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workerpool.clock import LEAST
from workerpool.config import Timeout
from workerpool.limits import Answer
from workerpool.model import Attempt, Outcome, Request, Timings, maker
from workerpool.tickets import Ticket
from workerpool.transport import Exchange

if TYPE_CHECKING:
    from requests import Response

    from workerpool.gate import Sorting
    from workerpool.limits import Limiter

NO_TIME = Timings()

new_attempt, new_timings = maker(Attempt), maker(Timings)


@dataclass(slots=True)
class Trip:
    """Where a request stands between its sends. Times are seconds on the pool's clock, sums are seconds."""

    exchange: Exchange
    ready_at: float  # since when it could have been sent: its arrival, or the end of what came before
    host: str  # the lane of the request's own URL, where it goes back to for another attempt
    key: str | None = None  # and what it counts against there
    pace: Limiter | None = None  # and what spaces that site's requests
    sent_at: float | None = None  # the first send of all
    began: float = 0.0  # the current send
    attempt_began: float | None = None  # seconds since the epoch, the current attempt's first send
    attempt_elapsed: float = 0.0
    attempt_spent: Timings = NO_TIME
    attempts: tuple[Attempt, ...] = ()
    response: Response | None = None  # of the last attempt, should there be no further one
    parked: float = 0.0
    was_resent: bool = False  # the current attempt has had its free send

    @property
    def number(self) -> int:
        """Attempts, with the one that goes on."""
        return len(self.attempts) + (self.attempt_began is not None)

    @property
    def is_send_open(self) -> bool:
        """Whether what was sent last has not been added yet. Or it took no time at all."""
        return self.attempt_began is not None and self.ready_at <= self.began

    def depart(self, host: str, now: float, wall_time: float) -> None:
        """Note that the request is sent to `host` now."""
        self.began = now
        if self.sent_at is None:
            self.sent_at = now
        if self.attempt_began is None:
            self.attempt_began = wall_time
        self.exchange.host = host

    def time_left(self, timeout: Timeout, own: object, most: float | None, excused: float, now: float) -> Timeout:
        """What is left for the next send: of the attempt's time, and of the request's, of `most` seconds in all.

        `own`: the request's own timeout; `excused`: seconds that do not count.
        """
        if own is None and not self.attempt_elapsed and most is None:
            return timeout
        if own is not None:
            timeout = Timeout.of(own, total=timeout.total)
        total = timeout.total
        if total is not None and self.attempt_elapsed:
            total = max(LEAST, total - self.attempt_elapsed)
        if most is not None and self.sent_at is not None:
            left = max(LEAST, self.sent_at + excused + most - now)
            total = left if total is None else min(total, left)
        return timeout if total == timeout.total else replace(timeout, total=total)

    def add_send(self, slot_wait: float, now: float) -> None:
        """Add what a send took, and what it waited before, of that `slot_wait` for slots, to its attempt."""
        began = self.began
        waited = began - self.ready_at if began > self.ready_at else 0.0
        slot = min(waited, slot_wait) if slot_wait else 0.0
        self.attempt_elapsed += now - began
        self.ready_at = now
        trace = self.exchange.trace
        queued = waited - slot + trace.place
        spent = new_timings(queued, slot, 0.0, trace.dns, trace.connect, trace.tls, trace.first_byte, trace.body)
        self.attempt_spent = spent if self.attempt_spent is NO_TIME else self.attempt_spent + spent

    def note_attempt(self, status: int | None, error: str | None) -> None:
        """End the attempt."""
        began, hops, trace = self.attempt_began or 0.0, len(self.exchange.history), self.exchange.trace
        spent = self.attempt_spent
        attempt = new_attempt(  # by position, as keywords would double its time
            began, self.attempt_elapsed, status, error, hops, trace.reused, trace.resumed, trace.fast_path, spent
        )
        self.attempts = (*self.attempts, attempt)
        self.attempt_began = None
        self.attempt_elapsed = 0.0
        self.attempt_spent = NO_TIME
        self.was_resent = False

    def timings(self, request: Request, now: float) -> Timings:
        """What all its attempts took, those of an earlier run apart."""
        if self.sent_at is None:
            return Timings(queued=max(0.0, now - self.ready_at))
        attempts = self.attempts[len(request.earlier) :] if request.earlier else self.attempts
        if len(attempts) == 1 and not self.parked:
            return attempts[0].timings
        parked = self.parked - max(0.0, self.ready_at - now)  # it may have been given up before its time
        return sum((attempt.timings for attempt in attempts), Timings(parked=parked))


def trip_of(ticket: Ticket) -> Trip:
    """The request's trip, which begins here if this is its first step."""
    trip: Trip | None = ticket.trip
    if trip is None:
        request = ticket.request
        exchange = Exchange(request, request.url)
        trip = ticket.trip = Trip(exchange, ticket.arrived_at, ticket.host, ticket.key, ticket.pace)
        trip.attempts = request.earlier
    return trip


@dataclass(frozen=True, slots=True)
class Pause:
    """A host wants to be left alone until a time on the pool's clock, and why; see `Scheduler.pause`."""

    host: str
    until: float
    refuse: bool
    reason: str


@dataclass(slots=True)  # not frozen, as one is made for each send, and frozen ones cost four times as much
class Step:
    """What follows a send. Exactly one of the first four is set by the worker; the crew notes what it made of it."""

    outcome: Outcome | None = None
    park_until: float | None = None  # it waits for another attempt, in the lane of its own URL
    next_host: str | None = None  # it was redirected, and goes on in that host's lane, at its front
    again: bool = False  # it goes back to the front of its lane, as the socket that it was sent over was dead
    is_refused: bool = False  # with `again`: no, but its token was no good
    pause: Pause | None = None
    sent: bool = True  # whether anything was sent
    answer: Answer | None = None  # what came of the send, for what learns from it; None if nothing does
    failed: bool = False  # no answer has come
    next_key: str | None = None  # with `next_host`: what it counts against there
    held: Sorting | None = None  # with `next_host`: it is held until a robots.txt has come

    is_new_pause: bool = False  # the crew: whether `pause` began one
    is_given_up: bool = False  # whether it is given up instead of going on
    circuit: tuple[str, bool] | None = None  # the host it was sent to, if its circuit opened (True) or closed

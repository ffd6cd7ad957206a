"""A `Host`: what may be sent to one host, and what is known of it.

Only the scheduler touches it, under the lock of its caller.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING

from workerpool.clock import LONG_AGO
from workerpool.config import Budgets
from workerpool.limits import (
    AdaptiveConnections,
    AdaptiveRate,
    Answer,
    Circuit,
    Limiter,
    MemoryLimiter,
    RetryTokens,
    tell,
)
from workerpool.statistics import Wait

if TYPE_CHECKING:
    from workerpool.scheduler.lanes import Lane

REMEMBERED = 300.0
"""Seconds for which what was learned of a host is kept after its last answer."""

BEGINS_SLOWLY = 30.0
"""Seconds for which it is kept, after a pause, that a host begins slowly: the longest backoff, unless another is given,
and no more, as millions of hosts may have been paused once."""


@dataclass(slots=True, eq=False, repr=False)
class Host:
    """One host's budgets, its pause, and the lanes of requests for it."""

    name: str
    budgets: InitVar[Budgets]
    tokens: RetryTokens | None
    circuit: Circuit | None

    limiters: tuple[Limiter, ...] = ()  # what gives it slots, its keys' quotas apart
    paces: tuple[Limiter, ...] = ()  # those of them that its robots.txt asks for
    rate: AdaptiveRate | None = None  # the one of them that learns
    connections: AdaptiveConnections | None = None
    heard_at: float = LONG_AGO  # when something was last learned
    tokenless_at: float = LONG_AGO  # when a token was last missing

    most: int = field(init=False)  # how many may be in flight: the budget, or what was learned
    places: int = field(init=False)  # the same, or fewer for a while after a pause
    ended: int = 0  # how many have ended since it had this many places, while they are fewer than the most
    in_flight: int = 0
    usual_hold: float | None = None  # seconds for which its sends hold their places, once one has ended
    quiet_since: float = LONG_AGO  # when one last ended, or began while none was in flight
    is_slow: bool = False  # what `Places` makes of that

    not_before: float = LONG_AGO  # its pause ends
    refused_until: float = LONG_AGO  # until then its requests end unsent
    is_broken: bool = False  # and that is the circuit's doing

    lanes: dict[str | None, Lane] = field(default_factory=dict)  # by the user's key
    waiting: dict[Lane, None] = field(default_factory=dict)  # who waits for a place, or behind `timed`, in their order
    timed: Lane | None = None  # the one that waits for the host's time: its slot, or its pause's end
    listed: int = 0  # of its lanes, how many stand in the ring
    queued: int = 0  # requests in its lanes, apart from those that wait for a token
    callers: int = 0  # how many callers wait for a place
    callers_turn: bool = True
    rests: bool = False  # stands in the heap of resting hosts

    def __post_init__(self, budgets: Budgets) -> None:
        rate = budgets.host_rate
        if budgets.learns_rate:
            self.rate = AdaptiveRate(rate)
            self.limiters = (self.rate,)
        if rate is not None and (self.rate is None or rate.quotas):
            self.limiters = (*self.limiters, MemoryLimiter(rate, budgets.burst))
        if budgets.learns_connections:
            self.connections = AdaptiveConnections(budgets.host_connections)
        self.most = budgets.host_connections if self.connections is None else self.connections.limit
        self.places = 1 if budgets.slow_start else self.most

    def __repr__(self) -> str:
        state = "slow" if self.is_slow else "well"
        return f"<Host {self.name}: {self.queued} queued, {self.in_flight} of {self.places} places taken, {state}>"

    def keep_pace(self, pace: Limiter) -> None:
        """Let `pace` give slots to all its requests from now on, beside the limiters that are there."""
        if pace not in self.limiters:
            self.limiters = (*self.limiters, pace)
            self.paces = (*self.paces, pace)

    def has_place(self) -> bool:
        return self.in_flight < self.places

    def opens_at(self, weight: int) -> float:
        """When it may be sent to, places apart."""
        at = self.not_before
        for limiter in self.limiters:
            at = max(at, limiter.next_at(weight))
        return at

    def finds_token(self, now: float) -> bool:
        """Look for a token for a retry, and note where there is none; whether there is one."""
        if self.tokens is None or self.tokens.next_at() <= now:
            return True
        self.tokenless_at = now
        return False

    def pause(self, until: float, now: float, *, refuse: bool) -> bool:
        """Have nothing sent before `until`, or with `refuse`, its requests end unsent; whether this is a new pause.

        It begins again with one place after it. Where its rate is learned, that paces those who waited.
        """
        is_new = max(self.not_before, self.refused_until) <= now
        if refuse:
            self.is_broken = self.is_broken and self.refused_until > now
            self.refused_until = max(self.refused_until, until)
        else:
            self.not_before = max(self.not_before, until)
        if self.rate is None:
            self.shrink()
        return is_new

    def hear(self, answer: Answer, now: float, *, fails_fast: bool) -> bool | None:
        """Tell its circuit of an answer. True: it has opened, which is a pause; False: it has closed; None: neither.

        `fails_fast`: its requests end unsent while it is open.
        """
        if self.circuit is None:
            return None
        failed = answer.status is None or answer.status >= 500
        change = self.circuit.hear(failed, answer.sent_at, now)
        if change and self.circuit.open_until is not None:
            self.shrink()
            if fails_fast:
                self.is_broken = True
                self.refused_until = max(self.refused_until, self.circuit.open_until)
            else:
                self.not_before = max(self.not_before, self.circuit.open_until)
        return change

    def shrink(self) -> None:
        """Begin again with one place."""
        self.places, self.ended = 1, 0

    def grow(self) -> None:
        """Give one place more when as many requests have ended as there are places: after each round of them."""
        self.ended += 1
        if self.ended >= self.places:
            self.places, self.ended = self.places + 1, 0

    def learn(self, answer: Answer, now: float) -> None:
        """Note what an answer says about the limits."""
        self.heard_at = now
        tell(answer, now, self.rate, self.connections)
        if self.connections is not None:
            was_full = self.places >= self.most
            self.most = self.connections.limit
            self.places = self.most if was_full else min(self.places, self.most)

    def waits_for(self, now: float, weight: int = 1) -> Wait:
        """What keeps a request from being sent to it, as far as the host is concerned; `READY` if nothing does."""
        if self.refused_until > now:
            return Wait.READY  # they end unsent
        is_broken = self.circuit is not None and not self.circuit.is_closed
        if not self.has_place():
            if is_broken:
                return Wait.BREAKER
            return Wait.PAUSE if self.places < self.most and self.not_before > LONG_AGO else Wait.HOST_SOCKETS
        if self.not_before > now:
            return Wait.BREAKER if is_broken else Wait.PAUSE
        slowest = max(self.limiters, key=lambda limiter: limiter.next_at(weight), default=None)
        if slowest is None or slowest.next_at(weight) <= now:
            return Wait.READY
        return Wait.ROBOTS if slowest in self.paces else Wait.HOST_RATE

    @property
    def rests_at(self) -> float:
        """The time from which on nothing of it is worth keeping, apart from what waits and flies."""
        over = max(self.not_before, self.refused_until)
        if self.places < self.most:  # it begins slowly, also if all that goes to it is parked for longer than its pause
            over += BEGINS_SLOWLY
        for limiter in self.limiters:
            over = max(over, limiter.rests_at)
        if self.tokens is not None:
            over = max(over, self.tokens.rests_at)
        if self.connections is not None:
            over = max(over, self.heard_at + REMEMBERED)
        if self.circuit is not None:
            over = max(over, self.circuit.rests_at)
        return over

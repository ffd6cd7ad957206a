"""A `Host`: what may be sent to one host, and what is known of it.

Only the scheduler touches it, under the lock of its caller.
"""

from __future__ import annotations

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
from workerpool.meter import Wait

if TYPE_CHECKING:
    from workerpool.scheduler.lanes import Lane

REMEMBERED = 300.0
"""Seconds for which what was learned of a host is kept after its last answer."""


class Host:
    """One host's budgets, its pause, and the lanes of requests for it.

    `most`: how many may be in flight: the budget, or what was learned. `places`: the same, or fewer for a while after a
    pause. `limiters`: those of the host itself; `rate` is the one of them that learns. `holds`: seconds for which its
    sends hold their places, None until one has ended; `quiet_since`: when one last ended, or began while none was in
    flight; `is_slow`: what `Places` makes of that.
    """

    __slots__ = (
        "callers", "callers_turn", "circuit", "connections", "ended", "heard_at", "holds", "in_flight", "is_broken",
        "is_slow", "lanes", "limiters", "listed", "most", "name", "not_before", "paces", "places", "queued",
        "quiet_since", "rate", "refused_until", "rests", "timed", "tokenless_at", "tokens", "waiting",
    )  # fmt: skip

    def __init__(self, name: str, budgets: Budgets, tokens: RetryTokens | None, circuit: Circuit | None) -> None:
        self.name = name
        self.rate: AdaptiveRate | None = AdaptiveRate(budgets.host_rate) if budgets.learns_rate else None
        self.limiters: tuple[Limiter, ...] = ()
        if self.rate is not None:
            self.limiters = (self.rate,)
        if budgets.host_rate is not None and (self.rate is None or budgets.host_rate.quotas):
            self.limiters = (*self.limiters, MemoryLimiter(budgets.host_rate, budgets.burst))
        self.connections = AdaptiveConnections(budgets.host_connections) if budgets.learns_connections else None
        self.most = budgets.host_connections if self.connections is None else self.connections.limit
        self.paces: tuple[Limiter, ...] = ()  # those of the limiters that its robots.txt asks for
        self.places = 1 if budgets.slow_start else self.most
        self.ended = 0  # how many have ended since it had this many places, while they are fewer than the most
        self.tokens = tokens
        self.tokenless_at = LONG_AGO  # when one was last missing
        self.circuit = circuit
        self.heard_at = LONG_AGO  # when something was last learned
        self.in_flight = 0
        self.holds: float | None = None
        self.quiet_since = LONG_AGO
        self.is_slow = False
        self.not_before = LONG_AGO  # its pause ends
        self.refused_until = LONG_AGO  # until then its requests end unsent
        self.is_broken = False  # and that is the circuit's doing
        self.lanes: dict[str | None, Lane] = {}  # by the user's key
        self.waiting: dict[Lane, None] = {}  # those that wait for a place, or behind `timed`, in their order
        self.timed: Lane | None = None  # the one that waits for the host's time: its slot, or its pause's end
        self.listed = 0  # of its lanes, how many stand in the ring
        self.queued = 0  # requests in its lanes, apart from those that wait for a token
        self.callers = 0  # how many callers wait for a place
        self.callers_turn = True
        self.rests = False  # stands in the heap of resting hosts

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

    def may_retry(self, now: float) -> bool:
        """Whether there is a token for a retry."""
        if self.tokens is None or self.tokens.next_at() <= now:
            return True
        self.tokenless_at = now
        return False

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
        for limiter in self.limiters:
            over = max(over, limiter.rests_at)
        if self.tokens is not None:
            over = max(over, self.tokens.rests_at)
        if self.connections is not None:
            over = max(over, self.heard_at + REMEMBERED)
        if self.circuit is not None:
            over = max(over, self.circuit.rests_at)
        return over

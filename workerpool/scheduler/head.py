"""The head of the ring: which request is next, when it may go, and the one admission.

Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from workerpool.clock import NEVER
from workerpool.limits import Limiter, MemoryLimiter, RetryTokens, SharedBudget
from workerpool.scheduler.callers import Callers
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.lanes import Lane
from workerpool.scheduler.owners import Owners
from workerpool.scheduler.parked import Parked
from workerpool.scheduler.places import Places
from workerpool.scheduler.register import Register
from workerpool.scheduler.ring import Ring
from workerpool.tickets import Ticket

if TYPE_CHECKING:
    from workerpool.credentials import Bearer


class Head:
    """The first request of the ring's first lane. `limiter`, `shared`: the pool's slots; one, or neither, is given."""

    def __init__(
        self,
        register: Register,
        ring: Ring,
        places: Places,
        owners: Owners,
        parked: Parked,
        callers: Callers,
        limiter: MemoryLimiter | None,
        shared: SharedBudget | None,
    ) -> None:
        self._hosts = register.hosts
        self._ring = ring
        self._lanes = ring.lanes
        self._places = places
        self._owners = owners
        self._parked = parked
        self.wanted: list[Bearer] = []  # requests on whose behalf a token is to be fetched
        self._callers = callers
        self._limiter = limiter
        self._shared = shared

    def bring_forward(self, now: float) -> bool:
        """Bring a request that may be sent, slots apart, to the head of the ring; whether there is one.

        Lanes stand there that a pause or a discard has closed since, requests for which there is no token, and those
        whose owner has become full, or has no room. These stand in nobody's way, but stay where they are if nobody else
        waits: for a stream by itself this happens all the time.
        """
        while True:
            # First: to let a lane forward may be all that brings one here.
            if self._places.has_waiting:
                self._let_slow_forward(now)
            if not self._lanes:
                return False
            lane = self._lanes[0]
            if not self._ring.is_open(lane, now):
                self._ring.put_head_where_it_waits(now)
                continue
            # After that: a host whose lane cannot send is not to be judged, or to want places.
            if self._stands_back(lane, now):
                continue
            line = lane.line(now)
            ticket = line[0]
            owner = ticket.owner
            if (owner.room > 0 and not owner.is_full) or owner.lets(ticket):
                bearer = ticket.bearer
                if bearer is None or lane.host.refused_until > now or self._has_token(bearer, now):
                    return True
                self._keep_back(lane.pop(line), bearer, now)
                continue
            if not owner.is_full:
                self.note_want(now)  # its places are taken by what waits for receipts
                if owner.queued == self._owners.queued and not self._callers.waiting:
                    return False
            self._owners.put_aside(lane.pop(line))

    def may_go(self, now: float) -> bool:
        """Whether the pool's slot for it has come. There is one; see `bring_forward`."""
        return (self._limiter is None and self._shared is None) or self._goes_at(now) <= now

    def wakes_at(self, now: float) -> float:
        """When to look at it again: now if it may go, or else after its slot's time, when several may be taken."""
        at = self._goes_at(now)
        if at <= now:
            return now
        return at if self._limiter is None else at + self._limiter.grouping

    def note_want(self, now: float) -> None:
        """Note that it stands ready in vain, if it is none of a slow host."""
        if self._lanes and not self._lanes[0].host.is_slow:
            self._places.note_want(now)

    def _goes_at(self, now: float) -> float:
        """When the pool's slot for it comes; now if it needs none, as its end unsent does not."""
        lane = self._lanes[0]
        if lane.host.refused_until > now:
            return now
        weight = lane.line(now)[0].request.weight
        if self._limiter is not None:
            return self._limiter.next_at(weight)
        return now if self._shared is None else self._shared.next_at(None, weight, now)

    def _has_token(self, bearer: Bearer, now: float) -> bool:
        """Whether there is the token that it needs. Says, too, if another one is to be fetched."""
        if bearer.is_wanted(now):
            self.wanted.append(bearer)
        return bearer.waits_until(now) <= now

    def _keep_back(self, ticket: Ticket, bearer: Bearer, now: float) -> None:
        """Take a request, which has left its lane, aside: until there is a token, or until one may be asked for."""
        self._owners.count(ticket, -1)
        until = bearer.waits_until(now)
        if until == NEVER:
            self._parked.hold(ticket, bearer.login)
        else:
            self._parked.park(ticket, until)

    def _let_slow_forward(self, now: float) -> None:
        """Give its turn to a lane that stood back, if there is a place for it."""
        while not (self._lanes and self._lanes[0].host.is_slow):
            lane = self._places.next(now)
            if lane is None:
                return
            self._ring.enlist(lane, now, is_first=True)

    def _stands_back(self, lane: Lane, now: float) -> bool:
        """Take the first lane out if its host is slow, and others want the places."""
        host = lane.host
        if not host.in_flight and not host.is_slow:
            return False
        if host.refused_until > now or not self._places.judge(host, now, is_alone=len(self._hosts) == 1):
            return False
        self._places.keep_back(self._ring.take_head(), now)
        return True

    # -- one admission ------------------------------------------------------------------------------------------------

    def take_shared(self, shared: SharedBudget, now: float) -> float | None:
        """Take what other processes share, all of it or nothing; returns the slot's time, None if it was not there."""
        lane = self._lanes[0]
        time = shared.try_take(lane.host.name, lane.line(now)[0].request.weight, now, since=lane.since)
        if time is not None:
            lane.since = time
        return time

    def grant(self, lane: Lane, line: deque[Ticket], now: float, granted_at: float) -> None:
        """Take the first request of `line`, of the first lane: its place, its slots, its token, unless it is refused.

        Nothing here can fail: what other processes share has been taken, and all else was seen to be there, under the
        lock that has been held ever since.
        """
        host = lane.host
        refused = host.refused_until > now
        ticket = lane.pop(line)
        self._ring.take_head()
        self._places.take(host, now)
        self._owners.note_sent(ticket)
        is_first = not ticket.started
        ticket.started = True
        ticket.granted_at = granted_at
        ticket.in_flight = host.in_flight
        if ticket.bearer is not None:
            ticket.bearer.take()
        ticket.refused_until = host.refused_until if refused else None
        ticket.is_circuit_open = refused and host.is_broken
        host.callers_turn = self._callers.are_first = True
        limits = lane.limits()
        if lane.head_at is not None:
            is_limited = self._limiter is not None or bool(limits) or host.not_before > lane.head_at
            ticket.slot_wait = now - lane.head_at if is_limited else 0.0
            lane.head_at = None
        if not refused:
            if limits or self._limiter is not None:
                self._take_slots(lane, limits, ticket, now)
            if host.tokens is not None:
                self._spend_token(host.tokens, host, ticket, is_first, now)
        if lane.is_empty:
            lane.since = None
        elif host.waiting:
            host.waiting[lane] = None  # behind the others: a host's lanes take turns, as hosts do in the ring
        else:
            self._ring.enlist(lane, now, is_behind=host.listed > 0)
        if is_first:
            # Only now that this lane is where it belongs, and its place is no other's.
            self._ring.ask_tokenless(now)
        if not self._lanes:
            self._ring.since = None

    def _take_slots(self, lane: Lane, limits: tuple[Limiter, ...], ticket: Ticket, now: float) -> None:
        """Take a slot of the pool's, and one of each of these."""
        weight, since = ticket.request.weight, lane.since  # each by how long the lane has waited, not by the last slot
        if self._limiter is not None:
            ticket.granted_at = self._ring.since = _taken(self._limiter, now, weight, self._ring.since)
        for limiter in limits:
            lane.since = _taken(limiter, now, weight, since)

    def _spend_token(self, tokens: RetryTokens, host: Host, ticket: Ticket, is_first: bool, now: float) -> None:
        """Pay for a retry, or earn the share of a first try."""
        if ticket.is_retry:
            ticket.is_retry = False
            if host.tokenless_at >= ticket.ripe_at:
                ticket.excused += now - ticket.ripe_at
            tokens.spend(now)
        elif is_first:
            tokens.earn()


def _taken(limiter: Limiter, now: float, weight: int, since: float | None) -> float:
    """Take a slot that was seen to be free; returns its time."""
    time = limiter.try_take(now, weight, since=since)
    assert time is not None
    return time

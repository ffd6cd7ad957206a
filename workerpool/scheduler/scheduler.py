"""What comes into the scheduler and what goes out, and when to look again.

The scheduler decides and returns; it performs nothing, waits for nothing and reads no clock. It has no lock: whoever
calls it holds one lock for all of it (the crew does). So one admission takes everything that a send needs, or nothing:
the host's place and the pool's, the slots of the pool, the host and the key, and a retry's token (`Head.grant`). What
other processes share is taken first, as that alone may fail.

A request is in exactly one state here: queued in its lane or put aside, parked until a time, held until something is
known, or in flight. Lanes with something to send *now* stand in a ring and are served in turn, one request each, so a
host with a million requests delays a host with one by one send. What waits for a time (a parked request, a lane's
pause, a lane's slot, a token) stands in a heap; lanes that wait for a place of their host wait in line there, and those
of slow hosts stand back while others want all of the pool's places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import replace

from workerpool.clock import NEVER
from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.limits import Answer, Limiter, MemoryLimiter, SharedBudget
from workerpool.scheduler.callers import Callers
from workerpool.scheduler.head import Head
from workerpool.scheduler.hold_ups import HoldUps
from workerpool.scheduler.owners import Owners
from workerpool.scheduler.parked import Parked
from workerpool.scheduler.places import Places
from workerpool.scheduler.register import Register
from workerpool.scheduler.ring import Ring
from workerpool.scheduler.survey import survey
from workerpool.statistics import Hosts, Reasons, Wait
from workerpool.tickets import Caller, Owner, Ticket

AHEAD = 2
"""Requests that may be sent, for each worker, with which workers will not soon be idle."""


class Scheduler:
    """Which request may be sent now. All times are the clock's.

    `floor`: the tokens that a host's retry budget begins with. `places`: the most requests in flight, as a pool has
    workers; slow hosts may hold only a part of these while others wait.
    """

    def __init__(
        self,
        budgets: Budgets,
        *,
        retries: RetryBudget | None = None,
        floor: float = 0.0,
        breaker: Breaker | None = None,
        shared: SharedBudget | None = None,
        places: int,
    ) -> None:
        self._budgets = budgets if shared is None or budgets.learns_rate else replace(budgets, host_rate=None)
        self._retries = retries
        self._ahead = AHEAD * places
        self._fails_fast = breaker is not None and breaker.fails_fast
        self._shared = shared
        self._places = Places(places, budgets.max_connections)
        self._limiter = MemoryLimiter(budgets.rate, budgets.burst) if budgets.rate and shared is None else None
        self._register = Register(self._budgets, retries, floor, breaker)
        self._hosts = self._register.hosts
        self._ring = Ring(self._register, shared)
        self._lanes = self._ring.lanes  # always the same deque, as it is looked at all the time
        self._parked = Parked()
        self._callers = Callers(self._register, self._ring, self._places, self._limiter, shared)
        self.callers = self._callers.waiting  # always the same deque, too
        self._owners = Owners(self._ring)
        self._head = Head(
            self._register, self._ring, self._places, self._owners, self._parked, self._callers, self._limiter, shared
        )
        self.wanted = self._head.wanted  # on whose behalf a token is to be fetched; always the same list
        self._hold_ups = HoldUps(
            self._register, self._ring, self._parked, self._owners, self._callers, self._places, self._limiter, shared
        )

    # -- what comes in ------------------------------------------------------------------------------------------------

    def add(self, ticket: Ticket, now: float) -> None:
        """Put a new request at the end of its lane."""
        lane = self._register.lane_of(ticket, now)
        lane.append(ticket)
        self._owners.count(ticket, 1)
        self._ring.enlist(lane, now)

    def put_first(self, ticket: Ticket, now: float) -> None:
        """Put a request that was in flight at the front of its lane: what was begun is finished first.

        A redirect's next hop, so that few requests at a time are between two hops, which is what a crash would repeat;
        and one to be sent again, as its socket was dead.
        """
        self._owners.count(ticket, 1)
        self._ring.bring_back(ticket, now)

    def park(self, ticket: Ticket, until: float) -> None:
        """Keep a request, no longer in flight, aside; at `until` it comes to the front of its lane.

        It is to be retried, for which the retry budget then has to have a token.
        """
        ticket.is_retry = self._retries is not None
        self._parked.park(ticket, until)

    def hold(self, ticket: Ticket, for_what: Hashable) -> None:
        """Keep a request aside until `free` is called for what it waits for."""
        self._parked.hold(ticket, for_what)

    def free(self, for_what: Hashable) -> list[Ticket]:
        """Remove and return the requests that were held for it."""
        return self._parked.free(for_what)

    def bring_back(self, tickets: Collection[Ticket], now: float) -> None:
        """Put requests that were freed at the front of their lanes, the first of them first."""
        for ticket in tickets:
            self._owners.count(ticket, 1)
        self._ring.bring_all_back(tickets, now)

    def pause(self, name: str, until: float, now: float, *, refuse: bool = False) -> bool:
        """Let nothing be sent to a host before `until`; with `refuse`, its requests end unsent meanwhile.

        Requests in flight go on. Afterwards the host starts with one request at a time, and gets one more after each
        round of them (as TCP avoids congestion, RFC 5681, section 3.1), so that those who waited are not sent as a
        herd that is refused again. Where its rate is learned, that paces them: but what processes share starts anew
        all the same, as each of them knows only itself. Returns whether this is a new pause, as a burst of refusals is
        one.
        """
        host = self._register.host(name, now)
        if self._shared is not None and not refuse:  # other processes could only wait, not refuse: the host tells each
            self._shared.pause(name, until, now)
        is_new = host.pause(until, now, refuse=refuse)
        self._ring.let_refusals_go(host, now)
        self._register.retire(host, now)
        return is_new

    def hear(self, name: str, answer: Answer, now: float) -> bool | None:
        """Learn from the answer to a send. True: its host's circuit has opened; False: it has closed; None: neither."""
        host = self._hosts[name]
        if host.rate is not None or host.connections is not None:
            host.learn(answer, now)
            if host.timed is not None:
                self._ring.enlist(host.timed, now)  # its slot may come earlier now
            self._ring.offer(host, now)
        change = host.hear(answer, now, fails_fast=self._fails_fast)
        if change:
            self._ring.let_refusals_go(host, now)
        return change

    # -- what goes out ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Ticket | None:
        """Take the next request that may be sent now, with all that it needs; None if there is none."""
        while self.has_ready(now):
            lane = self._lanes[0]
            line = lane.line(now)
            ticket = line[0]
            shared = self._shared
            if shared is not None and (lane.host.refused_until > now or ticket.is_cancelled()):
                shared = None  # what will not be sent is to cost no slot
            granted_at = now if shared is None else self._head.take_shared(shared, now)
            if granted_at is None:
                # All hosts wait for what is missing, and this lane does so for them; or only this one does.
                if not self._head.may_go(now):
                    return None
                self._ring.deny(now)
                continue
            # Asked last: a future that has been claimed can be neither cancelled nor claimed again.
            if ticket.is_wanted():
                self._head.grant(lane, line, now, granted_at)
                return ticket
            if shared is not None:
                shared.give_back(ticket.host, now)
            lane.pop(line)
            self._owners.count(ticket, -1)
        if not self._lanes:
            self._ring.since = None
        return None

    def resume(self, owner: Owner, now: float) -> None:
        """Bring back what was put aside while `owner` was full or had no room."""
        self._owners.resume(owner, now)

    def give_places(self, owner: Owner, places: int, now: float) -> None:
        """Give back places of an owner that needs receipts: these have come, or nothing was sent."""
        self._owners.give_places(owner, places, now)

    def urge(self, ticket: Ticket, now: float) -> None:
        """Bring back one request that was put aside: its full owner awaits just that one."""
        self._owners.urge(ticket, now)

    def release(
        self, name: str, now: float, *, since: float | None = None, failed: bool = False, was_refused: bool = False
    ) -> None:
        """Give back the place of a request or a caller that is no longer in flight.

        `since`: when a request was sent. `failed`: no answer has come. `was_refused`: it was to end unsent, and has
        taken nothing that is shared.
        """
        host = self._hosts[name]
        places = self._places
        # Before the place is given back: until now, who stood ready was waiting for it, and not for a slot.
        if places.are_taken:
            self._head.note_want(now)
        if places.taken >= places.sockets:
            self._ring.since = None
        was_slow = host.is_slow
        took = None if since is None or was_refused else now - since
        places.give_back(host, took, now, failed=failed)
        if was_slow and (not host.is_slow or places.may_try(host)):
            for lane in host.lanes.values():
                lane.stands_back = False
                self._ring.enlist(lane, now)
        if self._shared is not None and not was_refused:
            self._shared.give_back(name, now)
            if self._ring.denied:
                self._ring.ask_again(host, now)
        # Before its places are offered: there may be one more.
        starts_anew = host.places < host.most and now >= host.not_before
        if starts_anew and not was_refused and (host.circuit is None or host.circuit.is_closed):
            host.grow()
        if host.waiting:
            self._ring.offer(host, now)
        if not host.in_flight and not host.queued:
            self._register.retire(host, now)

    def has_ready(self, now: float) -> bool:
        """Whether `next` would give a request now, unless nobody wants it any more."""
        ring = self._ring
        if ring.timers or ring.in_line or self._parked.heap or self._register.resting:
            self._ripen(now)  # first: what it brings back may go to the head of the ring
        if not self._head.bring_forward(now) or self._places.taken >= self._places.sockets:
            return False
        return self._head.may_go(now)

    def needs_more_hosts(self, now: float) -> bool:
        """Whether workers will soon be idle with what may be sent to the hosts that are known."""
        needed = self._ahead
        self._ripen(now)
        self._head.bring_forward(now)
        for lane in self._lanes:
            needed -= len(lane.queue) + len(lane.retries)
            if needed <= 0:
                return False
        return True

    def wakes_at(self, now: float) -> float | None:
        """When to look again if nothing else happens; None if only something else can help. May lie in the past."""
        may_send = self._head.bring_forward(now)
        wake = min(self._ring.wakes_at(), self._parked.wakes_at())
        if may_send and self._places.taken < self._places.sockets:
            wake = min(wake, self._head.wakes_at(now))
        if not self._lanes and not self._places.are_taken:
            slow_at = self._places.wakes_at(now)
            if slow_at is not None:
                wake = min(wake, slow_at)
        return None if wake == NEVER else wake

    def hold_ups(self, at: float, otherwise: Wait) -> Reasons:
        """What requests waited for at a time since when nothing has changed: those that are queued, or else the parked.

        `otherwise`: what those waited for that could be sent.
        """
        return self._hold_ups.seen(at, otherwise)

    def survey(self, now: float) -> Hosts:
        """How the hosts are."""
        return survey(self._hosts.values(), now)

    def discard(self, is_unwanted: Callable[[Ticket], bool], now: float) -> list[Ticket]:
        """Remove, and return, the waiting requests that `is_unwanted` picks. Those in flight stay."""
        gone: list[Ticket] = []
        for host in [*self._hosts.values()]:
            for lane in [*host.lanes.values()]:
                gone += lane.discard(is_unwanted)
                if lane.is_empty and not lane.listed:
                    self._register.drop(lane)
            self._register.retire(host, now)
        gone += self._owners.discard(is_unwanted)
        for ticket in gone:
            self._owners.count(ticket, -1)
        # Only now, as these do not count as queued.
        gone += self._parked.discard(is_unwanted)
        self._ring.forget_empty(now)
        return gone

    # -- callers: threads that send for themselves ------------------------------------------------------------------

    def enter(self, caller: Caller, now: float) -> None:
        """Let a caller wait for leave; `admit` gives it."""
        self._callers.enter(caller, now)

    def admit(self, now: float, *, all_busy: bool) -> None:
        """Admit the waiting callers that may send now, and tell those whose host wants no request.

        Slots and places go to callers and requests in turn, if this is asked before `next` is. With every worker busy
        (`all_busy`) nobody may be left to take a request, so callers do not stand back for one: they could wait for
        each other forever.
        """
        # First: a request without room for receipts must not hold callers up, as its receipts may never come.
        self._head.bring_forward(now)
        self._callers.admit(now, all_busy=all_busy)

    def withdraw(self, caller: Caller, now: float) -> None:
        """Take back a caller that gave up waiting, or that has sent."""
        if caller.admitted and not caller.has_place:
            self.release(caller.host, now)
        else:
            self._callers.leave(caller, now)

    def keep_pace(self, name: str, pace: Limiter, now: float) -> None:
        """Let `pace` give slots to all of a host's requests, beside its budget."""
        self._register.host(name, now).keep_pace(pace)

    def refusal(self, name: str, now: float) -> tuple[float, bool] | None:
        """Until when a host wants no request at all, and whether that is its circuit breaker's doing; or None."""
        return self._register.refusal(name, now)

    @property
    def queued(self) -> int:
        """How many requests wait for their turn."""
        return self._owners.queued

    @property
    def parked(self) -> int:
        """How many requests wait for a time, or are held."""
        return len(self._parked)

    @property
    def in_flight(self) -> int:
        """How many requests and callers are sending."""
        return self._places.taken

    @property
    def host_count(self) -> int:
        """How many hosts have something queued, in flight, paused or still being counted."""
        return len(self._hosts)

    @property
    def lane_count(self) -> int:
        """How many lanes there are, those of keys included."""
        return sum(len(host.lanes) for host in self._hosts.values())

    @property
    def is_idle(self) -> bool:
        """Whether no request is queued, parked or in flight, and no caller waits."""
        return not (self.queued or self.parked or self.in_flight or self.callers)

    def _ripen(self, now: float) -> None:
        """Bring back what waited for a time that has come."""
        ring, parked, resting = self._ring, self._parked, self._register.resting
        while ring.timers or parked.heap:  # in the order of their times
            at = parked.heap[0][0] if parked.heap else NEVER
            if ring.timers and ring.timers[0][0] <= min(now, at):
                ring.ripen(now)
            elif at <= now:
                ticket = parked.pop()
                self._owners.count(ticket, 1)
                ticket.ripe_at = now
                ring.bring_back(ticket, now)
            else:
                break
        if ring.in_line:
            ring.serve_line(now)
        if resting:
            self._register.ripen(now)

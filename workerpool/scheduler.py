"""Which request may be sent now: a lane per host, budgets, pauses, and fairness between hosts.

The scheduler decides and returns; it performs nothing, waits for nothing and reads no clock. It has no lock: whoever
calls it holds one lock for all of it (the crew does), so one admission takes the host's place, the pool's place and
both slots together or none of them.

A request is in exactly one state here: queued in its lane, parked until a time, or in flight. Lanes with something to
send *now* stand in a ring and are served in turn, one request each, so a host with a million requests delays a host
with one by one send. What waits for a time (a parked request, a lane's pause, a lane's slot) stands in one heap.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from workerpool.config import Budgets
from workerpool.lanes import Lane
from workerpool.limits import MemoryLimiter
from workerpool.tickets import NEVER, Caller, Owner, Ticket


class Scheduler:
    """Lanes, the ring of those that may send, and the heap of what waits for a time. All times are the clock's."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._limiter = MemoryLimiter(budgets.rate, budgets.burst) if budgets.rate else None
        self._lanes: dict[str, Lane] = {}
        self._ring: deque[Lane] = deque()
        self._heap: list[tuple[float, int, Lane | Ticket]] = []
        self._resting: list[tuple[float, int, Lane]] = []  # empty lanes, by when they may be forgotten; wakes nobody
        self._order = count()
        self.callers: deque[Caller] = deque()
        self._aside: dict[Owner, deque[Ticket]] = {}  # queued requests of owners that are full, oldest first
        self._callers_first = True  # whose turn it is, where callers and the ring want the same slot or place
        self._since: float | None = None  # since when the ring has waited for slots without a break
        self.queued = 0
        self.parked = 0
        self.in_flight = 0

    # -- what comes in ------------------------------------------------------------------------------------------------

    def add(self, ticket: Ticket, now: float) -> None:
        """Put a new request at the end of its host's lane."""
        lane = self._lane(ticket.host)
        lane.queue.append(ticket)
        self._count(ticket, 1)
        self._enlist(lane, now)

    def put_first(self, ticket: Ticket, now: float) -> None:
        """Put a request that was in flight at the front of its lane: what was begun is finished first.

        A redirect's next hop, so that few requests at a time are between two hops, which is what a crash would repeat;
        and one to be sent again, as its socket was dead.
        """
        self._count(ticket, 1)
        self._bring_back(ticket, now)

    def park(self, ticket: Ticket, until: float) -> None:
        """Keep a request, no longer in flight, aside; at `until` it comes to the front of its lane."""
        self.parked += 1
        heapq.heappush(self._heap, (until, next(self._order), ticket))

    def pause(self, host: str, until: float, now: float, *, refuse: bool = False) -> bool:
        """Let nothing be sent to `host` before `until`; with `refuse`, its requests end unsent meanwhile.

        Requests in flight go on. Afterwards the host starts with one request at a time, and gets one more after each
        round of them (as TCP avoids congestion, RFC 5681, section 3.1), so that those who waited are not sent as a
        herd that is refused again. Returns whether this is a new pause: a burst of refusals is one.
        """
        lane = self._lane(host)
        is_new = max(lane.not_before, lane.refused_until) <= now
        if refuse:
            lane.refused_until = max(lane.refused_until, until)
        else:
            lane.not_before = max(lane.not_before, until)
        lane.shrink()
        if refuse and lane.listed:
            self._ring.remove(lane)
            self._ring.appendleft(lane)
        self._retire(lane, now)
        return is_new

    # -- what goes out ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Ticket | None:
        """Take the next request that may be sent now, with its place and its slots; None if there is none."""
        while self.has_ready(now):
            lane = self._ring[0]
            ticket = lane.queue[0]
            # Asked last: a future that has been claimed can be neither cancelled nor claimed again.
            if ticket.is_wanted():
                self._grant(lane, ticket, now)
                return ticket
            lane.queue.popleft()
            self._count(ticket, -1)
        if not self._ring:
            self._since = None
        return None

    def resume(self, owner: Owner, now: float) -> None:
        """Bring back what was put aside while `owner` was full or had no room, lanes in the order in which they stood.

        In another order, lanes that come last could do so each time, and never get their turn.
        """
        aside = self._aside.pop(owner, None)
        if aside is None:
            return
        for ticket in reversed(aside):
            self._lane(ticket.host).queue.appendleft(ticket)
        for host in dict.fromkeys(ticket.host for ticket in aside):
            self._enlist(self._lane(host), now)

    def make_room(self, owner: Owner, places: int, now: float) -> None:
        """Give back places of an owner that needs receipts: these have come, or nothing was sent."""
        owner.room += places
        self.resume(owner, now)

    def urge(self, ticket: Ticket, now: float) -> None:
        """Bring back one request that was put aside: its full owner awaits just that one."""
        assert ticket.owner is not None
        aside = self._aside.get(ticket.owner)
        if aside is not None and ticket in aside:
            aside.remove(ticket)
            self._bring_back(ticket, now)

    def release(self, host: str, now: float) -> None:
        """Give back the place of a request or a caller that is no longer in flight."""
        lane = self._lanes[host]
        if lane.in_flight >= lane.places:
            lane.since = None  # it waited for a place, not for a slot
        if self.in_flight >= self._budgets.max_connections:
            self._since = None
        lane.in_flight -= 1
        self.in_flight -= 1
        if lane.places < self._budgets.host_connections and now >= lane.not_before:
            lane.grow()
        if lane.queue:
            self._enlist(lane, now)
        elif not lane.in_flight:
            self._retire(lane, now)

    def has_ready(self, now: float) -> bool:
        """Whether `next` would give a request now, unless nobody wants it any more."""
        if self._heap or self._resting:
            self._ripen(now)
        if not self._prune(now) or self.in_flight >= self._budgets.max_connections:
            return False
        return self._limiter is None or self._head_may_go(now)

    def is_starved(self, now: float) -> bool:
        """Whether no host that is known may be sent to now, while the pool might: only other hosts could use it."""
        self._ripen(now)
        self._prune(now)
        return not self._ring and self.in_flight < self._budgets.max_connections

    def wakes_at(self, now: float) -> float | None:
        """When to look again if nothing else happens; None if only something else can help. May lie in the past."""
        may_send = self._prune(now)
        wake = self._heap[0][0] if self._heap else NEVER
        if may_send and self.in_flight < self._budgets.max_connections:
            if self._head_may_go(now):
                return now
            if self._limiter is not None:
                wake = min(wake, self._limiter.next_at(self._head_weight()) + self._limiter.grouping)
        return None if wake == NEVER else wake

    def discard(self, is_unwanted: Callable[[Ticket], bool], now: float) -> list[Ticket]:
        """Remove, and return, the queued and parked requests that `is_unwanted` picks. Those in flight stay."""
        gone: list[Ticket] = []
        for lane in [*self._lanes.values()]:
            picked, kept = _parted(lane.queue, is_unwanted)
            if picked:
                lane.queue = kept
                gone += picked
                self._retire(lane, now)
        for owner, aside in [*self._aside.items()]:
            picked, kept = _parted(aside, is_unwanted)
            gone += picked
            if kept:
                self._aside[owner] = kept
            else:
                del self._aside[owner]
        for ticket in gone:
            self._count(ticket, -1)
        parked = [item for _, _, item in self._heap if isinstance(item, Ticket) and is_unwanted(item)]
        if parked:
            unwanted = set(map(id, parked))
            self._heap = [entry for entry in self._heap if id(entry[2]) not in unwanted]
            self.parked -= len(parked)
        for _, _, item in self._heap:
            if isinstance(item, Lane) and not item.queue:
                item.timer = NEVER  # or the alarm would wait for a lane that has nothing to send
        self._heap = [entry for entry in self._heap if not (isinstance(entry[2], Lane) and not entry[2].queue)]
        heapq.heapify(self._heap)
        return gone + parked

    # -- callers: threads that send for themselves ------------------------------------------------------------------

    def enter(self, caller: Caller) -> None:
        """Let a caller wait for leave; `admit` gives it."""
        self._lane(caller.host).callers += 1
        self.callers.append(caller)

    def admit(self, now: float, *, all_busy: bool) -> None:
        """Admit the waiting callers that may send now.

        Slots and places go to callers and requests in turn, if this is asked before `next` is. With every worker busy
        (`all_busy`) nobody may be left to take a request, so callers do not stand back for one: they could wait for
        each other forever.
        """
        self._prune(now)  # nor for one that waits for receipts: those may never come
        for caller in [*self.callers]:
            wakes_at = self._admits_at(caller, now, all_busy)
            if wakes_at <= now:
                self._admit(caller, now)
            elif wakes_at != caller.wakes_at:
                caller.wakes_at = wakes_at
                caller.notify()

    def withdraw(self, caller: Caller, now: float) -> None:
        """Take back a caller that gave up waiting, or that has sent."""
        if caller.admitted:
            if not caller.has_place:
                self.release(caller.host, now)
            return
        self.callers.remove(caller)
        lane = self._lane(caller.host)
        lane.callers -= 1
        self._retire(lane, now)

    def refusal(self, host: str, now: float) -> float | None:
        """Until when `host` wants no request at all; None if it takes them."""
        lane = self._lanes.get(host)
        return lane.refused_until if lane is not None and lane.refused_until > now else None

    @property
    def lanes(self) -> int:
        """How many hosts have something queued, in flight, paused or still being counted."""
        return len(self._lanes)

    @property
    def is_idle(self) -> bool:
        """Whether no request is queued, parked or in flight, and no caller waits."""
        return not (self.queued or self.parked or self.in_flight or self.callers)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _lane(self, host: str) -> Lane:
        lane = self._lanes.get(host)
        if lane is None:
            rate = self._budgets.host_rate
            lane = self._lanes[host] = Lane(
                host, self._budgets.host_connections, MemoryLimiter(rate, self._budgets.burst) if rate else None
            )
        return lane

    def _enlist(self, lane: Lane, now: float) -> None:
        """Put a lane into the ring if it may send now, or into the heap for when it may."""
        if lane.listed or not lane.queue or lane.in_flight >= lane.places:
            return
        if lane.since is None:
            lane.since = now
        if lane.head_at is None:
            lane.head_at = now
        if lane.is_open(now):
            lane.listed = True
            if lane.refused_until > now:
                self._ring.appendleft(lane)  # its requests end unsent: they need not wait for anybody's slot
            else:
                self._ring.append(lane)
            if self._since is None:
                self._since = now
        else:
            self._set_timer(lane, lane.opens_at(now))

    def _unlist(self, lane: Lane, now: float) -> None:
        """Take the ring's first lane out, as it may not send now."""
        self._ring.popleft()
        lane.listed = False
        self._enlist(lane, now)
        self._retire(lane, now)

    def _prune(self, now: float) -> bool:
        """Bring a request that may be sent, slots apart, to the head of the ring; whether there is one.

        Lanes stand there that a pause or a discard has closed since, and requests whose owner has become full, or has
        no room. These stand in nobody's way, but stay where they are if nobody else waits: for a stream by itself this
        happens all the time.
        """
        while self._ring:
            lane = self._ring[0]
            if not lane.is_open(now):
                self._unlist(lane, now)
                continue
            ticket = lane.queue[0]
            owner = ticket.owner
            if owner is None or (ticket is owner.awaited if owner.is_full else owner.room > 0):
                return True
            if not owner.is_full and owner.queued == self.queued and not self.callers:
                return False
            self._aside.setdefault(owner, deque()).append(lane.queue.popleft())

        return False

    def _head_may_go(self, now: float) -> bool:
        """Whether the pool's budget lets the head of the ring go: its slot has come, or its refusal needs none."""
        if self._limiter is None or self._ring[0].refused_until > now:
            return True
        return self._limiter.next_at(self._head_weight()) <= now

    def _head_weight(self) -> int:
        queue = self._ring[0].queue
        return queue[0].request.weight if queue else 1

    def _grant(self, lane: Lane, ticket: Ticket, now: float) -> None:
        """Take the head of the ring's first lane: its place, and its slots unless it is refused."""
        refused = lane.refused_until > now
        self._ring.popleft()
        lane.listed = False
        lane.queue.popleft()
        lane.in_flight += 1
        lane.callers_turn = True
        self.queued -= 1
        self.in_flight += 1
        owner = ticket.owner
        if owner is not None and owner.needs_receipts:
            owner.queued -= 1
            owner.room -= 1
            ticket.holds_place = True
        ticket.started = True
        ticket.granted_at = now
        ticket.refused_until = lane.refused_until if refused else None
        self._callers_first = True
        if lane.head_at is not None:
            is_limited = self._limiter is not None or lane.limiter is not None or lane.not_before > lane.head_at
            ticket.slot_wait = now - lane.head_at if is_limited else 0.0
            lane.head_at = None
        if not refused:
            if self._limiter is not None:
                ticket.granted_at = self._since = _taken(self._limiter, now, ticket.request.weight, self._since)
            if lane.limiter is not None:
                lane.since = _taken(lane.limiter, now, ticket.request.weight, lane.since)
        if lane.queue:
            self._enlist(lane, now)
        else:
            lane.since = None
        if not self._ring:
            self._since = None

    def _admits_at(self, caller: Caller, now: float, all_busy: bool) -> float:
        """When a caller may be admitted; `NEVER` if that hangs on something else than time."""
        lane = self._lane(caller.host)
        if not caller.has_place:
            if self.in_flight >= self._budgets.max_connections or lane.in_flight >= lane.places:
                return NEVER
            requests_first = (lane.queue and not lane.callers_turn) or (self._ring and not self._callers_first)
            if requests_first and not all_busy:
                return NEVER
        at = max(now, lane.not_before)
        for limiter in (lane.limiter, self._limiter):
            if limiter is not None:
                at = max(at, limiter.next_at())
        return at

    def _admit(self, caller: Caller, now: float) -> None:
        lane = self._lane(caller.host)
        self.callers.remove(caller)
        lane.callers -= 1
        self._callers_first = False
        if not caller.has_place:
            lane.callers_turn = False
            lane.in_flight += 1
            self.in_flight += 1
        for limiter in (lane.limiter, self._limiter):
            if limiter is not None:
                _taken(limiter, now, 1, caller.since)
        caller.admitted = True
        caller.notify()

    def _ripen(self, now: float) -> None:
        """Bring back what waited for a time that has come."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            item = heapq.heappop(heap)[2]
            if isinstance(item, Ticket):
                self.parked -= 1
                self._count(item, 1)
                self._bring_back(item, now)
            else:
                item.timer = NEVER
                self._enlist(item, now)
        while self._resting and self._resting[0][0] <= now:
            lane = heapq.heappop(self._resting)[2]
            lane.rests = False
            self._retire(lane, now)

    def _count(self, ticket: Ticket, by: int) -> None:
        """Count a request that begins or ends to wait in its lane."""
        self.queued += by
        owner = ticket.owner
        if owner is not None and owner.needs_receipts:
            owner.queued += by

    def _bring_back(self, ticket: Ticket, now: float) -> None:
        """Put a request that was here before at the front of its lane."""
        lane = self._lane(ticket.host)
        lane.queue.appendleft(ticket)
        self._enlist(lane, now)

    def _set_timer(self, lane: Lane, at: float) -> None:
        if at < lane.timer:
            lane.timer = at
            heapq.heappush(self._heap, (at, next(self._order), lane))

    def _retire(self, lane: Lane, now: float) -> None:
        """Forget a lane that holds nothing, or look again when its pause and its bucket are over."""
        if lane.queue or lane.in_flight or lane.callers or lane.listed or self._lanes.get(lane.host) is not lane:
            return
        over = max(lane.not_before, lane.refused_until)
        if lane.limiter is not None:
            over = max(over, lane.limiter.rests_at())
        if over <= now:
            del self._lanes[lane.host]
        elif not lane.rests:
            lane.rests = True
            heapq.heappush(self._resting, (over, next(self._order), lane))


def _taken(limiter: MemoryLimiter, now: float, weight: int, since: float | None) -> float:
    """Take a slot that was seen to be free, under the lock that has been held ever since; returns its time."""
    time = limiter.try_take(now, weight, since=since)
    assert time is not None
    return time


def _parted(tickets: deque[Ticket], is_unwanted: Callable[[Ticket], bool]) -> tuple[list[Ticket], deque[Ticket]]:
    """The unwanted tickets, and the others. Each is asked about once: the answer may change between two questions, as a
    future may be cancelled, or a stream left, on any thread at any time."""
    picked, kept = list[Ticket](), deque[Ticket]()
    for ticket in tickets:
        (picked if is_unwanted(ticket) else kept).append(ticket)
    return picked, kept

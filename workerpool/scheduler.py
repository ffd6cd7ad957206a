"""Which request may be sent now: lanes per host and key, budgets, pauses, and fairness between hosts.

The scheduler decides and returns; it performs nothing, waits for nothing and reads no clock. It has no lock: whoever
calls it holds one lock for all of it (the crew does). So one admission takes everything that a send needs, or nothing:
the host's place and the pool's, the slots of the pool, the host and the key, and a retry's token. What other
processes share is taken first, as that alone may fail.

A request is in exactly one state here: queued in its lane, parked until a time, held until something is known, or in
flight. Lanes with something to send *now* stand in a ring and are served in turn, one request each, so a host with a
million requests delays a host with one by one send. What waits for a time (a parked request, a lane's pause, a lane's
slot, a token) stands in one heap; lanes that wait for a place of their host wait in line there, and those of slow
hosts stand back while others want all of the pool's places (`workerpool.slow_hosts`).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import count, islice

from workerpool.clock import NEVER
from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.hosts import Host
from workerpool.lanes import Lane
from workerpool.limits import Answer, Circuit, Limiter, MemoryLimiter, RetryTokens, Shared
from workerpool.meter import Reasons, Wait
from workerpool.slow_hosts import SlowHosts
from workerpool.tickets import Caller, Owner, Ticket

POOLS_SHARE = 4
"""Hosts' retry budgets that the pool's is worth: one host cannot take what the others need."""

QUOTAS = 1_000
"""Keys whose quotas are kept before those that rest are looked for."""

SOON = 0.001
"""Seconds until a budget that other processes share is asked again, if it was spent between a look and a grab."""

RETRIED = 2
"""Lanes of other hosts that wait for what processes share, and ask again when a send ends: it may have left a place."""

ASKED = 4
"""Lanes without a token that are asked after each first try whether there is one for them; time asks the others."""


class Scheduler:
    """Lanes, the ring of those that may send, and the heap of what waits for a time. All times are the clock's.

    `floor`: the tokens that a host's retry budget begins with. `places`: how many requests whoever calls it has in
    flight at most, which slow hosts then do not keep from the others; None if that is not known.
    """

    def __init__(
        self,
        budgets: Budgets,
        *,
        retries: RetryBudget | None = None,
        floor: float = 0.0,
        breaker: Breaker | None = None,
        shared: Shared | None = None,
        places: int | None = None,
    ) -> None:
        self._budgets = budgets if shared is None or budgets.learns_rate else replace(budgets, host_rate=None)
        self._retries = retries
        self._floor = floor
        self._breaker = breaker
        self._shared = shared
        self._places = NEVER if places is None else min(places, budgets.max_connections)
        self._slow = None if places is None else SlowHosts(min(places, budgets.max_connections))
        self._limiter = MemoryLimiter(budgets.rate, budgets.burst) if budgets.rate and shared is None else None
        self._tokens: RetryTokens | None = None  # the pool's retry budget, once there is a host
        self._hosts: dict[str, Host] = {}
        self._quotas: dict[str, MemoryLimiter] = {}  # by key
        self._quotas_kept = QUOTAS
        self._ring: deque[Lane] = deque()
        self._heap: list[tuple[float, int, Lane | Ticket]] = []
        self._resting: list[tuple[float, int, Host]] = []  # idle hosts, by when they may be forgotten; wakes nobody
        self._tokenless: dict[Lane, None] = {}  # lanes with nothing but retries, and no token for these
        self._in_line: dict[Lane, None] = {}  # those of them that wait for the pool's: only the first is woken
        self._denied: dict[Lane, None] = {}  # lanes that wait for what other processes share
        self._held: dict[str, deque[Ticket]] = {}  # requests aside, by what they wait for
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
        """Put a new request at the end of its lane."""
        lane = self._lane_of(ticket, now)
        lane.queue.append(ticket)
        lane.host.queued += 1
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
        """Keep a request, no longer in flight, aside; at `until` it comes to the front of its lane.

        It is to be retried, for which the retry budget then has to have a token.
        """
        ticket.is_retry = self._retries is not None
        self.parked += 1
        heapq.heappush(self._heap, (until, next(self._order), ticket))

    def hold(self, ticket: Ticket, name: str) -> None:
        """Keep a request aside until `free` is called for `name`."""
        self.parked += 1
        self._held.setdefault(name, deque()).append(ticket)

    def free(self, name: str) -> list[Ticket]:
        """Remove and return the requests that were held for `name`."""
        freed = [*self._held.pop(name, ())]
        self.parked -= len(freed)
        return freed

    def pause(self, name: str, until: float, now: float, *, refuse: bool = False) -> bool:
        """Let nothing be sent to a host before `until`; with `refuse`, its requests end unsent meanwhile.

        Requests in flight go on. Afterwards the host starts with one request at a time, and gets one more after each
        round of them (as TCP avoids congestion, RFC 5681, section 3.1), so that those who waited are not sent as a
        herd that is refused again. Where its rate is learned, that paces them: but what processes share starts anew
        all the same, as each of them knows only itself. Returns whether this is a new pause, as a burst of refusals is
        one.
        """
        host = self._host(name, now)
        is_new = max(host.not_before, host.refused_until) <= now
        if self._shared is not None and not refuse:  # other processes could only wait, not refuse: the host tells each
            self._shared.pause(name, until, now)
        if refuse:
            host.is_broken = host.is_broken and host.refused_until > now
            host.refused_until = max(host.refused_until, until)
        else:
            host.not_before = max(host.not_before, until)
        if host.rate is None:
            host.shrink()
        self._let_refusals_go(host, now)
        self._retire(host, now)
        return is_new

    def hear(self, name: str, answer: Answer, now: float) -> bool | None:
        """Learn from the answer to a send. True: its host's circuit has opened; False: it has closed; None: neither."""
        host = self._hosts[name]
        if host.rate is not None or host.connections is not None:
            host.learn(answer, now)
            if host.timed is not None:
                self._enlist(host.timed, now)  # its slot may come earlier now
            self._offer(host, now)
        if host.circuit is None:
            return None
        failed = answer.status is None or answer.status >= 500
        change = host.circuit.hear(failed, answer.sent_at, now)
        if change and host.circuit.open_until is not None:
            host.shrink()
            if self._breaker is not None and self._breaker.fails_fast:
                host.is_broken = True
                host.refused_until = max(host.refused_until, host.circuit.open_until)
                self._let_refusals_go(host, now)
            else:
                host.not_before = max(host.not_before, host.circuit.open_until)
        return change

    # -- what goes out ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Ticket | None:
        """Take the next request that may be sent now, with all that it needs; None if there is none."""
        while self.has_ready(now):
            lane = self._ring[0]
            line = lane.line(now)
            ticket = line[0]
            shared = self._shared
            if shared is not None and (lane.host.refused_until > now or ticket.is_cancelled()):
                shared = None  # what will not be sent is to cost no slot
            granted_at = now if shared is None else self._take_shared(shared, lane, ticket, now)
            if granted_at is None:
                if not self._head_may_go(now):
                    break  # all hosts wait for it, and this lane does so for them
                self._ring.popleft()
                self._set_unlisted(lane)
                self._denied[lane] = None
                self._set_timer(lane, max(self._opens_at(lane, now), now + SOON))
                continue
            # Asked last: a future that has been claimed can be neither cancelled nor claimed again.
            if ticket.is_wanted():
                self._grant(lane, line, ticket, now, granted_at)
                return ticket
            if shared is not None:
                shared.give_back(ticket.host, now)
            self._pop(lane, line)
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
        lanes: dict[Lane, None] = {}
        for ticket in aside:
            lanes[self._lane_of(ticket, now)] = None
        for ticket in reversed(aside):
            self._push_first(self._lane_of(ticket, now), ticket)
        for lane in lanes:
            self._enlist(lane, now)

    def make_room(self, owner: Owner, places: int, now: float) -> None:
        """Give back places of an owner that needs receipts: these have come, or nothing was sent."""
        owner.room += places
        self.resume(owner, now)

    def urge(self, ticket: Ticket, now: float) -> None:
        """Bring back one request that was put aside: its full owner awaits just that one."""
        aside = self._aside.get(ticket.owner)
        if aside is not None and ticket in aside:
            aside.remove(ticket)
            self._bring_back(ticket, now)

    def release(
        self, name: str, now: float, *, since: float | None = None, failed: bool = False, was_refused: bool = False
    ) -> None:
        """Give back the place of a request or a caller that is no longer in flight.

        `since`: when a request was sent. `failed`: no answer has come. `was_refused`: it was to end unsent, and has
        taken nothing that is shared.
        """
        host = self._hosts[name]
        if self.in_flight >= self._places:
            self._note_want(now)
        if self.in_flight >= self._budgets.max_connections:
            self._since = None
        host.in_flight -= 1
        self.in_flight -= 1
        if self._slow is not None:
            was_slow = host.is_slow
            took = None if since is None or was_refused else now - since
            self._slow.note_end(host, took, now, failed=failed)
            if was_slow and (not host.is_slow or self._slow.may_try(host)):
                for lane in host.lanes.values():
                    lane.stands_back = False
                    self._enlist(lane, now)
        if self._shared is not None and not was_refused:
            self._shared.give_back(name, now)
            if self._denied:
                self._ask_again(host, now)
        if host.places < host.most and now >= host.not_before and (host.circuit is None or host.circuit.is_closed):
            host.grow()
        if host.waiting:
            self._offer(host, now)
        if not host.in_flight and not host.queued:
            self._retire(host, now)

    def has_ready(self, now: float) -> bool:
        """Whether `next` would give a request now, unless nobody wants it any more."""
        if self._heap or self._resting or self._in_line:
            self._ripen(now)
        if not self._prune(now) or self.in_flight >= self._budgets.max_connections:
            return False
        return self._head_may_go(now)

    def is_starved(self, needed: int, now: float) -> bool:
        """Whether fewer requests than are needed stand in lanes that may send: other hosts could use the pool soon."""
        self._ripen(now)
        self._prune(now)
        for lane in self._ring:
            needed -= len(lane.queue) + len(lane.retries)
            if needed <= 0:
                return False
        return True

    def wakes_at(self, now: float) -> float | None:
        """When to look again if nothing else happens; None if only something else can help. May lie in the past."""
        may_send = self._prune(now)
        wake = self._heap[0][0] if self._heap else NEVER
        if self._in_line and self._tokens is not None:
            wake = min(wake, self._tokens.next_at())
        if may_send and self.in_flight < self._budgets.max_connections:
            if self._head_may_go(now):
                return now
            if self._limiter is not None:
                wake = min(wake, self._limiter.next_at(self._head_weight(now)) + self._limiter.grouping)
            elif self._shared is not None:
                wake = min(wake, self._shared.next_at(None, self._head_weight(now), now))
        if self._slow is not None and not self._ring and self.in_flight < self._places:
            slow_at = self._slow.wakes_at(now)
            if slow_at is not None:
                wake = min(wake, slow_at)
        return None if wake == NEVER else wake

    def hold_ups(self, at: float, otherwise: Wait) -> Reasons:
        """What requests waited for at a time since when nothing has changed: those that are queued, or else the parked.

        `otherwise`: what those waited for that could be sent.
        """
        found: dict[tuple[Wait, str], float] = {}
        ready = otherwise
        if self._shared is not None and (otherwise is Wait.READY or self._shared.next_at(None, 1, at) > at):
            ready = Wait.SHARED  # it is also what is missing where workers are free, and none may send
        for owner, aside in self._aside.items():
            if aside:
                found[_consumer_of(owner), ""] = found.get((_consumer_of(owner), ""), 0) + len(aside)
        for host in self._hosts.values():
            for lane in host.lanes.values():
                if not lane.is_empty:
                    key = self._hold_up(lane, at, otherwise, ready), host.name
                    found[key] = found.get(key, 0) + len(lane.queue) + len(lane.retries)
        for caller in self.callers:
            wait = self._hosts[caller.host].waits_for(at)
            key = self._pools_hold_up(1, at, ready) if wait is Wait.READY else wait, caller.host
            found[key] = found.get(key, 0) + 1
        return found or self._hold_ups_of_parked(at)

    def _hold_ups_of_parked(self, at: float) -> Reasons:
        found: dict[tuple[Wait, str], float] = {}
        for _, _, item in self._heap:
            if isinstance(item, Ticket):
                host = self._hosts.get(item.host)
                wait = Wait.READY if host is None else host.waits_for(at)
                key = wait if wait in (Wait.PAUSE, Wait.BREAKER) else Wait.BACKOFF, item.host
                found[key] = found.get(key, 0) + 1
        if self._held:
            found[Wait.ROBOTS, ""] = sum(map(len, self._held.values()))
        return found

    def _hold_up(self, lane: Lane, at: float, otherwise: Wait, ready: Wait) -> Wait:
        """`otherwise`: what it waits for if it needs no slot; `ready`: what, if it needs one and its host has one."""
        wait = lane.waits_for(at)
        if wait is not Wait.READY:
            return wait
        ticket = lane.queue[0] if lane.queue else lane.retries[0]
        if not ticket.owner.lets(ticket):
            return _consumer_of(ticket.owner)
        if lane.host.refused_until > at:  # what ends unsent needs no slot
            return Wait.SOCKETS if self.in_flight >= self._budgets.max_connections else otherwise
        if lane.stands_back:
            return Wait.WORKERS
        is_denied = lane in self._denied and not lane.listed
        return self._pools_hold_up(ticket.request.weight, at, Wait.SHARED if is_denied else ready)

    def _pools_hold_up(self, weight: int, at: float, ready: Wait) -> Wait:
        if self.in_flight >= self._budgets.max_connections:
            return Wait.SOCKETS
        if self._limiter is not None and self._limiter.next_at(weight) > at:
            return Wait.RATE
        return ready

    def discard(self, is_unwanted: Callable[[Ticket], bool], now: float) -> list[Ticket]:
        """Remove, and return, the waiting requests that `is_unwanted` picks. Those in flight stay."""
        gone: list[Ticket] = []
        for host in [*self._hosts.values()]:
            for lane in [*host.lanes.values()]:
                picked, lane.queue = _parted(lane.queue, is_unwanted)
                host.queued -= len(picked)
                more, lane.retries = _parted(lane.retries, is_unwanted)
                gone += picked + more
                if lane.is_empty and not lane.listed:
                    self._drop_lane(lane)
            self._retire(host, now)
        for owner, aside in [*self._aside.items()]:
            picked, kept = _parted(aside, is_unwanted)
            gone += picked
            if kept:
                self._aside[owner] = kept
            else:
                del self._aside[owner]
        for ticket in gone:
            self._count(ticket, -1)
        for name, held in [*self._held.items()]:
            picked, kept = _parted(held, is_unwanted)
            self.parked -= len(picked)
            gone += picked
            if kept:
                self._held[name] = kept
            else:
                del self._held[name]
        parked = [item for _, _, item in self._heap if isinstance(item, Ticket) and is_unwanted(item)]
        if parked:
            unwanted = set(map(id, parked))
            self._heap = [entry for entry in self._heap if id(entry[2]) not in unwanted]
            self.parked -= len(parked)
        for _, _, item in self._heap:
            if isinstance(item, Lane) and item.is_empty:
                item.timer = NEVER  # or the alarm would wait for a lane that has nothing to send
        self._heap = [entry for entry in self._heap if not (isinstance(entry[2], Lane) and entry[2].is_empty)]
        heapq.heapify(self._heap)
        self._in_line = {lane: None for lane in self._in_line if not lane.is_empty}
        for host in [*self._hosts.values()]:
            if host.timed is not None and host.timed.is_empty:
                host.timed = None
            self._offer(host, now)  # who went may have been what the others stood behind
        return gone + parked

    # -- callers: threads that send for themselves ------------------------------------------------------------------

    def enter(self, caller: Caller, now: float) -> None:
        """Let a caller wait for leave; `admit` gives it."""
        self._host(caller.host, now).callers += 1
        self.callers.append(caller)

    def keep_pace(self, name: str, pace: Limiter, now: float) -> None:
        """Let `pace` give slots to all of a host's requests, beside its budget."""
        self._host(name, now).keep_pace(pace)

    def admit(self, now: float, *, all_busy: bool) -> None:
        """Admit the waiting callers that may send now, and tell those whose host wants no request.

        Slots and places go to callers and requests in turn, if this is asked before `next` is. With every worker busy
        (`all_busy`) nobody may be left to take a request, so callers do not stand back for one: they could wait for
        each other forever.
        """
        self._prune(now)  # nor for one that waits for receipts: those may never come
        for caller in [*self.callers]:
            if not caller.has_place and self.refusal(caller.host, now) is not None:
                caller.is_refused = True
                caller.notify()
                continue
            wakes_at = self._admits_at(caller, now, all_busy)
            if wakes_at <= now and self._admit(caller, now):
                continue
            if wakes_at <= now:
                wakes_at = self._admits_at(caller, now, all_busy)
            if wakes_at != caller.wakes_at:
                caller.wakes_at = wakes_at
                caller.notify()

    def withdraw(self, caller: Caller, now: float) -> None:
        """Take back a caller that gave up waiting, or that has sent."""
        if caller.admitted:
            if not caller.has_place:
                self.release(caller.host, now)
            elif caller.host in self._hosts:
                self._retire(self._hosts[caller.host], now)
            return
        self.callers.remove(caller)
        host = self._host(caller.host, now)
        host.callers -= 1
        self._retire(host, now)

    def refusal(self, name: str, now: float) -> tuple[float, bool] | None:
        """Until when a host wants no request at all, and whether that is its circuit breaker's doing; or None."""
        host = self._hosts.get(name)
        return (host.refused_until, host.is_broken) if host is not None and host.refused_until > now else None

    @property
    def hosts(self) -> int:
        """How many hosts have something queued, in flight, paused or still being counted."""
        return len(self._hosts)

    @property
    def lanes(self) -> int:
        """How many lanes there are, those of keys included."""
        return sum(len(host.lanes) for host in self._hosts.values())

    @property
    def is_idle(self) -> bool:
        """Whether no request is queued, parked or in flight, and no caller waits."""
        return not (self.queued or self.parked or self.in_flight or self.callers)

    # -- inside: hosts and lanes ------------------------------------------------------------------------------------

    def _host(self, name: str, now: float) -> Host:
        host = self._hosts.get(name)
        if host is None:
            circuit = None if self._breaker is None else Circuit(self._breaker)
            host = self._hosts[name] = Host(name, self._budgets, self._new_tokens(now), circuit)
        return host

    def _new_tokens(self, now: float) -> RetryTokens | None:
        rules = self._retries
        if rules is None:
            return None
        if self._tokens is None:
            self._tokens = RetryTokens(rules.share, POOLS_SHARE * rules.per_second, POOLS_SHARE * self._floor, now)
        return RetryTokens(rules.share, rules.per_second, self._floor, now, self._tokens)

    def _lane_of(self, ticket: Ticket, now: float) -> Lane:
        lane = self._lane(ticket.host, ticket.key, now)
        if ticket.pace is not None:
            lane.host.keep_pace(ticket.pace)
        return lane

    def _lane(self, name: str, key: str | None, now: float) -> Lane:
        host = self._hosts.get(name) or self._host(name, now)
        lane = host.lanes.get(key)
        if lane is None:
            lane = host.lanes[key] = Lane(host, key, self._quota(key, now))
        return lane

    def _quota(self, key: str | None, now: float) -> Limiter | None:
        rate = self._budgets.key_rate
        if key is None or rate is None:
            return None
        quota = self._quotas.get(key)
        if quota is None:
            if len(self._quotas) >= self._quotas_kept:
                used = {lane.key for host in self._hosts.values() for lane in host.lanes.values()}  # they hold theirs
                self._quotas = {
                    one: limiter for one, limiter in self._quotas.items() if one in used or limiter.rests_at > now
                }
                self._quotas_kept = max(QUOTAS, 2 * len(self._quotas))
            quota = self._quotas[key] = MemoryLimiter(rate, self._budgets.burst)
        return quota

    def _retire(self, host: Host, now: float) -> None:
        """Forget a host that holds nothing, or look again when its pause and its budgets are over."""
        if host.in_flight or host.callers or self._hosts.get(host.name) is not host:
            return
        for lane in host.lanes.values():
            if lane.listed or not lane.is_empty:
                return
        over = host.rests_at
        if over <= now:
            del self._hosts[host.name]
        elif not host.rests:
            host.rests = True
            heapq.heappush(self._resting, (over, next(self._order), host))

    # -- inside: the ring ---------------------------------------------------------------------------------------------

    def _enlist(self, lane: Lane, now: float, *, is_first: bool = False) -> None:
        """Put a lane into the ring if it may send now, in line for a place, or into the heap for when it may."""
        host = lane.host
        if lane.listed or lane.is_empty or lane.stands_back:
            return
        if host.timed is lane:
            host.timed = None
        has_to_wait = host.in_flight + host.listed >= host.places or host.timed is not None
        if has_to_wait and host.refused_until <= now:
            host.waiting[lane] = None
            lane.since = None  # from now on it waits for a place, not for a slot
            return
        if lane.since is None:
            lane.since = now
        if lane.head_at is None:
            lane.head_at = now
        if host.waiting:
            host.waiting.pop(lane, None)
        if self._is_open(lane, now):
            lane.listed = True
            host.listed += 1
            if is_first or host.refused_until > now:
                self._ring.appendleft(lane)  # its requests end unsent: they need not wait for anybody's slot
            else:
                self._ring.append(lane)
            if self._since is None:
                self._since = now
        else:
            at = self._opens_at(lane, now)
            if self._waits_for_pools_token(lane, at, now):
                self._in_line[lane] = None
                return
            self._set_timer(lane, at)
            if lane.own_at(now) <= now:
                host.timed = lane  # the others need not look: they would all be woken for the same slot
            if self._shared is not None:
                self._denied[lane] = None
            if not lane.queue and not host.may_retry(now):
                self._tokenless[lane] = None

    def _waits_for_pools_token(self, lane: Lane, at: float, now: float) -> bool:
        """Whether all that a lane waits for, until `at`, is what lanes of all hosts wait for: they stand in line."""
        if lane.queue or self._tokens is None or lane.host.may_retry(now):
            return False
        return at <= self._tokens.next_at()

    def _opens_at(self, lane: Lane, now: float) -> float:
        """When a lane may send, places apart; in the past if now."""
        at = lane.opens_at(now)
        if self._shared is not None and at <= now and lane.host.refused_until <= now:
            weight = lane.line(now)[0].request.weight
            at = self._shared.next_at(lane.host.name, weight, now)
            if at > now and self._shared.next_at(None, weight, now) >= at:
                return now  # it is what all hosts wait for, and the head of the ring does so for them
        return at

    def _is_open(self, lane: Lane, now: float) -> bool:
        if self._shared is None:
            return lane.is_open(now)
        return lane.is_open(now) and self._opens_at(lane, now) <= now

    def _offer(self, host: Host, now: float) -> None:
        """Give the host's free places to the lanes that wait for them, in their order."""
        while host.waiting and host.timed is None and host.in_flight + host.listed < host.places:
            lane = next(iter(host.waiting))
            del host.waiting[lane]
            self._enlist(lane, now)

    def _unlist(self, lane: Lane, now: float) -> None:
        """Take the ring's first lane out, as it may not send now."""
        self._ring.popleft()
        self._set_unlisted(lane)
        self._enlist(lane, now)
        self._offer(lane.host, now)
        self._retire(lane.host, now)

    def _set_unlisted(self, lane: Lane) -> None:
        lane.listed = False
        lane.host.listed -= 1
        if lane.is_empty:
            self._drop_lane(lane)

    def _let_refusals_go(self, host: Host, now: float) -> None:
        """Bring a host's requests to where they end unsent, if that is what is to become of them."""
        if host.refused_until <= now:
            return
        host.timed = None
        for lane in host.lanes.values():
            if lane.listed:
                self._ring.remove(lane)
                self._ring.appendleft(lane)
            else:
                lane.stands_back = False
                self._enlist(lane, now)

    def _prune(self, now: float) -> bool:
        """Bring a request that may be sent, slots apart, to the head of the ring; whether there is one.

        Lanes stand there that a pause or a discard has closed since, and requests whose owner has become full, or has
        no room. These stand in nobody's way, but stay where they are if nobody else waits: for a stream by itself this
        happens all the time.
        """
        slow = self._slow
        while True:
            if slow is not None and slow.has_waiting:
                self._let_forward(slow, now)
            if not self._ring:
                return False
            lane = self._ring[0]
            if not self._is_open(lane, now):
                self._unlist(lane, now)
                continue
            if slow is not None and self._stands_back(slow, lane, now):
                continue
            line = lane.line(now)
            ticket = line[0]
            owner = ticket.owner
            if (owner.room > 0 and not owner.is_full) or owner.lets(ticket):
                return True
            if not owner.is_full:
                self._note_want(now)
                if owner.queued == self.queued and not self.callers:
                    return False
            self._aside.setdefault(owner, deque()).append(self._pop(lane, line))

    def _let_forward(self, slow: SlowHosts, now: float) -> None:
        """Give its turn to a lane that stood back, if there is a place for it."""
        while not (self._ring and self._ring[0].host.is_slow):
            lane = slow.next(now)
            if lane is None:
                break
            self._enlist(lane, now, is_first=True)

    def _stands_back(self, slow: SlowHosts, lane: Lane, now: float) -> bool:
        """Take the ring's first lane out if its host is slow, and others want the places."""
        host = lane.host
        if not host.in_flight and not host.is_slow:
            return False
        if host.refused_until > now or not slow.must_wait(
            host, now, in_flight=self.in_flight, is_alone=len(self._hosts) == 1
        ):
            return False
        self._ring.popleft()
        lane.listed = False
        host.listed -= 1
        slow.put_back(lane, now)
        return True

    def _note_want(self, now: float) -> None:
        """Note that the ring's first lane stands ready in vain, if it is none of a slow host."""
        if self._slow is not None and self._ring and not self._ring[0].host.is_slow:
            self._slow.note_want(now)

    def _head_may_go(self, now: float) -> bool:
        """Whether the pool's budget lets the head of the ring go: its slot has come, or its refusal needs none."""
        if self._limiter is None:
            shared = self._shared
            if shared is None or self._ring[0].host.refused_until > now:
                return True
            return shared.next_at(None, self._head_weight(now), now) <= now
        return self._ring[0].host.refused_until > now or self._limiter.next_at(self._head_weight(now)) <= now

    def _head_weight(self, now: float) -> int:
        lane = self._ring[0]
        return 1 if lane.is_empty else lane.line(now)[0].request.weight

    # -- inside: one admission ----------------------------------------------------------------------------------------

    def _take_shared(self, shared: Shared, lane: Lane, ticket: Ticket, now: float) -> float | None:
        """Take what other processes share, all of it or nothing; returns the slot's time, None if it was not there."""
        time = shared.try_take(lane.host.name, ticket.request.weight, now, since=lane.since)
        if time is not None:
            lane.since = time
        return time

    def _ask_again(self, host: Host, now: float) -> None:
        """Let lanes ask again for what processes share, as a place has become free: the host's own, and some others."""
        asking = [lane for lane in host.lanes.values() if lane in self._denied]
        for lane in [*asking, *islice(self._denied, RETRIED)]:
            if lane in self._denied:
                del self._denied[lane]
                self._enlist(lane, now)  # which notes it again if it still has to wait

    def _grant(self, lane: Lane, line: deque[Ticket], ticket: Ticket, now: float, granted_at: float) -> None:
        """Take the head of the ring's first lane: its place, its slots, and its token, unless it is refused."""
        host = lane.host
        refused = host.refused_until > now
        self._ring.popleft()
        self._pop(lane, line)
        host.in_flight += 1
        host.callers_turn = True
        self.queued -= 1
        self.in_flight += 1
        if self._slow is not None:
            self._slow.note_send(host, now)
        owner = ticket.owner
        if owner.needs_receipts:
            owner.queued -= 1
            owner.room -= 1
            ticket.holds_place = True
        is_first = not ticket.started
        ticket.started = True
        ticket.granted_at = granted_at
        ticket.in_flight = host.in_flight
        ticket.refused_until = host.refused_until if refused else None
        ticket.is_circuit_open = refused and host.is_broken
        self._callers_first = True
        limits = lane.limits()
        if lane.head_at is not None:
            is_limited = self._limiter is not None or bool(limits) or host.not_before > lane.head_at
            ticket.slot_wait = now - lane.head_at if is_limited else 0.0
            lane.head_at = None
        if not refused:
            weight = ticket.request.weight
            if self._limiter is not None:
                ticket.granted_at = self._since = _taken(self._limiter, now, weight, self._since)
            if limits:
                since = lane.since
                for limiter in limits:
                    lane.since = _taken(limiter, now, weight, since)
            if host.tokens is not None:
                self._spend_token(host.tokens, host, ticket, is_first, now)
        self._set_unlisted(lane)
        if lane.is_empty:
            lane.since = None
        else:
            if host.waiting:
                host.waiting[lane] = None
            else:
                self._enlist(lane, now)
        if host.waiting:
            self._offer(host, now)
        if not self._ring:
            self._since = None

    def _spend_token(self, tokens: RetryTokens, host: Host, ticket: Ticket, is_first: bool, now: float) -> None:
        """Pay for a retry, or earn the share of a first try, which may be what another lane waits for."""
        if ticket.is_retry:
            ticket.is_retry = False
            if host.tokenless_at >= ticket.ripe_at:
                ticket.excused += now - ticket.ripe_at
            tokens.spend(now)
        elif is_first:
            tokens.earn(now)
            if self._tokenless:
                for lane in [*islice(self._tokenless, ASKED)]:
                    del self._tokenless[lane]
                    self._enlist(lane, now)  # which notes it again if there still is none

    def _admits_at(self, caller: Caller, now: float, all_busy: bool) -> float:
        """When a caller may be admitted; `NEVER` if that hangs on something else than time."""
        host = self._host(caller.host, now)
        if not caller.has_place:
            if self.in_flight >= self._budgets.max_connections or not host.has_place():
                return NEVER
            hosts_own = host.listed or host.waiting or host.timed is not None
            requests_first = (hosts_own and not host.callers_turn) or (self._ring and not self._callers_first)
            if requests_first and not all_busy:
                return NEVER
        at = max(now, host.not_before)
        if caller.is_retry and host.tokens is not None:
            at = max(at, host.tokens.next_at())
        for limiter in self._limits_of(caller, host, now):
            at = max(at, limiter.next_at())
        if self._shared is not None and at <= now:
            at = max(now, self._shared.next_at(caller.host, 1, now))
        return at

    def _admit(self, caller: Caller, now: float) -> bool:
        """Take all that a caller needs, or nothing; whether it was there."""
        if self._shared is not None and (
            self._shared.try_take(caller.host, 1, now, since=caller.since, has_place=caller.has_place) is None
        ):
            return False
        host = self._host(caller.host, now)
        self.callers.remove(caller)
        host.callers -= 1
        self._callers_first = False
        if not caller.has_place:
            host.callers_turn = False
            host.in_flight += 1
            self.in_flight += 1
            if self._slow is not None:
                self._slow.note_send(host, now)
        for limiter in self._limits_of(caller, host, now):
            _taken(limiter, now, 1, caller.since)
        if host.tokens is not None and not caller.has_place:
            if caller.is_retry:
                host.tokens.spend(now)
            else:
                host.tokens.earn(now)
        caller.in_flight = host.in_flight
        caller.admitted = True
        caller.notify()
        return True

    def _limits_of(self, caller: Caller, host: Host, now: float) -> list[Limiter]:
        quota = self._quota(caller.key, now)
        return [one for one in (*host.limiters, quota, self._limiter) if one is not None]

    # -- inside: small things -----------------------------------------------------------------------------------------

    def _ripen(self, now: float) -> None:
        """Bring back what waited for a time that has come."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            item = heapq.heappop(heap)[2]
            if isinstance(item, Ticket):
                self.parked -= 1
                self._count(item, 1)
                item.ripe_at = now
                self._bring_back(item, now)
            else:
                item.timer = NEVER
                self._tokenless.pop(item, None)
                self._enlist(item, now)
                self._offer(item.host, now)
        tokens = self._tokens
        if self._in_line and tokens is not None and tokens.next_at() <= now:
            for lane in [*islice(self._in_line, max(1, tokens.count(now)))]:
                del self._in_line[lane]
                self._enlist(lane, now)
        while self._resting and self._resting[0][0] <= now:
            host = heapq.heappop(self._resting)[2]
            host.rests = False
            self._retire(host, now)

    def _count(self, ticket: Ticket, by: int) -> None:
        """Count a request that begins or ends to wait in its lane."""
        self.queued += by
        owner = ticket.owner
        if owner.needs_receipts:
            owner.queued += by

    def _bring_back(self, ticket: Ticket, now: float) -> None:
        """Put a request that was here before at the front of its lane."""
        lane = self._lane_of(ticket, now)
        if ticket.is_retry:
            lane.retries.append(ticket)  # those that wait for a token get theirs in turn
        else:
            self._push_first(lane, ticket)
        self._enlist(lane, now)

    def _push_first(self, lane: Lane, ticket: Ticket) -> None:
        if ticket.is_retry:
            lane.retries.appendleft(ticket)
        else:
            lane.queue.appendleft(ticket)
            lane.host.queued += 1

    def _pop(self, lane: Lane, line: deque[Ticket]) -> Ticket:
        if line is lane.queue:
            lane.host.queued -= 1
        return line.popleft()

    def _drop_lane(self, lane: Lane) -> None:
        """Forget an empty lane of a key: there may be any number of keys. A host's own lane stays with it."""
        if lane.key is not None and lane.host.lanes.get(lane.key) is lane:
            del lane.host.lanes[lane.key]

    def _set_timer(self, lane: Lane, at: float) -> None:
        if at < lane.timer:
            lane.timer = at
            heapq.heappush(self._heap, (at, next(self._order), lane))


def _consumer_of(owner: Owner) -> Wait:
    """What holds up an owner that is full or has no room: its consumer, or else an outcome is on its way there."""
    return Wait.SINK if owner.doing is Wait.SINK else Wait.READY


def _taken(limiter: Limiter, now: float, weight: int, since: float | None) -> float:
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

"""The ring: where each lane with requests stands, and when it is looked at again.

A lane that has requests is in exactly one place: in the ring itself (it may send now, the pool's budget apart), in line
for a place of its host (`Host.waiting`), at a timer, in line for the pool's retry tokens, or among those that stand
back (`Places`). A timer may be left over from before, and then only makes somebody look.

Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count, islice

from workerpool.clock import NEVER
from workerpool.limits import SharedBudget
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.lanes import Lane
from workerpool.scheduler.register import Register
from workerpool.tickets import Ticket

SOON = 0.001
"""Seconds until a budget that other processes share is asked again, if it was spent between a look and a grab."""

RETRIED = 2
"""Lanes of other hosts that wait for what processes share, and ask again when a send ends: it may have left a place."""

ASKED = 4
"""Lanes without a token that are asked after each first try whether there is one for them; time asks the others."""


class Ring:
    """Lanes by where they stand."""

    def __init__(self, register: Register, shared: SharedBudget | None) -> None:
        self._register = register
        self._shared = shared
        self._order = count()
        self.lanes: deque[Lane] = deque()  # those that may send now, in turn
        self.since: float | None = None  # since when they have waited for the pool's slots without a break
        self.timers: list[tuple[float, int, Lane]] = []
        self._tokenless: dict[Lane, None] = {}  # lanes with nothing but retries, and no token for these
        self.in_line: dict[Lane, None] = {}  # those of them that wait for the pool's: only the first is woken
        self.denied: dict[Lane, None] = {}  # lanes that wait for what other processes share

    def bring_back(self, ticket: Ticket, now: float) -> None:
        """Put a request that was here before at the front of its lane."""
        lane = self._register.lane_of(ticket, now)
        if ticket.is_retry:
            lane.retries.append(ticket)  # those that wait for a token get theirs in turn
        else:
            lane.push_first(ticket)
        self.enlist(lane, now)

    def bring_all_back(self, tickets: Iterable[Ticket], now: float) -> None:
        """Put requests that were here before at the front of their lanes, the first of them first."""
        brought = [(self._register.lane_of(ticket, now), ticket) for ticket in tickets]
        for lane, ticket in reversed(brought):  # each to the front of its lane, so the oldest stands there in the end
            lane.push_first(ticket)
        # The lanes in the order in which they stood. Were it reversed, the same ones would come last each time, and
        # starve.
        for lane in dict.fromkeys(lane for lane, _ in brought):
            self.enlist(lane, now)

    def enlist(self, lane: Lane, now: float, *, is_first: bool = False, is_behind: bool = False) -> None:
        """Put a lane into the ring if it may send now, in line for a place, or into the heap for when it may.

        `is_behind`: others of its host stand in the ring, so it stands there, too, and waits for its host's time after
        them.
        """
        host = lane.host
        if lane.listed or lane.stands_back or not (lane.queue or lane.retries):
            return
        if host.timed is lane:
            host.timed = None  # first, or it would have to wait behind itself
            self.enlist(lane, now)
            self.offer(host, now)  # to those that stood behind it, unless they still do
            return
        has_to_wait = host.in_flight + host.listed >= host.places or host.timed is not None
        if has_to_wait and host.refused_until <= now:
            host.waiting[lane] = None
            lane.since = None  # from now on it waits for a place, not for a slot
            return
        # From here on it has a place, so what it waits for is a slot.
        if lane.since is None:
            lane.since = now
        if lane.head_at is None:
            lane.head_at = now
        if host.waiting:
            host.waiting.pop(lane, None)
        if is_behind or self.is_open(lane, now):
            lane.listed = True
            host.listed += 1
            if is_first or host.refused_until > now:
                self.lanes.appendleft(lane)  # its requests end unsent: they need not wait for anybody's slot
            else:
                self.lanes.append(lane)
            if self.since is None:
                self.since = now
        else:
            at = self.opens_at(lane, now)
            # Before it gets a timer: all such lanes would be woken for each token.
            if self._waits_for_pools_token(lane, at, now):
                self.in_line[lane] = None
                return
            self._set_timer(lane, at)
            if lane.own_at(now) <= now:
                host.timed = lane  # the others need not look: they would all be woken for the same slot
            if self._shared is not None:
                self.denied[lane] = None
            if not lane.queue and not host.finds_token(now):
                self._tokenless[lane] = None

    def _waits_for_pools_token(self, lane: Lane, at: float, now: float) -> bool:
        """Whether all that a lane waits for, until `at`, is what lanes of all hosts wait for: they stand in line."""
        return not lane.queue and not lane.host.finds_token(now) and at <= self._register.tokens_at()

    def opens_at(self, lane: Lane, now: float) -> float:
        """When a lane may send, places apart; in the past if now."""
        at = lane.opens_at(now)
        if self._shared is not None and at <= now and lane.host.refused_until <= now:
            weight = lane.line(now)[0].request.weight
            at = self._shared.next_at(lane.host.name, weight, now)
            if at > now and self._shared.next_at(None, weight, now) >= at:
                return now  # it is what all hosts wait for, and the head of the ring does so for them
        return at

    def is_open(self, lane: Lane, now: float) -> bool:
        """Whether a lane may send now."""
        return lane.is_open(now) and (self._shared is None or self.opens_at(lane, now) <= now)

    def offer(self, host: Host, now: float) -> None:
        """Give the host's free places to the lanes that wait for them, in their order."""
        while host.waiting and host.timed is None and host.in_flight + host.listed < host.places:
            lane = next(iter(host.waiting))
            del host.waiting[lane]
            self.enlist(lane, now)

    def put_head_where_it_waits(self, now: float) -> None:
        """Take the first lane out, as it may not send now."""
        lane = self.take_head()
        self.enlist(lane, now)
        self.offer(lane.host, now)  # only then: this lane may be the one that the others have to stand behind
        self._register.retire(lane.host, now)

    def take_head(self) -> Lane:
        """Take the first lane out."""
        lane = self.lanes.popleft()
        self.note_unlisted(lane)
        return lane

    def note_unlisted(self, lane: Lane) -> None:
        """Count a lane that has been taken out."""
        lane.listed = False
        lane.host.listed -= 1
        if lane.is_empty:
            self._register.drop(lane)

    def let_refusals_go(self, host: Host, now: float) -> None:
        """Bring a host's requests to where they end unsent, if that is what is to become of them."""
        if host.refused_until <= now:
            return
        host.timed = None  # first: what ends unsent stands behind nobody
        for lane in host.lanes.values():
            if lane.listed:
                self.lanes.remove(lane)
                self.lanes.appendleft(lane)
            else:
                lane.stands_back = False
                self.enlist(lane, now)

    def ask_again(self, host: Host, now: float) -> None:
        """Let lanes ask again for what processes share, as a place has become free: the host's own, and some others."""
        asking = [lane for lane in host.lanes.values() if lane in self.denied]
        for lane in [*asking, *islice(self.denied, RETRIED)]:
            if lane in self.denied:
                del self.denied[lane]
                self.enlist(lane, now)  # which notes it again if it still has to wait

    def _set_timer(self, lane: Lane, at: float) -> None:
        if at < lane.timer:
            lane.timer = at
            heapq.heappush(self.timers, (at, next(self._order), lane))

    def deny(self, now: float) -> None:
        """Take the first lane out, as what processes share was gone when it was to be taken; it asks again soon."""
        lane = self.take_head()
        self.denied[lane] = None
        lane.host.timed = lane  # no other one of its host is to ask meanwhile, and pass it
        self._set_timer(lane, max(self.opens_at(lane, now), now + SOON))

    def ask_tokenless(self, now: float) -> None:
        """Let some lanes that only miss a token look whether there is one."""
        for lane in [*islice(self._tokenless, ASKED)]:
            del self._tokenless[lane]
            self.enlist(lane, now)  # which notes it again if there still is none

    def wakes_at(self) -> float:
        """When a lane that waits for a time is to be looked at."""
        wake = self.timers[0][0] if self.timers else NEVER
        if self.in_line:
            wake = min(wake, self._register.tokens_at())
        return wake

    def ripen(self, now: float) -> None:
        """Look at the lane whose time has come first."""
        lane = heapq.heappop(self.timers)[2]
        lane.timer = NEVER  # before it is enlisted, which may set the next one
        self.enlist(lane, now)

    def serve_line(self, now: float) -> None:
        """Look at as many lanes as the pool has tokens for, of those that stand in line for these."""
        tokens = self._register.tokens
        if tokens is not None and tokens.next_at() <= now:
            for lane in [*islice(self.in_line, max(1, tokens.count(now)))]:
                del self.in_line[lane]
                self.enlist(lane, now)

    def forget_empty(self, now: float) -> None:
        """Wait no longer for lanes that have nothing to send any more."""
        for _, _, lane in self.timers:
            if lane.is_empty:
                lane.timer = NEVER  # or the alarm would wait for it
        self.timers = [entry for entry in self.timers if not entry[2].is_empty]
        heapq.heapify(self.timers)
        self.in_line = {lane: None for lane in self.in_line if not lane.is_empty}
        for host in [*self._register.hosts.values()]:
            if host.timed is not None and host.timed.is_empty:
                host.timed = None
            self.offer(host, now)  # who went may have been what the others stood behind

"""The pool's places: how many are taken, which hosts are slow, and what these may hold while others want places.

A request holds a place from its sending to its end. Hosts take turns by requests, not by time, so hosts that answer
late, or never, would in the end hold nearly all places, each with as many as its budget allows. So the scheduler tells
how long each send took, and when somebody stood ready while all places were taken; and it asks, before it sends to a
host, whether that one has to stand back. Hosts that stand back go by the time that their sends have held places.

Only the scheduler enters, under the lock of its caller. Never decides about budgets, and never holds back a host that
is not slow.
"""

from __future__ import annotations

import heapq
from itertools import count

from workerpool.clock import LONG_AGO
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.lanes import Lane

SHARE = 32
"""Of so many places slow hosts get one, together, and at least one, while others want all of them."""

LATE = 8
"""A host is slow that holds its places so many times as long as is typical ..."""

LATE_SECONDS = 0.25
"""... and for more seconds than this."""

FAILED = 2
"""A send without an answer counts as this many times the late limit, so a host with many of them becomes slow. A slow
host below this still gets one place (`may_try`)."""

PERIOD = 0.1
"""Seconds after which slow hosts may hold twice as many places, if nobody has wanted these since."""

NEW = 4
"""Hosts that have not answered yet get one place each once this part of the places is taken: a quarter. Those that are
not much too late share as much."""

SMOOTHING = 0.25
"""Weight of the newest send in what is known of a host."""

STEP = 0.05
"""By what part one send moves what is typical, once many have ended."""


class Places:
    """Who holds places, who is slow, and the lanes that stand back.

    `workers`: the most requests in flight; `sockets`: the most sends, with those of callers, who send for themselves.
    """

    def __init__(self, workers: int, sockets: int) -> None:
        self._most = min(workers, sockets)
        self.sockets = sockets
        self.taken = 0
        self._floor = max(1, self._most // SHARE)
        self._typical = 0.0  # the median of the seconds after which answers have come, roughly
        self._ended = 0
        self._wanted_at = LONG_AGO  # when somebody else last stood ready in vain
        self._slow_taken = 0  # by slow hosts
        self._served = 0.0  # seconds: the rank of the lane that was last let forward
        self._back: list[tuple[float, int, Lane]] = []  # those that stand back, by rank
        self._order = count()

    @property
    def are_taken(self) -> bool:
        """Whether a request finds no place, as so many are in flight as there are workers."""
        return self.taken >= self._most

    # -- what is told -------------------------------------------------------------------------------------------------

    def take(self, host: Host, now: float) -> None:
        """Take a place of the pool and of `host`."""
        host.in_flight += 1
        self.taken += 1
        if host.in_flight == 1:
            host.quiet_since = now
        if host.is_slow:
            self._slow_taken += 1

    def give_back(self, host: Host, took: float | None, now: float, *, failed: bool = False) -> None:
        """Give back a place of the pool and of `host`; `took`: seconds that a send has held it, if it was one.

        `failed`: no answer came. That counts as late, however soon it was known: the others lose threads by it, and
        ten times as much of the processor as by an answer.
        """
        host.in_flight -= 1
        self.taken -= 1
        if host.is_slow:
            self._slow_taken -= 1  # before it is marked anew, which counts the places that it still has
        host.quiet_since = now
        if took is None:
            return
        if failed:
            took = max(took, FAILED * self._late)
        else:
            self._learn_typical(took)
        host.usual_hold = took if host.usual_hold is None else host.usual_hold + SMOOTHING * (took - host.usual_hold)
        self._mark(host, host.usual_hold > self._late)

    def note_want(self, now: float) -> None:
        """Note that somebody who is not slow stands ready, and all places are taken."""
        self._wanted_at = now

    # -- who stands back ----------------------------------------------------------------------------------------------

    def judge(self, host: Host, now: float, *, is_alone: bool) -> bool:
        """Mark `host` as slow if it has become so; whether it gets no place now. `is_alone`: there is no other host."""
        if not host.is_slow:
            if not host.in_flight:
                return False
            if host.usual_hold is None:
                if is_alone or self.taken < self._most // NEW:
                    return False
                self.note_want(now)
            elif now - host.quiet_since <= self._late:
                return False
            self._mark(host, True)
        return not (self._has_room(now) or self.may_try(host))

    def may_try(self, host: Host) -> bool:
        """Whether a slow host is one of those that are not much too late, and always have one place.

        What made them late may have been on our side, or is over; and where hosts that never answer hold all the places
        of slow ones, only the next answer could show it.
        """
        if host.in_flight or host.usual_hold is None or self._slow_taken >= self._most // NEW:
            return False
        return host.usual_hold < FAILED * self._late

    def keep_back(self, lane: Lane, now: float) -> None:
        """Let a lane stand back until `next` gives it."""
        lane.stands_back = True
        holds = lane.host.usual_hold
        rank = self._served + (now - lane.host.quiet_since if holds is None else holds)
        heapq.heappush(self._back, (rank, next(self._order), lane))

    @property
    def has_waiting(self) -> bool:
        """Whether a lane may stand back."""
        return bool(self._back)

    def next(self, now: float) -> Lane | None:
        """Take the lane whose turn it is of those that stand back, if there is a place for it."""
        while self._back:
            rank, _, lane = self._back[0]
            is_waiting = lane.stands_back and not lane.is_empty
            if is_waiting and not self._has_room(now) and not self.may_try(lane.host):
                return None
            heapq.heappop(self._back)
            if lane.stands_back:
                lane.stands_back = False
                if not lane.is_empty:
                    self._served = rank
                    return lane
        return None

    def wakes_at(self, now: float) -> float | None:
        """When there may be a place for a lane that stands back, if nothing else happens; None if there is none."""
        if not self._back:
            return None
        doublings = self._doublings(now)
        return None if self._part(doublings) >= self._most else self._wanted_at + (doublings + 1) * PERIOD

    # -- inside -------------------------------------------------------------------------------------------------------

    def _learn_typical(self, took: float) -> None:
        self._ended += 1
        step = 1 + max(STEP, 1 / self._ended)
        if self._ended == 1:
            self._typical = took
        else:
            self._typical = self._typical * step if took > self._typical else self._typical / step

    @property
    def _late(self) -> float:
        return max(LATE_SECONDS, LATE * self._typical)

    def _mark(self, host: Host, is_slow: bool) -> None:
        if host.is_slow is not is_slow:
            host.is_slow = is_slow
            self._slow_taken += host.in_flight if is_slow else -host.in_flight

    def _has_room(self, now: float) -> bool:
        return self._slow_taken < self._part(self._doublings(now))

    def _part(self, doublings: int) -> int:
        """Places that slow hosts may hold after so many doublings."""
        return min(self._most, self._floor << doublings)

    def _doublings(self, now: float) -> int:
        """How often what slow hosts may hold has doubled since others last wanted it."""
        doublings = 0
        while self._part(doublings) < self._most and self._wanted_at + (doublings + 1) * PERIOD <= now:
            doublings += 1
        return doublings

"""Callers: threads that send for themselves, and wait for leave. They take turns with the requests in the ring.

Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

from collections import deque

from workerpool.clock import NEVER
from workerpool.limits import Limiter, MemoryLimiter, SharedBudget
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.places import Places
from workerpool.scheduler.register import Register
from workerpool.scheduler.ring import Ring
from workerpool.tickets import Caller


class Callers:
    """Those that wait, oldest first. `limiter`, `shared`: the pool's slots; one of them, or neither, is given.

    `are_first`: whose turn it is, where callers and the ring want the same slot or place.
    """

    def __init__(
        self,
        register: Register,
        ring: Ring,
        places: Places,
        limiter: MemoryLimiter | None,
        shared: SharedBudget | None,
    ) -> None:
        self._register = register
        self._ring = ring
        self._places = places
        self._limiter = limiter
        self._shared = shared
        self.waiting: deque[Caller] = deque()
        self.are_first = True

    def enter(self, caller: Caller, now: float) -> None:
        """Let a caller wait for leave; `admit` gives it."""
        self._register.host(caller.host, now).callers += 1
        self.waiting.append(caller)

    def admit(self, now: float, *, all_busy: bool) -> None:
        """Admit those that may send now, and tell those whose host wants no request; see `Scheduler.admit`."""
        for caller in [*self.waiting]:
            if not caller.has_place and self._register.refusal(caller.host, now) is not None:
                caller.is_refused = True
                caller.notify()
                continue
            wakes_at = self._admits_at(caller, now, all_busy)
            if wakes_at <= now:
                if self._take(caller, now):
                    continue
                wakes_at = self._admits_at(caller, now, all_busy)  # what processes share has gone since it was seen
            if wakes_at != caller.wakes_at:
                caller.wakes_at = wakes_at
                caller.notify()

    def leave(self, caller: Caller, now: float) -> None:
        """Forget a caller that holds no place: it waits no longer, or has sent within another's place."""
        if not caller.admitted:
            self.waiting.remove(caller)
            self._register.hosts[caller.host].callers -= 1
        host = self._register.hosts.get(caller.host)
        if host is not None:
            self._register.retire(host, now)

    def _admits_at(self, caller: Caller, now: float, all_busy: bool) -> float:
        """When a caller may be admitted, in the past if it may; `NEVER` if that hangs on something else than time."""
        host = self._register.hosts[caller.host]
        if not caller.has_place:
            if self._places.taken >= self._places.sockets or not host.has_place():
                return NEVER
            hosts_own = host.listed or host.waiting or host.timed is not None
            requests_first = (hosts_own and not host.callers_turn) or (self._ring.lanes and not self.are_first)
            if requests_first and not all_busy:
                return NEVER
        at = max(now, host.not_before)
        if caller.is_retry and host.tokens is not None:
            at = max(at, host.tokens.next_at())
        for limiter in self._limits_of(caller, host, now):
            at = max(at, limiter.next_at())
        if self._shared is not None and at <= now:
            at = self._shared.next_at(caller.host, 1, now, has_place=caller.has_place)
        return at

    def _take(self, caller: Caller, now: float) -> bool:
        """Take all that a caller needs, or nothing; whether it was there."""
        # First, as it alone may fail: another process may have taken it since it was looked at.
        if self._shared is not None and (
            self._shared.try_take(caller.host, 1, now, since=caller.since, has_place=caller.has_place) is None
        ):
            return False
        host = self._register.hosts[caller.host]
        self.waiting.remove(caller)
        host.callers -= 1
        self.are_first = False
        if not caller.has_place:
            host.callers_turn = False
            self._places.take(host, now)
        for limiter in self._limits_of(caller, host, now):
            slot = limiter.try_take(now, 1, since=caller.since)
            assert slot is not None  # it had come, and nobody could take it since: the lock has been held
        if host.tokens is not None and not caller.has_place:
            if caller.is_retry:
                host.tokens.spend(now)
            else:
                host.tokens.earn()
        caller.in_flight = host.in_flight
        caller.admitted, caller.is_refused = True, False  # its thread may not have seen a refusal that is over
        caller.notify()
        return True

    def _limits_of(self, caller: Caller, host: Host, now: float) -> list[Limiter]:
        quota = self._register.quota(caller.key, now)
        return [one for one in (*host.limiters, quota, self._limiter) if one is not None]

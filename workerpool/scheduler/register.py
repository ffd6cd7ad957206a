"""The register: hosts, their lanes, and keys' quotas. Made when they are asked for, and forgotten when they are idle.

Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

import heapq
from itertools import count

from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.limits import Circuit, Limiter, MemoryLimiter, RetryTokens
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.lanes import Lane
from workerpool.tickets import Ticket

POOLS_SHARE = 4
"""Hosts' retry budgets that the pool's is worth: one host cannot take what the others need."""

QUOTAS = 1_000
"""Keys whose quotas are kept before those that rest are looked for."""


class Register:
    """Hosts by name, and what all of them share. `floor`: the tokens that a host's retry budget begins with."""

    def __init__(self, budgets: Budgets, retries: RetryBudget | None, floor: float, breaker: Breaker | None) -> None:
        self._budgets = budgets
        self._retries = retries
        self._floor = floor
        self._breaker = breaker
        self._quotas: dict[str, MemoryLimiter] = {}  # by key
        self._quotas_kept = QUOTAS
        self._order = count()
        self.hosts: dict[str, Host] = {}
        self.tokens: RetryTokens | None = None  # the pool's retry budget, once there is a host
        self.resting: list[tuple[float, int, Host]] = []  # idle hosts, by when they may be forgotten; wakes nobody

    def host(self, name: str, now: float) -> Host:
        """The host of that name, made if it is not known."""
        host = self.hosts.get(name)
        if host is None:
            circuit = None if self._breaker is None else Circuit(self._breaker)
            host = self.hosts[name] = Host(name, self._budgets, self._new_tokens(now), circuit)
        return host

    def lane_of(self, ticket: Ticket, now: float) -> Lane:
        """The lane that a request belongs to, made if there is none."""
        host = self.hosts.get(ticket.host) or self.host(ticket.host, now)
        lane = host.lanes.get(ticket.key)
        if lane is None:
            lane = host.lanes[ticket.key] = Lane(host, ticket.key, self.quota(ticket.key, now))
        if ticket.pace is not None:
            host.keep_pace(ticket.pace)
        return lane

    def refusal(self, name: str, now: float) -> tuple[float, bool] | None:
        """Until when a host wants no request at all, and whether that is its circuit breaker's doing; or None."""
        host = self.hosts.get(name)
        return (host.refused_until, host.is_broken) if host is not None and host.refused_until > now else None

    def quota(self, key: str | None, now: float) -> Limiter | None:
        """What limits all that counts against a key, if anything does."""
        rate = self._budgets.key_rate
        if key is None or rate is None:
            return None
        quota = self._quotas.get(key)
        if quota is None:
            if len(self._quotas) >= self._quotas_kept:
                used = {lane.key for host in self.hosts.values() for lane in host.lanes.values()}  # they hold theirs
                self._quotas = {
                    one: limiter for one, limiter in self._quotas.items() if one in used or limiter.rests_at > now
                }
                self._quotas_kept = max(QUOTAS, 2 * len(self._quotas))
            quota = self._quotas[key] = MemoryLimiter(rate, self._budgets.burst)
        return quota

    def tokens_at(self) -> float:
        """When the pool has a token for a retry, in the past if it has one now; for lanes whose hosts have none."""
        assert self.tokens is not None
        return self.tokens.next_at()

    def retire(self, host: Host, now: float) -> None:
        """Forget a host that holds nothing, or look again when its pause and its budgets are over."""
        if host.in_flight or host.callers or self.hosts.get(host.name) is not host:
            return
        for lane in host.lanes.values():
            if lane.listed or not lane.is_empty:
                return
        over = host.rests_at
        if over <= now:
            del self.hosts[host.name]
        elif not host.rests:
            host.rests = True
            heapq.heappush(self.resting, (over, next(self._order), host))

    def drop(self, lane: Lane) -> None:
        """Forget an empty lane of a key: there may be any number of keys. A host's own lane stays with it."""
        if lane.key is not None and lane.host.lanes.get(lane.key) is lane:
            del lane.host.lanes[lane.key]

    def ripen(self, now: float) -> None:
        """Look again at hosts whose rest is over."""
        while self.resting and self.resting[0][0] <= now:
            host = heapq.heappop(self.resting)[2]
            host.rests = False
            self.retire(host, now)

    def _new_tokens(self, now: float) -> RetryTokens | None:
        rules = self._retries
        if rules is None:
            return None
        if self.tokens is None:
            self.tokens = RetryTokens(rules.share, POOLS_SHARE * rules.per_second, POOLS_SHARE * self._floor, now)
        return RetryTokens(rules.share, rules.per_second, self._floor, now, self.tokens)

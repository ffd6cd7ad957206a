"""What is said between a member and the budget in Redis: whole numbers, which both languages count alike.

Times are the server's, in microseconds since its epoch; intervals are nanoseconds; demands are slots in 1,000 seconds.
Values, any thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from workerpool.config import Budgets
from workerpool.rate import Rate

SECOND = 1_000_000
"""Microseconds."""
MOST_BURST = 10_000
"""A larger burst is taken for this: slots are leased one by one."""
LEAST_INTERVAL = 10_000
"""Nanoseconds. A faster rate is taken for this one, a hundred thousand a second."""
LONGEST = 1_000_000_000
"""Seconds, thirty years. A longer interval or window is taken for this."""
MOST = 1 << 40
"""More places, or a larger quota, are taken for this: the server's numbers are exact up to some thousand times that."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What an account allows, to a pool or to a host: nanoseconds between two slots (0: no rate), the burst, places,
    and quotas, each a number in so many microseconds."""

    interval: int
    burst: int
    places: int
    quotas: tuple[tuple[int, int], ...] = ()

    def packed(self) -> list[Any]:
        return [self.interval, self.burst, self.places, [list(quota) for quota in self.quotas]]


def terms_of(budgets: Budgets) -> tuple[Terms, Terms]:
    """What these budgets allow in all, and for each host."""
    return (
        _terms(budgets.rate, budgets.burst, budgets.max_connections),
        _terms(budgets.host_rate, budgets.burst, budgets.host_connections),
    )


def _terms(rate: Rate | None, burst: int, places: int) -> Terms:
    burst, places = min(burst, MOST_BURST), min(places, MOST)
    if rate is None:
        return Terms(0, burst, places)
    quotas = tuple((min(int(quota.count), MOST), int(min(quota.seconds, LONGEST) * SECOND)) for quota in rate.quotas)
    interval = math.ceil(min(rate.interval, LONGEST) * 1e9)
    return Terms(max(interval, LEAST_INTERVAL), burst, places, quotas)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a member says of one account.

    `want`: slots, at most; `demand`: how many it could use, in 1,000 s. `back`: the times of slots that it will not
    use; `unused`: how many it has not used, these included. `used_at`: when it used the last one. `held`, `wish`: the
    places that it has, and would like to have. `ended`: sends that have ended since the last call. `pause`: let nobody
    send for so long.
    """

    account: str
    want: int = 0
    demand: int = 0
    back: tuple[int, ...] = ()
    unused: int = 0
    used_at: int = 0
    held: int = 0
    wish: int = 0
    ended: int = 0
    pause: int = 0

    def packed(self) -> list[Any]:
        return [
            self.want, self.demand, list(self.back), self.unused, self.used_at, self.held, self.wish, self.ended,
            self.pause,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a member. `known`: how many members it knew of before the server forgot them, at most. `leaves`: it
    gives everything back, for good. The first of `asks` is for the pool's account."""

    member: str
    terms: tuple[Terms, Terms]
    asks: tuple[Ask, ...]
    known: int = 1
    leaves: bool = False

    def packed(self) -> list[Any]:
        terms = [terms.packed() for terms in self.terms]
        return [self.member, terms, self.known, int(self.leaves), [ask.packed() for ask in self.asks]]


@dataclass(frozen=True, slots=True)
class Lease:
    """What a member has of one account now.

    `interval`, `burst`, `places`: the strictest terms. `until`: nobody sends before. `held`: places that it may keep;
    `most`: how many it should, as others wait; `flying`: over how many it may send while the host starts anew after a
    pause. `is_short`: all members together want more slots than there are. `again_at`: when there will be some, if a
    quota is spent; `left`: of that quota, -1 if there is none. `slots`: the times of those that are new.
    """

    interval: int
    burst: int
    places: int
    until: int
    held: int
    most: int
    flying: int
    is_short: bool
    again_at: int
    left: int
    slots: tuple[int, ...]

    @classmethod
    def unpacked(cls, numbers: list[int]) -> Lease:
        interval, burst, places, until, held, most, flying, is_short, again_at, left, *slots = numbers
        return cls(interval, burst, places, until, held, most, flying, bool(is_short), again_at, left, tuple(slots))


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's time, the microseconds between two calls, how many members there are and which of these this one is,
    in their order, and a lease for each ask."""

    at: int
    tick: int
    members: int
    rank: int
    leases: tuple[Lease, ...] = field(default_factory=tuple)

    @classmethod
    def unpacked(cls, reply: list[Any]) -> Answer:
        at, tick, members, rank, leases = reply
        return cls(at, tick, members, rank, tuple(map(Lease.unpacked, leases)))

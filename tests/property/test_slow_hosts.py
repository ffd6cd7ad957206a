"""Slow and silent hosts do not hold up the others, and are served in the end, on simulated time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import IN_FULL
from workerpool.config import Budgets
from workerpool.model import Request
from workerpool.scheduler import Scheduler
from workerpool.scheduler.places import PERIOD
from workerpool.tickets import NOBODY, Owner, Ticket

WELL, SLOW, SILENT, REFUSING, LIMITED = 0.05, 2.0, 30.0, 0.001, 0.002
"""Seconds that a send to such a host holds its place."""

FIFTY = {
    **{f"limited {n}": LIMITED for n in range(5)},
    **{f"slow {n}": SLOW for n in range(5)},
    **{f"refusing {n}": REFUSING for n in range(3)},
    **{f"silent {n}": SILENT for n in range(2)},
    **{f"well {n}": WELL for n in range(35)},
}
WELL_HOSTS = [host for host in FIFTY if host.startswith("well")]


@dataclass
class Pool:
    """A pool with so many workers, whose sends take as long as their hosts do, give or take a tenth.

    `receipts`: seconds after which the receipt for a send comes; None if it needs none.
    """

    took: dict[str, float]
    workers: int
    receipts: float | None = None
    now: float = 0.0
    ended: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(Budgets(max_connections=2 * self.workers), places=self.workers)
        self._chance, self._order = random.Random(1), count()
        self._events: list[tuple[float, int, Ticket | None]] = []
        self._owner = NOBODY if self.receipts is None else Owner(self.workers, needs_receipts=True)

    def add(self, host: str) -> None:
        self.scheduler.add(Ticket(Request(host), host, self._owner), self.now)

    def run(self, until: set[str]) -> float:
        """Run until all of these hosts' requests have ended; returns when that was."""
        left = {host: self._waiting(host) for host in until}
        waiting = sum(left.values())
        while waiting:
            while self.scheduler.in_flight < self.workers and (ticket := self.scheduler.next(self.now)) is not None:
                took = self.took[ticket.host] * self._chance.uniform(0.9, 1.1)
                heapq.heappush(self._events, (self.now + took, next(self._order), ticket))
            wakes = [self._events[0][0]] if self._events else []
            if self.scheduler.in_flight < self.workers and (at := self.scheduler.wakes_at(self.now)) is not None:
                wakes.append(at)
            assert wakes, "nothing would ever wake it"
            self.now = max(self.now, min(wakes))
            while self._events and self._events[0][0] <= self.now:
                _, _, ticket = heapq.heappop(self._events)
                waiting -= self._end(ticket) in until
        return self.now

    def _waiting(self, host: str) -> int:
        lanes = self.scheduler._hosts[host].lanes.values()
        return sum(len(lane.queue) for lane in lanes)

    def _end(self, ticket: Ticket | None) -> str:
        if ticket is None:
            self.scheduler.give_places(self._owner, 1, self.now)
            return ""
        self.scheduler.release(ticket.host, self.now, since=ticket.granted_at)
        self.ended.setdefault(ticket.host, []).append(self.now)
        if self.receipts is not None:
            heapq.heappush(self._events, (self.now + self.receipts, next(self._order), None))
        return ticket.host


def seconds(hosts: Iterable[str], requests: int, workers: int, order: str, receipts: float | None = None) -> float:
    """How long the 35 take if these of the fifty hosts have so many requests each."""
    pool = Pool(FIFTY, workers, receipts)
    hosts = [*hosts]
    names = requests * hosts
    if order == "sick-first":
        names.sort(key=lambda host: host.startswith("well"))
    for host in names:
        pool.add(host)
    return pool.run({*WELL_HOSTS})


@settings(max_examples=50 if IN_FULL else 20)
@given(
    took=st.lists(st.sampled_from([0.001, 0.05, 0.3, 2.0, 30.0]), min_size=1, max_size=12),
    requests=st.integers(1, 30),
    workers=st.integers(1, 70),
    receipts=st.sampled_from([None, 0.0, 0.5]),
)
def test_everything_is_sent_in_the_end_without_a_place_left_idle_for_long(
    took: list[float], requests: int, workers: int, receipts: float | None
) -> None:
    """The longest that a place may be idle is until slow hosts may hold twice as many, some times over."""
    names = {f"host {number}": seconds for number, seconds in enumerate(took)}
    pool = Pool(names, workers, receipts)
    for _ in range(requests):
        for host in names:
            pool.add(host)
    ended = pool.run({*names})
    assert {host: len(times) for host, times in pool.ended.items()} == dict.fromkeys(names, requests)
    assert pool.scheduler.is_idle
    work = sum(took) * requests * 1.1 + (receipts or 0.0) * requests * len(took)
    longest = max(took) * 1.1 * (requests / min(6, workers) + 1)
    assert ended <= work / workers + longest + (1 + requests) * 10 * PERIOD


@pytest.mark.parametrize("receipts", [None, 0.002] if IN_FULL else [0.002])
@pytest.mark.parametrize(("order", "requests", "workers", "most"), [
    ("mixed", 100, 64, 1.1), ("sick-first", 100, 64, 1.1), ("mixed", 100, 16, 1.25), ("sick-first", 100, 16, 1.25),
    ("mixed", 300 if IN_FULL else 100, 256, 1.1), *([("mixed", 1000, 64, 1.1)] if IN_FULL else []),
])  # fmt: skip
def test_fifteen_sick_hosts_of_fifty_cost_the_others_hardly_any_time(
    order: str, requests: int, workers: int, most: float, receipts: float | None
) -> None:
    alone = seconds(WELL_HOSTS, requests, workers, order, receipts)
    together = seconds(FIFTY, requests, workers, order, receipts)
    assert together <= most * alone, (together, alone, together / alone)


def test_places_that_wait_for_their_receipts_are_wanted_like_those_in_flight() -> None:
    """A journal that takes longer than an answer: never are as many in flight as there are places."""
    hosts = [host for host in FIFTY if host.startswith(("well", "slow", "silent"))]
    alone = seconds(WELL_HOSTS, 100, 64, "mixed", 0.2)
    together = seconds(hosts, 100, 64, "mixed", 0.2)
    assert together <= 1.1 * alone, (together, alone, together / alone)

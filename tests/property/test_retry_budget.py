"""An outage never multiplies the load: retries keep to their budget, however many requests fail for however long."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.config import Budgets, RetryBudget, RetryPolicy
from workerpool.limits import RetryTokens
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import POOLS_SHARE, Scheduler
from workerpool.tickets import Ticket

HOURS = 4 * 3600.0


class Outage:
    """A client whose every send fails after `took` seconds, and is tried again `backoff` later, with its own clock."""

    def __init__(self, scheduler: Scheduler, *, attempts: int, took: float, backoff: float) -> None:
        self.scheduler = scheduler
        self.attempts = attempts
        self.took = took
        self.backoff = backoff
        self.now = 0.0
        self.flying: list[tuple[float, int, Ticket]] = []
        self.tries: dict[Ticket, int] = {}
        self.sends: list[tuple[float, str, bool]] = []
        self.ended = 0
        self.excused = 0.0
        self._order = 0

    def add(self, host: str) -> None:
        ticket = Ticket(Request(host), host)
        self.tries[ticket] = 0
        self.scheduler.add(ticket, self.now)

    def run(self, until: float) -> None:
        while self.now <= until:
            while (ticket := self.scheduler.next(self.now)) is not None:
                self.sends.append((self.now, ticket.host, self.tries[ticket] > 0))
                self.tries[ticket] += 1
                self._order += 1
                heapq.heappush(self.flying, (self.now + self.took, self._order, ticket))
            wakes = [self.flying[0][0]] if self.flying else []
            if (at := self.scheduler.wakes_at(self.now)) is not None:
                wakes.append(at)
            if not wakes:
                return
            self.now = max(self.now, min(wakes))
            while self.flying and self.flying[0][0] <= self.now:
                _, _, ticket = heapq.heappop(self.flying)
                self.scheduler.release(ticket.host, self.now)
                if self.tries[ticket] < self.attempts:
                    self.scheduler.park(ticket, self.now + self.backoff)
                else:
                    self.ended += 1
                    self.excused += ticket.excused
                    del self.tries[ticket]

    def retries(self, host: str | None = None) -> int:
        return sum(is_retry for _, name, is_retry in self.sends if host in (None, name))

    def firsts(self, host: str | None = None) -> int:
        return sum(not is_retry for _, name, is_retry in self.sends if host in (None, name))


def make_scheduler(budget: RetryBudget | None, floor: float, rate: Rate | None = None) -> Scheduler:
    return Scheduler(
        Budgets(host_rate=rate, max_connections=64, host_connections=6), retries=budget, floor=floor, places=1000
    )


def test_hours_of_outage_add_no_more_load_than_the_retry_budget() -> None:
    """A request comes each second for each of two hosts, for four hours; every attempt fails."""
    policy = RetryPolicy(attempts=4)
    budget, floor = policy.budget, policy.budget_floor
    assert budget is not None
    budget = RetryBudget(share=budget.share, per_second=0.01)  # or the time would bring enough for everything
    outage = Outage(make_scheduler(budget, floor), attempts=4, took=0.05, backoff=0.5)
    for second in range(int(HOURS)):
        outage.now = max(outage.now, float(second))
        outage.add("a")
        outage.add("b")
        outage.run(float(second))
    for host in ("a", "b"):
        firsts, retries = outage.firsts(host), outage.retries(host)
        assert firsts == HOURS, "first tries wait for no retry"
        assert 0.9 * budget.share * firsts < retries <= floor + budget.share * firsts + budget.per_second * HOURS
    assert outage.retries() < 3 * outage.firsts() / 4, "without a budget there would be three for each"


def test_the_retries_that_had_to_wait_are_made_in_the_end() -> None:
    outage = Outage(make_scheduler(RetryBudget(per_second=1.0), 5), attempts=4, took=0.01, backoff=0.1)
    for _ in range(50):
        outage.add("a")
    outage.run(1_000.0)
    assert outage.ended == 50, "parked, never failed"
    assert (outage.firsts(), outage.retries()) == (50, 150)
    assert outage.excused > 0, "and that does not count against the total"
    assert outage.now > 100, "for which it took time"


@pytest.mark.parametrize("attempts", [2, 4, 10])
def test_a_batch_under_a_thousand_never_notices_the_budget(attempts: int) -> None:
    policy = RetryPolicy(attempts=attempts)
    outage = Outage(make_scheduler(policy.budget, policy.budget_floor), attempts=attempts, took=0.01, backoff=0.1)
    for _ in range(999):
        outage.add("a")
    outage.run(1e6)
    assert outage.ended == 999
    assert outage.excused == 0, "none has waited for a token"


def test_a_host_that_is_down_takes_the_retries_of_no_other() -> None:
    """Its own budget ends first, so that the pool's has something left for the others."""
    outage = Outage(make_scheduler(RetryBudget(per_second=0.001), 20), attempts=4, took=0.01, backoff=0.1)
    for _ in range(500):
        outage.add("dead")
    outage.run(100.0)
    assert outage.retries("dead") < 150
    for _ in range(5):
        outage.add("alive")
    outage.run(outage.now + 5.0)
    assert outage.retries("alive") == 15


@given(
    share=st.floats(0, 1),
    per_second=st.floats(0.01, 10),
    floor=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=120),
)
def test_no_more_tokens_are_spent_than_floor_share_and_time_allow_in_any_window(
    share: float, per_second: float, floor: int, steps: list[tuple[float, bool]]
) -> None:
    pool = RetryTokens(share, POOLS_SHARE * per_second, POOLS_SHARE * floor, 0.0)
    tokens = RetryTokens(share, per_second, floor, 0.0, pool)
    now, log = 0.0, list[tuple[float, bool]]()
    for passed, is_retry in steps:
        now += passed
        if is_retry:
            now = max(now, tokens.next_at())
            tokens.spend(now)
        else:
            tokens.earn()
        log.append((now, is_retry))
    for start in range(len(log)):
        spent = earned = 0
        for at, is_retry in log[start:]:
            spent += is_retry
            earned += not is_retry
            assert spent <= floor + share * earned + per_second * (at - log[start][0]) + 1e-6


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 1)), max_size=40))
def test_a_retry_takes_a_token_of_its_hosts_and_of_all_hosts_and_waits_for_either(
    steps: list[tuple[int, bool, int]],
) -> None:
    """In each step some seconds pass, and then one of two hosts sends a first try, or a retry if there is a token.

    There are never more than the floor; three quarters of one come with each first try, and an eighth with each second.
    """
    now, floors = 100.0, (3.0, 3.0, 4.0)
    pool = RetryTokens(0.75, 0.125, floors[2], now)
    hosts = [RetryTokens(0.75, 0.125, floor, now, parent=pool) for floor in floors[:2]]
    levels = [*floors]
    for seconds, is_first, host in steps:
        now += seconds
        levels = [min(floor, level + 0.125 * seconds) for floor, level in zip(floors, levels, strict=True)]
        missing = 1 - min(levels[host], levels[2])
        assert hosts[host].next_at() == now + missing / 0.125 if missing > 0 else hosts[host].next_at() <= now
        if is_first:
            hosts[host].earn()
        elif missing <= 0:
            hosts[host].spend(now)
        if is_first or missing <= 0:
            for one in (host, 2):
                levels[one] = min(floors[one], levels[one] + (0.75 if is_first else -1.0))
        for tokens, level, floor in zip([*hosts, pool], levels, floors, strict=True):
            assert tokens.count(now) == int(level)
            assert level == floor or tokens.rests_at == now + (floor - level) / 0.125
            assert level < floor or tokens.rests_at <= now


def test_a_clock_that_is_read_in_another_order_brings_and_takes_no_tokens() -> None:
    tokens = RetryTokens(0.75, 0.125, 4.0, 100.0)
    tokens.spend(101.0)
    assert tokens.count(93.0) == 3
    tokens.spend(93.0)
    assert tokens.count(101.0) == 2
    assert tokens.count(109.0) == 3

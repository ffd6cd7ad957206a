"""What a rate means, wherever its state is kept: in memory, in a file, or leased from Redis, in all or for a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.redis_budgets import InModel
from workerpool.config import Budgets
from workerpool.limits import LATENESS, MemoryLimiter
from workerpool.limits.file import FileBudget
from workerpool.limits.redis import RedisBudget
from workerpool.rate import Rate
from workerpool.testing import ManualClock

HOST = "http://a.test:80"
BEGAN = 1000.0
"""When the clock of each test begins."""


class Home(Protocol):
    """A rate's home."""

    def next_at(self, weight: int = 1) -> float: ...

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None: ...


class InFile:
    """A budget in a file as the home of one rate: it has sockets enough, and every send ends at once."""

    def __init__(self, path: Path, terms: Budgets) -> None:
        self.budget = FileBudget(str(path / "rates.budget"), terms, ManualClock(BEGAN, epoch=0.0))
        assert self.budget.allows(HOST, 1)  # so it is known

    def next_at(self, weight: int = 1) -> float:
        return self.budget.next_at(HOST, weight, BEGAN)

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        taken = self.budget.try_take(HOST, weight, now, since=since)
        if taken is not None:
            self.budget.give_back(HOST, now)
        return taken


class Leased:
    """A budget in Redis as the home of one rate. Its keeper asks whenever something is missing; it takes no time."""

    def __init__(self, terms: Budgets) -> None:
        self.clock = ManualClock(BEGAN, epoch=0.0)
        self.budget = RedisBudget(InModel(self.clock), "rates", terms, self.clock, keeps=False)

    def next_at(self, weight: int = 1) -> float:
        at = self.budget.next_at(HOST, weight, self.clock.now())
        for _ in range(3):  # what is missing is asked for at once, places and slots
            if at <= self.clock.now():
                break
            self.budget.exchange()
            at = self.budget.next_at(HOST, weight, self.clock.now())
        return at

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        while now - 0.5 < self.budget._calls_at() < now:
            self.clock.advance(max(0.0, self.budget._calls_at() - self.clock.now()))
            if since is not None:
                self.budget.next_at(HOST, weight, self.clock.now())  # as who waits does
            self.budget.exchange()
        self.clock.advance(max(0.0, now - self.clock.now()))
        for _ in range(3):
            taken = self.budget.try_take(HOST, weight, now, since=since)
            if taken is not None:
                self.budget.give_back(HOST, now)
                return taken
            self.budget.exchange()
        return None


Make = Callable[[Rate, int], Home]


@pytest.fixture(
    params=["memory", "file, in all", "file, for a host", "Redis, in all", "Redis, for a host"], scope="module"
)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Make a home of the rate and the burst."""
    with ExitStack() as stack:

        def in_file(rate: Rate, burst: int) -> Home:
            stack.close()  # the one before
            terms = Budgets(burst=burst, **{"rate" if "all" in request.param else "host_rate": rate})
            home = InFile(tmp_path_factory.mktemp("rates"), terms)
            stack.callback(home.budget.leave)
            return home

        def leased(rate: Rate, burst: int) -> Home:
            return Leased(Budgets(burst=burst, **{"rate" if "all" in request.param else "host_rate": rate}))

        yield {"memory": MemoryLimiter, "file": in_file, "Redis": leased}[request.param.partition(",")[0]]


def assert_bounded(grants: list[tuple[float, int]], rate: Rate, burst: int) -> None:
    """No window, its ends included, holds more weight than burst + rate x its length."""
    for i, (first, _) in enumerate(grants):
        weight = 0
        for last, more in grants[i:]:
            weight += more
            assert weight <= burst + rate.per_second * (last - first) + 1e-5 * weight, (first, last)


rates = st.builds(Rate, st.integers(1, 5000), st.sampled_from([1.0, 60.0, 3600.0]))
arrivals = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 8), st.floats(0, 0.03)), max_size=60)


@given(rates, st.integers(1, 8), arrivals)
def test_the_bound_holds_with_weights_and_late_wakings(
    make: Make, rate: Rate, burst: int, arrivals: list[tuple[float, int, float]]
) -> None:
    home, now, grants = make(rate, burst), BEGAN, list[tuple[float, int]]()
    since: float | None = None
    for gap, weight, late in arrivals:
        now += gap * rate.interval
        weight = min(weight, burst)
        now = max(now, home.next_at(weight)) + late
        stamp = home.try_take(now, weight, since=since)
        if stamp is None and isinstance(home, Leased):
            continue  # what is to come was not leased yet
        assert stamp is not None
        assert now - max(LATENESS, now - (since or now)) <= stamp + 1e-6
        assert now - stamp <= LATENESS + 1e-6
        grants.append((stamp, weight))
        since = stamp
    assert_bounded(grants, rate, burst)


@given(rates.filter(lambda rate: rate.per_second <= 1000), st.integers(1, 5), st.floats(0, 3))
def test_nothing_is_taken_before_its_time(make: Make, rate: Rate, burst: int, wait: float) -> None:
    """Above a thousand a second slots come in groups, and so a moment later."""
    home = make(rate, burst)
    for _ in range(burst):
        assert home.try_take(max(BEGAN, home.next_at())) == pytest.approx(BEGAN, abs=1e-9)
    taken = home.try_take(BEGAN + wait * rate.interval)
    assert (taken is None) if wait < 0.999 else (wait < 1.001 or taken is not None or isinstance(home, Leased))


def test_a_steady_demand_gets_the_whole_rate_though_every_waking_is_late(make: Make) -> None:
    home, since = make(Rate(200), 1), BEGAN
    for n in range(300):
        stamp = home.try_take(max(BEGAN, home.next_at()) + 0.004 * (n % 2), since=since)
        assert stamp is not None
        since = stamp
    assert since - BEGAN == pytest.approx(299 / 200)


def test_a_demand_that_begins_now_gets_no_slots_of_the_past(make: Make) -> None:
    home = make(Rate(1000), 1)
    assert home.try_take(BEGAN + 5) == BEGAN + 5
    assert home.try_take(BEGAN + 5) is None


def test_a_waking_that_comes_late_takes_its_slot_as_of_the_slots_time_or_as_of_a_moment_ago(make: Make) -> None:
    home, now = make(Rate(100), 1), BEGAN
    assert home.try_take(now, since=now) == now
    assert home.try_take(now + 0.014, since=now) == pytest.approx(now + 0.010)
    assert home.try_take(now + 0.014 + 2 * LATENESS, since=now) == pytest.approx(now + 0.014 + LATENESS)


def test_no_slot_is_of_the_future_though_its_waiter_read_the_clock_later_than_who_asks(make: Make) -> None:
    assert make(Rate(100), 1).try_take(BEGAN, since=BEGAN + 0.001) == BEGAN


def test_slots_are_evenly_spaced_after_the_burst(make: Make) -> None:
    home, times = make(Rate(10), 3), list[float]()
    while len(times) < 6:
        taken = home.try_take(max(BEGAN, home.next_at()))
        assert taken is not None
        times.append(round(taken - BEGAN, 6))
    assert times == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]


def test_a_quota_is_used_up_and_comes_back_a_window_later(make: Make) -> None:
    home = make(Rate.of("10/s and 3/h"), 1)
    assert all(home.try_take(BEGAN + n) is not None for n in range(3))
    assert home.try_take(BEGAN + 10) is None
    assert home.next_at() - BEGAN == pytest.approx(3600, abs=125)  # a file counts in parts of two minutes
    assert home.try_take(BEGAN + 3600 + 125) is not None


def test_what_weighs_more_than_the_burst_goes_by_itself(make: Make) -> None:
    home = make(Rate(1), 4)
    assert home.try_take(BEGAN) == BEGAN
    assert home.try_take(BEGAN + 0.9, weight=5) is None
    assert home.try_take(BEGAN + 1, weight=5) == BEGAN + 1
    assert home.next_at() == pytest.approx(BEGAN + 3)


def test_what_weighs_more_than_a_quota_takes_all_of_it(make: Make) -> None:
    home = make(Rate.of("10/s and 3/h"), 5)
    assert home.try_take(BEGAN) == BEGAN
    assert home.next_at(weight=4) - BEGAN == pytest.approx(3600, abs=0.1)
    assert home.try_take(BEGAN + 3601, weight=4) == BEGAN + 3601
    assert home.next_at() - BEGAN == pytest.approx(7201, abs=0.1)


@given(
    st.sampled_from(["1/s", "50/min", "10/s and 3/min", "10/s and 3/min and 9/h"]),
    st.integers(1, 8),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 8)), max_size=20),
)
def test_a_rate_in_memory_rests_when_the_greatest_weight_fits(
    rate: str, burst: int, arrivals: list[tuple[float, int]]
) -> None:
    limiter, now = MemoryLimiter(Rate.of(rate), burst), BEGAN
    for gap, weight in arrivals:
        now += gap
        limiter.try_take(now, weight)
    assert limiter.rests_at == limiter.next_at(10**6)


def test_only_above_a_thousand_a_second_a_waiter_may_wait_for_several_slots_together() -> None:
    assert [MemoryLimiter(Rate(count)).grouping for count in (1, 1000, 1001)] == [0.0, 0.0, 0.005]

"""The leaky bucket keeps its bound for any arrivals, bursts and weights, and gives a steady demand its whole rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.config import Rate
from workerpool.limits import LATENESS, LeakyBucket, MemoryLimiter

rates = st.builds(Rate, st.integers(1, 5000), st.sampled_from([1.0, 60.0, 3600.0]))
arrivals = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 8), st.floats(0, 0.03)), max_size=99)
gaps = st.lists(st.floats(0, 2), min_size=1, max_size=120)


def assert_bounded(grants: list[tuple[float, int]], rate: Rate, burst: int) -> None:
    """No window, its ends included, holds more weight than burst + rate x its length."""
    for i, (first, _) in enumerate(grants):
        weight = 0
        for last, more in grants[i:]:
            weight += more
            assert weight <= burst + rate.per_second * (last - first) + 1e-6 * weight, (first, last)


@given(rates, st.integers(1, 10), gaps)
def test_no_window_holds_more_than_burst_plus_rate_times_its_length(rate: Rate, burst: int, gaps: list[float]) -> None:
    bucket, now, grants = LeakyBucket(rate.interval, burst), 0.0, []
    for gap in gaps:
        now += gap * rate.interval
        grants.append((bucket.take(now), 1))
    assert_bounded(grants, rate, burst)


@given(rates, st.integers(1, 8), arrivals)
def test_the_bound_holds_with_weights_and_late_wakings(
    rate: Rate, burst: int, arrivals: list[tuple[float, int, float]]
) -> None:
    limiter, now, grants = MemoryLimiter(rate, burst), 0.0, list[tuple[float, int]]()
    since: float | None = None
    for gap, weight, late in arrivals:
        now += gap * rate.interval
        weight = min(weight, burst)
        now = max(now, limiter.next_at(weight)) + late
        stamp = limiter.try_take(now, weight, since=since)
        assert stamp is not None
        assert now - max(LATENESS, now - (since or now)) <= stamp + 1e-9
        assert now - stamp <= LATENESS + 1e-9
        grants.append((stamp, weight))
        since = stamp
    assert_bounded(grants, rate, burst)


@given(rates, st.integers(1, 5), st.floats(0, 3))
def test_nothing_is_taken_before_its_time(rate: Rate, burst: int, wait: float) -> None:
    limiter = MemoryLimiter(rate, burst)
    for _ in range(burst):
        assert limiter.try_take(0.0) == 0.0
    taken = limiter.try_take(wait * rate.interval)
    assert (taken is None) if wait < 0.999 else (wait < 1.001 or taken is not None)


def test_a_steady_demand_gets_the_whole_rate_though_every_waking_is_late() -> None:
    limiter, since = MemoryLimiter(Rate(200)), 0.0
    for n in range(1000):
        stamp = limiter.try_take(max(0.0, limiter.next_at()) + 0.004 * (n % 2), since=since)
        assert stamp is not None
        since = stamp
    assert since == pytest.approx(999 / 200)


def test_a_demand_that_begins_now_gets_no_slots_of_the_past() -> None:
    limiter = MemoryLimiter(Rate(1000))
    assert limiter.try_take(5.0) == 5.0
    assert limiter.try_take(5.0) is None


def test_slots_are_evenly_spaced_after_the_burst() -> None:
    bucket = LeakyBucket(0.1, burst=3)
    assert [round(bucket.take(5.0), 6) for _ in range(6)] == [5.0, 5.0, 5.0, 5.1, 5.2, 5.3]


def test_what_weighs_more_than_the_burst_goes_by_itself() -> None:
    bucket = LeakyBucket(1.0, burst=4)
    assert [bucket.take(10.0, weight) for weight in (1, 5, 1)] == [10.0, 11.0, 13.0]


def test_what_weighs_more_than_a_quota_takes_all_of_it() -> None:
    limiter = MemoryLimiter(Rate.of("10/s and 3/h"), burst=5)
    assert limiter.try_take(0.0) == 0.0
    assert limiter.next_at(weight=4) == pytest.approx(3600, abs=0.1)
    assert limiter.try_take(3601.0, weight=4) == 3601.0
    assert limiter.next_at() == pytest.approx(7201, abs=0.1)

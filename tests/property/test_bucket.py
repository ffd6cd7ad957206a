"""The leaky bucket keeps its bound for any arrivals, bursts, weights and slots given back."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.config import Rate
from workerpool.errors import OptionError, SlotTimeout
from workerpool.limits import LATENESS, LeakyBucket, MemoryLimiter, Slot

rates = st.builds(Rate, st.integers(1, 5000), st.sampled_from([1.0, 60.0, 3600.0]))
gaps = st.lists(st.floats(0, 2), min_size=1, max_size=120)


def assert_bounded(slots: list[Slot], rate: Rate, burst: int) -> None:
    """No window, its ends included, holds more weight than burst + rate x its length."""
    slots = sorted(slots)
    for i, first in enumerate(slots):
        weight = 0
        for last in slots[i:]:
            weight += last.weight
            allowed = burst + rate.per_second * (last.time - first.time)
            assert weight <= allowed + 1e-6 * weight, (first, last)


@given(rates, st.integers(1, 10), gaps)
def test_no_window_holds_more_than_burst_plus_rate_times_its_length(rate: Rate, burst: int, gaps: list[float]) -> None:
    bucket, now, slots = LeakyBucket(rate, burst), 0.0, []
    for gap in gaps:
        now += gap * rate.interval
        slots.append(bucket.reserve(now))
    assert_bounded(slots, rate, burst)


@given(rates, st.integers(1, 8), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 8), st.booleans()), max_size=120))
def test_the_bound_holds_with_weights_and_slots_given_back(
    rate: Rate, burst: int, arrivals: list[tuple[float, int, bool]]
) -> None:
    bucket, now, kept = LeakyBucket(rate, burst), 0.0, list[Slot]()
    for gap, weight, gives_back in arrivals:
        now += gap * rate.interval
        slot = bucket.reserve(now, min(weight, burst))
        assert slot.time >= now
        if gives_back and kept:
            bucket.give_back(kept.pop(len(kept) // 2))
        elif gives_back:
            bucket.give_back(slot)
            continue
        kept.append(slot)
    assert_bounded(kept, rate, burst)


@given(rates, st.integers(1, 8), st.lists(st.floats(0, 30), max_size=80))
def test_late_grants_are_stamped_anew_and_stay_within_the_bound(rate: Rate, burst: int, delays: list[float]) -> None:
    bucket, now, granted = LeakyBucket(rate, burst), 0.0, list[Slot]()
    for delay in delays:
        slot = bucket.reserve(now)
        now = max(now, slot.time) + delay * LATENESS / 10
        slot = bucket.regrant(slot, now)
        assert now - slot.time <= LATENESS
        now = max(now, slot.time)
        granted.append(slot)
    assert_bounded(granted, rate, burst)


def test_a_steady_demand_gets_the_whole_rate_though_every_waking_is_late() -> None:
    bucket, as_of = LeakyBucket(Rate(200)), 0.0
    for _ in range(1000):
        as_of = bucket.reserve(as_of).time  # the demand never ceased, so each asks as of the slot before
    assert as_of == pytest.approx(999 / 200)


def test_slots_are_evenly_spaced_after_the_burst() -> None:
    bucket = LeakyBucket(Rate(10), burst=3)
    assert [round(bucket.reserve(5.0).time, 6) for _ in range(6)] == [5.0, 5.0, 5.0, 5.1, 5.2, 5.3]


def test_the_last_slot_given_back_leaves_no_trace() -> None:
    bucket = LeakyBucket(Rate(1))
    bucket.reserve(0.0)
    bucket.give_back(bucket.reserve(0.0))
    assert bucket.reserve(0.0).time == 1.0


def test_an_earlier_slot_given_back_goes_to_the_next_caller() -> None:
    bucket = LeakyBucket(Rate(1))
    first, second, third = (bucket.reserve(0.0) for _ in range(3))
    bucket.give_back(second)
    assert bucket.reserve(0.5).time == second.time
    assert bucket.reserve(0.5).time == third.time + 1
    assert first.time == 0.0


def test_a_weight_above_the_burst_is_refused() -> None:
    with pytest.raises(OptionError, match="raise the burst to 5"):
        LeakyBucket(Rate(1), burst=4).reserve(0.0, weight=5)


def test_a_wait_beyond_the_maximum_gives_the_slot_back() -> None:
    limiter = MemoryLimiter(Rate(1))
    limiter.reserve(0.0)
    with pytest.raises(SlotTimeout, match=r"1\.0 s; 0\.5 s were allowed"):
        limiter.reserve(0.0, max_wait=0.5)
    assert limiter.reserve(0.0, max_wait=1.0).time == 1.0


def test_threads_that_reserve_together_get_distinct_slots(tiny_switch_interval: None) -> None:
    limiter, slots = MemoryLimiter(Rate(1000)), list[float]()

    def reserve() -> None:
        for _ in range(200):
            slots.append(limiter.reserve(0.0).time)

    threads = [threading.Thread(target=reserve) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slots) == pytest.approx([n / 1000 for n in range(3200)])

"""The meter's seconds: every one of them counted once, by the reasons that held."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.meter import FULL, HELD, HOSTS, LOOK_EVERY, LOOK_FOR_EACH, Meter
from workerpool.statistics import LARGEST, HostWait, Wait, Waits

REASONS = st.dictionaries(
    st.tuples(st.sampled_from(Wait), st.sampled_from(["", "a", "b"])), st.integers(1, 9), max_size=4
)
STEPS = st.lists(st.tuples(st.sampled_from([*Wait, FULL, HELD]), st.floats(0, 100), REASONS), max_size=30)


def seconds_of(waits: Waits) -> dict[str, float]:
    """The waits that are not zero."""
    return {one.name: value for one in fields(Waits) if one.name != "hosts" and (value := getattr(waits, one.name))}


@given(STEPS)
def test_the_waits_are_the_age_of_the_pool_whatever_happened(
    steps: list[tuple[int, float, dict[tuple[Wait, str], float]]],
) -> None:
    now, meter = 5.0, Meter(5.0)
    for state, seconds, reasons in steps:
        meter.turn_to(state, now)
        if state >= FULL and meter.is_due(now):
            meter.see(reasons, 1, now)
        now += seconds
    waits = seconds_of(meter.waits(now))
    assert sum(waits.values()) == pytest.approx(now - 5.0)
    assert meter.waits(now) == meter.waits(now)


def test_a_state_lasts_until_the_next_one() -> None:
    meter = Meter(10.0)
    meter.turn_to(Wait.RATE, 11.0)
    meter.turn_to(Wait.SINK, 14.0)
    assert seconds_of(meter.waits(14.5)) == {"idle": 1.0, "rate": 3.0, "sink": 0.5}


def test_a_state_with_several_reasons_is_shared_out_by_the_requests_that_wait() -> None:
    meter = Meter(0.0)
    meter.turn_to(HELD, 0.0)
    meter.see({(Wait.HOST_SOCKETS, "a"): 3, (Wait.PAUSE, "b"): 1}, 2, 8.0)
    meter.turn_to(Wait.READY, 8.0)
    waits = meter.waits(9.0)
    assert seconds_of(waits) == {"host_sockets": 6.0, "pause": 2.0, "ready": 1.0}
    assert waits.hosts == (HostWait("host_sockets", "a", 6.0), HostWait("pause", "b", 2.0))


def test_what_is_seen_counts_since_the_last_look_however_often_the_state_has_come_and_gone() -> None:
    meter = Meter(0.0)
    meter.turn_to(HELD, 0.0)
    meter.see({(Wait.PAUSE, "a"): 1}, 1, 4.0)
    meter.turn_to(Wait.READY, 5.0)
    meter.turn_to(HELD, 5.5)
    meter.see({(Wait.HOST_RATE, "a"): 1}, 1, 7.0)
    meter.turn_to(Wait.READY, 8.0)
    assert seconds_of(meter.waits(8.0)) == {"pause": 4.0, "host_rate": 3.5, "ready": 0.5}


def test_what_was_seen_last_counts_until_it_is_asked_for() -> None:
    meter = Meter(0.0)
    meter.turn_to(FULL, 0.0)
    assert seconds_of(meter.waits(1.0)) == {"workers": 1.0}
    meter.see({(Wait.HOST_RATE, "a"): 1}, 1, 3.0)
    assert seconds_of(meter.waits(4.0)) == {"workers": 1.0, "host_rate": 3.0}


def test_moments_in_which_a_thread_is_on_its_way_are_the_rates_where_slots_are_waited_for() -> None:
    meter, now = Meter(0.0), 0.0
    for _ in range(100):  # a slot every 20 ms, for which a thread takes 4
        meter.turn_to(HELD, now)
        meter.see({(Wait.RATE, ""): 1}, 1, now + 0.016)
        meter.turn_to(Wait.READY, now + 0.016)
        now += 0.02
    assert seconds_of(meter.waits(now))["rate"] == pytest.approx(2.0, abs=0.005)
    assert seconds_of(meter.waits(now))["ready"] == pytest.approx(0.004)  # the last one's, which nobody waited after


@pytest.mark.parametrize(("late", "reason", "ready"), [(0.004, Wait.HOST_SOCKETS, 0.04), (0.02, Wait.RATE, 0.2)])
def test_moments_that_cost_something_are_the_pools_own(late: float, reason: Wait, ready: float) -> None:
    """Those after which no slot is waited for, and those in which slots are lost."""
    meter, now = Meter(0.0), 0.0
    for _ in range(10):
        meter.turn_to(HELD, now)
        meter.see({(reason, "a"): 1}, 1, now + 0.1)
        meter.turn_to(Wait.READY, now + 0.1)
        now += 0.1 + late
    assert seconds_of(meter.waits(now)) == pytest.approx({reason.name.lower(): 1.0, "ready": ready})


def test_a_look_that_saw_nothing_leaves_what_was_seen_before() -> None:
    meter = Meter(0.0)
    meter.turn_to(HELD, 0.0)
    meter.see({(Wait.PAUSE, "a"): 1}, 1, 1.0)
    meter.see({}, 0, 2.0)
    assert seconds_of(meter.waits(2.0)) == {"pause": 2.0}


def test_reasons_that_nothing_waits_for_are_none() -> None:
    meter = Meter(0.0)
    meter.turn_to(HELD, 0.0)
    meter.see({(Wait.ROBOTS, ""): 0}, 0, 1.0)
    assert seconds_of(meter.waits(1.0)) == {"ready": 1.0}


def test_looks_are_due_at_once_then_rarely_and_the_more_rarely_the_more_there_is_to_look_at() -> None:
    meter = Meter(0.0)
    meter.turn_to(HELD, 1.0)
    assert meter.is_due(1.0)
    meter.see({(Wait.PAUSE, "a"): 1}, 1_000, 1.0)
    again = 1.0 + LOOK_EVERY + 1_000 * LOOK_FOR_EACH
    assert not meter.is_due(again - 0.0001)
    assert meter.is_due(again)
    meter.turn_to(FULL, 1.0)
    assert meter.is_due(1.0)


def test_the_largest_hosts_are_told_and_memory_is_bounded() -> None:
    meter = Meter(0.0)
    meter.turn_to(HELD, 0.0)
    for turn in range(1, 11):
        seen = {(Wait.HOST_RATE, f"host{turn}-{n}"): 1.0 for n in range(HOSTS)}
        meter.see({**seen, (Wait.HOST_RATE, "large"): float(HOSTS)}, 1, float(turn))
    waits = meter.waits(10.0)
    assert waits.host_rate == pytest.approx(10.0)
    assert waits.hosts[0] == HostWait("host_rate", "large", pytest.approx(5.0))
    assert len(waits.hosts) == LARGEST
    assert len(meter._by_host) <= 2 * HOSTS + 1

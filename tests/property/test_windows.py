"""A quota over a window: never more than it in any window, hardly ever less, and in little memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from workerpool.clock import LONG_AGO
from workerpool.limits import LATENESS
from workerpool.limits.windows import Window
from workerpool.rate import Rate

PARTS = 4
HOUR = 3600.0

wishes = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 20.0, 400.0, HOUR / PARTS, 3000.0]), st.sampled_from([1, 1, 2, 7])),
    max_size=40,
)
"""Seconds until each, and how much it weighs."""


@given(st.sampled_from([1, 2.5, 4, 10]), wishes)
@settings(max_examples=60)
def test_no_window_holds_more_than_the_quota_and_no_wish_waits_a_part_too_long(
    count: float, wishes: list[tuple[float, int]]
) -> None:
    """What weighs more than the quota counts for all of it, in whole requests."""
    window, now, taken = Window(Rate(count, HOUR), PARTS), 5000.0, list[tuple[float, int]]()
    assert window.rests_at == LONG_AGO
    for gap, weight in wishes:
        now += gap
        weighs = min(weight, int(count))
        ends = [at + window.seconds for at, _ in taken]  # when each counts no more
        free = min(
            at
            for at in [now, *(end for end in ends if end > now)]
            if sum(its for end, (_, its) in zip(ends, taken, strict=True) if end > at) + weighs <= count
        )
        now = max(now, window.next_at(weight))
        assert free <= now < free + HOUR / PARTS
        window.take(now, weight)
        taken.append((now, weighs))
        assert len([*window.sent]) <= PARTS + 2
        assert sum(weight for _, _, weight in window.sent) <= count
        assert window.rests_at == now + window.seconds


def test_a_grant_counts_for_as_much_longer_as_it_may_have_come_late() -> None:
    assert Window(Rate(1, HOUR)).seconds == HOUR + LATENESS


def test_what_is_sent_in_one_part_of_the_window_leaves_it_together() -> None:
    window, began = Window(Rate(1000, HOUR), PARTS), 5000.0
    for second in range(1000):
        window.take(began + second)
    assert [*window.sent] == [[began, began + 899, 900], [began + 900, began + 999, 100]]
    assert window.next_at() == began + 899 + window.seconds


def test_a_clock_that_is_read_in_another_order_shortens_nothing() -> None:
    window = Window(Rate(2, HOUR))
    window.take(5000.0)
    window.take(4999.9)
    assert window.next_at() == 5000.0 + HOUR + LATENESS


@given(wishes)
def test_what_was_sent_may_be_kept_elsewhere(wishes: list[tuple[float, int]]) -> None:
    window, other, now = Window(Rate(4, HOUR)), Window(Rate(4, HOUR)), 5000.0
    for gap, weight in wishes:
        now = max(now + gap, window.next_at(weight))
        window.take(now, weight)
        other.sent = [[*part] for part in window.sent]
        assert [other.next_at(weight) for weight in range(1, 5)] == [window.next_at(weight) for weight in range(1, 5)]

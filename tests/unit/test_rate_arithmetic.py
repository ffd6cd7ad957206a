"""The arithmetic of a learned rate's rules, with exact numbers: times are in eighths of a second, which add up."""

from __future__ import annotations

import pytest

from tests.answers import accept, refuse
from workerpool.limits import AdaptiveRate, Allowance, Answer
from workerpool.limits.adaptive import (
    BACK,
    BEYOND,
    BLIND,
    FLOOR,
    GROWTH,
    IN_FLIGHT,
    KEPT,
    MORE_IN_FLIGHT,
    MORE_SLOWLY,
    PER_PAUSE,
    PER_REFUSAL,
    SHORTEST,
    SHORTEST_AT_FIRST,
    START,
    UNDER,
)
from workerpool.rate import Rate


def every(seconds: float, count: int, *, since: float = 0.0) -> list[float]:
    return [since + n * seconds for n in range(count)]


def learned(limit: float) -> float:
    """The rate right after a fall that found this limit."""
    return BACK * UNDER * limit


def stretch(limiter: AdaptiveRate, at: float) -> float:
    """How many seconds of use the way back takes, by its first step after a fall: one request accepted then."""
    curve, known = 1 / limiter.rate, limiter.rate / BACK
    missing = 1 - accept(limiter, at) / known
    return curve / (1 - float((missing / (1 - BACK)) ** (1 / 3)))


def first_step(limit: float, *, told: int) -> float:
    """The rate after a fall that found this limit, told by so many, and one request accepted since."""
    known, low = UNDER * limit, learned(limit)
    curve = known * (1 - (1 - BACK) * (1 - (1 / low) / max(SHORTEST_AT_FIRST, 2 * told / known)) ** 3)
    return min(curve, low * (1 + GROWTH / START))


def eight_a_second() -> tuple[AdaptiveRate, float]:
    """One that has 16 accepted in two seconds, and the time."""
    limiter = AdaptiveRate()
    accept(limiter, *every(1 / 8, 16))
    return limiter, 2.0


# -- slots, and which of them were used -------------------------------------------------------------------------------


def test_a_ceiling_holds_from_the_beginning_and_may_be_lower_than_what_is_sent_at_least() -> None:
    for ceiling in (Rate(4), Rate(1, 3600)):
        limiter = AdaptiveRate(ceiling)
        limiter.try_take(1.0)
        assert limiter.rate == ceiling.per_second
        assert limiter.next_at() == 1.0 + 1 / ceiling.per_second


@pytest.mark.parametrize(
    ("weight", "late", "slots"),
    [(1, 0.25, 13), (1, 1.0, 8), (4, 1.0, 13), (1, 0.124, None), (4, 0.25, None)],
)
def test_a_rate_grows_while_half_of_its_slots_were_wanted_lately(weight: int, late: float, slots: int | None) -> None:
    """Each slot moves the share by a tenth; of one that is taken its own length too late, a half was wanted."""

    def grows_after(count: int) -> bool:
        limiter = AdaptiveRate()
        for _ in range(count):
            assert limiter.try_take(max(0.0, limiter.next_at() + late), weight) is not None
        return accept(limiter, 100.0) > START

    assert [count for count in range(1, 40) if not grows_after(count)] == ([] if slots is None else [*range(slots, 40)])


def test_what_remains_of_an_announced_window_is_spread_over_the_rest_of_it() -> None:
    limiter = AdaptiveRate()
    limiter.hear(Answer(0.0, 0.0, 200, refused=False, allowance=Allowance(limit=10, remaining=10, reset=10.5)), 0.0)
    assert limiter.rate == pytest.approx((10 - 0.2) / 10.5)
    limiter.try_take(5.0)
    assert limiter.rate == pytest.approx((9 - 0.2) / 5.5)
    limiter.try_take(7.0, weight=5)
    assert limiter.rate == pytest.approx((4 - 0.2) / 3.5)
    limiter.hear(Answer(8.0, 8.0, 200, refused=False, allowance=Allowance(remaining=0, reset=30)), 8.0)
    assert limiter.rate == FLOOR


def test_a_window_is_worth_keeping_until_it_ends_and_a_hold_until_it_is_over() -> None:
    for reset, rests_at in ((3000.5, 3000.5), (30.5, 1.0 + KEPT)):
        limiter = AdaptiveRate()
        limiter.try_take(1.0)
        limiter.hear(Answer(0.0, 1.0, 200, refused=False, allowance=Allowance(remaining=9, reset=reset)), 1.0)
        assert limiter.rests_at == rests_at
    held = AdaptiveRate()
    held.try_take(1.0)
    for at in (1.0, 2.0, 3.0):
        refuse(held, at)
    assert held.rests_at == held.next_at() == 3.0 + 16


# -- growing ----------------------------------------------------------------------------------------------------------


def test_a_rate_grows_by_a_number_for_each_accepted_request_and_by_a_share_where_it_is_lower_than_the_first() -> None:
    limiter = AdaptiveRate()
    assert accept(limiter, 0.0, 0.125) == pytest.approx(START + 2 * GROWTH)
    slow = AdaptiveRate()
    assert refuse(slow, 0.0) == 1.0
    assert accept(slow, 1.0, 1.125) == pytest.approx((1 + GROWTH / START) ** 2)


def test_a_rate_does_not_grow_where_a_window_is_slower() -> None:
    limiter = AdaptiveRate()
    window = Allowance(remaining=60, reset=10.5)
    limiter.hear(Answer(0.0, 0.0, 200, refused=False, allowance=window), 0.0)
    assert limiter.rate < START
    accept(limiter, *every(0.125, 20))
    assert limiter._learned == START


def test_the_time_in_flight_is_the_mean_of_twenty_requests_and_then_moves_by_a_twentieth() -> None:
    limiter = AdaptiveRate()
    accept(limiter, *every(1.0, 10), took=1.5)
    assert accept(limiter, *every(1.0, 10, since=20.0), took=0.5) == START, "six a second, as they take a second each"
    rate = accept(limiter, *every(1.0, 40, since=40.0), took=0.5)
    assert rate == pytest.approx((IN_FLIGHT + MORE_IN_FLIGHT * 60) / (0.5 + 0.5 * 0.95**40))


def test_answers_that_take_no_time_by_the_clock_are_no_reason_not_to_grow() -> None:
    assert accept(AdaptiveRate(), 0.0, took=0.0) == pytest.approx(START + GROWTH)


def test_far_beyond_the_known_limit_the_rate_grows_as_at_first_but_a_quarter_as_fast() -> None:
    limiter, now = eight_a_second()
    known = refuse(limiter, now) / BACK
    steps = list[tuple[float, float]]()
    for _ in range(400):
        before = limiter.rate
        steps.append((before, accept(limiter, now) - before))
    beyond = [(rate, step) for rate, step in steps if rate >= BEYOND * known]
    assert len(beyond) > 100
    for rate, step in beyond:
        assert step == pytest.approx(MORE_SLOWLY * GROWTH * min(1.0, rate / START))


# -- what was accepted lately -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "counted", "seconds"),
    [
        (every(1 / 8, 8), 8, 7 / 8),
        (every(1 / 8, 15), 15, 14 / 8),
        ([*every(1 / 8, 15), *every(1 / 4, 14, since=2.0)], 29, 2.0 + 13 / 4),
        ([*every(1 / 8, 15), *every(1 / 4, 15, since=2.0)], 15, 14 / 4),
        ([*every(1 / 8, 15), *every(1 / 4, 16, since=2.0)], 16, 15 / 4),
        ([*every(1 / 8, 15), *every(1 / 4, 15, since=2.0), 8.0], 16, 6.0),
        ([*every(1 / 64, 20), *every(1, 14, since=0.4)], 34, 13.4),
        ([*every(1 / 64, 20), *every(1, 15, since=0.4)], 15, 14.0),
        ([0.0, *every(1, 15, since=0.375)], 16, 14.375),
        ([0.0, *every(1 / 8, 14, since=1 / 8), 1.0], 16, 14 / 8),
        (every(1 / 64, 8), 8, 0.0),
    ],
    ids=str,
)
def test_the_limit_is_what_was_accepted_lately_in_the_time_from_the_first_to_after_the_last(
    sent: list[float], counted: int, seconds: float
) -> None:
    """At first it is counted by fifteen, and in four tenths of a second at least, with those before until there are so
    many again. It is never more than the rate."""
    limiter = AdaptiveRate()
    rate = accept(limiter, *sent)
    limit = min(rate, counted / (seconds + 1 / rate))
    assert refuse(limiter, 50.0) == pytest.approx(learned(limit))


@pytest.mark.parametrize(
    ("sent", "counted", "seconds"),
    [
        (every(1 / 4, 40, since=4.0), 40, 39 / 4),
        (every(1 / 4, 79, since=4.0), 79, 78 / 4),
        ([*every(1 / 4, 40, since=4.0), *every(1 / 2, 40, since=14.0)], 40, 39 / 2),
        ([*every(1 / 16, 60, since=4.0), *every(1 / 2, 39, since=8.0)], 99, 23.0),
        ([*every(1 / 16, 60, since=4.0), *every(1 / 2, 40, since=8.0)], 40, 39 / 2),
        ([*every(1 / 16, 39, since=4.0), *every(1 / 2, 40, since=8.0)], 79, 23.5),
    ],
    ids=str,
)
def test_near_a_known_limit_it_is_counted_by_forty_and_in_four_seconds_at_least(
    sent: list[float], counted: int, seconds: float
) -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now, pause=2.0)  # which is earned so slowly that the rate stays near the limit
    rate = accept(limiter, *sent)
    assert refuse(limiter, 50.0) == pytest.approx(learned(counted / (seconds + 1 / rate)))


def test_answers_that_come_in_another_order_are_counted_up_to_the_newest() -> None:
    limiter = AdaptiveRate()
    rate = accept(limiter, 0.0, *every(1 / 2, 10, since=1.0), 0.5)
    assert refuse(limiter, 50.0) == pytest.approx(learned(12 / (5.5 + 1 / rate)))


def test_what_was_sent_before_a_fall_is_not_counted_after_it_and_what_was_sent_at_its_time_is() -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now)
    accept(limiter, *every(1 / 8, 8, since=now - 1))
    rate = accept(limiter, *every(1 / 4, 8, since=now))
    assert refuse(limiter, 5.0) == pytest.approx(learned(8 / (7 / 4 + 1 / rate)))


# -- a long pause -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waited", "pause", "is_window"), [(2, 5, True), (2, 4.75, False), (8, 16, False), (8, 16.5, True), (8, 30, True)]
)
def test_a_long_pause_of_twice_what_went_before_is_the_rest_of_a_window_in_which_the_limit_was_all_that_was_accepted(
    waited: float, pause: float, is_window: bool
) -> None:
    limiter, _ = eight_a_second()
    lately = 16 / (15 / 8 + 1 / limiter.rate)
    expected = 16 / (waited + pause) if is_window else lately
    assert refuse(limiter, waited, pause=pause) == pytest.approx(learned(expected))


def test_a_long_pause_that_cannot_be_a_windows_rest_does_not_raise_the_limit() -> None:
    limiter = AdaptiveRate()
    rate = accept(limiter, *every(2, 9), *[30.0] * 120)
    assert refuse(limiter, 30.0, pause=100.0) == pytest.approx(learned(129 / 130))
    again = AdaptiveRate()
    rate = accept(again, *[0.0] * 120, *every(8, 15, since=1.0))
    assert refuse(again, 113.0, pause=300.0) == pytest.approx(learned(15 / (112 + 1 / rate)))


def test_after_such_a_pause_the_next_window_is_counted() -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now, pause=10.0)
    accept(limiter, *every(1 / 8, 8, since=12.0))
    assert refuse(limiter, 14.0, pause=20.0) == pytest.approx(learned(8 / (2.0 + 20.0)))


# -- the way back -----------------------------------------------------------------------------------------------------


def test_the_way_back_takes_four_seconds_where_little_has_to_be_earned() -> None:
    limiter = AdaptiveRate()
    accept(limiter, *every(1 / 8, 8))
    refuse(limiter, 1.0)
    assert stretch(limiter, 1.0) == pytest.approx(SHORTEST_AT_FIRST)


@pytest.mark.parametrize(("spacing", "is_same"), [(0.105, True), (0.095, False), (0.155, True), (0.165, False)])
def test_a_limit_that_was_found_again_is_come_back_to_more_slowly(spacing: float, is_same: bool) -> None:
    """Found again is one that is at most a quarter off."""
    limiter, now = eight_a_second()
    known = refuse(limiter, now) / BACK
    accept(limiter, *[7.0] * 400)
    rate = accept(limiter, *every(spacing, 15, since=11.0))
    limit = 15 / (14 * spacing + 1 / rate)
    assert refuse(limiter, 20.0) == pytest.approx(learned(limit))
    assert (1 / BEYOND < limit / known < BEYOND) is is_same
    shortest, told = (SHORTEST, 16 + 15) if is_same else (SHORTEST_AT_FIRST, 15)
    assert stretch(limiter, 20.0) == pytest.approx(max(shortest, 2 * told / (UNDER * limit)))


@pytest.mark.parametrize(("refused", "requests"), [(1, PER_REFUSAL), (2, 2 * PER_REFUSAL), (3, 190), (9, 190)])
def test_each_refused_request_has_to_be_earned_by_seventy_and_all_by_twice_as_many_as_told_of_the_limit(
    refused: int, requests: float
) -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now, pause=2.0)
    accept(limiter, *every(1 / 8, 79, since=4.0))
    known = refuse(limiter, 14.0) / BACK
    for _ in range(refused - 1):
        refuse(limiter, 13.0, at=14.0)
    assert stretch(limiter, 14.0) == pytest.approx(max(SHORTEST, requests / known)), "told by 16, and by 79"


def test_pauses_of_one_incident_add_up_as_far_as_they_are_not_the_same_time() -> None:
    limiter, now = eight_a_second()
    fallen = refuse(limiter, now, pause=1.0)
    for at, pause in ((2.5, 2.0), (2.75, 1.0), (4.0, None), (5.0, 0.5)):
        assert refuse(limiter, 1.0, at=at, pause=pause) == fallen
    assert accept(limiter, 5.25) == fallen, "it was sent before the last pause was over"
    assert stretch(limiter, 5.5) == pytest.approx(PER_PAUSE * (1.0 + 1.5 + 0.5))


def test_a_refusal_that_asks_for_no_pause_does_not_make_an_incident_longer() -> None:
    limiter, now = eight_a_second()
    fallen = refuse(limiter, now)
    assert refuse(limiter, 1.0, at=4.0) == fallen
    assert accept(limiter, 3.0) > fallen
    assert refuse(limiter, 3.5, at=4.0) < fallen


def test_an_incident_begins_with_the_next_request_that_is_sent_after_the_last() -> None:
    limiter, now = eight_a_second()
    fallen = refuse(limiter, now)
    assert refuse(limiter, now - 0.125, at=now) == fallen
    assert refuse(limiter, now) == pytest.approx(BLIND * fallen)


# -- falls of which nothing is known ----------------------------------------------------------------------------------


def test_seven_accepted_requests_do_not_tell_the_rate_and_eight_do() -> None:
    for count in (7, 8):
        limiter = AdaptiveRate()
        rate = accept(limiter, *every(1 / 64, count))
        assert refuse(limiter, 0.5) == pytest.approx(1.0 if count < 8 else learned(rate))


def test_a_host_that_has_accepted_eight_is_not_taken_for_a_slow_one() -> None:
    for count in (7, 8):
        limiter = AdaptiveRate()
        accept(limiter, *every(1 / 64, count))
        fallen = refuse(limiter, 0.5)
        expected = BLIND if count < 8 else BLIND * fallen
        assert refuse(limiter, 0.625) == pytest.approx(expected), "nothing was accepted in between"


@pytest.mark.parametrize(
    ("sent", "at", "expected"),
    [
        ([0.0], 4.0, 1.0),
        ([0.0, 0.5], 0.875, 1.0),
        ([0.0, 0.5], 1.0, learned(1.0)),
        ([0.0, 0.5], 4.0, learned(2 / 4)),
        ([1.0, 2.0, 3.0], 9.0, learned(3 / 8)),
    ],
)
def test_two_requests_tell_the_limit_if_no_more_were_accepted_in_a_second_or_longer(
    sent: list[float], at: float, expected: float
) -> None:
    limiter = AdaptiveRate()
    accept(limiter, *sent)
    assert refuse(limiter, at) == pytest.approx(expected)


def test_the_few_are_counted_from_the_end_of_the_pause_after_the_last_fall() -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now, pause=2.0)
    accept(limiter, *every(1, 7, since=4.0))
    assert refuse(limiter, 18.0, pause=2.0) == pytest.approx(learned(7 / 14))
    accept(limiter, *every(1, 4, since=20.0))
    assert refuse(limiter, 36.0) == pytest.approx(learned(4 / 16))
    assert stretch(limiter, 36.0) == pytest.approx(8 / (UNDER * 4 / 16)), "two for each of the four"


def test_a_limit_is_one_a_minute_at_least_however_few_were_accepted() -> None:
    limiter = AdaptiveRate()
    accept(limiter, 0.0, 1.0)
    assert refuse(limiter, 1000.0) == FLOOR
    assert accept(limiter, 1000.0) == FLOOR, "this is the known limit then, and the way back takes its time"


# -- where nothing is accepted any more -------------------------------------------------------------------------------


def test_one_request_asks_and_the_others_go_as_soon_as_it_was_accepted() -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now)
    assert refuse(limiter, 3.0) > 4
    assert limiter.try_take(4.0) == 4.0
    assert limiter.next_at() == 5.0
    rate = accept(limiter, 4.0)
    assert limiter.next_at() == 4.0 + 1 / rate
    assert limiter.try_take(4.5) == 4.5
    assert limiter.next_at() == 4.5 + 1 / rate


def test_after_several_fruitless_falls_all_that_was_accepted_since_the_limit_was_found_is_the_limit() -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now)
    for at in (10.0, 20.0):
        refuse(limiter, at)
    assert accept(limiter, 60.0) == pytest.approx(first_step(17 / 60, told=17))
    for at in (70.0, 80.0, 90.0):
        refuse(limiter, at)
    assert accept(limiter, 100.0) == pytest.approx(first_step(2 / 40, told=2)), "counted from when one was accepted"
    for at in (110.0, 120.0, 130.0):
        refuse(limiter, at)
    assert accept(limiter, 140.0) == pytest.approx(first_step(3 / 80, told=3)), "and on, as two were too few"


def test_after_one_fruitless_fall_the_known_limit_stays() -> None:
    limiter, now = eight_a_second()
    fallen = refuse(limiter, now)
    low = refuse(limiter, 10.0)
    assert low == pytest.approx(BLIND * fallen)
    assert accept(limiter, 60.0) == pytest.approx(low * (1 + GROWTH / START))


def test_a_host_that_refuses_its_first_requests_is_begun_with_slowly_once_it_accepts_one() -> None:
    limiter = AdaptiveRate()
    for at in (0.0, 1.0):
        refuse(limiter, at)
    assert accept(limiter, 5.0) < 1.0


def test_what_is_accepted_after_fruitless_falls_is_counted_from_then_on() -> None:
    limiter, now = eight_a_second()
    refuse(limiter, now)
    for at in (10.0, 20.0):
        refuse(limiter, at)
    rate = accept(limiter, *every(0.5, 8, since=60.0))
    expected = min(rate, 8 / (3.5 + 1 / rate))
    assert refuse(limiter, 70.0) == pytest.approx(learned(expected))


def test_an_outage_lasts_ninety_seconds_from_the_first_fruitless_fall() -> None:
    for at, is_outage in ((100.0, False), (100.125, True)):
        limiter, now = eight_a_second()
        refuse(limiter, now)
        for fall in (10.0, 50.0, 99.0):
            refuse(limiter, fall)
        rate = accept(limiter, at)
        assert rate == pytest.approx(START + GROWTH) if is_outage else rate < START


def test_eight_are_enough_to_count_anew_from_what_is_accepted_after_fruitless_falls() -> None:
    limiter = AdaptiveRate()
    accept(limiter, *every(1 / 8, 7))
    for at in (1.0, 2.0, 12.0):
        refuse(limiter, at)
    assert accept(limiter, 20.0) == pytest.approx(first_step(8 / 20, told=8))
    for at in (30.0, 40.0, 50.0):
        refuse(limiter, at)
    assert accept(limiter, 60.0) == pytest.approx(first_step(2 / 40, told=2))

"""How a rate is learned, step by step: growing, falling to what was accepted, the way back, and holds."""

from __future__ import annotations

import pytest

from tests.answers import accept, refuse
from workerpool.limits import LATENESS, AdaptiveRate, Allowance, Answer
from workerpool.limits.adaptive import BACK, FLOOR, KEPT, START, UNDER
from workerpool.rate import Rate


def known_at_ten_a_second() -> tuple[AdaptiveRate, float]:
    """One that was refused, at 2.1 s, after 21 accepted in 2 s, and the limit that it has learned of that."""
    limiter = AdaptiveRate()
    grown = accept(limiter, *(n / 10 for n in range(21)))
    fallen = refuse(limiter, 2.05, at=2.1)
    known = UNDER * 21 / (2.0 + 1 / grown)
    assert fallen == pytest.approx(BACK * known)
    return limiter, known


# -- slots ------------------------------------------------------------------------------------------------------------


def test_slots_are_spaced_by_the_rate_and_a_weight_leaves_a_gap_for_all_of_it() -> None:
    limiter = AdaptiveRate()
    assert limiter.try_take(1.0) == 1.0
    assert (limiter.next_at(), limiter.try_take(1.1)) == (1.0 + 1 / START, None)
    assert limiter.try_take(1.2, weight=4) == 1.2
    assert limiter.next_at() == 1.2 + 4 / START


def test_a_slot_that_came_while_somebody_waited_counts_from_its_own_time() -> None:
    limiter = AdaptiveRate()
    limiter.try_take(1.0)
    assert limiter.try_take(1.0 + 1 / START + LATENESS / 2, since=1.0) == 1.0 + 1 / START
    late = AdaptiveRate()
    late.try_take(1.0)
    assert late.try_take(2.0, since=1.0) == 2.0 - LATENESS
    assert late.try_take(3.0) == 3.0


def test_it_is_worth_keeping_the_longer_the_more_it_has_learned() -> None:
    limiter = AdaptiveRate()
    limiter.try_take(1.0, weight=4)
    assert limiter.rests_at == 1.0 + 4 / START
    accept(limiter, 1.0)
    assert limiter.rests_at == 1.0 + KEPT / 10
    refuse(limiter, 2.0)
    refuse(limiter, 3.0)
    for n in range(30):
        accept(limiter, 10.0 + n / 10)
    refuse(limiter, 14.0)
    assert limiter.rests_at == 1.0 + KEPT


# -- growing ----------------------------------------------------------------------------------------------------------


def test_each_accepted_request_adds_to_the_rate_the_less_the_lower_it_is() -> None:
    assert accept(AdaptiveRate(), 0.0) == pytest.approx(START + 1.2)
    slow = AdaptiveRate(Rate(4))
    assert accept(slow, *(n / 4 for n in range(50))) == 4.0, "never above its ceiling"


def test_a_rate_is_not_raised_by_requests_that_come_more_seldom_than_it_allows() -> None:
    limiter = AdaptiveRate()
    for second in range(20):
        limiter.try_take(float(second))
    assert accept(limiter, 20.0) == START


def test_a_host_that_has_refused_nothing_has_few_in_flight() -> None:
    assert accept(AdaptiveRate(), 0.0, took=1.0) == START, "six at once, a second each, would be six a second"
    limiter = AdaptiveRate()
    rate = accept(limiter, *(n / 10 for n in range(40)), took=0.5)
    assert rate == pytest.approx((6 + 0.015 * 40) / 0.5)


# -- falling and coming back ------------------------------------------------------------------------------------------


def test_a_first_refusal_leaves_a_share_of_what_was_accepted_lately() -> None:
    known_at_ten_a_second()


def test_from_there_it_follows_a_cubic_curve_to_the_known_limit_and_beyond() -> None:
    limiter, known = known_at_ten_a_second()
    stretch = 2 * 21 / known  # what the fall cost has to be earned: a request, at two for each that told of the limit
    curve, at = 0.0, 2.2
    for _ in range(120):
        curve += 1 / limiter.rate
        rate = accept(limiter, at)
        at += 1 / rate
        assert rate == pytest.approx(known - known * (1 - BACK) * (1 - curve / stretch) ** 3, rel=1e-9)
        if curve > 2 * stretch:
            break
    assert rate > 1.1 * known


@pytest.mark.parametrize(("pause", "seconds"), [(0.0, 4.2), (0.5, 15.0), (2.0, 60.0)])
def test_each_second_of_a_pause_takes_thirty_to_earn(pause: float, seconds: float) -> None:
    limiter = AdaptiveRate()
    accept(limiter, *(n / 10 for n in range(21)))
    refuse(limiter, 2.05, at=2.1, pause=pause or None)
    low, at, curve = limiter.rate, 2.2 + pause, 0.0
    known = low / BACK
    while limiter.rate < (1 - 1e-9) * known:
        curve += 1 / limiter.rate
        at += 1 / accept(limiter, at)
    assert curve == pytest.approx(seconds, rel=0.1)


def test_refusals_of_one_incident_lower_the_rate_once_and_what_was_sent_before_is_no_new_evidence() -> None:
    limiter, _ = known_at_ten_a_second()
    rate = limiter.rate
    for sent in (1.9, 2.0, 2.09):
        assert refuse(limiter, sent, at=2.2) == rate
    assert accept(limiter, 2.0, 2.05) == rate
    assert refuse(limiter, 2.3, at=2.4) < rate


def test_a_refusal_of_a_window_that_is_used_up_says_nothing_of_the_rate() -> None:
    limiter = AdaptiveRate()
    grown = accept(limiter, 0.0)
    used_up = Allowance(limit=60, remaining=0, reset=30)
    limiter.hear(Answer(1.0, 1.1, 429, refused=True, allowance=used_up), 1.1)
    assert limiter.next_at() >= 31.0
    limiter.try_take(40.0)
    assert limiter._learned == grown


# -- where nothing is accepted ----------------------------------------------------------------------------------------


def test_fruitless_falls_hold_four_times_as_long_each_up_to_a_minute_and_one_request_asks_each_time() -> None:
    limiter, at, holds = AdaptiveRate(), 0.0, list[float]()
    for _ in range(6):
        refuse(limiter, at)
        holds.append(limiter.next_at() - at)
        at = limiter.next_at()
        assert limiter.try_take(at) == at
        assert limiter.next_at() == at + max(1.0, 1 / limiter.rate), "the others wait for its answer"
    assert holds == pytest.approx([1, 4, 16, 60, 60, 60])


def test_a_host_that_asks_for_a_pause_is_not_held_besides() -> None:
    limiter = AdaptiveRate()
    limiter.try_take(0.0)
    refuse(limiter, 0.0, pause=5.0)
    assert limiter.next_at() == pytest.approx(1.0), "the pause is the host's own"
    refuse(limiter, 6.0, pause=5.0)
    assert limiter.next_at() == pytest.approx(1 / 0.7)


def test_a_hold_ends_when_a_usual_window_may_be_over() -> None:
    limiter = AdaptiveRate()
    accept(limiter, 0.0)
    for at in (5.0, 6.5, 8.0):
        refuse(limiter, at)
    assert limiter.next_at() == pytest.approx(10.1)
    refuse(limiter, 10.2)
    assert limiter.next_at() == pytest.approx(10.2 + 16)
    refuse(limiter, 30.0)
    assert limiter.next_at() == pytest.approx(60.6)
    soon = AdaptiveRate()
    accept(soon, 0.0)
    for at in (5.0, 6.5, 9.1):
        refuse(soon, at)
    assert soon.next_at() == pytest.approx(10.1), "if it is over in a second or later"
    refuse(soon, 9.2)
    assert soon.next_at() == pytest.approx(9.2 + 16)


def test_a_rate_never_falls_below_one_a_minute() -> None:
    limiter, at = AdaptiveRate(), 0.0
    rates = []
    for _ in range(60):
        at += 100.0
        rates.append(refuse(limiter, at))
    assert rates[0] == 1.0, "a host that refuses one of its first is asked slowly"
    assert rates[1] == pytest.approx(0.7)
    assert rates[-1] == FLOOR
    known, at = AdaptiveRate(), 0.0
    accept(known, *(n / 10 for n in range(21)))
    for _ in range(60):
        at += 100.0
        refuse(known, at)
    assert known.rate == FLOOR


def test_after_an_outage_what_was_learned_before_is_forgotten() -> None:
    limiter, _ = known_at_ten_a_second()
    for at in (10.0, 11.0, 15.0, 40.0, 95.0):
        refuse(limiter, at)
    assert limiter.rate < 3
    assert accept(limiter, 99.0, 99.1) < START, "as it has not lasted for long enough"
    again, _ = known_at_ten_a_second()
    for at in (10.0, 11.0, 15.0, 40.0, 95.0):
        refuse(again, at)
    assert START <= accept(again, 101.0) <= START + 1.2

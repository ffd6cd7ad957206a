"""The window that a host announces: how what is left of it is spread, and when the next one is believed to begin."""

from __future__ import annotations

import math

import pytest

from workerpool.clock import LONG_AGO
from workerpool.limits import Allowance
from workerpool.limits.announced import LONGEST, AnnouncedWindow

NOW = 1000.0


def heard(
    limit: float | None = None, window: float | None = None, left: float | None = None, reset: float | None = None,
    *, at: float = NOW, now: float | None = None, rate: float = 0.0, to: AnnouncedWindow | None = None,
) -> AnnouncedWindow:  # fmt: skip
    made = to or AnnouncedWindow()
    made.hear(Allowance(limit=limit, window=window, remaining=left, reset=reset), at, now or at, rate)
    return made


def test_until_something_is_announced_any_pace_is_allowed() -> None:
    window = AnnouncedWindow()
    assert (window.pace, window.next_at(NOW, 3), window.ends_at) == (math.inf, NOW, LONG_AGO)
    window.take(NOW, 3)
    assert (window.pace, window.ends_at) == (math.inf, LONG_AGO)


def test_a_policy_alone_spreads_its_quota_over_its_window() -> None:
    window = heard(limit=100, window=50)
    assert window.pace == 2
    assert window.next_at(NOW, 3) == NOW + 1.5
    assert heard(limit=100).pace == heard(window=50).pace == heard(left=7).pace == heard(reset=7).pace == math.inf


@pytest.mark.parametrize(
    ("said", "pace"),
    [
        ({"limit": 1000, "left": 52, "reset": 10}, 5.0),  # two are kept back
        ({"limit": 50, "left": 51, "reset": 10}, 5.0),  # or one in fifty
        ({"left": 50, "reset": 10}, 4.9),
        ({"limit": 1000, "left": 52, "reset": 10, "now": NOW + 2, "rate": 10.0}, 32 / 8 - 0.25),  # not counted yet: 20
        ({"limit": 50, "left": 2, "reset": 10}, 0.1),
        ({"limit": 50, "left": 2.5, "reset": 10}, 0.15),
        ({"limit": 50, "left": 1.5, "reset": 10}, 0.1),  # at least a half is one
        ({"limit": 50, "left": 1.4, "reset": 10}, 0.0),
        ({"limit": 50, "left": 0, "reset": 10}, 0.0),
        ({"limit": 50, "left": 51, "reset": 99999}, 50 / LONGEST),
        ({"limit": 50, "left": 51, "reset": 10, "now": NOW + 1, "rate": math.inf}, 0.0),
    ],
)
def test_what_is_left_is_spread_over_the_rest_of_the_window(said: dict[str, float], pace: float) -> None:
    assert heard(**said).pace == pytest.approx(pace)  # type: ignore[arg-type]


def test_what_is_sent_leaves_less_for_the_rest() -> None:
    window = heard(limit=1000, left=52, reset=10.5)
    window.take(NOW + 0.5, 10)
    assert window.pace == pytest.approx(40 / 10)
    window.take(NOW + 8.5, 35)
    assert window.pace == pytest.approx(5 / 2)
    window.take(NOW + 10, 4)
    assert window.pace == pytest.approx(1 / 0.5)


def test_a_slow_pace_is_waited_for_like_any() -> None:
    assert heard(limit=50, left=6, reset=10).next_at(NOW, 2) == pytest.approx(NOW + 4)


def test_an_answer_to_an_older_request_says_nothing_and_one_to_a_request_of_the_same_time_does() -> None:
    window = heard(limit=50, left=51, reset=10, at=NOW)
    heard(limit=50, left=1, reset=9, at=NOW - 1, now=NOW, to=window)
    assert window.pace == pytest.approx(5.0)
    heard(limit=50, left=31, reset=10, at=NOW, to=window)
    assert window.pace == pytest.approx(3.0)


def test_a_policy_that_is_said_again_without_a_count_changes_no_window() -> None:
    window = heard(limit=50, left=51, reset=10)
    heard(limit=50, window=100, at=NOW + 1, to=window)
    assert window.pace == pytest.approx(5.0)


# -- the next window --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "later"), [(1, 1.0), (2, 1.0), (4, 0.5), (8, 0.25)])
def test_who_hears_whole_seconds_waits_longer_for_the_next_window_the_less_it_has_heard(
    answers: int, later: float
) -> None:
    window = AnnouncedWindow()
    for _ in range(answers):
        heard(limit=50, left=0, reset=10, to=window)
    assert window.next_at(NOW, 1) == NOW + 10 + later


def test_fractions_are_believed() -> None:
    assert heard(limit=50, left=0, reset=9.5).next_at(NOW, 1) == NOW + 9.5
    assert heard(limit=50, left=0, reset=8, at=NOW + 1.5, to=heard(left=9, reset=9.5)).next_at(NOW, 1) == NOW + 9.5


def test_the_latest_end_that_is_heard_of_a_window_counts_and_another_end_is_another_window() -> None:
    window = heard(limit=50, left=0, reset=10)
    heard(limit=50, left=0, reset=10, at=NOW + 1, to=window)
    assert window.ends_at == NOW + 11
    heard(limit=50, left=0, reset=8, at=NOW + 2, to=window)
    assert window.ends_at == NOW + 11
    assert window.next_at(NOW, 1) == pytest.approx(NOW + 11 + 2 / 3)
    heard(limit=50, left=0, reset=60, at=NOW + 3, to=window)
    assert window.ends_at == NOW + 63
    assert window.next_at(NOW, 1) == NOW + 64


def test_a_window_begins_no_faster_than_its_policy_and_no_slower_than_one_a_second() -> None:
    slow = heard(limit=10, window=100, left=0, reset=1.5)
    assert slow.next_at(NOW, 1) == NOW + 10
    fast = heard(limit=900, window=60, left=0, reset=1.5)
    assert fast.next_at(NOW, 3) == NOW + 3
    used = heard(limit=900, window=60, left=17, reset=1.5)
    assert used.pace == pytest.approx(10.0)
    assert used.next_at(NOW, 20) == NOW + 2, "at the pace of the last one, as it ends before"


def test_somebody_asks_again_after_an_hour_at_most_or_when_the_window_is_over() -> None:
    window = heard(limit=10, window=10 * LONGEST, left=0, reset=50)
    assert window.next_at(NOW, 100) == NOW + LONGEST
    assert heard(limit=10, window=10 * LONGEST, left=0, reset=50).next_at(NOW - LONGEST, 100) == NOW + 51


def test_a_new_window_begins_with_the_first_send_after_the_end() -> None:
    window = heard(limit=40, window=20, left=0, reset=20)
    window.take(NOW + 19.9, 1)
    assert window.ends_at == NOW + 20
    window.take(NOW + 20, 1)
    assert window.ends_at == NOW + 40
    assert window.pace == pytest.approx((20 - 1) / 20), "one a second, until its first answer says more"
    heard(limit=40, window=20, left=39.8, reset=19, at=NOW + 21, to=window)
    assert window.pace == pytest.approx(39 / 19)


def test_who_has_heard_nothing_of_a_new_window_yet_waits_a_second_more_for_the_next() -> None:
    window = heard(limit=40, window=20, left=0, reset=20)
    window.take(NOW + 20, 1)
    assert window.next_at(NOW + 20, 30) == NOW + 20 + 30
    assert window.next_at(NOW + 39, 2) == NOW + 41
    for _ in range(2):
        heard(limit=40, window=20, left=0, reset=19, at=NOW + 21, to=window)
    assert window.next_at(NOW + 21, 1) == NOW + 41


def test_a_window_lasts_as_long_as_the_longest_rest_of_one_that_was_heard_of() -> None:
    window = heard(limit=40, left=0, reset=20)
    heard(limit=40, left=0, reset=15, at=NOW + 10, to=window)
    window.take(NOW + 25, 1)
    assert window.ends_at == NOW + 25 + 20


def test_a_window_whose_length_is_not_known_allows_what_it_did_until_something_is_said() -> None:
    window = heard(limit=40, left=5, reset=1)
    pace = window.pace
    window.take(NOW + 1.5, 1)
    assert (window.ends_at, window.pace) == (LONG_AGO, pace)


def test_a_window_that_nobody_used_for_long_has_not_ended_before_it_is_used() -> None:
    window = heard(limit=40, window=20, left=0, reset=20)
    window.take(NOW + 500, 1)
    assert window.ends_at >= NOW + 500


def test_a_window_that_slides_allows_nearly_its_rate_and_half_of_it_when_nothing_is_left() -> None:
    window = AnnouncedWindow()
    for second in range(7):
        heard(limit=120, window=60, left=30, reset=60, at=NOW + second, to=window)
    assert window.pace == pytest.approx(0.95 * 2)
    heard(limit=120, window=60, left=2.5, reset=60, at=NOW + 7, to=window)
    assert window.pace == pytest.approx(0.95 * 2)
    heard(limit=120, window=60, left=2, reset=60, at=NOW + 8, to=window)
    assert window.pace == pytest.approx(0.5 * 2)


@pytest.mark.parametrize(("moves", "pace"), [(0.65, 0.95), (0.55, 30 / (60.001 - 0.45 * 7))])
def test_a_window_slides_if_its_end_moves_on_by_most_of_the_time(moves: float, pace: float) -> None:
    window = AnnouncedWindow()
    for second in range(8):
        reset = 60.001 - (1 - moves) * second
        heard(limit=60, window=60, left=31.2, reset=reset, at=NOW + second, to=window)
    assert window.pace == pytest.approx(pace)


def test_a_window_is_not_taken_to_slide_before_some_seconds_have_passed() -> None:
    window = AnnouncedWindow()
    for second in range(6):
        heard(limit=60, window=60, left=31.2, reset=60, at=NOW + second, to=window)
    assert window.pace == pytest.approx(30 / 60)


def test_a_new_window_that_ends_when_it_should_is_not_taken_to_slide() -> None:
    window = heard(limit=60, window=60, left=60, reset=60.5)
    window.take(NOW + 60.5, 1)
    heard(limit=60, window=60, left=49.2, reset=54.5, at=NOW + 66.5, to=window)
    assert window.pace == pytest.approx(48 / 54.5)


def test_what_slides_without_a_policy_is_spread_as_if_it_did_not() -> None:
    window = AnnouncedWindow()
    for second in range(8):
        heard(left=31, reset=60, at=NOW + second, to=window)
    assert window.pace == pytest.approx((31 - 0.62) / 60)

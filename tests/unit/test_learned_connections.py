"""How many requests at once a host bears, step by step: rounds, signs of load, refusals, and trying again."""

from __future__ import annotations

import pytest

from workerpool.limits import AdaptiveConnections, Answer
from workerpool.limits.connections import FIRST_WAIT, LOADED_PROBE, LONGEST_WAIT, PROBE

NOW = 1000.0


def hear(
    learner: AdaptiveConnections, count: int, latency: float | None = 0.1, *, flying: int | None = None, at: float = NOW
) -> int:
    """Tell it of so many accepted requests, with as many in flight as it allows; returns what it allows then."""
    for _ in range(count):
        in_flight = learner.limit if flying is None else flying
        learner.hear(Answer(at, at, 200, refused=False, latency=latency, in_flight=in_flight), at)
    return learner.limit


def refuse(learner: AdaptiveConnections, flying: int, *, at: float = NOW, pause: float | None = None) -> int:
    learner.hear(Answer(at, at, 429, refused=True, pause=pause, in_flight=flying), at)
    return learner.limit


def test_it_begins_with_four_and_doubles_with_each_round_of_even_latency() -> None:
    learner = AdaptiveConnections(20)
    assert [hear(learner, count) for count in (7, 1, 7, 1, 15, 1, 40)] == [4, 8, 8, 16, 16, 20, 20]
    assert AdaptiveConnections(3).limit == 3


def test_it_learns_nothing_of_more_places_while_fewer_are_used() -> None:
    assert hear(AdaptiveConnections(32), 40, flying=2) == 4
    assert hear(AdaptiveConnections(32), 8, flying=3) == 8


def test_all_places_were_used_if_they_were_at_one_time_of_a_round() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 1, flying=4)
    assert hear(learner, 7, flying=1) == 8


def test_rounds_are_longer_once_there_was_a_sign_of_load() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 8, 0.1)
    assert hear(learner, 8, 0.4) == 6
    for number in range(199):
        hear(learner, 1, 0.0 if number % 20 else 2.0)
    assert learner.limit == 6
    assert hear(learner, 1, 0.0) != 6


def test_what_is_no_answer_of_the_limits_counts_for_nothing() -> None:
    learner = AdaptiveConnections(32)
    for _ in range(40):
        learner.hear(Answer(NOW, NOW, 500, refused=False, latency=0.1, in_flight=4), NOW)
    assert hear(learner, 40, latency=None) == 4


def test_a_round_whose_latencies_differ_lasts_until_their_mean_is_known() -> None:
    learner = AdaptiveConnections(32)
    for number in range(15):
        hear(learner, 1, 0.1 if number % 2 else 0.5)
    assert learner.limit == 4
    assert hear(learner, 1) == 8, "or until it has lasted for long enough"
    even = AdaptiveConnections(32)
    for number in range(8):
        hear(even, 1, 0.100 if number % 2 else 0.120)
    assert even.limit == 8


def test_latency_that_has_doubled_is_no_load_while_the_limit_doubles_and_later_it_is() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 8, 0.1)
    assert hear(learner, 8, 0.19) == 16
    loaded = AdaptiveConnections(32)
    hear(loaded, 8, 0.1)
    assert hear(loaded, 8, 0.4) == 6, "half the way from 8 to half of that, and a short queue"
    assert hear(loaded, 8, 0.1) == 7, "one more at a time from then on"


def test_the_latency_at_little_load_is_the_average_of_the_rounds_in_which_the_limit_doubled() -> None:
    for third, doubles in ((0.27, True), (0.29, False)):
        learner = AdaptiveConnections(64)
        hear(learner, 8, 0.1)
        assert hear(learner, 8, 0.18) == 16
        assert (hear(learner, 16, third) == 32) is doubles, "twice 0.14"
    for fourth, doubles in ((0.36, True), (0.37, False)):
        learner = AdaptiveConnections(64)
        for count, latency in ((8, 0.1), (8, 0.18), (16, 0.27)):
            hear(learner, count, latency)
        assert (hear(learner, 32, fourth) == 64) is doubles, "twice 0.1833"


def test_the_latency_under_load_is_not_taken_for_one_at_little_load() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 8, 0.1)
    assert [hear(learner, 8, 100.0) for _ in range(3)] == [6, 5, 4]


def test_a_round_with_half_as_many_or_fewer_in_flight_tells_the_latency_at_little_load() -> None:
    for flying, limit in ((4, 8), (5, 6)):
        learner = AdaptiveConnections(8)
        hear(learner, 16, 0.1)
        assert hear(learner, 8, 0.4, flying=flying) == limit
        assert hear(learner, 8, 0.4, flying=flying, at=NOW + LOADED_PROBE) <= limit


def test_after_a_sign_of_load_little_load_is_measured_soon_and_further_signs_do_not_put_it_off() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 8, 0.1)
    assert hear(learner, 8, 0.4) == 6
    assert hear(learner, 8, 0.4, at=NOW + LOADED_PROBE - 1) == 5
    assert hear(learner, 8, 0.12, at=NOW + LOADED_PROBE - 0.1) == 6
    assert hear(learner, 8, 0.12, at=NOW + LOADED_PROBE) == 3


def test_one_and_two_at_once_are_the_fewest() -> None:
    for most, halved in ((1, 1), (2, 1), (3, 1)):
        learner = AdaptiveConnections(most)
        assert hear(learner, 8) == most
        assert hear(learner, 8, at=NOW + LOADED_PROBE) == halved
        assert hear(learner, 8, at=NOW + LOADED_PROBE) == most


def test_what_was_sent_while_little_load_was_measured_tells_nothing_of_more() -> None:
    learner = AdaptiveConnections(8)
    hear(learner, 16)
    hear(learner, 8, at=NOW + LOADED_PROBE)
    assert hear(learner, 8, at=NOW + LOADED_PROBE + 1) == 8
    assert hear(learner, 400, 9.0, at=NOW + LOADED_PROBE + 0.5) == 8


def test_however_slow_it_is_two_at_once_are_left_one_that_is_served_and_one_that_waits() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 8, 0.1)
    limits = [hear(learner, 8, 100.0) for _ in range(60)]
    assert limits == sorted(limits, reverse=True)
    assert (limits[0], limits[-1]) == (6, 2)


def test_a_sign_of_load_that_a_short_queue_explains_leaves_it_as_it_is() -> None:
    learner = AdaptiveConnections(8)
    hear(learner, 16)
    assert hear(learner, 24, 0.136) == 8
    assert hear(learner, 8, 0.2) == 7


def test_the_latency_at_little_load_is_lowered_where_a_round_is_quicker() -> None:
    learner = AdaptiveConnections(8)
    hear(learner, 16, 0.2)
    hear(learner, 32, 0.1)
    assert hear(learner, 8, 0.25) == 6, "else 0.25 would be hardly more than at little load"


def test_a_host_that_answers_in_no_time_is_not_loaded() -> None:
    assert hear(AdaptiveConnections(8), 8, 0.0) == 8


def test_it_grows_by_half_a_short_queue_once_there_was_a_sign_of_load() -> None:
    learner = AdaptiveConnections(200)
    for count in (8, 8, 16, 32, 64):
        hear(learner, count)
    assert learner.limit == 128
    hear(learner, 128, 10.0)
    before = learner.limit
    hear(learner, 400, 0.1)
    rounds = 400 // before
    assert before + 2 * rounds <= learner.limit <= before + 3 * rounds, "a queue of five or six"


def test_after_a_refusal_it_doubles_no_more() -> None:
    learner = AdaptiveConnections(64)
    hear(learner, 32)
    assert refuse(learner, 16) == 15
    hear(learner, 100, 10.0, at=NOW + 1)
    low = learner.limit
    assert low < 8
    hear(learner, 8, 0.1, at=NOW + 1)
    assert learner.limit <= low + 1


def test_the_latency_at_little_load__is_measured_with_half_as_many_and_then_all_are_allowed_again() -> None:
    learner = AdaptiveConnections(8)
    assert hear(learner, 16) == 8
    assert hear(learner, 8, at=NOW + LOADED_PROBE - 0.1) == 8
    assert hear(learner, 8, at=NOW + LOADED_PROBE) == 4
    assert hear(learner, 8, at=NOW + LOADED_PROBE) == 8
    assert hear(learner, 8, at=NOW + LOADED_PROBE + PROBE - 0.1) == 8
    assert hear(learner, 8, at=NOW + LOADED_PROBE + PROBE) == 4


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flying", "explains"), [(1, False), (2, True), (9, True)])
def test_a_refusal_speaks_of_too_many_at_once_where_more_were_in_flight_than_when_one_is_accepted(
    flying: int, explains: bool
) -> None:
    learner = AdaptiveConnections(32)
    assert learner.explains(Answer(NOW, NOW, 429, refused=True, in_flight=flying)) is explains
    assert not learner.explains(Answer(NOW, NOW, 200, refused=False, in_flight=flying))


def test_what_is_usual_is_learned_of_what_is_accepted() -> None:
    learner = AdaptiveConnections(32)
    hear(learner, 300, latency=None, flying=10)
    assert not learner.explains(Answer(NOW, NOW, 429, refused=True, in_flight=10))
    assert learner.explains(Answer(NOW, NOW, 429, refused=True, in_flight=11))
    for number in range(300):
        hear(learner, 1, latency=None, flying=5 if number % 2 else 15)
    assert not learner.explains(Answer(NOW, NOW, 429, refused=True, in_flight=16))
    assert learner.explains(Answer(NOW, NOW, 429, refused=True, in_flight=19))


def test_a_refusal_leaves_one_fewer_than_were_in_flight() -> None:
    assert refuse(AdaptiveConnections(32), 3) == 2
    assert refuse(AdaptiveConnections(32), 1) == 1
    assert refuse(AdaptiveConnections(32), 9) == 4


def test_refusals_of_what_was_sent_before_the_fall_belong_to_it() -> None:
    learner = AdaptiveConnections(32)
    refuse(learner, 4)
    assert refuse(learner, 2, at=NOW - 1) == 3
    assert refuse(learner, 3, at=NOW) == 2, "it was sent after it"
    assert refuse(learner, 2, at=NOW + 0.5) == 1


def test_what_was_sent_before_a_pause_is_over_tells_nothing() -> None:
    learner = AdaptiveConnections(32)
    refuse(learner, 3, pause=5.0)
    assert hear(learner, 40, 9.0, at=NOW + 4.9) == 2
    assert refuse(learner, 1, at=NOW + 4.9) == 2


def test_beyond_a_refusal_one_more_is_tried_after_a_while_and_each_time_later() -> None:
    learner = AdaptiveConnections(32)
    refuse(learner, 3)
    assert hear(learner, 40, at=NOW + FIRST_WAIT - 0.1) == 2
    assert hear(learner, 8, at=NOW + FIRST_WAIT) == 3
    assert refuse(learner, 3, at=NOW + FIRST_WAIT + 1) == 2
    again = NOW + FIRST_WAIT + 1 + 2 * FIRST_WAIT
    assert hear(learner, 40, at=again - 0.1) == 2
    assert hear(learner, 8, at=again) == 3
    assert hear(learner, 8, at=again + FIRST_WAIT / 5 - 0.1) == 3
    assert hear(learner, 8, at=again + FIRST_WAIT / 5) == 4


def test_the_wait_after_refusals_is_ten_minutes_at_most() -> None:
    learner, at = AdaptiveConnections(32), NOW
    for _ in range(9):
        at += 10_000
        refuse(learner, 3, at=at)
    assert hear(learner, 40, at=at + LONGEST_WAIT - 0.1) == 2
    assert hear(learner, 40, at=at + LONGEST_WAIT) == 3


def test_a_refusal_while_little_load_is_measured_ends_that() -> None:
    learner = AdaptiveConnections(8)
    hear(learner, 16)
    assert hear(learner, 8, at=NOW + LOADED_PROBE) == 4
    assert refuse(learner, 7, at=NOW + LOADED_PROBE) == 6

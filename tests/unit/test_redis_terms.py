"""What a member and the budget in Redis say to each other, and how their clocks are compared."""

from __future__ import annotations

import pytest

from tests.redis_budgets import EPOCH
from workerpool.config import Budgets
from workerpool.limits.redis.terms import SECOND, Answer, Ask, Call, Lease, Terms, terms_of
from workerpool.limits.redis.times import Times
from workerpool.rate import Rate


def test_terms_are_whole_numbers_that_never_allow_more() -> None:
    budgets = Budgets(rate=Rate.of("300/s and 1000/h"), burst=3, max_connections=5, host_connections=2)
    assert terms_of(budgets) == (Terms(3_333_334, 3, 5, ((1000, 3600 * SECOND),)), Terms(0, 3, 2))


def test_what_is_far_from_all_needs_is_taken_for_what_can_be_counted() -> None:
    fast, slow = Rate(1e300, 1.0, (Rate(1e300, 1e300),)), Rate(1e-300)
    budgets = Budgets(rate=fast, host_rate=slow, burst=2**70, max_connections=2**70, host_connections=2**40 + 1)
    assert terms_of(budgets) == (
        Terms(10_000, 10_000, 2**40, ((2**40, 10**9 * SECOND),)),
        Terms(10**18, 10_000, 2**40),
    )


# -- the clocks -------------------------------------------------------------------------------------------------------


def test_a_time_of_the_servers_is_never_taken_for_an_earlier_one_here() -> None:
    times = Times()
    for at, way in ((0.0, 0.3), (1.0, 0.001), (2.0, 0.2)):
        times.note(EPOCH + round((at + way / 2) * SECOND), 50 + at, 50 + at + way)
    assert 53.0 <= times.here(EPOCH + 3 * SECOND) <= 53.0011
    assert abs(times.there(53.0) - EPOCH - 3 * SECOND) <= 1100


def test_a_clock_that_was_set_is_noticed() -> None:
    times = Times()
    assert not times.note(EPOCH, 50.0, 50.001)
    assert times.note(EPOCH - 10 * SECOND, 51.0, 51.001)
    assert 50.9 <= times.here(EPOCH - 10 * SECOND) <= 51.1


def test_however_late_its_time_is_it_is_exact() -> None:
    times = Times()
    times.note(EPOCH, 50.0, 50.0)
    assert times.here(EPOCH + 1) == pytest.approx(50.000001, abs=1e-9)
    assert times.there(50.0) == EPOCH
    assert times.here(0) < 0


# -- what is said -----------------------------------------------------------------------------------------------------


def test_a_call_is_said_in_lists_of_whole_numbers() -> None:
    terms = Terms(5, 6, 7, ((8, 9), (10, 11))), Terms(0, 1, 12)
    asks = Ask("pool", 1, 2, (3, 4), 5, 6, 7, 8, 9, 10), Ask("h:http://a.test:80", want=11)
    assert Call("1a2b", terms, asks, known=13, leaves=True).packed() == [
        "1a2b",
        [[5, 6, 7, [[8, 9], [10, 11]]], [0, 1, 12, []]],
        13,
        1,
        [[1, 2, [3, 4], 5, 6, 7, 8, 9, 10], [11, 0, [], 0, 0, 0, 0, 0, 0]],
    ]


def test_an_answer_is_read_from_such_lists() -> None:
    said = [1, 2, 3, 4, [[5, 6, 7, 8, 9, 10, 11, 1, 12, -1, 13, 14], [0, 1, 2, 0, 3, 4, 5, 0, 0, 6]]]
    leases = (
        Lease(5, 6, 7, 8, 9, 10, 11, True, 12, -1, (13, 14)),
        Lease(0, 1, 2, 0, 3, 4, 5, False, 0, 6, ()),
    )
    answer = Answer.unpacked(said)
    assert answer == Answer(1, 2, 3, 4, leases)
    assert [lease.is_short for lease in answer.leases] == [True, False]

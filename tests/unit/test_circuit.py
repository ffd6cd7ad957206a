"""A circuit breaker's state: what opens it, for how long, and what closes it again."""

from __future__ import annotations

import itertools

import pytest

from workerpool.clock import LONG_AGO
from workerpool.config import Breaker
from workerpool.limits import Circuit

RULES = Breaker(failures=2, open_for=10, longest=35)


def opened(rules: Breaker = RULES, at: float = 100.0) -> Circuit:
    circuit = Circuit(rules)
    assert [circuit.hear(True, at, at) for _ in range(rules.failures)] == [None] * (rules.failures - 1) + [True]
    return circuit


def test_failures_in_a_row_open_it_and_an_answer_among_them_begins_a_new_row() -> None:
    circuit = Circuit(RULES)
    assert [circuit.hear(failed, 5.0, 5.0) for failed in (True, False, True, True)] == [None, None, None, True]
    assert circuit.open_until == 15.0
    assert not circuit.is_closed


def test_a_share_of_a_full_window_opens_it() -> None:
    circuit = Circuit(Breaker(failures=99, share=0.5, window=4))
    ends = [circuit.hear(failed, 5.0, 5.0) for failed in (True, False, True, False)]
    assert ends == [None, None, None, True]
    calm = Circuit(Breaker(failures=99, share=0.5, window=4))
    assert {calm.hear(n % 4 == 0, 5.0, 5.0) for n in range(40)} == {None}, "what left the window counts no more"


def test_what_was_sent_before_the_time_is_over_says_nothing_and_what_was_sent_then_does() -> None:
    circuit = opened(at=100.0)
    assert circuit.hear(False, 109.9, 111.0) is None
    assert circuit.open_until == 110.0
    assert circuit.hear(False, 110.0, 111.0) is False
    assert circuit.is_closed


def test_each_failed_probe_doubles_the_time_up_to_the_longest() -> None:
    circuit, times = opened(at=100.0), list[float]()
    for _ in range(4):
        at = circuit.open_until
        assert at is not None
        assert circuit.hear(True, at, at) is True
        assert circuit.open_until is not None
        times.append(circuit.open_until - at)
    assert times == [20, 35, 35, 35]


@pytest.mark.parametrize("rules", [RULES, Breaker(failures=2, share=0.5, window=2, open_for=10, longest=35)])
@pytest.mark.parametrize("then", [*itertools.product([True, False], repeat=3)])
def test_once_closed_it_is_as_good_as_new(rules: Breaker, then: tuple[bool, ...]) -> None:
    circuit, new = opened(rules), Circuit(rules)
    circuit.hear(True, 110.0, 110.0)
    assert circuit.hear(False, 130.0, 130.0) is False
    assert (circuit.open_until, circuit.rests_at) == (None, LONG_AGO)
    assert [circuit.hear(each, 140.0, 140.0) for each in then] == [new.hear(each, 140.0, 140.0) for each in then]
    assert circuit.open_until == new.open_until


def test_it_is_worth_remembering_as_long_as_a_failure_may_matter() -> None:
    circuit = Circuit(Breaker(failures=2, share=0.9, longest=300))
    assert circuit.rests_at == LONG_AGO
    circuit.hear(False, 1.0, 1.0)
    assert circuit.rests_at == LONG_AGO
    circuit.hear(True, 2.0, 2.0)
    assert circuit.rests_at == 302.0
    circuit.hear(False, 3.0, 3.0)
    assert circuit.rests_at == 303.0, "it still counts in its share"
    circuit.hear(True, 4.0, 4.0)
    circuit.hear(True, 5.0, 5.0)
    assert circuit.open_until is not None
    assert circuit.rests_at == circuit.open_until + 300

"""What a host may be sent: its places as they are learned, what its circuit and its pauses say, and when it is idle."""

from __future__ import annotations

import pytest

from workerpool.clock import LONG_AGO
from workerpool.config import Breaker, Budgets
from workerpool.limits import Answer, Circuit, MemoryLimiter, RetryTokens
from workerpool.meter import Wait
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.scheduler.hosts import REMEMBERED, Host
from workerpool.tickets import Ticket

NOW = 1000.0


def a_host(budgets: Budgets | None = None, **more: object) -> Host:
    return Host("a", budgets or Budgets(), **{"tokens": None, "circuit": None, **more})  # type: ignore[arg-type]


def refused(sent_at: float, in_flight: int) -> Answer:
    return Answer(sent_at, sent_at, 429, refused=True, in_flight=in_flight)


# -- places -----------------------------------------------------------------------------------------------------------


def test_a_host_has_the_places_that_were_learned() -> None:
    host = a_host(Budgets(learns_connections=True, host_connections=32))
    assert (host.most, host.places) == (4, 4)
    host.learn(refused(NOW, in_flight=3), NOW)
    assert (host.most, host.places, host.heard_at) == (2, 2, NOW)
    for n in range(400):
        host.learn(Answer(NOW + n, NOW + n, 200, refused=False, latency=0.1, in_flight=host.places), NOW + n)
    assert host.most > 2
    assert host.places == host.most, "it had them all, and so it gets the new ones"


def test_a_host_that_starts_anew_gets_no_places_by_learning_and_loses_those_beyond_what_was_learned() -> None:
    host = a_host(Budgets(learns_connections=True, host_connections=32))
    host.shrink()
    host.learn(Answer(NOW, NOW, 200, refused=False, latency=0.1, in_flight=1), NOW)
    assert (host.most, host.places) == (4, 1)
    for _ in range(3):
        host.grow()
    assert host.places == 3
    host.learn(refused(NOW, in_flight=3), NOW)
    assert (host.most, host.places) == (2, 2)


def test_a_host_gets_one_place_more_when_as_many_have_ended_as_it_has() -> None:
    host, places = a_host(), list[int]()
    host.shrink()
    for _ in range(6):
        places.append(host.places)
        host.grow()
    assert places == [1, 2, 2, 3, 3, 3]


def test_one_that_starts_slowly_has_one_place_at_first() -> None:
    host = a_host(Budgets(slow_start=True))
    assert [host.has_place(), host.places] == [True, 1]
    host.in_flight = 1
    assert not host.has_place()


# -- what keeps a request from being sent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "waits_for"),
    [
        ({}, Wait.READY),
        ({"refused_until": NOW + 1, "not_before": NOW + 1, "in_flight": 6}, Wait.READY),  # it ends unsent
        ({"refused_until": NOW, "in_flight": 6}, Wait.HOST_SOCKETS),  # that time is over
        ({"in_flight": 5}, Wait.READY),
        ({"in_flight": 6}, Wait.HOST_SOCKETS),
        ({"in_flight": 6, "not_before": NOW - 1}, Wait.HOST_SOCKETS),
        ({"in_flight": 1, "places": 1, "not_before": NOW - 1}, Wait.PAUSE),  # it starts anew after one
        ({"in_flight": 1, "places": 1}, Wait.HOST_SOCKETS),
        ({"not_before": NOW + 1}, Wait.PAUSE),
        ({"not_before": NOW}, Wait.READY),
    ],
)
def test_what_a_request_to_a_host_waits_for(state: dict[str, float], waits_for: Wait) -> None:
    host = a_host()
    for name, value in state.items():
        setattr(host, name, value)
    assert host.waits_for(NOW) is waits_for


def test_what_waits_while_a_circuit_is_not_closed_waits_for_that() -> None:
    host = a_host(circuit=Circuit(Breaker(failures=1, open_for=30)))
    assert host.hear(Answer(NOW, NOW, 500, refused=False), NOW, fails_fast=False) is True
    assert (host.not_before, host.places, host.refused_until, host.is_broken) == (NOW + 30, 1, LONG_AGO, False)
    assert host.waits_for(NOW) is Wait.BREAKER
    assert host.waits_for(NOW + 30) is Wait.READY
    host.in_flight = 1
    assert host.waits_for(NOW + 30) is Wait.BREAKER
    assert host.hear(Answer(NOW + 30, NOW + 31, 499, refused=False), NOW + 31, fails_fast=False) is False
    assert host.waits_for(NOW + 31) is Wait.PAUSE, "it starts anew"


def test_a_circuit_that_fails_fast_refuses_and_a_pause_that_refuses_later_is_not_its_doing() -> None:
    host = a_host(circuit=Circuit(Breaker(failures=1, open_for=30)))
    assert host.hear(Answer(NOW, NOW, None, refused=False), NOW, fails_fast=True) is True
    assert (host.not_before, host.refused_until, host.is_broken) == (LONG_AGO, NOW + 30, True)
    host.pause(NOW + 10, NOW + 1, refuse=True)
    assert (host.refused_until, host.is_broken) == (NOW + 30, True)
    host.pause(NOW + 90, NOW + 30, refuse=True)
    assert (host.refused_until, host.is_broken) == (NOW + 90, False)


def test_a_pause_within_another_is_not_a_new_one_and_shortens_nothing() -> None:
    host = a_host()
    assert host.pause(NOW + 10, NOW, refuse=False)
    assert not host.pause(NOW + 5, NOW + 1, refuse=False)
    assert host.not_before == NOW + 10
    assert not host.pause(NOW + 20, NOW + 9, refuse=True)
    assert host.pause(NOW + 30, NOW + 20, refuse=False)


def test_a_host_is_paced_by_its_slowest_limit_and_robots_txt_is_named_where_that_is_its() -> None:
    host, pace = a_host(Budgets(host_rate=Rate(10))), MemoryLimiter(Rate(1))
    host.keep_pace(pace)
    host.keep_pace(pace)
    assert len(host.limiters) == 2
    for limiter in host.limiters:
        limiter.try_take(NOW)
    assert (host.opens_at(1), host.waits_for(NOW)) == (NOW + 1, Wait.ROBOTS)
    assert host.waits_for(NOW + 1) is Wait.READY
    slow = a_host(Budgets(host_rate=Rate(1)))
    slow.limiters[0].try_take(NOW)
    assert (slow.waits_for(NOW + 0.9), slow.waits_for(NOW + 1)) == (Wait.HOST_RATE, Wait.READY)


def test_where_no_token_is_found_that_is_noted() -> None:
    host = a_host(tokens=RetryTokens(0.0, 1.0, 1.0, NOW))
    assert host.finds_token(NOW)
    assert host.tokens is not None
    host.tokens.spend(NOW)
    assert (host.finds_token(NOW + 0.5), host.tokenless_at) == (False, NOW + 0.5)
    assert (host.finds_token(NOW + 1), host.tokenless_at) == (True, NOW + 0.5)
    assert a_host().finds_token(NOW)


# -- being forgotten --------------------------------------------------------------------------------------------------


def test_a_host_is_worth_keeping_as_long_as_anything_of_it_is() -> None:
    host = a_host(Budgets(host_rate=Rate(1)), tokens=RetryTokens(0.0, 0.1, 1.0, NOW), circuit=Circuit(Breaker()))
    assert host.rests_at == NOW
    host.limiters[0].try_take(NOW)
    assert host.rests_at == NOW + 1
    assert host.tokens is not None
    host.tokens.spend(NOW)
    assert host.rests_at == NOW + 10
    host.pause(NOW + 20, NOW, refuse=False)
    assert host.rests_at == NOW + 20
    host.pause(NOW + 30, NOW, refuse=True)
    assert host.rests_at == NOW + 30
    host.hear(Answer(NOW, NOW, None, refused=False), NOW, fails_fast=False)
    assert host.rests_at == NOW + Breaker().longest
    learning = a_host(Budgets(learns_connections=True))
    learning.learn(refused(NOW, in_flight=4), NOW)
    assert learning.rests_at == NOW + REMEMBERED


def test_an_idle_host_is_forgotten_once_it_rests_and_not_before() -> None:
    scheduler = Scheduler(Budgets(host_rate=Rate(1)), places=100)
    for _ in range(2):
        scheduler.add(Ticket(Request("http://a.test/"), "a"), NOW)
    for at in (NOW, NOW + 1):
        assert scheduler.next(at) is not None
        scheduler.release("a", at)
    assert scheduler.host_count == 1
    scheduler.has_ready(NOW + 1.9)
    assert scheduler.host_count == 1
    scheduler.has_ready(NOW + 2)
    assert scheduler.host_count == 0

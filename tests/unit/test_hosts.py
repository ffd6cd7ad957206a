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
from workerpool.scheduler.hosts import BEGINS_SLOWLY, REMEMBERED, Host
from workerpool.scheduler.lanes import Lane
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
    host.places = 3
    assert host.hear(Answer(NOW - 1, NOW, 500, refused=False), NOW, fails_fast=False) is None
    assert host.places == 3, "it is open already"
    host.places = 1
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


def test_a_circuit_shortens_neither_a_pause_nor_a_refusal() -> None:
    for fails_fast, refuses in ((True, True), (False, False)):
        host = a_host(circuit=Circuit(Breaker(failures=1, open_for=30)))
        host.pause(NOW + 90, NOW, refuse=refuses)
        host.hear(Answer(NOW, NOW, 500, refused=False), NOW, fails_fast=fails_fast)
        assert max(host.refused_until, host.not_before) == NOW + 90


def test_a_rate_is_learned_below_the_one_that_is_given() -> None:
    host = a_host(Budgets(learns_rate=True, host_rate=Rate(2)))
    assert host.rate is not None
    assert (host.rate.rate, host.limiters) == (2, (host.rate,))
    quotas = a_host(Budgets(learns_rate=True, host_rate=Rate.of("2/s and 9/h")))
    assert len(quotas.limiters) == 2


def test_a_pause_within_another_is_not_a_new_one_and_shortens_nothing() -> None:
    host = a_host()
    assert host.pause(NOW + 10, NOW, refuse=False)
    assert not host.pause(NOW + 5, NOW + 1, refuse=False)
    assert host.not_before == NOW + 10
    assert not host.pause(NOW + 20, NOW + 9, refuse=True)
    assert host.pause(NOW + 30, NOW + 20, refuse=False)
    assert host.pause(NOW + 50, NOW + 40, refuse=True)
    assert not host.pause(NOW + 60, NOW + 45, refuse=False)


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
    slow.keep_pace(MemoryLimiter(Rate(10)))
    for limiter in slow.limiters:
        limiter.try_take(NOW)
    assert slow.opens_at(1) == NOW + 1
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
    assert host.rests_at == NOW + 20 + BEGINS_SLOWLY
    host.pause(NOW + 30, NOW, refuse=True)
    assert host.rests_at == NOW + 30 + BEGINS_SLOWLY
    host.places = host.most
    assert host.rests_at == NOW + 30
    host.hear(Answer(NOW, NOW, None, refused=False), NOW, fails_fast=False)
    assert host.rests_at == NOW + Breaker().longest
    learning = a_host(Budgets(learns_connections=True))
    learning.learn(refused(NOW, in_flight=4), NOW)
    assert learning.rests_at == NOW + REMEMBERED
    learning.pause(NOW + 2 * REMEMBERED, NOW, refuse=False)
    assert learning.rests_at == NOW + 2 * REMEMBERED + BEGINS_SLOWLY


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


def test_a_host_begins_slowly_after_a_pause_that_all_its_retries_have_slept_through() -> None:
    scheduler = Scheduler(Budgets(host_connections=6), places=100)
    tickets = [Ticket(Request("http://a.test/"), "a") for _ in range(6)]
    for ticket in tickets:
        scheduler.add(ticket, NOW)
    for ticket in tickets:
        assert scheduler.next(NOW) is ticket
    for ticket in tickets:
        scheduler.release("a", NOW)
        scheduler.pause("a", NOW + 5, NOW)
        scheduler.park(ticket, NOW + 6)
    assert not scheduler.has_ready(NOW + 5.5)
    assert scheduler.next(NOW + 6) is not None
    assert scheduler.next(NOW + 6) is None


# -- lanes ------------------------------------------------------------------------------------------------------------


def a_lane(host: Host, key: str | None = None, quota: MemoryLimiter | None = None, *, retries: int = 0) -> Lane:
    lane = Lane(host, key, quota)
    if not retries:
        lane.append(Ticket(Request("http://a.test/"), "a"))
    for _ in range(retries):
        lane.retries.append(Ticket(Request("http://a.test/"), "a", is_retry=True))
    return lane


def test_a_lane_is_open_where_its_host_has_a_place_and_is_not_paused() -> None:
    host = a_host()
    lane = a_lane(host)
    assert lane.is_open(NOW)
    host.in_flight = host.places
    assert not lane.is_open(NOW)
    host.refused_until = NOW + 1
    assert lane.is_open(NOW), "its requests end unsent"
    assert not lane.is_open(NOW + 1)
    host.in_flight, host.not_before = 0, NOW + 10
    assert (lane.is_open(NOW + 1), lane.is_open(NOW + 10)) == (False, True)
    assert not Lane(host, None, None).is_open(NOW + 10)


def test_a_lane_opens_when_its_host_its_key_and_a_token_for_what_is_only_retried_have_come() -> None:
    tokens = RetryTokens(0.0, 0.5, 1.0, NOW)
    tokens.spend(NOW)
    quota = MemoryLimiter(Rate(1))
    quota.try_take(NOW)
    host = a_host(Budgets(host_rate=Rate(2)), tokens=tokens)
    host.limiters[0].try_take(NOW)
    assert a_lane(host).opens_at(NOW) == NOW + 0.5
    assert a_lane(host, "k", quota).opens_at(NOW) == NOW + 1
    assert a_lane(host, "k", quota, retries=1).opens_at(NOW) == NOW + 2
    assert a_lane(host, retries=1).own_at(NOW) == NOW + 2
    host.refused_until = NOW + 9
    assert a_lane(host, "k", quota, retries=1).opens_at(NOW) == NOW


def test_what_the_next_request_of_a_lane_waits_for_is_named() -> None:
    tokens = RetryTokens(0.0, 0.5, 1.0, NOW)
    tokens.spend(NOW)
    quota = MemoryLimiter(Rate(1))
    quota.try_take(NOW)
    host = a_host(tokens=tokens)
    both = a_lane(host, retries=1)
    both.append(Ticket(Request("http://a.test/"), "a"))
    assert both.waits_for(NOW) is Wait.READY, "what is new needs no token"
    assert a_lane(host, "k", quota).waits_for(NOW) is Wait.KEY_RATE
    assert a_lane(host, "k", quota).waits_for(NOW + 1) is Wait.READY
    retried = a_lane(host, retries=1)
    assert (retried.waits_for(NOW), retried.waits_for(NOW + 2)) == (Wait.RETRY_BUDGET, Wait.READY)
    behind = a_lane(host)
    host.timed = retried
    assert behind.waits_for(NOW) is Wait.RETRY_BUDGET, "as who stands before it does"
    behind.listed = True
    assert behind.waits_for(NOW) is Wait.READY
    host.not_before = NOW + 1
    assert retried.waits_for(NOW) is Wait.PAUSE
    host.refused_until = NOW + 1
    assert (retried.waits_for(NOW), retried.waits_for(NOW + 1)) == (Wait.READY, Wait.RETRY_BUDGET)


def test_a_lane_counts_what_is_queued_apart_from_its_retries_and_loses_what_is_discarded() -> None:
    host = a_host(tokens=RetryTokens(0.0, 0.5, 1.0, NOW))
    lane = a_lane(host, retries=2)
    for _ in range(3):
        lane.append(Ticket(Request("http://a.test/"), "a"))
    assert host.queued == 3
    assert lane.pop(lane.line(NOW)).is_retry, "there is a token for it"
    assert host.queued == 3
    unwanted = (lane.queue[0], lane.retries[0])
    gone = lane.discard(lambda ticket: ticket in unwanted)
    assert sorted(ticket.is_retry for ticket in gone) == [False, True]
    assert (host.queued, len(lane.queue), len(lane.retries)) == (2, 2, 0)
    assert not lane.pop(lane.line(NOW)).is_retry
    assert host.queued == 1


def test_what_comes_back_to_a_lane_stands_before_its_like_and_is_counted_if_it_is_no_retry() -> None:
    host = a_host(tokens=RetryTokens(0.0, 0.5, 1.0, NOW))
    lane = a_lane(host)
    for is_retry in (False, True, False, True):
        ticket = Ticket(Request("http://a.test/"), "a", is_retry=is_retry)
        lane.push_first(ticket)
        assert (lane.retries if is_retry else lane.queue)[0] is ticket
    assert (host.queued, len(lane.queue), len(lane.retries)) == (3, 3, 2)

"""Which hosts, lanes and quotas of keys are known, and when each is forgotten."""

from __future__ import annotations

import pytest

from workerpool.config import Budgets, RetryBudget
from workerpool.limits import MemoryLimiter
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import POOLS_SHARE, Scheduler
from workerpool.scheduler import register as register_module
from workerpool.scheduler.hosts import BEGINS_SLOWLY
from workerpool.scheduler.lanes import Lane
from workerpool.scheduler.register import Register
from workerpool.tickets import Owner, Ticket

NOW = 1000.0


def a_register(budgets: Budgets | None = None, retries: RetryBudget | None = None, floor: float = 0.0) -> Register:
    return Register(budgets or Budgets(), retries, floor, None)


def ticket(key: str | None = None, **more: object) -> Ticket:
    return Ticket(Request("http://a.test/"), "a", key=key, **more)  # type: ignore[arg-type]


def test_a_host_and_its_lanes_are_made_once() -> None:
    register, pace = a_register(Budgets(key_rate=Rate(1))), MemoryLimiter(Rate(1))
    own, keyed = register.lane_of(ticket(), NOW), register.lane_of(ticket("k", pace=pace), NOW)
    host = register.host("a", NOW)
    assert host.lanes == {None: own, "k": keyed}
    assert register.lane_of(ticket("k"), NOW) is keyed
    assert (own.quota, keyed.quota) == (None, register.quota("k", NOW))
    assert host.paces == (pace,)


def test_an_empty_lane_of_a_key_is_forgotten_and_the_hosts_own_stays() -> None:
    register = a_register()
    own, keyed = register.lane_of(ticket(), NOW), register.lane_of(ticket("k"), NOW)
    register.drop(Lane(own.host, "k", None))
    assert own.host.lanes == {None: own, "k": keyed}, "that was another one"
    register.drop(own)
    register.drop(keyed)
    register.drop(keyed)
    assert own.host.lanes == {None: own}


def test_quotas_of_keys_are_forgotten_once_they_rest_and_not_while_a_lane_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(register_module, "QUOTAS", 4)
    register = a_register(Budgets(key_rate=Rate(1)))
    used = register.lane_of(ticket("used"), NOW).quota
    for number in range(40):
        quota = register.quota(f"k{number}", NOW + 2 * number)
        assert quota is not None
        quota.try_take(NOW + 2 * number)
        assert len(register._quotas) <= 5
    assert register.quota("used", NOW + 100) is used


def test_quotas_that_are_all_busy_are_kept_and_looked_through_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_module, "QUOTAS", 4)
    register, looks = a_register(Budgets(key_rate=Rate(1))), 0
    made = []
    for number in range(64):
        before = register._quotas
        quota = register.quota(f"k{number}", NOW)
        looks += register._quotas is not before
        assert quota is not None
        quota.try_take(NOW)
        made.append(quota)
    assert [register.quota(f"k{number}", NOW) for number in range(64)] == made
    assert looks == 4, "at 4, 8, 16 and 32"


def test_keys_have_no_quota_where_none_is_given() -> None:
    assert a_register().quota("k", NOW) is None
    assert a_register(Budgets(key_rate=Rate(1))).quota(None, NOW) is None


def test_a_host_that_rests_later_is_looked_at_once_then() -> None:
    register = a_register()
    host = register.host("a", NOW)
    host.pause(NOW + 10, NOW, refuse=False)
    for _ in range(3):
        register.retire(host, NOW)
    assert len(register.resting) == 1
    over = NOW + 10 + BEGINS_SLOWLY
    register.ripen(over - 0.1)
    assert register.hosts == {"a": host}
    host.pause(NOW + 20, NOW + 9.9, refuse=False)
    register.ripen(over)
    assert register.hosts == {"a": host}, "it was paused anew"
    register.ripen(over + 10)
    assert (register.hosts, register.resting) == ({}, [])


@pytest.mark.parametrize("holds", ["in_flight", "callers", "queued", "listed"])
def test_a_host_that_holds_something_is_kept(holds: str) -> None:
    register = a_register()
    lane = register.lane_of(ticket(), NOW)
    if holds == "queued":
        lane.append(ticket())
    elif holds == "listed":
        lane.listed = True
    else:
        setattr(lane.host, holds, 1)
    register.retire(lane.host, NOW)
    assert register.hosts == {"a": lane.host}


def test_what_was_made_anew_meanwhile_is_kept_when_the_old_one_goes() -> None:
    register = a_register()
    old = register.host("a", NOW)
    register.retire(old, NOW)
    new = register.host("a", NOW)
    register.retire(old, NOW)
    assert register.hosts == {"a": new}


def test_a_host_says_until_when_it_refuses_and_for_whom() -> None:
    register = a_register()
    assert register.refusal("a", NOW) is None
    register.host("a", NOW).pause(NOW + 5, NOW, refuse=True)
    assert register.refusal("a", NOW) == (NOW + 5, False)
    assert register.refusal("a", NOW + 5) is None


def test_hosts_share_the_pools_tokens_of_which_there_are_some_for_each() -> None:
    register = a_register(retries=RetryBudget(share=0.5, per_second=2.0), floor=1.0)
    first, second = register.host("a", NOW).tokens, register.host("b", NOW).tokens
    assert register.tokens is not None
    assert first is not None
    assert second is not None
    assert (first.count(NOW), register.tokens.count(NOW)) == (1, POOLS_SHARE)
    first.spend(NOW)
    assert (first.count(NOW), second.count(NOW), register.tokens.count(NOW)) == (0, 1, POOLS_SHARE - 1)
    assert first.next_at() == NOW + 0.5
    second.spend(NOW)
    assert (register.tokens.rests_at, first.rests_at) == (NOW + 2 / (2.0 * POOLS_SHARE), NOW + 0.5)


def test_what_is_sent_for_an_owner_that_needs_receipts_holds_one_of_its_places() -> None:
    scheduler, owner = Scheduler(Budgets(), places=9), Owner(1, needs_receipts=True)
    first, second = ticket(owner=owner), ticket(owner=owner)
    scheduler.add(first, NOW)
    scheduler.add(second, NOW)
    assert owner.queued == 2
    assert scheduler.next(NOW) is first
    assert (owner.room, owner.queued, first.holds_place) == (0, 1, True)
    assert scheduler.next(NOW) is None
    scheduler.give_places(owner, 1, NOW)
    assert scheduler.next(NOW) is second
    assert scheduler.queued == 0

"""A budget leased from Redis, with the model as the server: never over, shared by demand, alone when it is away."""

from __future__ import annotations

import threading

import pytest

from tests.redis_budgets import HOST, OTHER, InModel, Members
from tests.waiting import eventually
from workerpool.clock import SystemClock
from workerpool.config import Budgets
from workerpool.errors import BudgetError, OptionError
from workerpool.limits.redis.budget import Asked, RedisBudget
from workerpool.limits.redis.link import Link
from workerpool.limits.redis.model import GONE
from workerpool.limits.redis.terms import SECOND, Answer, Call
from workerpool.options.credentials import warning_for
from workerpool.rate import Rate


@pytest.fixture
def members() -> Members:
    return Members()


def test_four_members_use_the_whole_rate_and_have_the_same_of_it(members: Members) -> None:
    four = [members.open(rate="400/s") for _ in range(4)]
    members.pass_time(1.5, *four)
    taken = members.pass_time(2.0, *four)
    assert 0.98 * 800 <= sum(taken.values()) <= 802
    assert max(taken.values()) <= 1.05 * min(taken.values())


def test_who_needs_less_leaves_it_to_the_others(members: Members) -> None:
    busy, modest = members.open(rate="200/s"), members.open(rate="200/s")
    had = waiting = taken = 0
    members.pass_time(1.0, busy)
    for step in range(600):
        if step == 200:  # now it is known how much it needs
            had = taken = 0
        waiting += step % 10 == 0  # 20 a second
        taken += members.pass_time(0.005, busy)[0]
        if waiting and members.take(modest):
            waiting, had = waiting - 1, had + 1
            modest.give_back(HOST, members.clock.now())
    assert had >= 36
    assert had + taken >= 0.95 * 400


def test_a_member_calls_once_in_a_tick_however_much_it_sends(members: Members) -> None:
    members.pass_time(3.0, members.open(rate="1000/s"))
    assert len(members.server.calls) <= 32


def test_what_a_member_holds_of_the_rate_goes_to_others_when_it_leaves_or_stops_to_call(members: Members) -> None:
    first, second, third = (members.open(rate="300/s") for _ in range(3))
    members.pass_time(1.0, first, second, third)
    first.leave()
    members.pass_time(0.5, second, third)
    assert sum(members.pass_time(1.0, second, third).values()) >= 290
    members.all.remove(second)  # killed
    members.pass_time(GONE / SECOND + 0.5, third)
    assert members.pass_time(1.0, third)[0] >= 290


def test_while_a_member_is_silent_its_fair_share_is_left_to_it(members: Members) -> None:
    first, second = members.open(rate="200/s"), members.open(rate="200/s")
    members.pass_time(1.0, first, second)
    members.all.remove(second)
    members.pass_time(1.0, first)
    assert members.pass_time(1.0, first)[0] <= 102


# -- the server away --------------------------------------------------------------------------------------------------


def test_members_go_on_with_their_fair_share_while_the_server_is_away_and_never_above_together(
    members: Members,
) -> None:
    three = [members.open(rate="300/s") for _ in range(3)]
    members.pass_time(1.0, *three)
    members.server.is_away = True
    began = members.pass_time(1.0, *three)
    assert sum(began.values()) <= 302
    alone = members.pass_time(2.0, *three)
    assert all(195 <= taken <= 202 for taken in alone.values())
    assert three[0].away == pytest.approx(3.0, abs=0.3)
    members.server.is_away = False
    back = members.pass_time(1.0, *three)
    assert 200 <= sum(back.values()) <= 303
    assert three[0].away == pytest.approx(3.0, abs=0.5)
    assert sum(members.pass_time(1.0, *three).values()) >= 290


def test_a_server_that_has_forgotten_all_leaves_their_share_to_those_that_are_not_back_yet(members: Members) -> None:
    back, late = members.open(rate="200/s"), members.open(rate="200/s")
    members.pass_time(1.0, back, late)
    members.server.is_away = True
    members.pass_time(1.0, back, late)
    members.server.is_away = False
    members.server.forget()
    members.all.remove(late)  # its way to the server is longer
    both = members.pass_time(1.0, back, late)
    assert sum(both.values()) <= 204
    members.all.append(late)
    members.pass_time(1.0, back, late)
    assert sum(members.pass_time(1.0, back, late).values()) >= 190


def test_who_has_just_come_sends_nothing_when_the_server_goes_as_nobody_may_know_it(members: Members) -> None:
    old = members.open(rate="100/s")
    members.pass_time(1.0, old)
    new = members.open(rate="100/s")
    members.server.is_away = True
    assert members.pass_time(2.0, new)[0] == 0


def test_a_member_that_was_stopped_for_long_takes_no_share_of_those_who_took_it_for_dead(members: Members) -> None:
    stopped = members.open(rate="100/s")
    members.pass_time(1.0, stopped)
    members.clock.advance(60)
    members.server.is_away = True
    assert members.pass_time(2.0, stopped)[0] <= 1


def test_a_quota_is_not_exceeded_while_the_server_is_away(members: Members) -> None:
    both = [members.open(rate="100/s and 100/h") for _ in range(2)]
    taken = sum(members.pass_time(0.6, *both).values())
    members.server.is_away = True
    taken += sum(members.pass_time(5, *both).values())
    assert taken <= 100


def test_a_server_that_is_away_at_the_start_is_an_error(members: Members) -> None:
    members.server.is_away = True
    with pytest.raises(BudgetError, match="'trial' in Redis at redis://model cannot be used: connection refused"):
        members.open()


# -- places and pauses ------------------------------------------------------------------------------------------------


def test_places_are_counted_over_all_members_and_shared_when_both_want_them(members: Members) -> None:
    first, second = members.open(host_connections=4), members.open(host_connections=4)
    assert members.pass_time(0.5, first, holds=True) == {0: 4}
    assert members.pass_time(0.5, second, holds=True) == {0: 0}
    for _ in range(4):
        first.give_back(HOST, members.clock.now())
    members.pass_time(0.5, first, second, holds=True)
    flying = [member._hosts[HOST].in_flight for member in (first, second)]
    assert flying == [2, 2]


def test_with_more_members_than_places_they_take_turns(members: Members) -> None:
    three = [members.open(host_connections=1) for _ in range(3)]
    taken = members.pass_time(8.0, *three)
    assert all(taken.values())


def test_places_in_all_are_shared_between_hosts(members: Members) -> None:
    first, second = members.open(max_connections=2), members.open(max_connections=2)
    assert members.pass_time(0.5, first, holds=True) == {0: 2}
    assert members.pass_time(0.5, second, host=OTHER, holds=True) == {0: 0}


@pytest.mark.parametrize("limits", [{"host_connections": 1}, {"max_connections": 1}])
def test_a_send_that_has_a_place_waits_for_no_other_one(members: Members, limits: dict[str, int]) -> None:
    budget = members.open(**limits)
    assert members.pass_time(0.5, budget, holds=True) == {0: 1}
    now = members.clock.now()
    assert budget.next_at(HOST, 1, now) > now
    assert budget.next_at(HOST, 1, now, has_place=True) <= now
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is not None


def test_idle_sockets_that_others_wait_for_are_to_be_closed(members: Members) -> None:
    first, second = members.open(host_connections=2), members.open(host_connections=2)
    members.pass_time(0.3, first, holds=True)
    for _ in range(2):
        first.give_back(HOST, members.clock.now())
    assert first.tidy({HOST: 2}) == {}
    members.pass_time(0.5, second)
    assert first.tidy({HOST: 2}) == {HOST: 1}
    assert first.allows(HOST, 2)
    first.tidy({HOST: 1})
    assert members.pass_time(0.5, second)[0] > 0


def test_places_of_a_member_that_was_killed_are_free_after_a_while(members: Members) -> None:
    dead, other = members.open(host_connections=1), members.open(host_connections=1)
    members.pass_time(0.3, dead, holds=True)
    members.all.remove(dead)
    assert members.pass_time(GONE / SECOND - 1, other)[0] == 0
    assert members.pass_time(2.0, other)[0] > 0


def test_a_pause_holds_for_all_and_then_they_start_with_one_send(members: Members) -> None:
    first, second = members.open(host_connections=4), members.open(host_connections=4)
    members.pass_time(0.5, first, second)
    first.pause(HOST, members.clock.now() + 2, members.clock.now())
    assert members.pass_time(0.0, first) == {0: 0}
    members.pass_time(0.25, second)  # until it has heard
    assert members.pass_time(1.7, first, second) == {0: 0, 1: 0}
    assert members.pass_time(0.25, first, second, holds=True) in ({0: 1, 1: 0}, {0: 0, 1: 1})


def test_terms_that_differ_are_kept_as_the_strictest_says(members: Members) -> None:
    wide, strict = members.open(rate="500/s"), members.open(rate="100/s and 150/min")
    members.pass_time(0.5, wide, strict)
    assert sum(members.pass_time(1.0, wide, strict).values()) <= 102
    assert sum(members.pass_time(5.0, wide, strict).values()) <= 150


# -- the server's clock set back --------------------------------------------------------------------------------------

STEPS = (600.0, 3.0, 0.3, 0.05)


def busiest(taken: list[int], seconds: float) -> int:
    """The most in any such time, of what was taken in each twentieth of a second."""
    many = round(seconds * 20)
    return max(sum(taken[begin : begin + many]) for begin in range(len(taken) - many + 1))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("age", [0.5, 4.0])
def test_a_clock_that_is_set_back_keeps_nobody_waiting_and_nothing_is_leased_twice(
    members: Members, age: float, step: float
) -> None:
    four, taken = list[RedisBudget](), list[int]()
    for _ in range(4):
        four.append(members.open(rate="400/s"))
        members.pass_time(0.025)  # each hears of it at another time, and uses what it has until then
    taken += [sum(members.pass_time(0.05, *four).values()) for _ in range(round(age * 20))]
    members.server.ahead -= step
    after = [sum(members.pass_time(0.05, *four).values()) for _ in range(40)]
    assert sum(after[12:]) >= 0.97 * 400 * 1.4
    assert busiest([*taken, *after], 0.25) <= 1.01 * 100 + 1
    assert busiest([*taken, *after], 1.0) <= 1.01 * 400 + 1


@pytest.mark.parametrize("step", STEPS)
def test_a_slow_rate_is_kept_to_over_a_clock_that_is_set_back(members: Members, step: float) -> None:
    both = [members.open(rate="1/s") for _ in range(2)]
    taken = [sum(members.pass_time(0.05, *both).values()) for _ in range(65)]
    members.server.ahead -= step
    taken += [sum(members.pass_time(0.05, *both).values()) for _ in range(200)]
    assert busiest(taken, 0.9) == 1
    assert sum(taken[65:]) >= 8


def test_a_quota_has_room_again_after_its_time_though_the_clock_was_set_back(members: Members) -> None:
    both = [members.open(rate="100/s and 30/2s") for _ in range(2)]
    taken = [sum(members.pass_time(0.05, *both).values()) for _ in range(20)]
    members.server.ahead -= 600
    taken += [sum(members.pass_time(0.05, *both).values()) for _ in range(120)]
    assert busiest(taken, 1.95) <= 30
    assert sum(taken[20:]) >= 60


def test_a_pause_ends_when_it_should_though_the_clock_was_set_back(members: Members) -> None:
    both = [members.open(host_connections=4) for _ in range(2)]
    members.pass_time(0.5, *both)
    both[0].pause(HOST, members.clock.now() + 3, members.clock.now())
    members.pass_time(1.0, *both)
    members.server.ahead -= 600
    late = members.open(host_connections=4)
    assert sum(members.pass_time(1.9, *both, late).values()) == 0
    assert members.pass_time(0.6, *both, late)[2] > 0


def test_who_was_killed_is_counted_out_though_the_clock_was_set_back(members: Members) -> None:
    dead, other = (members.open(rate="100/s", host_connections=1) for _ in range(2))
    members.pass_time(1.0, dead, holds=True)
    members.all.remove(dead)
    members.server.ahead -= 600
    assert members.pass_time(GONE / SECOND - 1, other)[0] == 0
    members.pass_time(2.0, other)
    assert members.pass_time(1.0, other)[0] >= 95


def test_nothing_is_kept_for_those_that_were_missed_long_ago_though_the_clock_was_set_back(members: Members) -> None:
    three = [members.open(rate="100/s") for _ in range(3)]
    members.pass_time(1.0, *three)
    members.server.forget()
    members.all = three[:1]
    members.pass_time(GONE / SECOND + 1.0, three[0])
    members.server.ahead -= 600
    members.pass_time(0.5, three[0])
    assert members.pass_time(1.0, three[0])[0] >= 95


def test_members_take_turns_at_a_place_though_the_clock_was_set_back(members: Members) -> None:
    three = [members.open(host_connections=1) for _ in range(3)]
    members.pass_time(2.0, *three)
    members.server.ahead -= 600
    members.pass_time(1.0, *three)
    assert all(members.pass_time(8.0, *three).values())


# -- the keeper -------------------------------------------------------------------------------------------------------


class Oddities:
    """A link that lets through what is no `Away`, when a member asks for the second time."""

    where = "redis://model"

    def __init__(self, link: InModel) -> None:
        self._link = link
        self.calls = 0

    def call(self, call: Call) -> Answer:
        self.calls += 1
        if self.calls == 2:
            raise ValueError("an answer that makes no sense")
        return self._link.call(call)

    def close(self) -> None: ...

    def disown(self) -> None: ...


def kept(link: Asked) -> RedisBudget:
    """A budget with a keeper of its own."""
    return RedisBudget(link, "trial", Budgets(rate=Rate.of("100/s")), SystemClock())


def asks_for_a_slot(budget: RedisBudget) -> bool:
    return budget.try_take(HOST, 1, SystemClock().now(), since=None) is not None


def test_a_keeper_that_could_not_be_started_is_started_by_a_later_use(monkeypatch: pytest.MonkeyPatch) -> None:
    start, fails = threading.Thread.start, 2

    def seldom(thread: threading.Thread) -> None:
        nonlocal fails
        if thread.name == "workerpool-leases" and fails:
            fails -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", seldom)
    budget = kept(InModel(SystemClock()))
    assert not asks_for_a_slot(budget)
    assert fails == 0
    assert eventually(lambda: asks_for_a_slot(budget))
    budget.leave()


def test_a_keeper_that_has_ended_is_followed_by_another_one_at_the_next_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisBudget, "_keep", lambda budget: None)
    budget = kept(InModel(SystemClock()))
    assert eventually(lambda: budget._keeper is not None and not budget._keeper.is_alive())
    monkeypatch.undo()
    assert eventually(lambda: asks_for_a_slot(budget))
    budget.leave()


def test_a_keeper_goes_on_after_an_error_that_nobody_expects_and_tells_of_it(caplog: pytest.LogCaptureFixture) -> None:
    link = Oddities(InModel(SystemClock()))
    budget = kept(link)
    assert eventually(lambda: asks_for_a_slot(budget) and link.calls > 2 and not budget._away_since)
    assert budget.away > 0
    assert "ValueError: an answer that makes no sense" in caplog.text
    budget.leave()


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://a.test", "redis://", "unix://", "a.test:6379", "redis://a.test:x"])
def test_what_is_no_servers_url_is_refused_with_those_that_would_do(url: str) -> None:
    pytest.importorskip("redis")
    with pytest.raises(OptionError, match="redis://HOST:PORT/0"):
        Link(url, "github")


def test_a_password_may_be_named_and_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("SECRET", "hunter2-Xyzzy")
    for url in ("redis://:env:SECRET@a.test:6379/1", "redis://:hunter2-Xyzzy@a.test:6379/1"):
        link = Link(url, "github")
        assert link.where == "redis://a.test:6379/1"
        assert link._password == "hunter2-Xyzzy"
        assert "hunter2" not in link._url
    with pytest.raises(OptionError, match="the environment has no NOTHING"):
        Link("redis://:env:NOTHING@a.test", "github")


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://:hunter2@a.test", True),
        ("redis://:env:SECRET@a.test", False),
        ("redis://a.test", False),
        ("env:REDIS_URL", False),
    ],
)
def test_only_a_password_that_everybody_can_read_is_warned_of(url: str, is_open: bool) -> None:
    warning = warning_for("--redis", url)
    assert (warning is not None) == is_open
    assert "hunter2" not in (warning or "")

"""One member of a budget in Redis: what it asks the server for, and when; what it does alone, and how it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.redis_budgets import HOST, OTHER, InModel, Members
from tests.waiting import eventually
from workerpool import forking
from workerpool.clock import Clock, SystemClock
from workerpool.config import Budgets
from workerpool.limits.redis.budget import MOST_ASKED, RETRY, SOON, URGENT, RedisBudget
from workerpool.limits.redis.link import Away
from workerpool.limits.redis.model import GONE, SILENCE
from workerpool.limits.redis.terms import SECOND, Answer, Ask, Call
from workerpool.rate import Rate

TICK = 0.1


class Watched(InModel):
    """A link that notes how it is used."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.closed: list[str] = []
        self.disowned = 0

    def close(self) -> None:
        self.closed.append(threading.current_thread().name)

    def disown(self) -> None:
        self.disowned += 1


@pytest.fixture
def members() -> Members:
    members = Members()
    members.server = Watched(members.clock)
    return members


def link_of(members: Members) -> Watched:
    assert isinstance(members.server, Watched)
    return members.server


def asked(members: Members) -> dict[str, Ask]:
    """What was said of each account in the last call."""
    return {ask.account: ask for ask in members.server.calls[-1].asks}


def next_at(
    budget: RedisBudget, members: Members, host: str | None = HOST, weight: int = 1, *, has_place: bool = False
) -> float:
    """Seconds until it is worth asking again."""
    now = members.clock.now()
    return budget.next_at(host, weight, now, has_place=has_place) - now


def calls_in(budget: RedisBudget, members: Members) -> float:
    """Seconds until the keeper calls."""
    return budget._calls_at() - members.clock.now()


# -- what it asks for -------------------------------------------------------------------------------------------------


def test_a_member_introduces_itself_with_its_terms(members: Members) -> None:
    budget = members.open(rate="100/s", host_rate="10/s")
    (call,) = members.server.calls
    assert call.asks == (Ask("pool"),)
    assert (call.terms, call.known, call.leaves) == (budget._terms, 1, False)
    assert len(call.member) == 12
    members.open()
    assert members.server.calls[-1].member != call.member
    for _ in range(2):
        budget.exchange()
    assert (members.server.calls[-1].known, members.server.calls[-1].member) == (2, call.member)
    assert (budget.name, budget.serves_sockets) == ("trial", False)
    serving = RedisBudget(members.server, "trial", Budgets(), members.clock, keeps=False, serves_sockets=True)
    assert serving.serves_sockets


def test_what_somebody_waits_for_is_asked_for_his_host_and_for_the_pool(members: Members) -> None:
    budget = members.open(rate="100/s", host_rate="10/s", host_connections=3)
    assert next_at(budget, members, weight=2) > 0
    budget.exchange()
    said = asked(members)
    assert list(said) == ["pool", f"h:{HOST}"]
    assert (said["pool"].demand, said[f"h:{HOST}"].demand) == (100_000, 10_000)
    assert (said["pool"].wish, said[f"h:{HOST}"].wish) == (8, 3)
    assert next_at(budget, members, weight=2) <= 0


def test_who_only_looks_wants_nothing(members: Members) -> None:
    budget = members.open(rate="100/s")
    assert next_at(budget, members, host=None) > 0
    budget.exchange()
    assert asked(members) == {"pool": Ask("pool")}


def test_who_tries_in_vain_wants_what_is_missing(members: Members) -> None:
    budget = members.open(rate="100/s")
    assert not members.take(budget, weight=3)
    budget.exchange()
    assert asked(members)["pool"].demand == 100_000
    assert members.take(budget)


@pytest.mark.parametrize("tries", [True, False])
def test_who_has_a_place_wants_none(members: Members, tries: bool) -> None:
    budget = members.open(rate="100/s")
    now = members.clock.now()
    if tries:
        assert budget.try_take(HOST, 1, now, since=None, has_place=True) is None
    else:
        assert budget.next_at(HOST, 1, now, has_place=True) > now
    budget.exchange()
    assert {ask.wish for ask in asked(members).values()} == {0}
    assert asked(members)["pool"].demand
    assert budget.try_take(HOST, 1, members.clock.now(), since=None, has_place=True) is not None
    assert budget._hosts[HOST].in_flight == budget._pool.in_flight == 0


def test_what_is_there_is_not_wanted_again(members: Members) -> None:
    budget = members.open()
    next_at(budget, members)
    budget.exchange()
    assert next_at(budget, members) <= 0
    assert calls_in(budget, members) == pytest.approx(TICK)
    for _ in range(30):
        budget.exchange()
    next_at(budget, members)
    budget.exchange()
    assert next_at(budget, members) <= 0
    assert not budget._is_wanted


def test_of_both_slots_the_later_one_counts(members: Members) -> None:
    budget = members.open(rate="100/s", host_rate="1/s")
    next_at(budget, members)
    budget.exchange()
    assert members.take(budget)
    assert 0.9 < next_at(budget, members) < 1.1
    assert next_at(budget, members, host=None) < 0.1
    assert next_at(budget, members, OTHER) == pytest.approx(TICK + SOON)


def test_a_heavy_send_waits_for_as_many_slots_of_both(members: Members) -> None:
    budget = members.open(rate="10/s", host_rate="10/s", burst=5)
    next_at(budget, members, weight=4)
    budget.exchange()
    assert members.take(budget, weight=3)
    one, four = next_at(budget, members), next_at(budget, members, weight=4)
    assert one <= 0 < four
    assert four == next_at(budget, members, host=None, weight=4) == pytest.approx(0.2)
    assert not members.take(budget, weight=4)
    members.pass_time(four + 0.005)
    assert members.take(budget, weight=4)


def test_while_a_host_is_paused_nothing_is_wanted_for_it(members: Members) -> None:
    budget = members.open(rate="100/s")
    now = members.clock.now()
    budget.pause(HOST, now + 3, now)
    assert next_at(budget, members) == pytest.approx(3)
    budget.exchange()
    assert asked(members)[f"h:{HOST}"] == Ask(f"h:{HOST}", pause=3 * SECOND)
    assert next_at(budget, members) == pytest.approx(3)
    budget.exchange()
    assert asked(members)["pool"].demand == 0
    members.clock.advance(3)
    assert next_at(budget, members) < 1
    budget.exchange()
    assert asked(members)["pool"].demand


def test_a_host_is_forgotten_when_nothing_is_left_of_it(members: Members) -> None:
    budget = members.open()
    next_at(budget, members)
    budget.exchange()
    assert members.take(budget)
    assert list(budget._hosts) == [HOST]
    members.pass_time(20)
    assert list(budget._hosts) == [HOST]
    budget.give_back(HOST, members.clock.now())
    budget.give_back(HOST, members.clock.now())
    assert budget._pool.in_flight == 0
    members.pass_time(20)
    assert list(budget._hosts) == []
    budget.give_back(HOST, members.clock.now())
    assert list(asked(members)) == ["pool"]


def test_a_place_that_no_host_has_comes_back_for_nobody(members: Members) -> None:
    budget = members.open()
    for host in (HOST, OTHER):
        next_at(budget, members, host)
    budget.exchange()
    assert members.take(budget)
    budget.give_back(OTHER, members.clock.now())
    assert (budget._pool.in_flight, budget._hosts[HOST].in_flight) == (1, 1)


def test_a_paused_host_is_kept_until_it_may_be_sent_to(members: Members) -> None:
    budget = members.open()
    now = members.clock.now()
    budget.pause(HOST, now + 30, now)
    members.pass_time(29.5)
    assert list(budget._hosts) == [HOST]
    members.pass_time(1)
    assert list(budget._hosts) == []


def test_hosts_beyond_those_of_one_call_have_their_turn_in_the_next(members: Members) -> None:
    budget = members.open(rate="100/s")
    hosts = [f"http://{number}.test:80" for number in range(MOST_ASKED + 2)]
    for host in hosts:
        next_at(budget, members, host)
    budget.exchange()
    assert list(asked(members)) == ["pool", *(f"h:{host}" for host in hosts[:-2])]
    budget.exchange()
    assert list(asked(members)) == ["pool", *(f"h:{host}" for host in [*hosts[-2:], *hosts[:-4]])]


# -- when it asks -----------------------------------------------------------------------------------------------------


def test_an_idle_member_calls_half_as_often(members: Members) -> None:
    budget = members.open()
    assert calls_in(budget, members) == pytest.approx(2 * TICK)
    assert next_at(budget, members, host=None) == pytest.approx(TICK + SOON)
    next_at(budget, members)
    assert calls_in(budget, members) == pytest.approx(TICK)
    members.clock.advance(0.03)
    assert calls_in(budget, members) == pytest.approx(TICK - 0.03)
    assert next_at(budget, members) == pytest.approx(TICK - 0.03 + SOON)
    members.clock.advance(1)
    assert next_at(budget, members) == pytest.approx(SOON)
    budget.exchange()
    assert calls_in(budget, members) == pytest.approx(TICK)
    assert members.take(budget)


def test_a_pause_is_told_as_soon_as_the_server_may_be_called(members: Members) -> None:
    budget = members.open()
    now = members.clock.now()
    budget.pause(HOST, now + 3, now)
    assert calls_in(budget, members) == pytest.approx(URGENT)
    budget.exchange()
    assert calls_in(budget, members) == pytest.approx(2 * TICK)


def test_a_server_that_is_away_is_asked_again_after_a_while(members: Members) -> None:
    budget = members.open()
    members.server.is_away = True
    budget.exchange()
    assert calls_in(budget, members) == pytest.approx(RETRY)


def test_sockets_that_are_refused_are_asked_for_soon(members: Members) -> None:
    budget = members.open(host_connections=3)
    assert not budget.allows(HOST, 1)
    assert calls_in(budget, members) == pytest.approx(TICK)
    assert not budget.allows(None, 1)
    budget.exchange()
    assert (asked(members)["pool"].wish, asked(members)[f"h:{HOST}"].wish) == (8, 3)
    assert budget.allows(None, 8)
    assert budget.allows(HOST, 3)
    assert not budget.allows(None, 9)
    assert not budget.allows(HOST, 4)


def test_sockets_are_noted_of_each_host_and_of_all(members: Members) -> None:
    budget = members.open()
    for host in (HOST, OTHER):
        next_at(budget, members, host)
    budget.exchange()
    assert budget.tidy({HOST: 3, "http://unknown.test:80": 2}) == {}
    assert (budget._pool.sockets, budget._hosts[HOST].sockets, budget._hosts[OTHER].sockets) == (5, 3, 0)
    budget._pool.held = 4
    assert budget.tidy({HOST: 5}) == {None: 1}
    budget._hosts[HOST].held = 3
    assert budget.tidy({HOST: 5}) == {None: 1, HOST: 2}


class Waking:
    """Stands for what the keeper waits on."""

    def __init__(self, budget: RedisBudget, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(budget._changed, "notify_all", self._note)

    def _note(self) -> None:
        self.count += 1


def test_the_keeper_is_woken_once_for_all_that_wait_and_for_each_pause(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = members.open()
    waking = Waking(budget, monkeypatch)
    next_at(budget, members)
    assert waking.count == 1
    next_at(budget, members, OTHER)
    assert not members.take(budget)
    assert waking.count == 1
    now = members.clock.now()
    budget.pause(HOST, now + 3, now)
    assert waking.count == 2
    budget.exchange()
    next_at(budget, members, OTHER)
    assert waking.count == 2  # it has a place there
    assert not budget.allows(OTHER, 99)
    assert waking.count == 3
    budget.leave()
    assert waking.count == 4


class Reentrant(Mapping[str, int]):
    """Sockets that a host has; who looks at them may find something done on its own thread, as with garbage."""

    def __init__(self, budget: RedisBudget, members: Members) -> None:
        self._budget, self._members = budget, members
        self.seen: list[tuple[float, bool]] = []

    def __getitem__(self, host: str) -> int:
        raise KeyError(host)

    def __iter__(self) -> Iterator[str]:
        self.seen.append((next_at(self._budget, self._members), self._members.take(self._budget)))
        return iter(())

    def __len__(self) -> int:
        return 0


def test_a_thread_that_is_inside_is_told_to_come_later(members: Members) -> None:
    budget = members.open()
    next_at(budget, members)
    budget.exchange()
    opened = Reentrant(budget, members)
    budget.tidy(opened)
    ((wait, has_taken),) = opened.seen
    assert wait == pytest.approx(SOON)
    assert not has_taken
    assert next_at(budget, members) <= 0
    assert members.take(budget)


# -- while the server is away -----------------------------------------------------------------------------------------


def heard(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if getattr(record, "event", None) == event]  # type: ignore[attr-defined]


def takes(members: Members, seconds: float, *taking: RedisBudget, host: str = HOST) -> list[int]:
    """How many slots each takes in this time, over places that it has."""
    taken = [0] * len(taking)
    for _ in range(round(seconds * 200)):
        members.pass_time(0.005)
        now = members.clock.now()
        for number, budget in enumerate(taking):
            taken[number] += budget.try_take(host, 1, now, since=now - 0.01, has_place=True) is not None
    return taken


def test_it_is_told_when_the_server_goes_and_when_it_is_back(
    members: Members, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workerpool")
    budget = members.open()
    members.open()
    for seconds in (3, 4):
        budget.exchange()
        members.server.is_away = True
        for _ in range(2):
            members.clock.advance(seconds / 2)
            budget.exchange()
        members.clock.advance(seconds)
        members.server.is_away = False
        budget.exchange()
    assert budget.away == pytest.approx(1.5 + 3 + 2 + 4)
    away, back = heard(caplog, "budget.away"), heard(caplog, "budget.back")
    assert [each["reason"] for each in away] == ["connection refused"] * 2
    assert [each["seconds"] for each in back] == [pytest.approx(4.5), pytest.approx(6)]
    assert {(each["budget"], each["members"]) for each in [*away, *back]} == {("trial", 2)}


def test_what_was_said_in_a_call_that_failed_is_said_again(members: Members) -> None:
    budget = members.open()
    now = members.clock.now()
    budget.pause(HOST, now + 3, now)
    members.server.is_away = True
    budget.exchange()
    members.server.is_away = False
    members.clock.advance(1)
    budget.exchange()
    assert asked(members)[f"h:{HOST}"].pause == 2 * SECOND


def test_a_lone_member_goes_on_alone_from_the_start(members: Members) -> None:
    budget = members.open(rate="100/s")
    members.server.is_away = True
    assert takes(members, 1.0, budget)[0] > 50


@pytest.mark.parametrize(("ticks", "goes_on"), [(SILENCE - 1, False), (SILENCE, True), (SILENCE + 1, True)])
def test_one_of_several_goes_on_alone_if_the_others_know_it_for_sure(
    members: Members, ticks: int, goes_on: bool
) -> None:
    members.open(rate="100/s")
    new = members.open(rate="100/s")
    for _ in range(ticks):
        members.clock.advance(TICK)
        for budget in members.all:
            budget.exchange()
    members.server.is_away = True
    assert (takes(members, 1.0, new)[0] > 10) == goes_on


@pytest.mark.parametrize(("seconds", "goes_on"), [(GONE / SECOND - 0.1, True), (GONE / SECOND + 0.1, False)])
def test_who_has_not_been_heard_of_for_long_does_not_go_on_alone(
    members: Members, seconds: float, goes_on: bool
) -> None:
    budget = members.open(rate="100/s")
    budget.exchange()
    members.clock.advance(seconds)
    members.server.is_away = True
    assert (takes(members, 1.0, budget)[0] > 10) == goes_on


def test_alone_slots_begin_when_those_that_were_leased_are_over(members: Members) -> None:
    budget = members.open(rate="10/s")
    members.server.is_away = True
    members.clock.advance(0.1)
    budget.exchange()
    taken: list[float] = []
    while len(taken) < 3:
        if takes(members, 0.005, budget)[0]:
            taken.append(members.clock.now() - 1000)
    assert taken == [pytest.approx(at, abs=0.011) for at in (0.5, 0.6, 0.7)]


def test_alone_a_host_that_is_new_has_its_share_too(members: Members) -> None:
    budget = members.open(rate="100/s", host_rate="20/s")
    members.server.is_away = True
    members.pass_time(1.0)
    assert 19 <= takes(members, 1.0, budget)[0] <= 21
    assert 19 <= takes(members, 1.0, budget, host=OTHER)[0] <= 21
    members.pass_time(1.0)
    assert members.pass_time(0.5, budget, host="http://e.test:80")[0] > 5
    assert next_at(budget, members, "http://c.test:80") < 0.06
    assert next_at(budget, members, None) < 0.06
    assert budget.allows("http://d.test:80", 2)


def test_of_a_quota_is_left_out_what_others_may_have_leased(members: Members) -> None:
    both = [members.open(rate="10/s and 21/h") for _ in range(2)]
    for budget in both:
        for _ in range(SILENCE + 1):
            members.clock.advance(TICK)
            budget.exchange()
    members.server.is_away = True
    assert takes(members, 10.0, *both) == [8, 8]  # 4 ticks of the rate, and one: (21 - 5) // 2


def test_of_a_quota_over_all_hosts_nothing_is_saved_up(members: Members) -> None:
    budget = members.open(rate="10/s and 100/h", burst=3)
    next_at(budget, members, weight=3)
    budget.exchange()
    assert len(budget._pool.next_slots(9)) >= 3
    members.clock.advance(9)
    next_at(budget, members)
    assert budget._pool.next_slots(9) == []


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_who_leaves_gives_everything_back_in_one_call(members: Members) -> None:
    budget = members.open(rate="100/s")
    members.open(rate="100/s")
    members.pass_time(1.0, budget)
    count, known = len(members.server.calls), budget._members
    budget.leave()
    budget.leave()
    assert len(members.server.calls) == count + 1
    call = members.server.calls[-1]
    assert (call.member, call.terms, call.known, call.leaves) == (budget._member, budget._terms, known, True)
    assert list(asked(members)) == ["pool", f"h:{HOST}"]
    assert all(ask.wish == 0 for ask in call.asks)
    assert asked(members)["pool"].back
    assert len(link_of(members).closed) == 1


def test_who_leaves_while_the_server_is_away_does_not_ask_it(members: Members) -> None:
    budget = members.open()
    members.server.is_away = True
    budget.exchange()
    members.server.is_away = False
    count = len(members.server.calls)
    budget.leave()
    assert len(members.server.calls) == count
    assert len(link_of(members).closed) == 1


def test_a_server_that_goes_while_somebody_leaves_does_no_harm(members: Members) -> None:
    budget = members.open()
    members.server.is_away = True
    budget.leave()
    assert len(link_of(members).closed) == 1


def test_a_forked_child_is_a_member_of_its_own_from_its_first_use_on(members: Members) -> None:
    budget = members.open()
    parent = budget._member
    assert any(each() is budget for each in forking._members.values())
    budget.start_anew()
    assert link_of(members).disowned == 1
    assert budget._member != parent
    assert (budget._hosts, budget._pool.held) == ({}, 0)
    assert next_at(budget, members) == pytest.approx(SOON)
    assert calls_in(budget, members) < 0
    assert (budget.away, budget._pool.name, list(budget._hosts)) == (0, "pool", [HOST])
    budget.exchange()
    assert members.server.calls[-1].member == budget._member
    assert members.take(budget)


def test_a_child_of_who_was_leaving_has_left(members: Members) -> None:
    budget = members.open()
    budget.leave()
    count = len(members.server.calls)
    budget.start_anew()
    budget.leave()
    assert len(members.server.calls) == count


# -- the keeper -------------------------------------------------------------------------------------------------------


def kept(**budgets: object) -> tuple[RedisBudget, Watched]:
    """A budget with a keeper of its own, by the clock of this machine."""
    link = Watched(SystemClock())
    return RedisBudget(link, "trial", Budgets(**budgets), SystemClock()), link  # type: ignore[arg-type]


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_a_keeper_calls_by_itself_and_ends_with_the_membership() -> None:
    others = len(threads("workerpool-leases"))
    budget, link = kept(rate=Rate.of("100/s"))
    (keeper,) = threads("workerpool-leases")[others:]
    assert keeper.daemon
    began = link.calls[0]
    assert eventually(lambda: len(link.calls) >= 3)
    assert budget.try_take(HOST, 1, SystemClock().now(), since=None) is None
    assert eventually(lambda: budget.try_take(HOST, 1, SystemClock().now(), since=None) is not None)
    assert threads("workerpool-leases")[others:] == [keeper]
    budget.leave()
    assert eventually(lambda: bool(link.closed))
    assert link.closed == ["workerpool-goodbye"]
    assert not keeper.is_alive()
    assert [call.leaves for call in link.calls] == [False] * (len(link.calls) - 1) + [True]
    assert {call.member for call in link.calls} == {began.member}


def test_a_keeper_does_not_call_more_often_than_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, link = kept()
    waits: list[float] = []
    wait = budget._changed.wait

    def watched(seconds: float | None = None) -> bool:
        waits.append(seconds or 0.0)
        return wait(seconds)

    monkeypatch.setattr(budget._changed, "wait", watched)
    count = len(link.calls)
    assert eventually(lambda: len(link.calls) >= count + 4)
    assert len(waits) >= 3
    assert all(0 < each <= 2 * TICK + 0.001 for each in waits[:])
    budget.leave()


class Hesitant(Watched):
    """A server that takes its time for a call, until it is told to answer."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def call(self, call: Call) -> Answer:
        self.is_asked.set()
        if not self.answers.wait(30):
            raise Away("nobody answers")
        return super().call(call)


def test_the_last_call_waits_for_the_one_that_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    link = Hesitant(SystemClock())
    budget = RedisBudget(link, "trial", Budgets(), SystemClock())
    link.answers.clear()
    link.is_asked.clear()
    assert link.is_asked.wait(30)
    count, keeper, waits = len(link.calls), budget._keeper, threading.Event()
    assert keeper is not None
    join = keeper.join

    def watched() -> None:
        waits.set()
        join()

    monkeypatch.setattr(keeper, "join", watched)
    budget.leave()
    assert waits.wait(30)
    assert len(link.calls) == count
    link.answers.set()
    assert eventually(lambda: bool(link.closed))
    assert [call.leaves for call in link.calls[count:]] == [False, True]

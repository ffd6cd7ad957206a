"""Where lanes stand while they wait, since when, and when each is looked at again; what is forgotten with them."""

from __future__ import annotations

import pytest

from workerpool.config import Budgets, RetryBudget
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.scheduler.hosts import BEGINS_SLOWLY
from workerpool.scheduler.lanes import Lane
from workerpool.scheduler.ring import ASKED, RETRIED, SOON
from workerpool.tickets import Caller, Ticket


class Trial:
    """A scheduler, and short words for what is done to it."""

    def __init__(self, budgets: Budgets | None = None, **more: object) -> None:
        self.scheduler = Scheduler(budgets or Budgets(), places=100, **more)  # type: ignore[arg-type]

    def add(self, host: str = "a", key: str | None = None, at: float = 0.0, weight: int = 1) -> Ticket:
        ticket = Ticket(Request(f"http://{host}.test/", weight=weight), host, key=key)
        self.scheduler.add(ticket, at)
        return ticket

    def go(self, at: float) -> list[Ticket]:
        return [*iter(lambda: self.scheduler.next(at), None)]

    def fail(self, ticket: Ticket, at: float) -> None:
        """It has come back, and is to be tried again."""
        self.scheduler.release(ticket.host, at)
        self.scheduler.park(ticket, at)


# -- since when something has waited ----------------------------------------------------------------------------------


@pytest.mark.parametrize("budgets", [Budgets(rate=Rate(10)), Budgets(host_rate=Rate(10)), Budgets(key_rate=Rate(10))])
@pytest.mark.parametrize("looks_on", [True, False])
def test_who_was_woken_late_for_its_first_slot_delays_no_later_one(budgets: Budgets, looks_on: bool) -> None:
    trial = Trial(budgets)
    trial.add(key="k")
    assert trial.scheduler.next(0.0) is not None
    if looks_on:
        assert trial.scheduler.next(0.0) is None
    for _ in range(2):
        trial.add(key="k", at=0.05)
    assert trial.go(0.099) == []
    assert len(trial.go(0.105)) == 1
    assert trial.scheduler.wakes_at(0.105) == pytest.approx(0.2)


@pytest.mark.parametrize("budgets", [Budgets(rate=Rate(10)), Budgets(host_rate=Rate(10)), Budgets(key_rate=Rate(10))])
@pytest.mark.parametrize("looks_on", [True, False])
def test_a_slot_that_came_while_nobody_wanted_it_counts_from_when_it_is_taken(budgets: Budgets, looks_on: bool) -> None:
    trial = Trial(budgets)
    trial.add(key="k")
    assert trial.scheduler.next(0.0) is not None
    if looks_on:
        assert trial.scheduler.next(0.0) is None
    for _ in range(2):
        trial.add(key="k", at=0.505)
    assert len(trial.go(0.505)) == 1
    assert trial.scheduler.wakes_at(0.505) == pytest.approx(0.605)


@pytest.mark.parametrize("places", [{"max_connections": 1}, {"host_connections": 1}])
def test_a_slot_that_came_while_a_place_was_missing_counts_from_when_it_is_taken(places: dict[str, int]) -> None:
    rate = {"rate" if "max_connections" in places else "host_rate": Rate(10)}
    trial = Trial(Budgets(**places, **rate))  # type: ignore[arg-type]
    for _ in range(3):
        trial.add()
    assert len(trial.go(0.0)) == 1
    trial.scheduler.release("a", 0.505)
    assert len(trial.go(0.505)) == 1
    trial.scheduler.release("a", 0.506)
    assert trial.scheduler.wakes_at(0.506) == pytest.approx(0.605)


# -- who goes first, and who is looked at -----------------------------------------------------------------------------


def test_what_is_to_end_unsent_goes_before_what_waits_for_the_pools_slot_and_leaves_nothing_behind() -> None:
    trial = Trial(Budgets(rate=Rate(1, 60)))
    trial.add("b")
    assert len(trial.go(0.0)) == 1
    trial.add("b")
    before, _ = trial.add("a"), trial.scheduler.pause("a", 9.0, 0.0, refuse=True)
    after = trial.add("a", key="k")
    assert trial.scheduler.has_ready(0.0)
    assert trial.go(0.0) == [after, before]
    for _ in range(2):
        trial.scheduler.release("a", 0.0, was_refused=True)
    assert (trial.scheduler.host_count, trial.scheduler.lane_count) == (2, 2)
    trial.scheduler.has_ready(9.0 + BEGINS_SLOWLY)
    assert (trial.scheduler.host_count, trial.scheduler.lane_count) == (1, 1)


def test_what_has_ended_unsent_brings_its_host_no_place() -> None:
    trial = Trial()
    for _ in range(9):
        trial.add()
    trial.scheduler.pause("a", 9.0, 0.0, refuse=True)
    for _ in trial.go(0.0):
        trial.scheduler.release("a", 0.0, was_refused=True)
    for _ in range(5):
        trial.add(at=9.0)
    assert [len(trial.go(9.0)), len(trial.go(9.0))] == [1, 0], "it begins with one"


def test_a_place_that_a_key_cannot_use_goes_to_the_next_one() -> None:
    trial = Trial(Budgets(host_connections=1, key_rate=Rate(1, 60)))
    first, waits, goes = (trial.add(host, key=key) for host, key in ("bk", "ak", "al"))
    assert trial.go(0.0) == [first, goes]
    assert waits.granted_at == 0.0
    assert trial.scheduler.wakes_at(0.0) == 60.0


def test_requests_that_come_while_the_first_waits_for_its_host_set_no_timers() -> None:
    trial = Trial()
    trial.scheduler.pause("a", 9.0, 0.0)
    for _ in range(50):
        trial.add()
        assert trial.go(0.0) == []
    assert len(trial.scheduler._ring.timers) == 1
    assert len(trial.go(9.0)) == 1


def test_a_lane_of_a_key_is_forgotten_once_its_last_request_has_gone() -> None:
    trial = Trial()
    for key in "kkl":
        trial.add(key=key)
    assert trial.scheduler.lane_count == 2
    assert len(trial.go(0.0)) == 3
    assert trial.scheduler.lane_count == 0


def test_a_retry_and_a_first_try_that_wait_for_their_hosts_slot_go_in_this_order() -> None:
    trial = Trial(Budgets(host_rate=Rate(1)), retries=RetryBudget(share=0.0, per_second=1.0), floor=3)
    retried = trial.add()
    assert trial.go(0.0) == [retried]
    trial.fail(retried, 0.0)
    first, other = trial.add(at=0.1), trial.add(key="k", at=0.1)
    assert trial.go(0.1) == []
    assert trial.scheduler.wakes_at(0.1) == 1.0
    assert [trial.go(at) for at in (1.0, 2.0, 3.0)] == [[retried], [other], [first]]


def test_the_lanes_that_only_miss_a_token_are_not_all_asked_for_each_first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(Budgets(host_connections=99), retries=RetryBudget(share=0.001, per_second=0.001), floor=1)
    looks: list[Lane] = []
    for number in range(5):
        trial.scheduler.pause(f"h{number}", 9.0, 0.0)
        trial.add(f"h{number}")
    failed = [trial.add(key=f"{number}") for number in range(10)]
    assert trial.go(0.0) == failed
    for ticket in failed:
        trial.fail(ticket, 0.0)
    assert len(trial.go(0.0)) == 1, "there is one token"
    look = trial.scheduler._ring.opens_at
    monkeypatch.setattr(trial.scheduler._ring, "opens_at", lambda lane, now: looks.append(lane) or look(lane, now))
    trial.add("a")
    assert len(trial.go(0.0)) == 1
    assert [lane.host.name for lane in looks] == ASKED * ["a"]


def test_lanes_that_wait_for_the_pools_tokens_keep_their_order_however_often_somebody_looks() -> None:
    trial = Trial(retries=RetryBudget(share=0.0, per_second=0.25), floor=1)  # the pool's: four, and one each second
    failed = [trial.add(host) for host in "abcdefgh"]
    assert trial.go(0.0) == failed
    for ticket in failed:
        trial.fail(ticket, 0.0)
    assert trial.go(0.0) == failed[:4]
    trial.add("z")
    trial.scheduler.pause("z", 0.5, 0.0)
    assert trial.go(0.0) == []
    assert trial.scheduler.wakes_at(0.0) == 0.5
    assert len(trial.go(0.5)) == 1
    for ticket, at in zip(failed[4:], (1.0, 2.0, 3.0, 4.0), strict=True):
        assert trial.scheduler.wakes_at(at - 0.5) == at
        for _ in range(2):
            assert not trial.scheduler.has_ready(at - 0.5)
        assert trial.go(at) == [ticket]


# -- what processes share ---------------------------------------------------------------------------------------------


class Shared:
    """What other processes have taken of it: hosts' places that come free at such times."""

    def __init__(self, **until: float) -> None:
        self.until = until
        self.snatched: dict[str, float] = {}
        self.asked: list[str | None] = []
        self.tried: list[str] = []
        self.since: list[float | None] = []

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        self.asked.append(host)
        return self.until.get(host or "", 0.0)

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        self.tried.append(host)
        self.since.append(since)
        if host in self.snatched:
            self.until[host] = self.snatched.pop(host)
        return None if self.until.get(host, 0.0) > now else now

    def give_back(self, host: str, now: float) -> None:
        pass


def test_only_what_is_said_to_be_there_is_tried_to_be_taken() -> None:
    shared = Shared(a=5.0)
    trial = Trial(shared=shared)
    trial.add("a")
    trial.add("b")
    assert len(trial.go(0.0)) == 1
    assert shared.tried == ["b"]


def test_what_processes_share_is_told_since_when_a_lane_waits_for_it() -> None:
    shared = Shared(a=2.0)
    trial = Trial(shared=shared)
    for _ in range(2):
        trial.add("a", at=1.0)
    shared.snatched["a"] = 2.0
    assert len(trial.go(2.005)) == 2
    assert shared.since == [1.0, 2.005]


def test_what_went_to_another_process_is_asked_for_when_it_is_said_to_come_back() -> None:
    shared = Shared()
    shared.snatched = {"a": 7.0, "b": SOON / 2}
    trial = Trial(shared=shared)
    trial.add("a")
    assert trial.go(0.0) == []
    assert trial.scheduler.wakes_at(0.0) == 7.0
    trial.add("b")
    assert trial.go(0.0) == []
    assert trial.scheduler.wakes_at(0.0) == SOON


def test_who_gives_a_place_back_asks_for_its_own_host_and_for_few_others() -> None:
    shared = Shared(**dict.fromkeys("abcdef", 5.0))
    trial = Trial(shared=shared)
    trial.add("g")
    assert len(trial.go(0.0)) == 1
    for host in "abcdef":
        trial.add(host)
    last = trial.add("g")
    shared.snatched["g"] = 5.0
    assert trial.go(0.0) == []
    shared.until["g"] = 0.0
    shared.asked.clear()
    trial.scheduler.release("g", 0.1)
    assert {host for host in shared.asked if host} == {"g", *"abcdef"[:RETRIED]}
    assert trial.go(0.1) == [last]


def test_a_retry_and_a_first_try_ask_what_processes_share() -> None:
    trial = Trial(shared=Shared(), retries=RetryBudget(share=0.0, per_second=1.0), floor=3)
    retried = trial.add()
    assert trial.go(0.0) == [retried]
    trial.fail(retried, 0.0)
    first = trial.add()
    assert trial.go(0.0) == [retried, first]


# -- what has nothing to send any more --------------------------------------------------------------------------------


def test_nobody_is_woken_for_what_was_discarded_and_in_time_for_the_rest() -> None:
    trial = Trial()
    for number in range(8):
        trial.scheduler.pause(f"h{number}", 1.0 + number, 0.0)
    tickets = [trial.add(f"h{number}") for number in (0, 4, 1, 6, 5, 2, 3, 7)]
    assert trial.go(0.0) == []
    unwanted = {"h0", "h1", "h5"}
    trial.scheduler.discard(lambda ticket: ticket.host in unwanted, 0.0)
    for number in (2, 3, 4, 6, 7):
        assert trial.scheduler.wakes_at(0.0) == 1.0 + number
        assert [ticket.host for ticket in trial.go(1.0 + number)] == [f"h{number}"]
        trial.scheduler.release(f"h{number}", 1.0 + number)
    assert len(tickets) == 8


def test_a_lane_whose_requests_were_discarded_is_woken_for_new_ones() -> None:
    trial = Trial()
    trial.scheduler.pause("a", 5.0, 0.0)
    trial.add()
    assert trial.go(0.0) == []
    trial.scheduler.discard(lambda ticket: True, 0.0)
    assert trial.scheduler.wakes_at(0.0) is None
    new = trial.add(at=1.0)
    assert trial.scheduler.wakes_at(1.0) == 5.0
    assert trial.go(5.0) == [new]


def test_who_waits_for_the_pools_tokens_still_does_when_others_were_discarded() -> None:
    trial = Trial(retries=RetryBudget(share=0.0, per_second=0.25), floor=1)  # the pool's: four, and one each second
    failed = [trial.add(host) for host in "abcdefg"]
    assert trial.go(0.0) == failed
    for ticket in failed:
        trial.fail(ticket, 0.0)
    assert trial.go(0.0) == failed[:4]
    trial.scheduler.discard(lambda ticket: ticket is failed[4], 0.0)
    assert [trial.go(at) for at in (0.9, 1.0, 1.9, 2.0)] == [[], [failed[5]], [], [failed[6]]]
    trial.fail(failed[5], 2.0)
    trial.fail(failed[6], 2.0)
    assert trial.go(2.0) == []
    trial.scheduler.discard(lambda ticket: True, 2.0)
    assert trial.scheduler.wakes_at(2.0) is None


def test_a_caller_does_not_stand_back_for_a_lane_whose_requests_were_discarded() -> None:
    trial = Trial(Budgets(host_connections=1))
    trial.add(key="k")
    assert len(trial.go(0.0)) == 1
    trial.add(key="l")
    trial.scheduler.discard(lambda ticket: True, 0.0)
    trial.scheduler.release("a", 0.0)
    for _ in range(2):
        caller = Caller("a", lambda: None)
        trial.scheduler.enter(caller, 0.0)
        trial.scheduler.admit(0.0, all_busy=False)
        assert caller.admitted
        trial.scheduler.withdraw(caller, 0.0)

"""Threads that send for themselves: when they get leave, what it costs, and what they are told; whose turn it is."""

from __future__ import annotations

import pytest

from workerpool.clock import NEVER
from workerpool.config import Budgets, RetryBudget
from workerpool.limits import MemoryLimiter
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.tickets import Caller, Owner, Ticket


class Trial:
    """A scheduler, and the callers that were told something, in order."""

    def __init__(self, budgets: Budgets | None = None, **more: object) -> None:
        self.scheduler = Scheduler(budgets or Budgets(), places=100, **more)  # type: ignore[arg-type]
        self.told: list[Caller] = []

    def enter(self, host: str = "a", at: float = 0.0, *, all_busy: bool = False, **more: object) -> Caller:
        made = Caller(host, lambda: self.told.append(made), since=at, **more)  # type: ignore[arg-type]
        self.scheduler.enter(made, at)
        self.scheduler.admit(at, all_busy=all_busy)
        return made

    def add(self, host: str = "a", **more: object) -> Ticket:
        made = Ticket(Request(f"http://{host}.test/"), host, **more)  # type: ignore[arg-type]
        self.scheduler.add(made, 0.0)
        return made

    def end(self, *callers: Caller, at: float = 0.0) -> None:
        for caller in callers:
            self.scheduler.withdraw(caller, at)
        self.scheduler.admit(at, all_busy=False)


def test_who_may_send_at_once_is_told_once_and_takes_a_place() -> None:
    trial = Trial()
    first, second = trial.enter(), trial.enter()
    assert trial.told == [first, second]
    assert (first.in_flight, second.in_flight, trial.scheduler.in_flight) == (1, 2, 2)
    trial.end(first, second)
    assert trial.scheduler.is_idle
    assert trial.told == [first, second]


def test_who_was_refused_and_is_admitted_before_it_has_looked_has_leave() -> None:
    trial = Trial()
    trial.scheduler.pause("a", 1.0, 0.0)
    caller = trial.enter()
    trial.scheduler.pause("a", 2.0, 0.5, refuse=True)
    trial.scheduler.admit(0.6, all_busy=False)
    assert (caller.is_refused, caller.admitted) == (True, False)
    trial.scheduler.admit(2.5, all_busy=False)
    assert (caller.is_refused, caller.admitted) == (False, True)
    trial.end(caller, at=3.0)
    assert trial.scheduler.in_flight == 0


@pytest.mark.parametrize("budgets", [Budgets(max_connections=1), Budgets(host_connections=1)])
def test_a_caller_waits_for_a_place_for_as_long_as_it_takes(budgets: Budgets) -> None:
    trial = Trial(budgets)
    first, second, third = trial.enter(), trial.enter(), trial.enter()
    assert (second.admitted, second.wakes_at) == (False, NEVER)
    trial.end(third)
    trial.end(first)
    assert trial.told == [first, second]
    assert second.admitted


def test_callers_and_requests_take_turns_for_one_place_and_a_caller_begins() -> None:
    trial, order = Trial(Budgets(max_connections=1)), ""
    callers = [trial.enter("b", at=0.0) for _ in range(3)]
    tickets = [trial.add() for _ in range(3)]
    for _ in range(6):
        trial.scheduler.admit(0.0, all_busy=False)
        sending = [caller for caller in callers if caller.admitted]
        if sending:
            callers.remove(sending[0])
            trial.scheduler.withdraw(sending[0], 0.0)
            order += "c"
        else:
            sent = trial.scheduler.next(0.0)
            assert sent is tickets.pop(0)
            trial.scheduler.release("a", 0.0)
            order += "r"
    assert order == "crcrcr"


def test_callers_take_turns_with_the_requests_of_their_own_host_too() -> None:
    trial = Trial(Budgets(host_connections=1))
    waiting = trial.add("a")
    first, second = trial.enter("a"), trial.enter("a")
    assert (first.admitted, second.admitted) == (True, False)
    trial.end(first)
    assert not second.admitted
    assert trial.scheduler.next(0.0) is waiting
    trial.scheduler.release("a", 0.0)
    trial.scheduler.admit(0.0, all_busy=False)
    assert second.admitted


def test_a_request_of_another_host_does_not_make_it_a_callers_turn_at_its_own() -> None:
    trial = Trial(Budgets(host_connections=1))
    waiting, first = trial.add("a"), trial.enter("a")
    second = trial.enter("a")
    other = trial.add("b")
    trial.end(first)
    assert trial.scheduler.next(0.0) is other
    trial.scheduler.admit(0.0, all_busy=False)
    assert not second.admitted
    assert trial.scheduler.next(0.0) is waiting


def test_with_all_workers_busy_a_caller_stands_back_for_no_request() -> None:
    trial = Trial()
    trial.add()
    assert trial.enter().admitted
    assert not trial.enter().admitted
    assert trial.enter(all_busy=True).admitted


def test_a_caller_waits_for_each_slot_and_is_told_when_it_comes() -> None:
    trial = Trial(Budgets(rate=Rate(10), host_rate=Rate(5), key_rate=Rate(2)))
    assert trial.enter("a", key="k").admitted
    for host, key, at in (("b", None, 0.1), ("a", None, 0.2), ("b", "k", 0.5)):
        caller = trial.enter(host, key=key)
        assert (caller.admitted, caller.wakes_at) == (False, at)
        assert trial.told[-1] is caller
        told = len(trial.told)
        trial.scheduler.admit(0.01, all_busy=False)
        assert len(trial.told) == told, "nothing has changed"
        trial.scheduler.withdraw(caller, 0.01)


def test_a_caller_inside_a_send_needs_slots_and_no_place_or_token() -> None:
    trial = Trial(
        Budgets(host_rate=Rate(10), host_connections=1), retries=RetryBudget(share=0.0, per_second=1), floor=1
    )
    first = trial.enter()
    hop = trial.enter(at=0.1, has_place=True)
    assert (first.admitted, hop.admitted) == (True, True)
    assert trial.scheduler.in_flight == 1
    late = trial.enter(at=0.1, has_place=True)
    assert late.wakes_at == pytest.approx(0.2)
    trial.end(hop, late, first, at=0.2)
    assert trial.scheduler.in_flight == 0


def test_a_caller_that_came_late_to_its_slot_does_not_move_the_next_ones() -> None:
    trial = Trial(Budgets(rate=Rate(10)))
    _, second, third = trial.enter(), trial.enter(), trial.enter()
    trial.scheduler.admit(0.105, all_busy=False)
    assert second.admitted
    assert third.wakes_at == pytest.approx(0.2)


def test_a_caller_stands_back_for_a_request_of_its_host_that_waits_for_a_slot() -> None:
    trial = Trial(Budgets(host_rate=Rate(1)))
    assert trial.enter().admitted
    request = trial.add()
    assert trial.scheduler.next(0.0) is None
    caller = trial.enter(at=0.5)
    assert caller.wakes_at == NEVER
    assert trial.scheduler.next(1.0) is request
    trial.scheduler.admit(1.0, all_busy=False)
    assert caller.wakes_at == 2.0


def test_a_callers_retry_spends_a_token_and_its_first_try_brings_a_share_of_one() -> None:
    trial = Trial(retries=RetryBudget(share=0.5, per_second=0.001), floor=1)
    assert trial.enter(is_retry=True).admitted
    waits = trial.enter(is_retry=True)
    assert waits.wakes_at == pytest.approx(1000.0)
    assert trial.enter().admitted
    trial.scheduler.admit(0.0, all_busy=False)
    assert waits.wakes_at == pytest.approx(500.0)
    assert trial.enter().admitted
    trial.scheduler.admit(0.0, all_busy=False)
    assert waits.admitted


def test_a_callers_retry_waits_for_its_hosts_pause_though_there_is_a_token() -> None:
    trial = Trial(retries=RetryBudget(share=0.5, per_second=0.001), floor=1)
    trial.scheduler.pause("a", 30.0, 0.0)
    assert trial.enter(is_retry=True).wakes_at == 30.0


def test_who_is_refused_or_admitted_does_not_keep_the_next_ones_waiting() -> None:
    trial = Trial(Budgets(max_connections=2))
    holding = [trial.enter("x"), trial.enter("y")]
    refused, first, second = trial.enter("a"), trial.enter("b"), trial.enter("c")
    trial.scheduler.pause("a", 30.0, 0.0, refuse=True)
    trial.end(*holding)
    assert (refused.is_refused, first.admitted, second.admitted) == (True, True, True)


def test_a_caller_waits_for_its_hosts_pause() -> None:
    trial = Trial()
    trial.scheduler.pause("a", 30.0, 0.0)
    assert trial.enter("a").wakes_at == 30.0
    assert trial.enter("b").admitted


class Shared:
    """A budget that other processes use, too: one slot a second, of which they take `lost`."""

    def __init__(self, lost: int = 0) -> None:
        self.limiter = MemoryLimiter(Rate(1))
        self.lost = lost
        self.asked: list[tuple[object, ...]] = []

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        self.asked.append((host, weight, now, has_place))
        return self.limiter.next_at(weight)

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        self.asked.append((host, weight, now, since, has_place))
        if self.lost:
            self.lost -= 1
            self.limiter.try_take(now)
        return self.limiter.try_take(now, weight, since=since)

    def give_back(self, host: str, now: float) -> None:
        self.asked.append((host, now))

    def pause(self, host: str, until: float, now: float) -> None:
        pass


@pytest.mark.parametrize("has_place", [False, True])
def test_a_caller_asks_what_processes_share_for_its_host_and_since_when_it_waits(has_place: bool) -> None:
    shared = Shared()
    trial = Trial(shared=shared)
    assert trial.enter("a", at=5.0, has_place=has_place).admitted
    assert shared.asked == [("a", 1, 5.0, has_place), ("a", 1, 5.0, 5.0, has_place)]


def test_a_slot_that_another_process_took_first_is_waited_for_anew() -> None:
    trial = Trial(shared=Shared(lost=1))
    trial.scheduler._callers.are_first = False
    trial.add("b")
    caller = trial.enter(at=5.0, all_busy=True)
    assert (caller.admitted, caller.wakes_at, trial.told) == (False, 6.0, [caller])
    assert trial.scheduler.in_flight == 0
    trial.scheduler.admit(6.0, all_busy=True)
    assert (caller.admitted, trial.told) == (True, [caller, caller])


def test_who_waits_for_what_processes_share_does_not_ask_it_for_a_host_that_pauses() -> None:
    shared = Shared()
    trial = Trial(shared=shared)
    trial.scheduler.pause("a", 30.0, 0.0)
    assert trial.enter("a").wakes_at == 30.0
    assert shared.asked == []


# -- requests of owners that may send nothing at the moment ----------------------------------------------------------


def test_what_a_full_owner_awaits_comes_back_alone_and_the_rest_in_order_once_it_has_room() -> None:
    trial, owner = Trial(), Owner()
    tickets = [trial.add(owner=owner) for _ in range(4)]
    owner.is_full = True
    assert trial.scheduler.next(0.0) is None
    owner.awaited = tickets[2]
    trial.scheduler.urge(trial.add("b"), 0.0)  # nothing of its owner is aside
    trial.scheduler.urge(tickets[2], 0.0)
    sent = [trial.scheduler.next(0.0), trial.scheduler.next(0.0), trial.scheduler.next(0.0)]
    assert [ticket for ticket in sent if ticket is not None and ticket.host == "a"] == [tickets[2]]
    owner.is_full, owner.awaited = False, None
    trial.scheduler.resume(owner, 0.0)
    assert [trial.scheduler.next(0.0) for _ in range(4)] == [tickets[0], tickets[1], tickets[3], None]


def test_a_retry_that_was_put_aside_comes_back_and_waits_for_its_token_still() -> None:
    trial, owner = Trial(retries=RetryBudget(share=0.0, per_second=1.0), floor=1), Owner()
    trial.add(owner=owner)
    retried = trial.scheduler.next(0.0)
    assert retried is not None
    trial.scheduler.release("a", 0.0)
    trial.scheduler.park(retried, 1.0)
    owner.is_full = True
    assert trial.scheduler.next(1.0) is None
    owner.is_full = False
    trial.scheduler.resume(owner, 1.0)
    assert trial.scheduler.next(1.0) is retried
    trial.scheduler.release("a", 1.0)
    trial.scheduler.park(retried, 1.0)
    assert (trial.scheduler.next(1.0), trial.scheduler.wakes_at(1.0)) == (None, 2.0)
    assert trial.scheduler.next(2.0) is retried


def test_what_is_discarded_is_gone_from_what_is_aside_and_the_rest_stays_there() -> None:
    trial, owner, other = Trial(), Owner(), Owner()
    kept, gone, alone = trial.add(owner=owner), trial.add(owner=owner), trial.add(owner=other)
    owner.is_full = other.is_full = True
    assert trial.scheduler.next(0.0) is None
    assert trial.scheduler.discard(lambda ticket: ticket in (gone, alone), 0.0) == [gone, alone]
    assert trial.scheduler.queued == 1
    owner.is_full = other.is_full = False
    trial.scheduler.resume(owner, 0.0)
    trial.scheduler.resume(other, 0.0)
    assert [trial.scheduler.next(0.0), trial.scheduler.next(0.0)] == [kept, None]
    assert trial.scheduler.queued == 0

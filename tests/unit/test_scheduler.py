"""What comes in and goes out: whom it counts, what it leaves, what it says of itself, and when it wants to be asked."""

from __future__ import annotations

import pytest

from workerpool.config import Budgets, RetryBudget
from workerpool.limits import Answer, MemoryLimiter
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.scheduler.hosts import BEGINS_SLOWLY
from workerpool.scheduler.scheduler import AHEAD
from workerpool.tickets import NOBODY, Caller, Owner, Ticket


def a_scheduler(budgets: Budgets | None = None, **more: object) -> Scheduler:
    return Scheduler(budgets or Budgets(), **{"places": 100, **more})  # type: ignore[arg-type]


def add(
    scheduler: Scheduler, host: str = "a", at: float = 0.0, key: str | None = None, owner: Owner = NOBODY
) -> Ticket:
    ticket = Ticket(Request(f"http://{host}.test/"), host, owner, key)
    scheduler.add(ticket, at)
    return ticket


def go(scheduler: Scheduler, at: float) -> list[Ticket]:
    return [*iter(lambda: scheduler.next(at), None)]


# -- what is kept aside, and what is discarded ------------------------------------------------------------------------


def test_what_is_held_for_a_name_comes_back_when_that_is_freed() -> None:
    scheduler, held = a_scheduler(), [Ticket(Request(f"http://{host}.test/"), host) for host in "aab"]
    for ticket in held:
        scheduler.hold(ticket, ticket.host)
    assert (scheduler.parked, scheduler.is_idle) == (3, False)
    assert (scheduler.free("a"), scheduler.free("a"), scheduler.parked) == (held[:2], [], 1)
    assert (scheduler.discard(lambda ticket: True, 0.0), scheduler.is_idle) == (held[2:], True)


def test_what_is_discarded_is_counted_no_more_and_its_hosts_are_forgotten() -> None:
    scheduler, owner = a_scheduler(), Owner(9, needs_receipts=True)
    kept, gone = add(scheduler, "a", owner=owner), [add(scheduler, host, owner=owner) for host in "ab"]
    parked = Ticket(Request("http://c.test/"), "c", owner)
    scheduler.park(parked, 9.0)
    assert scheduler.discard(lambda ticket: ticket is not kept, 0.0) == [*gone, parked]
    assert (scheduler.queued, owner.queued, scheduler.parked) == (1, 1, 0)
    assert go(scheduler, 0.0) == [kept]
    assert scheduler.host_count == 1


def test_a_host_all_of_whose_requests_were_discarded_in_its_pause_is_forgotten_after_that() -> None:
    scheduler = a_scheduler()
    add(scheduler)
    scheduler.pause("a", 5.0, 0.0)
    assert go(scheduler, 0.0) == []
    scheduler.discard(lambda ticket: True, 1.0)
    assert scheduler.host_count == 1
    assert not scheduler.has_ready(5.0 + BEGINS_SLOWLY)
    assert scheduler.host_count == 0


class Unclaimed(Ticket):
    """Somebody has cancelled it in the last moment."""

    def claim(self) -> bool:
        return False


class Shared:
    """A budget of several processes that always has everything."""

    def __init__(self) -> None:
        self.given_back: list[tuple[str, float]] = []
        self.pauses: list[tuple[str, float, float]] = []

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        return 0.0

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        return now

    def give_back(self, host: str, now: float) -> None:
        self.given_back.append((host, now))

    def pause(self, host: str, until: float, now: float) -> None:
        self.pauses.append((host, until, now))


def test_what_nobody_wants_any_more_is_left_out_and_what_was_taken_for_it_given_back() -> None:
    shared, owner = Shared(), Owner(9, needs_receipts=True)
    scheduler = a_scheduler(shared=shared)
    scheduler.add(Unclaimed(Request("http://a.test/"), "a", owner), 0.0)
    scheduler.add(Unclaimed(Request("http://b.test/"), "b", owner), 0.0)
    wanted = add(scheduler, "b", owner=owner)
    assert go(scheduler, 5.0) == [wanted]
    assert shared.given_back == [("a", 5.0), ("b", 5.0)]
    assert (scheduler.queued, owner.queued, owner.room) == (0, 0, 8)


def test_without_anything_shared_what_nobody_wants_is_left_out_too() -> None:
    scheduler = a_scheduler()
    scheduler.add(Unclaimed(Request("http://a.test/"), "a"), 0.0)
    assert go(scheduler, 0.0) == []
    assert scheduler.is_idle


def test_receipts_give_back_as_many_places_as_there_are_of_them() -> None:
    scheduler, owner = a_scheduler(), Owner(2, needs_receipts=True)
    for _ in range(9):
        add(scheduler, owner=owner)
    assert len(go(scheduler, 0.0)) == 2
    scheduler.give_places(owner, 1, 0.0)
    scheduler.give_places(owner, 2, 0.0)
    assert owner.room == 3
    assert len(go(scheduler, 0.0)) == 3


# -- pauses, answers --------------------------------------------------------------------------------------------------


def test_a_host_that_was_only_paused_is_forgotten_after_that() -> None:
    scheduler = a_scheduler()
    scheduler.pause("a", 5.0, 0.0)
    scheduler.has_ready(4.9 + BEGINS_SLOWLY)
    assert scheduler.host_count == 1
    scheduler.has_ready(5.0 + BEGINS_SLOWLY)
    assert scheduler.host_count == 0


def test_a_host_that_was_paused_or_given_a_pace_before_its_first_request_has_its_tokens() -> None:
    scheduler = a_scheduler(retries=RetryBudget(share=0.0, per_second=0.5), floor=1)
    scheduler.pause("a", 5.0, 0.0)
    scheduler.keep_pace("b", MemoryLimiter(Rate(100)), 5.0)
    for host in "ab":
        add(scheduler, host, at=5.0)
    for at in (5.0, 5.5):
        sent = go(scheduler, at)
        assert len(sent) == 2
        for ticket in sent:
            scheduler.release(ticket.host, at)
            scheduler.park(ticket, at + 0.5)
    assert go(scheduler, 6.0) == []
    assert scheduler.wakes_at(6.0) == 7.5


def test_a_pause_is_shared_and_where_processes_share_the_hosts_rate_it_is_not_kept_twice() -> None:
    shared = Shared()
    scheduler = a_scheduler(Budgets(host_rate=Rate(1)), shared=shared)
    scheduler.pause("b", 9.0, 1.0)
    assert shared.pauses == [("b", 9.0, 1.0)]
    for _ in range(3):
        add(scheduler)
    assert len(go(scheduler, 0.0)) == 3
    learning = a_scheduler(Budgets(host_rate=Rate(1), learns_rate=True), shared=shared)
    for _ in range(3):
        add(learning)
    assert len(go(learning, 0.0)) == 1


def test_a_host_says_until_when_it_refuses() -> None:
    scheduler = a_scheduler()
    scheduler.pause("a", 5.0, 0.0, refuse=True)
    assert [scheduler.refusal(host, at) for host, at in (("a", 4.9), ("a", 5.0), ("b", 0.0))] == [
        (5.0, False),
        None,
        None,
    ]


def test_places_that_an_answer_has_shown_are_taken_at_once() -> None:
    scheduler = a_scheduler(Budgets(learns_connections=True, host_connections=32))
    for number in range(99):
        add(scheduler, key=f"k{number}")
    assert len(go(scheduler, 0.0)) == 4
    answers = 0
    while scheduler._hosts["a"].most == 4:
        answers += 1
        at = 0.1 * answers
        scheduler.hear("a", Answer(at - 0.1, at, 200, refused=False, latency=0.1, in_flight=4), at)
    assert len(go(scheduler, at)) == scheduler._hosts["a"].most - 4


# -- when to be asked again -------------------------------------------------------------------------------------------


def test_no_time_helps_who_waits_for_a_place() -> None:
    scheduler = a_scheduler(Budgets(max_connections=1))
    add(scheduler)
    add(scheduler, "b")
    assert len(go(scheduler, 0.0)) == 1
    assert scheduler.wakes_at(0.0) is None
    scheduler.release("a", 0.0)
    assert scheduler.wakes_at(0.0) == 0.0


def test_the_earliest_of_all_that_is_waited_for_wakes() -> None:
    scheduler = a_scheduler(Budgets(rate=Rate(1, 60)))
    add(scheduler)
    assert len(go(scheduler, 0.0)) == 1
    add(scheduler)
    assert scheduler.wakes_at(0.0) == 60.0
    scheduler.pause("b", 30.0, 0.0)
    add(scheduler, "b")
    assert go(scheduler, 0.0) == []
    assert scheduler.wakes_at(0.0) == 30.0
    scheduler.park(Ticket(Request("http://c.test/"), "c"), 10.0)
    assert scheduler.wakes_at(0.0) == 10.0


def test_what_stands_back_is_looked_at_in_time_and_what_else_waits_before_that() -> None:
    scheduler = a_scheduler(Budgets(max_connections=99), places=4)
    for _ in range(2):
        add(scheduler, "slow")
        add(scheduler, "other")
        go(scheduler, 0.0)
    assert scheduler.in_flight == 2
    at = scheduler.wakes_at(0.0)
    assert at == pytest.approx(0.1)
    scheduler.park(Ticket(Request("http://c.test/"), "c"), 0.05)
    assert scheduler.wakes_at(0.0) == 0.05
    scheduler.discard(lambda ticket: ticket.host == "c", 0.0)
    for number in range(2):
        add(scheduler, f"more {number}")
    assert len(go(scheduler, 0.0)) == 2
    assert scheduler.wakes_at(0.0) is None, "all workers are busy"


def test_what_stood_back_goes_first_once_nobody_has_wanted_the_places_for_a_while() -> None:
    scheduler = a_scheduler(Budgets(max_connections=99), places=4)
    for _ in range(2):
        add(scheduler, "slow")
        add(scheduler, "other")
        go(scheduler, 0.0)
    assert go(scheduler, 0.19) == []
    add(scheduler, "well")
    assert [ticket.host for ticket in go(scheduler, 0.2)] == ["slow", "other", "well"]


def test_who_turns_out_to_be_well_stands_back_no_more_though_slow_hosts_hold_their_part() -> None:
    scheduler = a_scheduler(Budgets(max_connections=99), places=4)
    for _ in range(2):
        add(scheduler, "well")
        add(scheduler, "silent")
        go(scheduler, 0.0)
    assert (scheduler.in_flight, scheduler.has_ready(0.05)) == (2, False)
    scheduler.release("silent", 0.05)
    assert not scheduler.has_ready(0.05), "nothing is known of it"
    scheduler.release("well", 0.05, since=0.0)
    assert [ticket.host for ticket in go(scheduler, 0.05)] == ["silent", "well"]


def test_what_waits_for_receipts_wants_the_places_and_keeps_slow_hosts_from_them() -> None:
    scheduler, owner = a_scheduler(Budgets(max_connections=99), places=4), Owner(0, needs_receipts=True)
    add(scheduler, "slow")
    assert len(go(scheduler, 0.0)) == 1
    add(scheduler, "slow")
    add(scheduler, "well", owner=owner)
    for look in range(10):
        assert not scheduler.has_ready(0.05 * look)
        scheduler.resume(owner, 0.05 * look)
    assert not scheduler.has_ready(0.5)
    assert scheduler.has_ready(0.61)


def test_what_ripened_together_goes_by_its_times() -> None:
    scheduler = a_scheduler()
    scheduler.pause("b", 2.0, 0.0)
    waits = add(scheduler, "b")
    assert go(scheduler, 0.0) == []
    parked = [Ticket(Request(f"http://{host}.test/"), host) for host in "ac"]
    scheduler.park(parked[0], 1.0)
    scheduler.park(parked[1], 3.0)
    assert go(scheduler, 5.0) == [parked[0], waits, parked[1]]


def test_more_hosts_are_needed_until_there_is_something_for_each_worker_some_times_over() -> None:
    scheduler = a_scheduler(places=2)
    assert scheduler.needs_more_hosts(0.0)
    owner = Owner(1, needs_receipts=True)
    owner.is_full = True
    add(scheduler, owner=owner)
    add(scheduler, "a")
    for number in range(2 * AHEAD - 2):
        add(scheduler, f"h{number}")
    assert scheduler.needs_more_hosts(0.0), "the first one waits for its owner"
    scheduler.park(Ticket(Request("http://a.test/"), "a"), 1.0)
    assert scheduler.needs_more_hosts(0.9)
    assert not scheduler.needs_more_hosts(1.0)


def test_retries_are_counted_among_what_workers_have_to_do() -> None:
    scheduler = a_scheduler(Budgets(host_connections=99), places=2, retries=RetryBudget(), floor=99)
    for _ in range(2 * AHEAD):
        add(scheduler)
    for ticket in go(scheduler, 0.0):
        scheduler.release("a", 0.0)
        scheduler.park(ticket, 1.0)
    assert not scheduler.needs_more_hosts(1.0)


def test_a_pool_is_idle_only_if_nothing_waits_flies_or_is_parked() -> None:
    scheduler = a_scheduler()
    assert scheduler.is_idle
    ticket = add(scheduler)
    assert not scheduler.is_idle
    assert go(scheduler, 0.0) == [ticket]
    assert not scheduler.is_idle
    scheduler.release("a", 0.0)
    assert scheduler.is_idle
    scheduler.park(ticket, 1.0)
    assert not scheduler.is_idle
    assert go(scheduler, 1.0) == [ticket]
    scheduler.release("a", 1.0)
    caller = Caller("a", lambda: None)
    scheduler.enter(caller, 1.0)
    assert not scheduler.is_idle
    scheduler.withdraw(caller, 1.0)
    assert scheduler.is_idle

"""What each request waits for at one moment: all of them are counted, and each is asked by what it weighs and needs."""

from __future__ import annotations

from workerpool.config import Budgets, RetryBudget
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.statistics import Wait
from workerpool.tickets import NOBODY, Caller, Owner, Ticket


def scheduler_with(budgets: Budgets | None = None, **more: object) -> Scheduler:
    return Scheduler(budgets or Budgets(), **{"places": 9, **more})  # type: ignore[arg-type]


def add(
    scheduler: Scheduler, host: str = "a", key: str | None = None, owner: Owner = NOBODY, weight: int = 1
) -> Ticket:
    ticket = Ticket(Request(f"http://{host}.test/", weight=weight), host, owner, key)
    scheduler.add(ticket, 0.0)
    return ticket


def test_all_that_waits_for_the_same_is_added_up() -> None:
    retries = RetryBudget(share=0.0, per_second=0.001)
    scheduler, full = scheduler_with(retries=retries, floor=0), [Owner(), Owner()]
    for owner, count in zip(full, (1, 2), strict=True):
        owner.is_full = True
        for _ in range(count):
            add(scheduler, "full", owner=owner)
    assert scheduler.next(0.0) is None
    begun = [add(scheduler, "a", key) for key in "kkl"]
    for _ in begun:
        assert scheduler.next(0.0) in begun
        scheduler.release("a", 0.0)
    for ticket in begun:
        scheduler.park(ticket, 1.0)
    assert scheduler.next(1.0) is None
    scheduler.pause("a", 9.0, 1.0)
    for key in "kkkl":
        add(scheduler, "a", key)
    for _ in range(2):
        scheduler.enter(Caller("a", lambda: None), 1.0)
    assert scheduler.hold_ups(1.0, Wait.WORKERS) == {(Wait.SINK, ""): 3, (Wait.PAUSE, "a"): 3 + 4 + 2}


def test_what_is_parked_is_added_up_where_nothing_is_queued() -> None:
    scheduler = scheduler_with()
    for host in "aabb":
        scheduler.park(Ticket(Request(f"http://{host}.test/"), host), 5.0)
    scheduler.pause("b", 5.0, 0.0)
    assert scheduler.hold_ups(0.0, Wait.WORKERS) == {(Wait.BACKOFF, "a"): 2, (Wait.PAUSE, "b"): 2}


def test_a_caller_whose_host_has_a_place_waits_for_the_pools_slot_or_for_what_others_wait_for() -> None:
    scheduler = scheduler_with(Budgets(rate=Rate(1), burst=2))
    scheduler.enter(Caller("a", lambda: None), 0.0)
    add(scheduler, "b")
    assert scheduler.next(0.0) is not None
    assert scheduler.hold_ups(0.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}, "of two slots one is left"
    add(scheduler, "b")
    assert scheduler.next(0.0) is not None
    assert scheduler.hold_ups(0.5, Wait.WORKERS) == {(Wait.RATE, "a"): 1}
    assert scheduler.hold_ups(1.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}


def test_a_caller_waits_for_a_place_of_the_pool_too() -> None:
    scheduler = scheduler_with(Budgets(max_connections=1))
    add(scheduler, "b")
    assert scheduler.next(0.0) is not None
    scheduler.enter(Caller("a", lambda: None), 0.0)
    assert scheduler.hold_ups(0.0, Wait.WORKERS) == {(Wait.SOCKETS, "a"): 1}


def test_a_retry_for_which_there_is_a_token_waits_for_what_its_owner_or_the_pool_makes_it_wait_for() -> None:
    scheduler, owner = scheduler_with(retries=RetryBudget(), floor=9), Owner(doing=Wait.SINK)
    ticket = add(scheduler, owner=owner)
    assert scheduler.next(0.0) is ticket
    scheduler.release("a", 0.0)
    scheduler.park(ticket, 1.0)
    assert scheduler.has_ready(1.0)
    assert scheduler.hold_ups(1.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}
    owner.is_full = True
    assert scheduler.hold_ups(1.0, Wait.WORKERS) == {(Wait.SINK, "a"): 1}
    owner.awaited = ticket
    assert scheduler.hold_ups(1.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}


def test_what_is_to_end_unsent_waits_for_a_place_of_the_pool_and_for_no_slot() -> None:
    scheduler = scheduler_with(Budgets(rate=Rate(1), max_connections=2))
    add(scheduler, "b")
    assert scheduler.next(0.0) is not None
    add(scheduler, "a")
    scheduler.pause("a", 9.0, 0.0, refuse=True)
    assert scheduler.hold_ups(0.0, Wait.READY) == {(Wait.READY, "a"): 1}
    caller = Caller("c", lambda: None)
    scheduler.enter(caller, 1.0)
    scheduler.admit(1.0, all_busy=True)
    assert caller.admitted
    assert scheduler.hold_ups(1.0, Wait.READY) == {(Wait.SOCKETS, "a"): 1}
    assert scheduler.hold_ups(9.0, Wait.READY) == {(Wait.SOCKETS, "a"): 1}
    scheduler.withdraw(caller, 1.0)
    assert scheduler.hold_ups(1.5, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}


def test_what_stands_back_waits_for_a_worker() -> None:
    scheduler = scheduler_with(Budgets(max_connections=99), places=4)
    add(scheduler, "slow")
    assert scheduler.next(0.0) is not None
    add(scheduler, "slow")
    add(scheduler, "well")
    assert scheduler.has_ready(0.0)
    assert scheduler.hold_ups(0.0, Wait.READY) == {(Wait.WORKERS, "slow"): 1, (Wait.READY, "well"): 1}


class Shared:
    """A budget of several processes: when all may be asked for, and when a host; which of them finds nothing."""

    def __init__(self) -> None:
        self.all_at = 0.0
        self.lost: set[str] = set()

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        return max(now, self.all_at + weight - 1) if host is None else now

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        return None if host in self.lost else now


def test_what_processes_share_is_missing_where_nothing_else_is_or_where_it_says_so() -> None:
    shared = Shared()
    scheduler = scheduler_with(shared=shared)
    add(scheduler)
    assert scheduler.hold_ups(5.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}
    assert scheduler.hold_ups(5.0, Wait.READY) == {(Wait.SHARED, "a"): 1}, "workers are free, and none may send"
    shared.all_at = 5.0
    assert scheduler.hold_ups(5.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1}
    assert scheduler.hold_ups(4.9, Wait.WORKERS) == {(Wait.SHARED, "a"): 1}


def test_a_host_for_which_it_was_missing_waits_for_it_until_it_is_its_turn_again() -> None:
    shared = Shared()
    shared.lost = {"a"}
    scheduler = scheduler_with(shared=shared)
    add(scheduler, "a")
    add(scheduler, "b")
    assert scheduler.next(5.0) is not None
    add(scheduler, "b")
    assert scheduler.hold_ups(5.0, Wait.WORKERS) == {(Wait.SHARED, "a"): 1, (Wait.WORKERS, "b"): 1}
    assert scheduler.has_ready(6.0)
    assert scheduler.hold_ups(6.0, Wait.WORKERS) == {(Wait.WORKERS, "a"): 1, (Wait.WORKERS, "b"): 1}

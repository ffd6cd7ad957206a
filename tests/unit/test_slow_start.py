"""After a pause a host is sent one request at a time at first, and one more after each round."""

from __future__ import annotations

from workerpool.config import Budgets
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.tickets import NOBODY, Owner, Ticket


def scheduler_with(count: int, *, places: int = 6) -> Scheduler:
    scheduler = Scheduler(Budgets(host_connections=places), places=1000)
    for number in range(count):
        scheduler.add(Ticket(Request(f"http://a.test/{number}"), "a"), 0.0)
    return scheduler


def take_all(scheduler: Scheduler, now: float) -> list[Ticket]:
    return [*iter(lambda: scheduler.next(now), None)]


def test_without_a_pause_all_places_are_used_at_once() -> None:
    assert len(take_all(scheduler_with(20), 0.0)) == 6


def test_rounds_grow_by_one_after_a_pause_until_the_budget() -> None:
    scheduler = scheduler_with(100)
    scheduler.pause("a", 10.0, 0.0)
    assert take_all(scheduler, 9.9) == []
    rounds = []
    for _ in range(8):
        flying = take_all(scheduler, 10.0)
        rounds.append(len(flying))
        for ticket in flying:
            scheduler.release(ticket.host, 10.0)
    assert rounds == [1, 2, 3, 4, 5, 6, 6, 6]


def test_a_burst_of_refusals_is_one_pause() -> None:
    scheduler = scheduler_with(1)
    assert scheduler.pause("a", 1.0, 0.0)
    assert not scheduler.pause("a", 1.2, 0.1)
    assert scheduler.pause("a", 3.0, 2.0)


def test_another_host_is_not_slowed() -> None:
    scheduler = scheduler_with(10)
    for number in range(10):
        scheduler.add(Ticket(Request(f"http://b.test/{number}"), "b"), 0.0)
    scheduler.pause("a", 10.0, 0.0)
    assert [ticket.host for ticket in take_all(scheduler, 0.0)] == ["b"] * 6


def test_requests_to_a_refusing_host_end_at_once_also_where_no_slot_has_come() -> None:
    scheduler = Scheduler(Budgets(rate=Rate(1, 3600)), places=1000)
    for host in ("a", "b", "b"):
        scheduler.add(Ticket(Request(f"http://{host}.test/"), host), 0.0)
    first = scheduler.next(0.0)
    assert first is not None
    assert first.refused_until is None
    scheduler.pause("b", 100.0, 0.0, refuse=True)
    assert scheduler.has_ready(0.0)
    refused = take_all(scheduler, 0.0)
    assert [ticket.refused_until for ticket in refused] == [100.0] * 2


def test_a_request_behind_those_of_a_full_owner_is_seen_to_be_ready() -> None:
    """The full owner's request needs a slot that comes later; the one behind it needs one that is there."""
    full = Owner()
    full.is_full = True
    scheduler = Scheduler(Budgets(rate=Rate(1), burst=3), places=1000)
    for weight, owner in ((2, NOBODY), (2, full), (1, NOBODY)):
        request = Request("http://a.test/", weight=weight)
        scheduler.add(Ticket(request, "a", owner), 0.0)
    assert scheduler.next(0.0) is not None
    assert scheduler.has_ready(0.0)
    taken = scheduler.next(0.0)
    assert taken is not None
    assert taken.request.weight == 1

"""How the hosts are, for who watches a pool: each in one state, counted, and the most telling ones named."""

from __future__ import annotations

import pytest

from workerpool.config import Breaker, Budgets
from workerpool.limits import Answer
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.statistics import LARGEST, Hosts, HostState
from workerpool.tickets import Ticket


def add(scheduler: Scheduler, host: str, count: int = 1) -> None:
    for _ in range(count):
        scheduler.add(Ticket(Request(f"http://{host}.test/"), host), 0.0)


def test_each_host_is_in_one_state() -> None:
    scheduler = Scheduler(Budgets(host_rate=Rate(1, 4)), places=2)
    add(scheduler, "limited", 3)
    add(scheduler, "running")
    assert scheduler.next(0.0) is not None
    assert scheduler.next(0.0) is not None
    scheduler.release("limited", 0.0)
    add(scheduler, "waiting", 2)
    add(scheduler, "paused", 5)
    scheduler.pause("paused", 9.0, 0.0)
    seen = scheduler.survey(1.0)
    assert seen == Hosts(waiting=1, running=1, limited=1, paused=1, some=seen.some)
    assert seen.some == (
        HostState("paused", "paused", 5, 0, 8.0),
        HostState("limited", "limited", 2, 0, 3.0),
        HostState("running", "running", 0, 1),
        HostState("waiting", "waiting", 2, 0),
    )


def test_a_host_is_broken_while_its_circuit_is_open() -> None:
    scheduler = Scheduler(Budgets(), breaker=Breaker(failures=1, open_for=10.0), places=2)
    add(scheduler, "a", 2)
    assert scheduler.next(0.0) is not None
    assert scheduler.hear("a", Answer(status=500, sent_at=0.0, ended_at=0.5, refused=False), 0.5)
    scheduler.release("a", 0.5)
    (host,) = scheduler.survey(1.0).some
    assert (host.state, host.rest) == ("broken", pytest.approx(9.5))


def test_of_many_hosts_some_are_named_and_all_are_counted() -> None:
    scheduler = Scheduler(Budgets(), places=2)
    for number in range(3 * LARGEST):
        add(scheduler, f"h{number}", number + 1)
    seen = scheduler.survey(1.0)
    assert seen.waiting == 3 * LARGEST
    assert [host.queued for host in seen.some] == [*range(3 * LARGEST, 2 * LARGEST, -1)]


def test_those_of_two_pools_are_added_up() -> None:
    one = Hosts(running=2, some=(HostState("a", "running", 1, 1), HostState("b", "running", 5, 1)))
    other = Hosts(paused=1, running=1, some=(HostState("c", "paused", 0, 0, 3.0), HostState("d", "running", 2, 1)))
    both = one + other
    assert (both.running, both.paused) == (3, 1)
    assert [host.host for host in both.some] == ["c", "b", "d", "a"]

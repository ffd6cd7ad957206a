"""What holds a scheduler's requests up, as it is noted, with the time moved by hand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.crew.delays import Delays
from workerpool.limits import Answer, MemoryLimiter
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.statistics import Wait
from workerpool.tickets import NOBODY, Caller, Owner, Ticket


class Pool:
    """A scheduler whose requests last as long as the test says, and the notes that a crew would take of it."""

    def __init__(self, workers: int = 16, rules: dict[str, Any] | None = None, **budgets: Any) -> None:
        self.now = 0.0
        self.workers = workers
        self.scheduler = Scheduler(Budgets(**budgets), **(rules or {}), places=1000)
        self.delays = Delays(self.scheduler, self.now)
        self.sent: list[Ticket] = []

    def add(self, number: int, host: str = "a", owner: Owner = NOBODY, key: str | None = None, weight: int = 1) -> None:
        self.delays.look(self.now)
        for _ in range(number):
            self.scheduler.add(Ticket(Request(f"http://{host}/", weight=weight), host, owner, key), self.now)
        self.go_on()

    def go_on(self) -> None:
        """Send what may be sent, and note what holds the rest up."""
        while len(self.sent) < self.workers and (ticket := self.scheduler.next(self.now)) is not None:
            self.sent.append(ticket)
        self.note()

    def note(self) -> None:
        is_full = len(self.sent) >= self.workers
        is_ready = not is_full and self.scheduler.has_ready(self.now)
        self.delays.note(self.now, is_full=is_full, is_ready=is_ready)

    def wait(self, seconds: float) -> None:
        """Let time pass, and what has come meanwhile be sent."""
        self.now += seconds
        self.delays.look(self.now)
        self.go_on()

    def end(self) -> Ticket:
        """End the send that began first."""
        self.delays.look(self.now)
        ticket = self.sent.pop(0)
        self.scheduler.release(ticket.host, self.now)
        return ticket

    def seconds(self) -> dict[str, float]:
        waits = self.delays.waits(self.now)
        return {
            one.name: round(value, 9)
            for one in fields(waits)
            if one.name != "hosts" and (value := getattr(waits, one.name)) > 1e-9
        }


class Streaming(Owner):
    """A stream, as far as the scheduler looks at it."""

    def __init__(self, doing: Wait = Wait.READY) -> None:
        super().__init__(doing=doing)


def test_places_slots_and_workers_are_told_apart() -> None:
    for budgets, workers, word in [
        ({"host_connections": 2}, 16, "host_sockets"),
        ({"max_connections": 2}, 16, "sockets"),
        ({}, 2, "workers"),
        ({"rate": Rate(1)}, 16, "rate"),
        ({"host_rate": Rate(1)}, 16, "host_rate"),
    ]:
        pool = Pool(workers, **budgets)
        pool.add(100)
        pool.wait(0.5)
        assert pool.seconds() == {word: 0.5}


def test_a_slot_that_came_while_nobody_looked_was_still_waited_for() -> None:
    pool = Pool(host_rate=Rate(1))
    pool.add(3)
    for _ in range(2):
        pool.wait(1.0)
    assert pool.seconds() == {"host_rate": 2.0}


def test_what_begins_right_after_a_look_and_lasts_is_seen() -> None:
    pool = Pool(host_connections=1)
    pool.add(5)
    pool.wait(0.1)  # a look: the socket is busy
    pool.now += 0.001
    pool.end()
    pool.scheduler.pause("a", pool.now + 60.0, pool.now)
    pool.note()
    pool.wait(60.0)
    found = pool.seconds()
    assert found["pause"] == pytest.approx(60.0, abs=0.002)
    assert found["host_sockets"] == pytest.approx(0.101, abs=0.002)


def test_a_host_that_starts_again_after_a_pause_is_still_held_up_by_it() -> None:
    pool = Pool()
    pool.add(20)
    for _ in range(6):
        pool.end()
    pool.scheduler.pause("a", 1.0, pool.now)
    pool.note()
    pool.wait(1.0)
    pool.wait(4.0)
    assert len(pool.sent) == 1
    assert pool.seconds() == {"pause": 5.0}


def test_a_fresh_host_that_starts_slowly_has_not_been_paused() -> None:
    pool = Pool(slow_start=True)
    pool.add(20)
    pool.wait(4.0)
    assert pool.seconds() == {"host_sockets": 4.0}


def test_hosts_count_by_their_requests() -> None:
    pool = Pool(host_connections=1)
    pool.add(4, "a")
    pool.scheduler.pause("b", 100.0, 0.0)
    pool.add(1, "b")
    pool.wait(8.0)
    assert pool.seconds() == {"host_sockets": 6.0, "pause": 2.0}
    assert [(each.host, each.seconds) for each in pool.delays.waits(8.0).hosts] == [("a", 6.0), ("b", 2.0)]


def test_a_worker_too_few_counts_by_the_requests_that_lack_one() -> None:
    pool = Pool(1, host_connections=1)
    pool.add(4, "a")
    pool.add(1, "b")
    pool.wait(8.0)
    assert pool.seconds() == {"host_sockets": 6.0, "workers": 2.0}


def test_a_key_without_slots_holds_its_requests_up() -> None:
    pool = Pool(key_rate=Rate(1, 60))
    pool.add(3, key="mine")
    pool.wait(5.0)
    assert pool.seconds() == {"key_rate": 5.0}


@pytest.mark.parametrize(("rate", "word"), [("rate", "rate"), ("host_rate", "host_rate"), ("key_rate", "key_rate")])
def test_a_request_that_weighs_more_waits_for_all_its_slots(rate: str, word: str) -> None:
    pool = Pool(burst=5, **{rate: Rate(1)})
    pool.add(1, key="mine")
    pool.add(1, key="mine", weight=5)
    pool.wait(0.8)
    assert pool.seconds() == {word: 0.8}


def test_a_request_whose_slot_has_come_does_not_wait_for_that_of_a_heavier_one_behind_it() -> None:
    pool = Pool(1, host_rate=Rate(1), burst=2)
    pool.add(1)
    pool.add(1)
    pool.add(1, key="mine", weight=2)
    pool.wait(0.5)
    assert pool.seconds() == {"workers": 0.25, "host_rate": 0.25}


def test_retries_wait_for_their_time_and_then_for_a_token() -> None:
    rules = {"retries": RetryBudget(share=0.0, per_second=0.1), "floor": 0.0}
    pool = Pool(rules=rules)
    pool.add(1)
    pool.scheduler.park(pool.end(), 3.0)
    pool.note()
    pool.wait(3.0)
    pool.wait(1.0)
    assert pool.seconds() == {"backoff": 3.0, "retry_budget": 1.0}


@pytest.mark.parametrize("in_flight", [0, 5])
def test_a_circuit_breaker_that_has_opened_is_not_a_hosts_pause(in_flight: int) -> None:
    pool = Pool(rules={"breaker": Breaker(failures=1)})
    pool.add(9)
    while len(pool.sent) > in_flight:
        pool.end()
    pool.scheduler.hear("a", Answer(0.0, 0.0, status=500, refused=False), pool.now)
    pool.note()
    pool.wait(0.5)
    assert pool.seconds() == {"breaker": 0.5}


def test_a_retry_whose_host_is_paused_is_held_up_by_the_pause() -> None:
    pool = Pool()
    pool.add(1)
    pool.scheduler.pause("a", 5.0, pool.now)
    pool.scheduler.park(pool.end(), 5.0)
    pool.note()
    pool.wait(5.0)
    assert pool.seconds() == {"pause": 5.0}
    assert [each.host for each in pool.delays.waits(pool.now).hosts] == ["a"]


def test_a_stream_that_turns_to_its_source_while_retries_wait_is_what_holds_the_pool_up() -> None:
    pool, stream = Pool(), Streaming(Wait.ANSWERS)
    pool.delays.feeders.append(stream)
    pool.add(1)
    pool.scheduler.park(pool.end(), 9.0)
    pool.note()
    assert pool.delays.watches_feeders
    pool.now = 2.0
    stream.doing = Wait.SOURCE
    pool.delays.look(pool.now)
    pool.delays.look_at_feeders(pool.now)
    pool.wait(3.0)
    assert pool.seconds() == {"backoff": 2.0, "source": 3.0}


def test_requests_that_wait_for_robots_txt_are_not_in_backoff() -> None:
    pool = Pool()
    pool.scheduler.hold(Ticket(Request("http://a/"), "a"), "robots")
    pool.note()
    pool.wait(2.0)
    assert pool.seconds() == {"robots": 2.0}


def test_a_delay_that_robots_txt_asks_for_is_not_the_hosts_rate() -> None:
    pool = Pool(host_rate=Rate(10))
    pool.scheduler.keep_pace("a", MemoryLimiter(Rate(1)), pool.now)
    pool.add(3)
    pool.wait(0.8)
    assert pool.seconds() == {"robots": 0.8}


def test_a_budget_that_processes_share_is_named() -> None:
    class Shared:
        def next_at(self, host: str, weight: int, now: float) -> float:
            return 100.0

    pool = Pool(rules={"shared": Shared()})
    pool.add(3)
    pool.wait(2.0)
    assert pool.seconds() == {"shared": 2.0}


def test_a_caller_counts_as_a_request() -> None:
    pool = Pool(host_connections=1)
    pool.add(1)
    pool.scheduler.enter(Caller("a", lambda: None), pool.now)
    pool.note()
    pool.wait(2.0)
    assert pool.seconds() == {"host_sockets": 2.0}


@pytest.mark.parametrize(("doing", "word"), [(Wait.SINK, "sink"), (Wait.ANSWERS, "ready")])
def test_a_stream_without_room_waits_for_its_consumer(doing: Wait, word: str) -> None:
    """Or, if the consumer has asked for more already, for an outcome that is on its way there."""
    stream = Streaming(doing)
    stream.needs_receipts, stream.room = True, 0
    pool = Pool()
    pool.add(3, owner=stream)
    pool.wait(2.0)
    assert pool.seconds() == {word: 2.0}


def test_requests_that_were_put_aside_wait_for_their_consumer() -> None:
    full = Streaming(Wait.SINK)
    full.is_full = True
    pool = Pool(host_connections=1)
    pool.add(3, owner=full)
    pool.add(2)  # one is sent, one waits for the socket
    pool.wait(4.0)
    assert pool.seconds() == {"sink": 3.0, "host_sockets": 1.0}


@pytest.mark.parametrize("doing", [Wait.SOURCE, Wait.SINK, Wait.READY])
def test_with_nothing_queued_it_is_what_the_stream_does(doing: Wait) -> None:
    pool = Pool()
    pool.add(1)
    pool.delays.feeders.append(Streaming(doing))
    pool.note()
    pool.wait(2.0)
    assert pool.seconds() == {doing.name.lower(): 2.0}


@pytest.mark.parametrize("doing", [Wait.ANSWERS, Wait.WINDOW])
def test_a_stream_that_waits_waits_for_answers_or_retries_or_an_outcome_on_its_way(doing: Wait) -> None:
    pool = Pool()
    pool.delays.feeders.append(Streaming(doing))
    pool.add(2)
    pool.wait(1.0)
    pool.scheduler.park(pool.end(), 3.0)
    pool.note()
    pool.wait(2.0)
    assert pool.seconds() == {doing.name.lower(): 1.0, "backoff": 2.0}
    for _ in range(2):
        pool.end()
    pool.note()
    pool.wait(0.5)
    assert pool.seconds()["ready"] == 0.5


def test_one_stream_that_is_busy_says_more_than_one_that_waits() -> None:
    pool = Pool()
    pool.delays.feeders += [Streaming(Wait.ANSWERS), Streaming(Wait.SOURCE)]
    pool.add(1)
    pool.wait(1.0)
    assert pool.seconds() == {"source": 1.0}


def test_what_a_stream_turns_to_counts_from_then_on() -> None:
    pool, stream = Pool(), Streaming(Wait.SOURCE)
    pool.delays.feeders.append(stream)
    pool.note()
    assert pool.delays.watches_feeders
    pool.now = 2.0
    stream.doing = Wait.SINK
    pool.delays.look_at_feeders(pool.now)
    pool.wait(1.0)
    assert pool.seconds() == {"source": 2.0, "sink": 1.0}


def test_a_stream_need_not_tell_what_it_does_while_requests_are_queued() -> None:
    pool, stream = Pool(host_connections=1), Streaming(Wait.SOURCE)
    pool.delays.feeders.append(stream)
    pool.add(2)
    assert not pool.delays.watches_feeders
    pool.wait(1.0)
    assert pool.seconds() == {"host_sockets": 1.0}


def test_a_pool_without_work_is_idle() -> None:
    pool = Pool()
    pool.wait(3.0)
    pool.add(1)
    pool.wait(1.0)
    pool.end()
    pool.note()
    pool.wait(2.0)
    assert pool.seconds() == {"idle": 5.0, "answers": 1.0}

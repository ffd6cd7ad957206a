"""Who waits for what before a send: nobody is woken in vain by thousands, nobody waits for what others wait for."""

from __future__ import annotations

import threading

import pytest

from workerpool.clock import SystemClock
from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.limits import Answer, Circuit, MemoryLimiter
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import QUOTAS, Scheduler
from workerpool.tickets import Caller, Ticket

MANY = 300


def ticket(host: str = "a", key: str | None = None) -> Ticket:
    return Ticket(Request(f"http://{host}.test/"), host, key=key)


def take_all(scheduler: Scheduler, now: float) -> list[Ticket]:
    return [*iter(lambda: scheduler.next(now), None)]


class Counted:
    """A limiter that counts how often anybody asks."""

    def __init__(self, rate: Rate) -> None:
        self.limiter = MemoryLimiter(rate)
        self.asked = 0

    def next_at(self, weight: int = 1) -> float:
        self.asked += 1
        return self.limiter.next_at(weight)

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        return self.limiter.try_take(now, weight, since=since)

    @property
    def rests_at(self) -> float:
        return self.limiter.rests_at


class Together:
    """A budget of several processes that has one rate in all, and counts how often anybody asks."""

    def __init__(self, rate: Rate) -> None:
        self.limiter = Counted(rate)

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        return self.limiter.next_at(weight)

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        return self.limiter.try_take(now, weight, since=since)

    def give_back(self, host: str, now: float) -> None:
        pass

    def pause(self, host: str, until: float, now: float) -> None:
        pass


def send_all(scheduler: Scheduler, *, retried: int = 0) -> list[float]:
    """Send until nothing waits, each send ending at once; the first `retried` to end are tried again. When all went."""
    now, at = 0.0, list[float]()
    while not scheduler.is_idle:
        while (sent := scheduler.next(now)) is not None:
            at.append(now)
            scheduler.release(sent.host, now)
            if len(at) <= retried:
                scheduler.park(sent, now)
        wake = scheduler.wakes_at(now)
        if wake is None:
            break
        now = max(now, wake)
    assert scheduler.is_idle
    return at


def test_the_keys_of_a_host_are_not_all_woken_for_each_of_its_slots() -> None:
    scheduler, pace = Scheduler(Budgets(key_rate=Rate(1000)), places=1000), Counted(Rate(10))
    scheduler.keep_pace("a", pace, 0.0)
    for number in range(MANY):
        scheduler.add(ticket(key=f"k{number}"), 0.0)
    at = send_all(scheduler)
    assert at[-1] == pytest.approx((MANY - 1) / 10)
    assert pace.asked < 60 * MANY, "else it grows with the square"


def test_hosts_are_not_all_woken_for_each_slot_of_what_processes_share() -> None:
    shared = Together(Rate(10))
    scheduler = Scheduler(Budgets(), shared=shared, places=1000)
    for number in range(MANY):
        scheduler.add(ticket(f"h{number}"), 0.0)
    at = send_all(scheduler)
    assert at[-1] == pytest.approx((MANY - 1) / 10)
    assert shared.limiter.asked < 60 * MANY, "else it grows with the square"


def test_hosts_are_not_all_woken_for_each_token_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = RetryBudget(share=0, per_second=1)
    scheduler = Scheduler(Budgets(), retries=rules, floor=1, places=1000)
    looks: list[object] = []
    look = scheduler._ring.opens_at
    monkeypatch.setattr(scheduler._ring, "opens_at", lambda lane, now: looks.append(lane) or look(lane, now))
    for number in range(MANY):
        scheduler.add(ticket(f"h{number}"), 0.0)
    at = send_all(scheduler, retried=MANY)
    assert len(at) == 2 * MANY
    assert at[-1] == pytest.approx((MANY - 4) / 4), "four are saved up at first, and four come each second"
    assert len(looks) < 10 * MANY, "else it grows with the square"


def test_retries_get_the_tokens_that_come_though_something_else_waits_for_longer() -> None:
    scheduler = Scheduler(Budgets(), retries=RetryBudget(share=0, per_second=1), floor=1, places=1000)
    for number in range(6):
        scheduler.add(ticket(f"h{number}"), 0.0)
    for sent in [scheduler.next(0.0) for _ in range(6)]:
        assert sent is not None
        scheduler.release(sent.host, 0.0)
        scheduler.park(sent, 0.0)
    scheduler.park(ticket("later"), 900.0)
    for at, tokens in ((0.0, 4), (0.2, 0), (0.3, 1), (0.6, 1)):
        assert sum(scheduler.next(at) is not None for _ in range(9)) == tokens


def test_a_key_without_slots_of_its_own_does_not_keep_the_others_from_their_hosts() -> None:
    scheduler = Scheduler(Budgets(host_rate=Rate(10), key_rate=Rate(1, 3600)), places=1000)
    for _ in range(3):
        scheduler.add(ticket(key="greedy"), 0.0)
    for number in range(5):
        scheduler.add(ticket(key=f"k{number}"), 0.0)
    now, sent = 0.0, list[Ticket]()
    while now < 1.0:
        for one in take_all(scheduler, now):
            sent.append(one)
            scheduler.release("a", now)
        now = max(now + 0.001, scheduler.wakes_at(now) or 1.0)
    assert [one.key for one in sent] == ["greedy", *(f"k{number}" for number in range(5))]


def test_a_slot_that_comes_earlier_than_it_was_expected_is_taken_earlier() -> None:
    """The rate of a host that refuses everything falls to next to nothing; then it accepts again."""
    scheduler = Scheduler(Budgets(learns_rate=True), places=1000)
    for _ in range(40):
        scheduler.add(ticket(), 0.0)
    assert scheduler.next(0.0) is not None
    for at in (1.0, 2.0, 3.0):
        scheduler.hear("a", Answer(at, at, 429, refused=True), at)
    assert not scheduler.has_ready(3.0)
    before = scheduler.wakes_at(3.0)
    assert before is not None
    assert before > 10.0
    scheduler.hear("a", Answer(3.5, 3.5, 200, refused=False), 3.5)
    after = scheduler.wakes_at(3.5)
    assert after is not None
    assert after < 5.0


def test_who_stands_behind_one_that_is_given_up_does_not_wait_for_ever() -> None:
    scheduler = Scheduler(Budgets(host_rate=Rate(1), key_rate=Rate(1000)), places=1000)
    first, second, third = (ticket(key=key) for key in "xyz")
    for one in (first, second, third):
        scheduler.add(one, 0.0)
    assert scheduler.next(0.0) is first
    scheduler.release("a", 0.0)
    assert scheduler.next(0.0) is None
    assert scheduler.discard(lambda waiting: waiting is second, 0.0) == [second]
    assert scheduler.wakes_at(0.0) == pytest.approx(1.0)
    assert scheduler.next(1.0) is third


def test_a_key_has_one_quota_even_if_it_waits_while_thousands_of_others_come_and_go() -> None:
    scheduler = Scheduler(Budgets(key_rate=Rate(1, 60), max_connections=9999), places=1000)
    scheduler.pause("a", 100.0, 0.0)
    scheduler.add(ticket("a", "k"), 0.0)
    for number in range(QUOTAS):
        scheduler.add(ticket(f"h{number}", f"k{number}"), 0.0)
    scheduler.add(ticket("b", "k"), 0.0)
    assert sum(one.key == "k" for one in take_all(scheduler, 100.0)) == 1


def test_a_thread_that_sends_by_itself_does_not_stand_back_for_requests_whose_key_is_spent() -> None:
    scheduler = Scheduler(Budgets(key_rate=Rate(1, 3600)), places=1000)
    for _ in range(2):
        scheduler.add(ticket(key="k"), 0.0)
    scheduler.release(take_all(scheduler, 0.0)[0].host, 0.0)
    for _ in range(5):
        caller = Caller("a", lambda: None)
        scheduler.enter(caller, 1.0)
        scheduler.admit(1.0, all_busy=False)
        assert caller.admitted
        scheduler.withdraw(caller, 1.0)


def test_a_thread_that_waits_for_a_host_hears_that_it_wants_no_request() -> None:
    scheduler, told = Scheduler(Budgets(host_connections=1), places=1000), list[str]()
    scheduler.add(ticket(), 0.0)
    assert scheduler.next(0.0) is not None
    caller = Caller("a", lambda: told.append("look"))
    scheduler.enter(caller, 0.0)
    scheduler.admit(0.0, all_busy=False)
    scheduler.pause("a", 1000.0, 0.0, refuse=True)
    scheduler.release("a", 0.0)
    scheduler.admit(0.0, all_busy=False)
    assert (caller.admitted, caller.is_refused, told) == (False, True, ["look"])


def test_a_host_that_only_redirects_inside_a_send_led_to_is_forgotten() -> None:
    scheduler = Scheduler(Budgets(), places=1000)
    caller = Caller("a", lambda: None, has_place=True)
    scheduler.enter(caller, 0.0)
    scheduler.admit(0.0, all_busy=False)
    scheduler.withdraw(caller, 0.0)
    assert scheduler.host_count == 0


def test_requests_that_end_unsent_do_not_wait_for_those_in_flight() -> None:
    scheduler = Scheduler(Budgets(), breaker=Breaker(failures=1, fails_fast=True), places=1000)
    for _ in range(20):
        scheduler.add(ticket(), 0.0)
    flying = take_all(scheduler, 0.0)
    assert len(flying) == 6
    scheduler.hear("a", Answer(0.0, 1.0, None, refused=False), 1.0)
    scheduler.release("a", 1.0)
    unsent = take_all(scheduler, 1.0)
    assert len(unsent) == 14
    assert all(one.is_circuit_open for one in unsent)


def test_a_circuit_counts_the_failures_among_its_last_sends_only() -> None:
    circuit = Circuit(Breaker(failures=100, share=0.5, window=4))
    heard = [circuit.hear(failed, 0.0, 0.0) for failed in [True, False, False, False, True, False, True]]
    assert heard == [None] * 6 + [True]


def test_a_wait_of_more_seconds_than_the_system_knows_is_a_long_one() -> None:
    condition = threading.Condition()

    def wake() -> None:
        with condition:
            condition.notify()

    with condition:
        threading.Thread(target=wake).start()
        SystemClock().wait(condition, 1e300)


def test_hosts_lanes_and_requests_say_how_they_stand_and_no_secret() -> None:
    scheduler = Scheduler(Budgets(), places=1000)
    for _ in range(2):
        scheduler.add(Ticket(Request("http://user:secret@a.test/?token=secret"), "a", key="secret"), 0.0)
    sent = scheduler.next(0.0)
    host = scheduler._hosts["a"]
    (lane,) = host.lanes.values()
    waiting = lane.queue[0]
    assert repr(host) == "<Host a: 1 queued, 1 of 6 places taken, well>"
    assert repr(lane) == "<Lane of a: 1 queued, 0 to be retried, in the ring>"
    assert repr(sent) == f"<Ticket {waiting.request!r}: has been sent>"
    assert repr(waiting) == f"<Ticket {waiting.request!r}: not sent yet>"
    assert "secret" not in f"{host!r} {lane!r} {sent!r} {waiting!r}"

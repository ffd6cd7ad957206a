"""Which hosts count as slow, what they may hold, and in which order those that stand back get their turn."""

from __future__ import annotations

from workerpool.config import Budgets
from workerpool.model import Request
from workerpool.scheduler import Scheduler
from workerpool.scheduler.places import LATE_SECONDS, PERIOD
from workerpool.tickets import Ticket


class Pool:
    """A scheduler with so many places, all hosts' budgets 6, at a time that the test moves."""

    def __init__(self, places: int = 64) -> None:
        self.scheduler = Scheduler(Budgets(max_connections=2 * places), places=places)
        self.places = places
        self.now = 100.0
        self.flying: list[Ticket] = []

    def add(self, host: str, requests: int) -> None:
        for _ in range(requests):
            self.scheduler.add(Ticket(Request(host), host), self.now)

    def send(self) -> None:
        while len(self.flying) < self.places and (ticket := self.scheduler.next(self.now)) is not None:
            self.flying.append(ticket)

    def end(self, host: str, requests: int = 1, *, failed: bool = False) -> None:
        for ticket in [ticket for ticket in self.flying if ticket.host == host][:requests]:
            self.flying.remove(ticket)
            self.scheduler.release(host, self.now, since=ticket.granted_at, failed=failed)

    def count(self, host: str) -> int:
        return sum(ticket.host == host for ticket in self.flying)

    def teach(self, took: dict[str, float], *, failed: str = "") -> None:
        """Let each host answer after so many seconds; all have requests waiting then, and the well ones were busy."""
        for host in took:
            self.add(host, 1)
        self.send()
        for host in took:
            self.add(host, 1)  # or a host would be forgotten
        for host, seconds in sorted(took.items(), key=lambda item: item[1]):
            self.now = 100 + seconds
            self.end(host, failed=host == failed)
        wells = [host for host in took if host.startswith("well")]
        for host in wells:
            self.add(host, 20)
        if wells:
            self.be_busy(0.2, others=len(wells))
        for host in took:
            self.add(host, 100)

    def be_busy(self, seconds: float, others: int = 20) -> None:
        """Let the well hosts, of which there are so many, answer every 50 ms."""
        until = self.now + seconds
        self.send()
        while self.now < until:
            self.now += 0.05
            for number in range(others):
                self.add(f"well {number}", self.count(f"well {number}"))
                self.end(f"well {number}", 6)
            self.send()


def well(hosts: int = 20) -> dict[str, float]:
    return {f"well {number}": 0.05 for number in range(hosts)}


def test_a_host_is_quiet_from_its_last_answer_on() -> None:
    pool = Pool()
    pool.add("late at first", 9)
    pool.send()
    for _ in range(2):
        pool.now += 0.9 * LATE_SECONDS
        pool.end("late at first")
        pool.send()
        assert pool.count("late at first") == 6
    assert not pool.scheduler._hosts["late at first"].is_slow


def test_a_slow_host_holds_a_32nd_of_the_places_while_others_want_them() -> None:
    pool = Pool()
    pool.teach({**well(), "slow": 2.0})
    pool.be_busy(1.0)
    assert pool.count("slow") == 2


def test_a_slow_host_has_at_least_one_place() -> None:
    pool = Pool(places=8)
    pool.teach({**well(4), "slow": 2.0})
    pool.be_busy(1.0, others=4)
    assert pool.count("slow") == 1


def test_a_slow_host_gets_all_that_its_budget_allows_where_nobody_else_wants_the_places() -> None:
    pool = Pool()
    pool.teach({**well(2), "slow": 2.0})
    pool.be_busy(10 * PERIOD, others=2)
    assert [pool.count(host) for host in ("well 0", "well 1", "slow")] == [6, 6, 6]


def test_a_slow_host_is_given_more_step_by_step_and_woken_for_it() -> None:
    """When the others have nothing more to send, at most a few tenths of a second pass until it has all it may."""
    pool = Pool()
    pool.teach({**well(), "slow": 2.0, "slower": 2.1})
    pool.be_busy(1.0)
    pool.end("slow", 6)
    pool.end("slower", 6)
    pool.be_busy(0.2)
    assert pool.count("slow") + pool.count("slower") == 2
    pool.scheduler.discard(lambda ticket: ticket.host.startswith("well"), pool.now)
    for number in range(20):
        pool.end(f"well {number}", 6)
    began, held = pool.now, list[int]()
    while pool.count("slow") + pool.count("slower") < 12:
        pool.send()
        held.append(pool.count("slow") + pool.count("slower"))
        wakes_at = pool.scheduler.wakes_at(pool.now)
        if wakes_at is None:
            break
        assert wakes_at > pool.now
        pool.now = wakes_at
    assert held[0] == 2
    assert held[-1] == 12
    assert pool.now - began < 6 * PERIOD


def test_a_host_that_mostly_fails_stands_back_though_its_failures_are_quick() -> None:
    pool = Pool()
    pool.teach({**well(), "refusing": 0.001}, failed="refusing")
    pool.be_busy(1.0)
    assert pool.count("refusing") == 2


def test_a_host_that_fails_once_does_not_stand_back() -> None:
    pool = Pool()
    pool.teach(well())
    pool.end("well 3", failed=True)
    pool.be_busy(1.0)
    assert pool.count("well 3") > 0
    assert not pool.scheduler._hosts["well 3"].is_slow


def test_a_host_that_falls_silent_counts_as_slow_before_anything_comes_back() -> None:
    pool = Pool()
    pool.teach({**well(), "silent": 0.05})
    pool.be_busy(0.05)
    begun = pool.count("silent")
    assert 2 <= begun < 6
    pool.scheduler.discard(lambda ticket: ticket.host == "silent", pool.now)
    pool.be_busy(2 * LATE_SECONDS)
    pool.add("silent", 100)
    pool.be_busy(1.0)
    assert pool.count("silent") == begun


def test_a_host_that_was_late_once_is_heard_again_though_others_hold_the_places_of_slow_ones() -> None:
    """A program that starts, or a machine that stops for a moment, makes answers late that were not."""
    pool = Pool()
    pool.teach({**well(), "late once": 0.6, "silent": 30.0, "as silent": 30.0})
    assert pool.scheduler._hosts["late once"].is_slow
    pool.be_busy(0.1)
    assert [pool.count(host) for host in ("late once", "silent", "as silent")] == [1, 1, 1]
    for _ in range(5):
        pool.end("late once", 6)
        pool.be_busy(0.05)
    assert not pool.scheduler._hosts["late once"].is_slow
    assert pool.count("late once") > 1


def test_hosts_that_are_not_much_too_late_have_a_quarter_of_the_places_at_most() -> None:
    pool = Pool(places=16)
    pool.teach({**well(16), **{f"late {number}": 0.6 for number in range(8)}})
    pool.be_busy(0.5, others=16)
    for number in range(8):
        pool.end(f"late {number}", 6)
    pool.be_busy(0.5, others=16)
    assert sum(pool.count(f"late {number}") for number in range(8)) == 4


def test_a_host_that_is_well_again_stands_back_no_more() -> None:
    pool = Pool()
    pool.teach({**well(), "slow": 2.0})
    pool.be_busy(0.5)
    for _ in range(20):
        pool.be_busy(0.05)
        pool.end("slow", 6)
        pool.add("slow", 6)
    assert not pool.scheduler._hosts["slow"].is_slow


def test_a_host_that_answers_again_goes_on_at_once_though_others_hold_the_part_of_slow_ones() -> None:
    pool = Pool(places=8)
    pool.add("well 0", 99)
    pool.add("late", 99)
    for _ in range(8):
        pool.send()
        pool.now += 0.01
        pool.end("well 0", 6)
        pool.end("late", 6)
    pool.add("stuck", 9)
    pool.send()
    pool.now += 0.9
    pool.end("well 0")
    pool.send()
    late = pool.count("late")
    assert late > 2
    assert pool.count("stuck") == 1
    assert pool.scheduler._hosts["late"].is_slow
    pool.end("late")
    pool.end("well 0", 2)
    pool.send()
    assert not pool.scheduler._hosts["late"].is_slow
    assert pool.count("late") >= late


def test_hosts_that_have_not_answered_get_one_place_each_once_a_quarter_is_taken() -> None:
    pool = Pool(places=64)
    for number in range(20):
        pool.add(f"new {number}", 10)
    pool.send()
    assert sorted(pool.count(f"new {number}") for number in range(20)) == [*[1] * 19, 2], "and one more in all"


def test_the_only_host_gets_its_places_at_once() -> None:
    pool = Pool(places=8)
    pool.add("new", 10)
    pool.send()
    assert pool.count("new") == 6


def test_what_is_late_goes_by_what_is_typical() -> None:
    pool = Pool()
    pool.teach({**{f"well {number}": 0.3 for number in range(20)}, "in time": 1.5, "late": 3.0})
    slow = {name for name, host in pool.scheduler._hosts.items() if host.is_slow}
    assert slow == {"late"}


def test_where_all_hosts_are_slow_none_is() -> None:
    pool = Pool()
    pool.teach({f"host {number}": 2.0 for number in range(20)})
    pool.send()
    assert len(pool.flying) == 64


def test_slow_hosts_take_turns_by_the_time_that_they_hold_their_places() -> None:
    """One that takes 30 s for each send gets a fifteenth as many as one that takes 2 s."""
    pool = Pool(places=8)
    pool.teach({**well(4), "slow": 2.0, "slower": 30.0})
    pool.add("slow", 1000)
    ended = {"slow": 0, "slower": 0}
    until = pool.now + 600
    since: dict[Ticket, float] = {}
    while pool.now < until:
        pool.be_busy(0.5, others=4)
        for ticket in [*pool.flying]:
            if ticket.host in ended and pool.now - since.setdefault(ticket, pool.now) >= (
                2 if ticket.host == "slow" else 30
            ):
                pool.flying.remove(ticket)
                pool.scheduler.release(ticket.host, pool.now, since=ticket.granted_at)
                ended[ticket.host] += 1
    assert ended["slower"] >= 8, ended
    assert 8 <= ended["slow"] / ended["slower"] <= 20, ended

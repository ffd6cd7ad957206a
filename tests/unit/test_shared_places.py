"""What processes share is asked for again as soon as a place of this process's own comes free, not a look later."""

from __future__ import annotations

from workerpool.config import Budgets
from workerpool.model import Request
from workerpool.scheduler import Scheduler
from workerpool.tickets import Ticket

LATER = 0.05
DAY = 86400.0


class Places:
    """A shared budget with so many places in all, and one for each host."""

    def __init__(self, places: int) -> None:
        self.left = places
        self.taken: set[str] = set()
        self.pauses: list[tuple[str, float]] = []
        self.since: list[float | None] = []  # what each that was let through has said
        self.behind = 0.0  # seconds that a slot's time lies back: somebody woke late

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        return now if self.left and host not in self.taken else now + LATER

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        if self.next_at(host, weight, now) > now:
            return None
        self.left -= 1
        self.taken.add(host)
        self.since.append(since)
        return now - self.behind

    def give_back(self, host: str, now: float) -> None:
        self.left += 1
        self.taken.remove(host)

    def pause(self, host: str, until: float, now: float) -> None:
        self.pauses.append((host, until))


def sent(scheduler: Scheduler, now: float) -> list[str]:
    return [ticket.request.url for ticket in iter(lambda: scheduler.next(now), None)]


def scheduler_with(shared: Places, *urls: str) -> Scheduler:
    scheduler = Scheduler(Budgets(), shared=shared, places=1000)
    for url in urls:
        scheduler.add(Ticket(Request(url), url[0]), 0.0)
    return scheduler


def test_the_next_request_of_a_host_takes_the_place_of_the_last_one_at_once() -> None:
    scheduler = scheduler_with(Places(9), "a1", "a2", "a3")
    assert sent(scheduler, 0.0) == ["a1"]
    assert sent(scheduler, 0.001) == []
    scheduler.release("a", 0.002)
    assert sent(scheduler, 0.002) == ["a2"]
    scheduler.release("a", 0.003)
    assert sent(scheduler, 0.003) == ["a3"]


def test_a_lane_that_goes_on_waiting_has_done_so_since_its_last_slot() -> None:
    places = Places(9)
    scheduler = scheduler_with(places, "a1", "a2", "a3")
    places.behind = 0.1
    for now in (0.0, 0.5, 0.9):
        sent(scheduler, now)
        scheduler.release("a", now)
    assert places.since == [0.0, -0.1, 0.4]


def test_another_host_takes_the_place_of_one_that_has_nothing_more_at_once() -> None:
    scheduler = scheduler_with(Places(1), "a1", "b1", "c1")
    assert sent(scheduler, 0.0) == ["a1"]
    scheduler.release("a", 0.001)
    assert sent(scheduler, 0.001) == ["b1"]
    scheduler.release("b", 0.002)
    assert sent(scheduler, 0.002) == ["c1"]


def test_a_place_that_nobody_here_gave_back_is_found_by_looking_again() -> None:
    places = Places(0)
    scheduler = scheduler_with(places, "a1")
    assert sent(scheduler, 0.0) == []
    wake = scheduler.wakes_at(0.0)
    assert wake is not None
    assert 0 < wake <= LATER
    places.left = 1
    assert sent(scheduler, LATER) == ["a1"]


def test_a_pause_too_long_to_wait_for_does_not_make_other_processes_wait() -> None:
    shared = Places(9)
    scheduler = scheduler_with(shared, "a1", "b1")
    scheduler.pause("a", DAY, 0.0, refuse=True)
    scheduler.pause("b", 5.0, 0.0)
    assert shared.pauses == [("b", 5.0)]
    ticket = scheduler.next(0.0)
    assert ticket is not None
    assert (ticket.host, ticket.refused_until) == ("a", DAY)

"""One request goes: what it takes, what it is told, and who is next."""

from __future__ import annotations

import pytest

from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.credentials.logins import Bearer, Login
from workerpool.credentials.sources import BearerToken
from workerpool.limits import Answer
from workerpool.limits.bucket import GROUPING
from workerpool.model import Request, origin
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.scheduler.ring import SOON
from workerpool.tickets import Owner, Ticket


def scheduler_with(budgets: Budgets, *hosts: str, keys: str = "", **more: object) -> tuple[Scheduler, list[Ticket]]:
    scheduler = Scheduler(budgets, places=100, **more)  # type: ignore[arg-type]
    tickets = [Ticket(Request(f"http://{host}.test/"), host) for host in hosts]
    for ticket, key in zip(tickets, keys, strict=False):
        ticket.key = key
    for ticket in tickets:
        scheduler.add(ticket, 0.0)
    return scheduler, tickets


def go(scheduler: Scheduler, at: float) -> list[Ticket]:
    return [*iter(lambda: scheduler.next(at), None)]


def test_a_request_knows_how_many_are_in_flight_to_its_host_with_it() -> None:
    scheduler, tickets = scheduler_with(Budgets(), "a", "a", "b", "a")
    go(scheduler, 0.0)
    assert [ticket.in_flight for ticket in tickets] == [1, 2, 1, 3]
    assert all(ticket.started for ticket in tickets)


@pytest.mark.parametrize("budgets", [Budgets(rate=Rate(10)), Budgets(host_rate=Rate(10)), Budgets(key_rate=Rate(10))])
def test_a_request_is_granted_as_of_its_slots_time_where_somebody_woke_late(budgets: Budgets) -> None:
    scheduler, tickets = scheduler_with(budgets, *"aaaa", keys="kkkk")
    for at in (0.0, 0.105, 0.2, 0.5):
        assert len(go(scheduler, at)) == 1
    assert scheduler.wakes_at(0.5) is None
    slots = [0.0, 0.1, 0.2, 0.49]
    if budgets.rate:
        assert [ticket.granted_at for ticket in tickets] == pytest.approx(slots)
    assert [ticket.slot_wait for ticket in tickets] == pytest.approx([0.0, 0.105, 0.095, 0.3])


def test_a_request_shows_the_token_that_there_is_when_it_goes() -> None:
    login = Login(BearerToken("secret"), origin)
    scheduler, (ticket,) = scheduler_with(Budgets(), "a")
    ticket.bearer = Bearer(login)
    assert ticket.bearer.header is None
    assert go(scheduler, 0.0) == [ticket]
    assert ticket.bearer.header == "Bearer secret"


def test_a_request_that_waited_for_a_place_has_not_waited_for_a_slot() -> None:
    scheduler, tickets = scheduler_with(Budgets(max_connections=1), "a", "a")
    go(scheduler, 0.0)
    scheduler.release("a", 5.0)
    assert go(scheduler, 5.0) == [tickets[1]]
    assert tickets[1].slot_wait == 0.0


def test_a_request_that_waited_for_a_pause_has_waited_for_its_host() -> None:
    scheduler, tickets = scheduler_with(Budgets(), "a")
    assert scheduler.has_ready(0.0)
    scheduler.pause("a", 5.0, 0.0)
    assert go(scheduler, 4.9) == []
    assert go(scheduler, 5.0) == tickets
    assert tickets[0].slot_wait == 5.0


def test_above_a_thousand_a_second_who_waits_wakes_for_several_slots() -> None:
    scheduler, _ = scheduler_with(Budgets(rate=Rate(2000)), *"aaa")
    assert len(go(scheduler, 0.0)) == 1
    assert scheduler.wakes_at(0.0) == pytest.approx(1 / 2000 + GROUPING)
    assert scheduler.wakes_at(1 / 2000) == 1 / 2000, "then it goes at once"
    assert scheduler.wakes_at(1.0) == 1.0


def test_what_ends_unsent_takes_no_slot_and_no_token() -> None:
    retries = RetryBudget(share=0.0, per_second=0.001)
    scheduler, tickets = scheduler_with(Budgets(host_rate=Rate(1)), *"aa", retries=retries, floor=1)
    scheduler.pause("a", 10.0, 0.0, refuse=True)
    assert go(scheduler, 0.0) == tickets
    assert [(ticket.refused_until, ticket.is_circuit_open) for ticket in tickets] == [(10.0, False)] * 2
    for ticket in tickets:
        scheduler.release("a", 0.0, was_refused=True)
        scheduler.park(ticket, 1.0)
    assert go(scheduler, 1.0) == tickets, "also as retries, for which there is one token only"
    for _ in tickets:
        scheduler.release("a", 1.0, was_refused=True)
    scheduler.park(tickets[0], 10.0)
    assert go(scheduler, 10.0) == tickets[:1]
    assert (tickets[0].refused_until, tickets[0].granted_at) == (None, 10.0)


def test_what_ends_unsent_by_the_circuits_doing_is_told_so() -> None:
    scheduler, tickets = scheduler_with(Budgets(), "a", breaker=Breaker(failures=1, open_for=30, fails_fast=True))
    scheduler.hear("a", Answer(0.0, 0.0, 500, refused=False), 0.0)
    assert go(scheduler, 0.0) == tickets
    assert (tickets[0].refused_until, tickets[0].is_circuit_open) == (30.0, True)


def test_first_tries_earn_and_retries_spend_and_their_waits_for_tokens_are_excused() -> None:
    scheduler, tickets = scheduler_with(Budgets(), "a", "a", retries=RetryBudget(share=0.25, per_second=0.5), floor=1)
    retried = tickets[0]
    assert go(scheduler, 0.0) == tickets
    for ripe, goes in ((1.0, 1.0), (2.0, 3.0), (3.5, 5.0)):
        scheduler.release("a", ripe)
        scheduler.park(retried, ripe)
        if goes > ripe:
            assert go(scheduler, ripe) == []
            assert scheduler.wakes_at(ripe) == goes
        assert go(scheduler, goes) == [retried]
        assert not retried.is_retry
    assert retried.excused == pytest.approx(1.0 + 1.5)
    first = Ticket(Request("http://a.test/"), "a")
    scheduler.release("a", 5.0)
    scheduler.park(retried, 5.0)
    assert go(scheduler, 5.0) == []
    scheduler.add(first, 5.0)
    assert go(scheduler, 5.0) == [first]
    assert scheduler.wakes_at(5.0) == 6.5, "a quarter of a token has come, and half of one comes each second"


def test_the_keys_of_a_host_take_turns_for_its_places() -> None:
    scheduler, tickets = scheduler_with(Budgets(host_connections=1), *"aaaaa", keys="xxxyz")
    order = ""
    for _ in tickets:
        (sent,) = go(scheduler, 0.0)
        order += sent.key or ""
        scheduler.release("a", 0.0)
    assert order == "xyzxx"


def test_the_keys_of_a_host_take_turns_for_its_slots() -> None:
    scheduler, tickets = scheduler_with(Budgets(host_rate=Rate(1)), *"aaaaaaaaaa", keys="xxxxyyyzzz")
    order = ""
    for at in range(len(tickets)):
        (sent,) = go(scheduler, float(at))
        order += sent.key or ""
        scheduler.release("a", float(at))
    assert order == "xyzxyzxyzx"


def test_the_keys_of_a_host_that_waited_behind_one_another_go_together_where_there_are_slots_for_all() -> None:
    scheduler, tickets = scheduler_with(Budgets(host_rate=Rate(1), burst=3), *"aaaaaa", keys="xyzxyz")
    assert go(scheduler, 0.0) == tickets[:3]
    assert scheduler.wakes_at(0.0) == 1.0
    assert {ticket.key for ticket in go(scheduler, 3.0)} == {"x", "y", "z"}


def test_keys_behind_one_that_waits_for_many_slots_go_once_something_lighter_comes_before_it() -> None:
    """A redirect's next hop, which goes to the front of its lane."""
    scheduler = Scheduler(Budgets(host_rate=Rate(1), burst=5), places=9)
    sent = []
    for key, weight in (("x", 5), ("x", 5), ("y", 1)):
        scheduler.add(Ticket(Request("http://a.test/", weight=weight), "a", key=key), 0.0)
        sent += go(scheduler, 0.0)
    assert (len(sent), go(scheduler, 2.0)) == (1, [])
    hop = Ticket(Request("http://a.test/"), "a", key="x")
    scheduler.put_first(hop, 2.0)
    assert [ticket.key for ticket in go(scheduler, 2.0)] == ["x", "y"]
    assert hop.granted_at == 2.0


def test_a_retry_for_which_a_first_try_has_brought_a_token_leaves_no_place_free() -> None:
    rules = RetryBudget(share=1.0, per_second=0.001)
    scheduler, (retried,) = scheduler_with(Budgets(host_connections=2), "a", keys="y", retries=rules, floor=1)
    for at in (0.0, 1.0):
        assert go(scheduler, at) == [retried]
        scheduler.release("a", at)
        scheduler.park(retried, at + 1.0)
    assert go(scheduler, 2.0) == [], "its token is spent"
    firsts = [Ticket(Request("http://a.test/"), "a", key="x") for _ in range(3)]
    for ticket in firsts:
        scheduler.add(ticket, 2.0)
    assert go(scheduler, 2.0) == firsts[:2]
    scheduler.release("a", 2.0)
    assert go(scheduler, 2.0) == [retried], "it was next in line"


def test_a_stream_by_itself_that_has_no_room_keeps_its_requests_in_their_lanes_and_steps_aside_for_others() -> None:
    scheduler, owner = Scheduler(Budgets(), places=9), Owner(0, needs_receipts=True)
    for host in "ab":
        scheduler.add(Ticket(Request(f"http://{host}.test/"), host, owner), 0.0)
    assert go(scheduler, 0.0) == []
    assert not scheduler._owners.aside
    other = Ticket(Request("http://c.test/"), "c")
    scheduler.add(other, 0.0)
    assert go(scheduler, 0.0) == [other]
    scheduler.give_places(owner, 2, 0.0)
    assert [ticket.host for ticket in go(scheduler, 0.0)] == ["a", "b"]


def test_what_was_begun_and_comes_back_goes_before_what_waits() -> None:
    scheduler, owner = Scheduler(Budgets(host_connections=1), places=9), Owner(9, needs_receipts=True)
    begun, waits = (Ticket(Request("http://a.test/"), "a", owner) for _ in range(2))
    scheduler.add(begun, 0.0)
    scheduler.add(waits, 0.0)
    assert go(scheduler, 0.0) == [begun]
    scheduler.release("a", 1.0)
    scheduler.put_first(begun, 1.0)
    assert (scheduler.queued, owner.queued) == (2, 2)
    assert go(scheduler, 1.0) == [begun]
    scheduler.release("a", 2.0)
    assert go(scheduler, 2.0) == [waits]
    assert (scheduler.queued, owner.queued) == (0, 0)


def test_a_lane_of_a_key_goes_with_the_last_request_that_is_discarded() -> None:
    scheduler, tickets = scheduler_with(Budgets(), *"aaa", keys="kkl")
    scheduler.pause("a", 9.0, 0.0)
    assert go(scheduler, 0.0) == []
    lanes = scheduler.lane_count
    assert scheduler.discard(lambda ticket: ticket is tickets[0], 0.0) == tickets[:1]
    assert scheduler.lane_count == lanes
    assert scheduler.discard(lambda ticket: ticket is tickets[1], 0.0) == tickets[1:2]
    assert scheduler.lane_count == lanes - 1
    assert go(scheduler, 9.0) == tickets[2:]


# -- what processes share ---------------------------------------------------------------------------------------------


class Shared:
    """A budget of several processes that says when each host may be asked for, and has nothing for those in `lost`."""

    def __init__(self, **opens: float) -> None:
        self.opens = opens
        self.lost: set[str] = set()
        self.asked: list[tuple[str | None, int]] = []
        self.given_back: list[tuple[str, float]] = []

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        self.asked.append((host, weight))
        return self.opens.get(host or "", 0.0)

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        return None if host in self.lost or now < self.opens.get(host, 0.0) else now

    def give_back(self, host: str, now: float) -> None:
        self.given_back.append((host, now))

    def pause(self, host: str, until: float, now: float) -> None:
        pass


def test_a_host_that_has_nothing_of_what_is_shared_waits_and_the_others_go() -> None:
    shared = Shared(a=5.0)
    scheduler = Scheduler(Budgets(), shared=shared, places=9)
    waits, goes = Ticket(Request("http://a.test/", weight=3), "a"), Ticket(Request("http://b.test/", weight=2), "b")
    scheduler.add(waits, 0.0)
    scheduler.add(goes, 0.0)
    assert go(scheduler, 0.0) == [goes]
    assert scheduler.wakes_at(0.0) == 5.0
    assert ("a", 3) in shared.asked
    assert (None, 2) in shared.asked
    assert go(scheduler, 4.9) == []
    assert go(scheduler, 5.0) == [waits]


def test_what_went_to_another_process_first_is_asked_for_again_soon_and_not_at_once() -> None:
    shared = Shared()
    shared.lost = {"a"}
    scheduler, (waits, goes) = scheduler_with(Budgets(), "a", "b", shared=shared)
    assert go(scheduler, 1.0) == [goes]
    again = scheduler.wakes_at(1.0)
    assert again == 1.0 + SOON
    shared.lost = set()
    assert go(scheduler, 1.0 + SOON / 2) == []
    assert go(scheduler, 1.0 + SOON) == [waits]
    scheduler.release("a", 2.0)
    assert shared.given_back == [("a", 2.0)]
    scheduler.put_first(waits, 2.0)
    shared.lost = {"a"}
    shared.opens = {"a": 9.0}
    assert go(scheduler, 2.0) == []
    assert scheduler.wakes_at(2.0) == 9.0, "or when it says that it is worth it"


def test_nobody_passes_who_waits_for_what_went_to_another_process() -> None:
    shared = Shared()
    shared.lost = {"a"}
    scheduler, (first, second) = scheduler_with(Budgets(host_connections=1), "a", "a", keys="xy", shared=shared)
    assert go(scheduler, 1.0) == []
    shared.lost = set()
    third = Ticket(Request("http://a.test/"), "a", key="z")
    scheduler.add(third, 1.0 + SOON / 2)
    assert go(scheduler, 1.0 + SOON / 2) == []
    for ticket in (first, second, third):
        assert go(scheduler, 1.0 + SOON) == [ticket]
        scheduler.release("a", 1.0 + SOON)


def test_a_refused_host_asks_for_nothing_that_is_shared() -> None:
    shared = Shared(a=5.0)
    scheduler, tickets = scheduler_with(Budgets(), "a", shared=shared)
    scheduler.pause("a", 9.0, 0.0, refuse=True)
    shared.asked.clear()
    assert go(scheduler, 0.0) == tickets
    assert shared.asked == []


def test_who_waits_for_a_slot_is_not_kept_by_who_waits_for_a_token_of_the_pool() -> None:
    retries = RetryBudget(share=0.0, per_second=0.001)
    scheduler, _ = scheduler_with(Budgets(host_rate=Rate(1)), *"abcdeff", retries=retries, floor=1)
    first = go(scheduler, 0.0)
    for ticket in first:
        scheduler.release(ticket.host, 0.0)
    for ticket in first[:5]:
        scheduler.park(ticket, 0.5)
    assert scheduler.wakes_at(0.0) == 0.5
    assert go(scheduler, 0.6) == []
    assert scheduler.wakes_at(0.6) == 1.0
    assert [ticket.host for ticket in go(scheduler, 1.0)] == ["f", "a", "b", "c", "d"], "the pool has four tokens"
    assert scheduler.wakes_at(1.0) == pytest.approx(1.0 + 250.0)

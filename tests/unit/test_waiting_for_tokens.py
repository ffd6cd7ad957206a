"""Requests without a token are kept aside, at no cost to others, until there is one or one may be asked for again."""

from __future__ import annotations

import pytest

from workerpool.config import Budgets
from workerpool.credentials.logins import AHEAD, Bearer, Login
from workerpool.credentials.sources import BearerToken, Token
from workerpool.errors import TokenFailed
from workerpool.model import Request, origin
from workerpool.scheduler import Scheduler
from workerpool.statistics import Wait
from workerpool.tickets import NOBODY, Owner, Ticket


@pytest.fixture
def login() -> Login:
    return a_login()


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Budgets(), places=9)


def a_login() -> Login:
    return Login(BearerToken(lambda: "unused"), origin)


def add(scheduler: Scheduler, url: str, login: Login | None = None, owner: Owner = NOBODY) -> Ticket:
    ticket = Ticket(Request(url), url[0], owner)
    ticket.bearer = None if login is None else Bearer(login)
    scheduler.add(ticket, 0.0)
    return ticket


def fetch(login: Login, at: float, life: float | None = None) -> None:
    assert login.begin(at)
    login.succeed(Token("secret", life), at)


def sent(scheduler: Scheduler, at: float) -> list[str]:
    return [ticket.request.url for ticket in iter(lambda: scheduler.next(at), None)]


def test_a_request_without_a_token_lets_others_pass_and_goes_when_there_is_one(
    scheduler: Scheduler, login: Login
) -> None:
    first, second = add(scheduler, "a1", login), add(scheduler, "a2", login)
    add(scheduler, "a3")
    assert sent(scheduler, 0.0) == ["a3"]
    assert [bearer is ticket.bearer for bearer, ticket in zip(scheduler.wanted, (first, second), strict=True)] == [
        True, True,
    ]  # fmt: skip
    assert (scheduler.queued, scheduler.parked) == (0, 2)
    assert scheduler.wakes_at(0.0) is None, "it is told"
    fetch(login, 1.0)
    scheduler.bring_back(scheduler.free(login), 1.0)
    assert sent(scheduler, 1.0) == ["a1", "a2"]
    assert (scheduler.queued, scheduler.parked) == (0, 0)


def test_nobody_is_told_to_fetch_what_there_is(scheduler: Scheduler, login: Login) -> None:
    fetch(login, 0.0)
    add(scheduler, "a1", login)
    assert sent(scheduler, 0.0) == ["a1"]
    assert not scheduler.wanted


def test_a_token_that_ends_soon_is_used_while_another_one_is_wanted(scheduler: Scheduler, login: Login) -> None:
    fetch(login, 0.0, 3600.0)
    ticket = add(scheduler, "a1", login)
    assert sent(scheduler, 3601.0 - AHEAD) == ["a1"]
    assert scheduler.wanted == [ticket.bearer]


def test_a_request_waits_until_a_source_that_has_failed_may_be_asked_again(scheduler: Scheduler, login: Login) -> None:
    assert login.begin(5.0)
    login.fail(TokenFailed("later", retry_helps=True), 5.0)
    ticket = add(scheduler, "a1", login)
    assert sent(scheduler, 5.5) == []
    assert not scheduler.wanted
    assert scheduler.wakes_at(5.5) == 6.0
    assert sent(scheduler, 6.0) == []
    assert scheduler.wanted == [ticket.bearer]
    assert scheduler.wakes_at(6.0) is None


def test_what_is_to_end_unsent_waits_for_no_token(scheduler: Scheduler, login: Login) -> None:
    scheduler.pause("a", 9.0, 0.0, refuse=True)
    add(scheduler, "a1", login)
    assert sent(scheduler, 1.0) == ["a1"]
    assert not scheduler.wanted


def test_a_request_that_waits_for_a_token_is_none_of_those_that_its_owner_has_queued(
    scheduler: Scheduler, login: Login
) -> None:
    owner = Owner(5, needs_receipts=True)
    add(scheduler, "a1", login, owner)
    add(scheduler, "b1", None, owner)
    assert owner.queued == 2
    assert sent(scheduler, 0.0) == ["b1"]
    assert (owner.queued, owner.room) == (0, 4)
    fetch(login, 0.0)
    scheduler.bring_back(scheduler.free(login), 0.0)
    assert owner.queued == 1


def test_all_that_wait_for_a_token_and_for_a_robots_txt_are_added_up(scheduler: Scheduler, login: Login) -> None:
    add(scheduler, "a1", login)
    for url in ("b1", "b2"):
        add(scheduler, url, a_login())
    assert sent(scheduler, 0.0) == []
    for site in ("https://a.test", "https://b.test"):
        scheduler.hold(Ticket(Request(site), "c"), site)
    assert scheduler.hold_ups(0.0, Wait.WORKERS) == {(Wait.TOKEN, ""): 3, (Wait.ROBOTS, ""): 2}

"""What fetches a token, and what follows for the requests that are held until there is one.

Workers' threads do this, without the lock, but for what `Login` decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workerpool import events
from workerpool.credentials import Login, Token, as_failure
from workerpool.errors import Cancelled, TokenFailed
from workerpool.model import Outcome
from workerpool.tickets import Ticket

if TYPE_CHECKING:
    from workerpool.crew.turns import Turns


class TokenFetch(Ticket):
    """The request for a token, which obeys no robots.txt, and shows no token."""

    __slots__ = ("_login", "_turns")
    obeys = False

    def __init__(self, turns: Turns, login: Login) -> None:
        assert login.request is not None
        super().__init__(login.request, login.host)
        self._turns = turns
        self._login = login

    def deliver(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, Cancelled):  # and so are those that wait for it
            abandon(self._turns, self._login)
            return
        hear(self._turns, self._login, outcome)


def fetch(turns: Turns, login: Login) -> None:
    """Have a source's function fetch a token."""
    turns.worker.is_fetching = True
    try:
        token = login.source.fetch()
    except BaseException as error:
        settle(turns, login, as_failure(error))
    else:
        settle(turns, login, token)
    finally:
        turns.worker.is_fetching = False


def hear(turns: Turns, login: Login, outcome: Outcome) -> None:
    """Take what came of a request for a token."""
    try:
        token = login.source.read(outcome)
    except BaseException as error:
        settle(turns, login, as_failure(error))
    else:
        settle(turns, login, token)


def settle(turns: Turns, login: Login, came: Token | TokenFailed) -> None:
    """Take a token, or why there is none, and let those go who wait for it, or end them."""
    scheduler = turns.dispatcher.scheduler
    ended: list[Ticket] = []
    with turns.change() as now:
        if isinstance(came, Token):
            login.succeed(came, now)
        else:
            login.fail(came, now)
        held = scheduler.free(login)
        if isinstance(came, Token) or login.is_worth_waiting(turns.worker.attempts):
            scheduler.bring_back(held, now)
        else:
            ended = held
            turns.dispatcher.counts.ended += len(ended)
        turns.dispatcher.tell_callers(login)
    if isinstance(came, Token):
        events.emit("token.fetched", source=login.source.label, expires_in=came.expires_in)
    else:
        events.emit("token.failed", source=login.source.label, error=str(came))
    _end(turns, login, ended)


def tell(turns: Turns, login: Login) -> None:
    """End those who wait for a token that nobody will give: it was asked for a moment ago."""
    with turns.change():
        login.give_up()
        ended = turns.dispatcher.scheduler.free(login)
        turns.dispatcher.counts.ended += len(ended)
        turns.dispatcher.tell_callers(login)
    _end(turns, login, ended)


def abandon(turns: Turns, login: Login) -> None:
    """Note that nobody fetches a token any more."""
    with turns.change() as now:
        login.give_up()
        turns.dispatcher.scheduler.bring_back(turns.dispatcher.scheduler.free(login), now)
        turns.dispatcher.tell_callers(login)


def _end(turns: Turns, login: Login, tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.deliver(turns.worker.refuse(ticket, login.failure()))

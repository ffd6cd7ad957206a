"""Requests that are held until the robots.txt of their site is known: what fetches it, and what follows when it is.

Every thread that gives requests, and every one that hears of a robots.txt, does so for itself, without the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workerpool.endings import GIVEN_UP
from workerpool.gate import Fetch, Gate, Sorting
from workerpool.model import Outcome
from workerpool.robots import Site
from workerpool.tickets import Ticket

if TYPE_CHECKING:
    from workerpool.crew.turns import Turns


class RobotsFetch(Ticket):
    """The fetch of a site's robots.txt, redirects included, which obeys nobody."""

    __slots__ = ("_site", "_turns")
    obeys = False

    def __init__(self, turns: Turns, fetch: Fetch) -> None:
        super().__init__(fetch.request, fetch.host)
        self._turns = turns
        self._site = fetch.site

    def deliver(self, outcome: Outcome) -> None:
        assert self._turns.gate is not None
        hear(self._turns, self._turns.gate, self._site, outcome)


def see_to(turns: Turns, gate: Gate, sorting: Sorting) -> None:
    """Do the rest for requests that were sorted, and queued or held under the lock: tell what must not be sent, and
    that nobody was held in vain, as the robots.txt may have come in between."""
    for ticket, error in sorting.refused:
        ticket.deliver(turns.worker.refuse(ticket, error))
    for site in {site for _, site in sorting.held}:
        if not gate.awaits(site):
            free(turns, gate, site)


def hear(turns: Turns, gate: Gate, site: Site, outcome: Outcome) -> None:
    """Take what came of the fetch of a robots.txt, and let the requests go that waited for it."""
    gate.learn(site, outcome)
    free(turns, gate, site)


def free(turns: Turns, gate: Gate, site: Site) -> None:
    """Sort the requests again that were held for a site. They count as waiting meanwhile."""
    dispatcher = turns.dispatcher
    scheduler = dispatcher.scheduler
    with dispatcher.lock:
        tickets = scheduler.free(site.name)
        dispatcher.at_gate += len(tickets)
    if not tickets:
        return
    sorting = gate.sort(tickets)
    with turns.change() as now:
        dispatcher.at_gate -= len(tickets)
        waiting = [*sorting.allowed, *(ticket for ticket, _ in sorting.held)]
        if given_up := [ticket for ticket in waiting if dispatcher.is_given_up(ticket)]:
            sorting.leave_out(given_up)
        for ticket in sorting.allowed:
            if ticket.started:
                scheduler.put_first(ticket, now)
            else:
                scheduler.add(ticket, now)
        dispatcher.hold(sorting, now)
        dispatcher.counts.ended += len(sorting.refused) + len(given_up)
    turns.deliver_cancelled(given_up, GIVEN_UP)
    see_to(turns, gate, sorting)

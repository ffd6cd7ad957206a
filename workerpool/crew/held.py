"""Requests that are held until the robots.txt of their site is known, and what fetches that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workerpool.model import Outcome
from workerpool.robots import Site
from workerpool.tickets import Ticket

if TYPE_CHECKING:
    from workerpool.crew.crew import Crew
    from workerpool.gate import Fetch


class RobotsFetch(Ticket):
    """The fetch of a site's robots.txt, redirects included, which obeys nobody."""

    __slots__ = ("_crew", "_site")
    obeys = False

    def __init__(self, crew: Crew, fetch: Fetch) -> None:
        super().__init__(fetch.request, fetch.host)
        self._crew = crew
        self._site: Site = fetch.site

    def deliver(self, outcome: Outcome) -> None:
        self._crew.hear_robots(self._site, outcome)

"""The gate before the scheduler: a request that obeys robots.txt passes when its site's rules are known and allow it.

What waits for rules is held by the scheduler, without a place, a slot or a worker. The fetch of a robots.txt is a
request like others: the gate says which is to be sent, the crew sends it, and brings back what came of it. Called on
any thread, without the crew's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from workerpool import events
from workerpool.clock import Clock
from workerpool.errors import Denied, InvalidRequest, RequestError, RobotsDisallowed, TooManyRedirects
from workerpool.model import Outcome, Request
from workerpool.redact import redact
from workerpool.robots import LEAST_KEPT, LONGEST, Answered, Disallowed, OpenRules, Robots, Site, Unknown, Verdict
from workerpool.tickets import Ticket
from workerpool.transport import read_first

READING = 30.0
"""Seconds that reading the body of a robots.txt may take."""


class Fetch(NamedTuple):
    """A request for a site's robots.txt, and the host that it is sent to."""

    site: Site
    request: Request
    host: str


@dataclass(slots=True)
class Sorting:
    """Requests by what robots.txt says: to be queued, to be held for their site, and not to be sent. And what is to be
    fetched first."""

    allowed: list[Ticket] = field(default_factory=list)
    held: list[tuple[Ticket, Site]] = field(default_factory=list)
    refused: list[tuple[Ticket, RobotsDisallowed]] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)

    def leave_out(self, tickets: Iterable[Ticket]) -> None:
        """Forget some that are to be queued or held: nobody wants them any more."""
        unwanted = set(map(id, tickets))
        self.allowed = [ticket for ticket in self.allowed if id(ticket) not in unwanted]
        self.held = [(ticket, site) for ticket, site in self.held if id(ticket) not in unwanted]


class Gate:
    """Sorts requests by what robots.txt says."""

    def __init__(self, robots: Robots, clock: Clock, host_of: Callable[[str], str]) -> None:
        self._robots = robots
        self._clock = clock
        self._host_of = host_of

    def sort(self, tickets: Iterable[Ticket]) -> Sorting:
        """Sort requests that are to be sent next to where they stand: their URL, or where a redirect led them."""
        sorting = Sorting()
        for ticket in tickets:
            self._sort_in(ticket, sorting)
        return sorting

    def look(self, request: Request, url: str | None = None) -> Verdict:
        """Say what robots.txt says of a request, or of where a redirect leads it; see `Robots.look`."""
        return self._robots.look(url or _whole(request), agent_of(request), self._clock.now())

    def _sort_in(self, ticket: Ticket, sorting: Sorting) -> None:
        request = ticket.request
        verdict = self.look(request, None if ticket.trip is None else ticket.trip.exchange.url)
        if isinstance(verdict, Unknown):
            sorting.held.append((ticket, verdict.site))
            if verdict.is_first:
                fetch = self.request_for(verdict.site, request)
                sorting.fetches.append(Fetch(verdict.site, fetch, self._host(fetch.url, ticket)))
        elif isinstance(verdict, Disallowed):
            sorting.refused.append((ticket, disallowed(verdict)))
        else:
            ticket.pace = verdict.pace
            sorting.allowed.append(ticket)

    def awaits(self, site: Site) -> bool:
        """Whether its robots.txt is still being fetched."""
        return self._robots.awaits(site)

    def forget(self, fetches: Iterable[Fetch]) -> None:
        """Note that these will never be sent: nobody wants what waited for them any more."""
        for fetch in fetches:
            self._robots.forget(fetch.site)

    def learn(self, site: Site, outcome: Outcome) -> None:
        """Take what came of the fetch of a site's robots.txt; reads its body, which may take a while."""
        error = outcome.error
        if isinstance(error, (Denied, InvalidRequest)) and not (outcome.attempts and outcome.attempts[-1].hops):
            # Its pages cannot be sent either, and say why by themselves.
            self._robots.learn(site, OpenRules(), LEAST_KEPT, self._clock.now())
            return
        answered = _answered(outcome)
        rules, seconds = self._robots.read(site, answered)
        self._robots.learn(site, rules, seconds, self._clock.now())
        events.emit(
            "robots.read", url=site.robots_url, status=answered.status, delay=rules.delay, error=answered.error or None
        )

    def _host(self, robots_url: str, ticket: Ticket) -> str:
        try:
            return self._host_of(robots_url)
        except Exception:  # a user's function, which knows no such URL
            return ticket.host

    def request_for(self, site: Site, request: Request) -> Request:
        """The request for a site's robots.txt, sent the way that `request` is."""
        agent = agent_of(request)
        return Request(
            site.robots_url,
            headers=None if agent is None else {"User-Agent": agent},
            timeout=request.timeout,
            allow_redirects=True,
            proxies=request.proxies,
            verify=request.verify,
            cert=request.cert,
            stream=True,
        )


def disallowed(verdict: Disallowed) -> RobotsDisallowed:
    return RobotsDisallowed(redact(verdict.why), retry_helps=verdict.is_temporary)


def agent_of(request: Request) -> str | None:
    """The User-Agent that a request brings along, "" if it wants none; None if it leaves that to the session."""
    try:
        for name, value in (request.headers or {}).items():
            if isinstance(name, str) and name.lower() == "user-agent":
                return value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    except Exception:  # junk for headers: it fails by itself
        pass
    return None


def _whole(request: Request) -> str:
    """The request's URL with its `params`, nearly as requests appends them: enough for rules to match."""
    if not request.params:
        return request.url
    url, hash_sign, fragment = request.url.partition("#")
    params = request.params
    try:
        query = params if isinstance(params, (str, bytes)) else urlencode(_pairs(params), doseq=True)
    except Exception:  # junk for parameters: it fails by itself
        return request.url
    query = query.decode("latin-1") if isinstance(query, bytes) else query
    return f"{url}{'&' if '?' in url else '?'}{query}{hash_sign}{fragment}"


def _pairs(params: Any) -> list[tuple[str, Any]]:
    items = params.items() if isinstance(params, Mapping) else params
    return [(name, value) for name, value in items if value is not None]


def _answered(outcome: Outcome) -> Answered:
    error, response = outcome.error, outcome.response
    told = "" if error is None else str(error)
    if response is None:
        return Answered(None, error=told, had_too_many_redirects=isinstance(error, TooManyRedirects))
    if not 200 <= response.status_code < 300:
        response.close()
        return Answered(response.status_code, error=told)
    try:
        body = read_first(response, LONGEST + 1, READING)
    except Exception as failed:
        said = str(failed) if isinstance(failed, RequestError) else f"its body broke off: {type(failed).__name__}"
        return Answered(None, error=said)
    return Answered(response.status_code, body, response.headers.get("Cache-Control", ""))

"""What is known of each site's robots.txt: whether it was asked for, what it allows, and until when that holds.

Any thread may `look`; one lock, held for a dictionary's time, guards all. Matching a URL with a site's rules, which may
be thousands, is done outside of it. Whoever is told `Unknown` with `is_first` fetches the robots.txt, and every fetch
ends with `learn` or `forget`.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from workerpool.agent import PRODUCT, product_token
from workerpool.canonical import canonical
from workerpool.extras import load
from workerpool.model import DEFAULT_PORTS, origin
from workerpool.robots.pace import Pace
from workerpool.robots.rules import ClosedRules, OpenRules, Rules, read_rules

KEPT = 24 * 3600.0
"""Seconds for which a robots.txt holds at most (section 2.4)."""

LEAST_KEPT = 300.0
"""Seconds for which it holds at least, whatever Cache-Control says: asking again for each page would help nobody."""

UNREACHABLE_KEPT = 300.0
"""Seconds after which one that could not be fetched is asked for again. The site is closed meanwhile, however long that
goes on: the RFC would allow everything after 30 days, for which no pool remembers."""

MOST_SITES = 10_000
"""Sites that are remembered; the one that was asked about longest ago is forgotten first, and asked anew if need be."""

MOST_RULES = 100_000
"""Rules that are remembered in all, some 80 MB."""

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)


class Site(NamedTuple):
    """Whose robots.txt: an origin, asked by the robot with this product token."""

    origin: str
    token: str

    @property
    def name(self) -> str:
        return f"{self.token} {self.origin}"

    @property
    def robots_url(self) -> str:
        """Where it is: at the origin's root."""
        scheme, _, rest = self.origin.partition("://")
        return f"{scheme}://{rest.removesuffix(f':{DEFAULT_PORTS.get(scheme)}')}/robots.txt"


@dataclass(frozen=True, slots=True)
class Allowed:
    """It may be fetched. `pace`: what gives slots to its site's requests, if that has a Crawl-delay."""

    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class Disallowed:
    """It must not be fetched: `why` is a sentence that names the rule and the robots.txt.

    `is_temporary`: the robots.txt could not be fetched; later it may be allowed.
    """

    why: str
    is_temporary: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows yet. `is_first`: whoever was told is to fetch the site's robots.txt; else it is being fetched."""

    site: Site
    is_first: bool


Verdict: TypeAlias = Allowed | Disallowed | Unknown


@dataclass(frozen=True, slots=True)
class Answered:
    """How the fetch of a robots.txt ended, redirects followed and retries spent.

    `status`: of the last response, None if none came. `error`: why there is no robots.txt, as a sentence.
    """

    status: int | None = None
    body: bytes = b""
    cache_control: str = ""
    error: str = ""
    had_too_many_redirects: bool = False


@dataclass(slots=True)
class _Known:
    rules: Rules | None = None  # None until it was fetched
    until: float = float("-inf")  # the rules hold, on the pool's clock
    is_awaited: bool = False
    pace: Pace | None = None


_ALLOWED = Allowed()


class Robots:
    """The sites' robots.txt, for requests that obey them. `now` is always seconds on the pool's clock.

    Raises `OptionError` without the extra ``[crawl]``.
    """

    def __init__(self) -> None:
        load("protego", "crawl", "to obey robots.txt")
        self._lock = threading.Lock()  # guards every field below
        self._sites: OrderedDict[Site, _Known] = OrderedDict()  # asked about longest ago first
        self._rules = 0  # that are kept in all

    def look(self, url: str, agent: str | None, now: float) -> Verdict:
        """Say whether `url` may be fetched by who sends `agent` as its User-Agent, None for the pool's own.

        It is the URL as it is sent that counts: ``/a/../b`` is ``/b``. /robots.txt always may be fetched, and so may a
        URL that cannot be sent at all: it fails by itself.
        """
        url = canonical(url)
        site = site_of(url, agent)
        if site is None:
            return _ALLOWED
        with self._lock:
            known = self._sites.get(site)
            if known is None:
                known = self._sites[site] = _Known()
            self._sites.move_to_end(site)
            if known.is_awaited:
                return Unknown(site, is_first=False)
            rules = known.rules
            if rules is None or now >= known.until:
                known.is_awaited = True
                return Unknown(site, is_first=True)
            pace = known.pace
        try:
            why = rules.objection(url)
        except ValueError:  # it does not parse: it fails by itself
            return _ALLOWED
        if why is not None:
            return Disallowed(f"{site.robots_url} does not allow it: {why}", _is_temporary(rules))
        return _ALLOWED if pace is None else Allowed(pace)

    def awaits(self, site: Site) -> bool:
        """Whether the site's robots.txt is being fetched."""
        with self._lock:
            known = self._sites.get(site)
            return known is not None and known.is_awaited

    def read(self, site: Site, answered: Answered) -> tuple[Rules, float]:
        """What follows from the end of a fetch: the rules, and for how many seconds they hold. Slow for a large file.

        By section 2.3.1: 2xx is read; other statuses up to 499 mean that there is none, and so do too many redirects,
        which is to say that everything is allowed; without an answer, or with 5xx or 429 (which speaks of load, not of
        the file), nothing is, except that rules which were known before go on to hold.
        """
        status = answered.status
        if status is not None and 200 <= status < 300:
            return read_rules(answered.body, site.token), kept_for(answered.cache_control)
        if answered.had_too_many_redirects or (status is not None and status < 500 and status != 429):
            return OpenRules(), kept_for(answered.cache_control)
        with self._lock:
            known = self._sites.get(site)
            before = None if known is None else known.rules
        if before is not None and not _is_temporary(before):
            return before, UNREACHABLE_KEPT
        return ClosedRules(f"it could not be fetched: {answered.error}", is_temporary=True), UNREACHABLE_KEPT

    def learn(self, site: Site, rules: Rules, seconds: float, now: float) -> None:
        """Let `rules` hold for a site from now on, for so many seconds."""
        with self._lock:
            known = self._sites.setdefault(site, _Known())
            self._rules += rules.size - (known.rules.size if known.rules is not None else 0)
            known.rules, known.until, known.is_awaited = rules, now + seconds, False
            if known.pace is not None:
                known.pace.delay = rules.delay or 0.0  # for its host, too, which keeps the pace that it was given
            elif rules.delay is not None:
                known.pace = Pace(rules.delay)
            self._sites.move_to_end(site)
            self._make_room(site)

    def forget(self, site: Site) -> None:
        """Note that the fetch was given up: who looks next is to begin it again."""
        with self._lock:
            if (known := self._sites.get(site)) is not None:
                known.is_awaited = False

    def _make_room(self, latest: Site) -> None:
        """Forget who was asked about longest ago, until there is room; never who is awaited, nor the latest one."""
        while len(self._sites) > MOST_SITES or self._rules > MOST_RULES:
            oldest = next((site for site, one in self._sites.items() if not one.is_awaited and site != latest), None)
            if oldest is None:
                return
            gone = self._sites.pop(oldest)
            self._rules -= gone.rules.size if gone.rules is not None else 0


def _is_temporary(rules: Rules) -> bool:
    return isinstance(rules, ClosedRules) and rules.is_temporary


def site_of(url: str, agent: str | None) -> Site | None:
    """Whose robots.txt speaks about a canonical URL; None if none does: it is one itself, or cannot be sent."""
    where = origin(url)
    if not where.startswith(("http://", "https://")) or where == url:
        return None
    if "/robots.txt" in url and urlsplit(url).path == "/robots.txt":
        return None
    return Site(where, PRODUCT if agent is None else product_token(agent))


def kept_for(cache_control: str) -> float:
    """For how many seconds a robots.txt with this ``Cache-Control`` holds (RFC 9111, section 5.2.2)."""
    found = _MAX_AGE.search(cache_control)
    if found is not None:
        return min(max(float(found[1]), LEAST_KEPT), KEPT)
    lowered = cache_control.lower()
    return LEAST_KEPT if "no-cache" in lowered or "no-store" in lowered else KEPT

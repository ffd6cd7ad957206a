"""What is the same for every plain request of a session to one site, made once: its connections, and its head but for
the path.

A plain request is a URL, a method without a body, and perhaps headers: what nearly every batch is made of. A session
belongs to one thread; sessions that are alike share their plans.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import requests
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict

from workerpool.credentials import TokenSource
from workerpool.model import Request
from workerpool.transport.adapter import SharedAdapter, is_wrapped
from workerpool.transport.messages import Message, head_around, is_plain_target
from workerpool.transport.session import Session
from workerpool.transport.way import Way

PLANS_KEPT = 2048
"""Sites and methods that sessions which are alike have plans for: some 2 KB each."""
TABLES_KEPT = 16
"""Kinds of sessions that have plans of their own. As a rule there is one: workers' sessions are made alike."""

Table = dict[tuple[str, str, str | None], "Plan | None"]
Tables = dict[Any, Table]

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class Plan:
    """How a session sends plain requests of one method to one site.

    `pool`: where their connections come from; `way`: how requests' own path would send them; `headers`: what they
    carry, and `more`, what of it was the request's own.
    """

    __slots__ = ("_end", "_start", "has_login", "headers", "method", "more", "pool", "way")

    def __init__(self, prepared: PreparedRequest, around: tuple[str, str], pool: Any, way: Way, more: Any) -> None:
        self.method = prepared.method or ""
        self.headers = tuple(prepared.headers.items())
        self.more = more
        self.pool = pool
        self.way = way
        self._start, self._end = around
        self.has_login = any(name.lower() == "authorization" for name, _ in self.headers)

    def carries(self, more: Any) -> bool:
        """Whether `more` are the request's own headers that it has: in the same order, and written alike."""
        mine = self.more
        return mine is more or (bool(mine == more) and [*mine] == [*more])

    def message(self, url: str, target: str, login: str | None = None) -> Message:
        """What is sent for a URL. `login`: what ``Authorization`` says this time; it is kept in no plan."""
        headers, end = self.headers, self._end
        if login is not None:
            headers = (*headers, ("Authorization", login))
            end = f"{end[:-2]}Authorization: {login}\r\n\r\n"  # before the empty line
        head = f"{self._start}{target}{end}".encode("latin-1")
        return Message(self.method, url, head, None, partial(plain_request, self.method, headers, url))


def plain_request(method: str, headers: tuple[tuple[str, str], ...], url: str) -> PreparedRequest:
    """What requests would have made of a request without a body."""
    prepared: Any = PreparedRequest()
    prepared.method = method
    prepared.url = url
    prepared.headers = CaseInsensitiveDict(headers)
    prepared._cookies = RequestsCookieJar()
    prepared.hooks = default_hooks()
    return prepared  # type: ignore[no-any-return]


class Plans:
    """The plans of one session, as long as nobody changes it.

    `tables`: all sessions' plans, by what they depend on of a session. Whole values are read and written, so no lock is
    needed under the GIL: two threads may make the same plan, and either will do.
    """

    def __init__(self, session: Session, adapter: SharedAdapter, tables: Tables) -> None:
        self._session = session
        self._adapter = adapter
        self._tables = tables
        self._note_state()

    def find(self, request: Request, url: str, proxies: Mapping[str, str] | None = None) -> tuple[Plan, str] | None:
        """The plan for `request`, and its target; None if it is not plain, or the session has something to add.

        `proxies`: that whose turn it is, where several take turns.
        """
        if (
            request.params or request.data or request.json is not None or request.files or _is_own(request.auth)
            or request.cookies or request.stream or request.hooks or request.proxies
            or request.verify is not None or request.cert is not None or request.save or request.sha256
        ):  # fmt: skip
            return None
        session = self._session
        if _is_changing(session.auth) or session.params or session.hooks != _NO_HOOKS:
            return None
        cut = url.find("/", 8)
        if cut < 0:
            return None
        site, target = url[:cut], url[cut:]
        if not self._is_as_before():
            self._note_state()
        key = (request.method, site, None if proxies is None else proxies["http"])
        plan = known = self._table.get(key, _UNKNOWN)
        if known is _UNKNOWN or (known is not None and not known.carries(request.headers)):
            if len(self._table) >= PLANS_KEPT:
                self._table.clear()
            plan = self._make(request.method, site, request.headers, proxies)
            if plan is not None or request.headers is None:
                self._table[key] = plan
            elif known is _UNKNOWN:  # one request's odd headers say nothing of the site
                self._table[key] = self._make(request.method, site, None, proxies)
        if plan is None or not is_plain_target(target):
            return None
        return plan, target

    def _is_as_before(self) -> bool:
        """Whether all is as it was noted of the session that a plan depends on. By value: its owner may change it."""
        session = self._session
        headers: Any = session.headers
        items = getattr(headers, "_store", None)  # several times as fast as to compare the headers themselves
        return (
            headers is self._headers
            and items == self._headers_then
            and session.adapters == self._adapters_then
            and session.proxies == self._proxies_then
            and self._settings() == self._settings_then
        )

    def _note_state(self) -> None:
        session = self._session
        self._headers: Any = session.headers
        self._headers_then = OrderedDict(getattr(self._headers, "_store", {}))  # they are sent in their order
        self._adapters_then = {**session.adapters}
        self._proxies_then = {**session.proxies}
        self._settings_then = self._settings()
        self._table = self._shared_table()

    def _shared_table(self) -> Table:
        key = (
            tuple(self._headers_then.values()),
            tuple((prefix, id(adapter)) for prefix, adapter in self._adapters_then.items()),
            tuple(self._proxies_then.items()),
            self._settings_then,
        )
        try:
            table = self._tables.get(key)
        except TypeError:
            return {}  # something in it that has no hash: plans of its own
        if table is None:
            if len(self._tables) >= TABLES_KEPT:
                self._tables.clear()
            table = self._tables[key] = {}
        return table

    def _settings(self) -> tuple[Any, ...]:
        session = self._session
        # The last three change where somebody puts something of theirs in between, as libraries for tests do.
        attributes = len(vars(session))
        auth = session.auth if type(session.auth) is tuple else session.auth is not None  # with one, netrc is not asked
        own = (session.verify, session.cert, session.trust_env, auth, attributes)
        return (*own, Session.get_adapter, HTTPAdapter.send)

    def _make(
        self, method: str, site: str, headers: Mapping[str, str] | None, proxies: Mapping[str, str] | None
    ) -> Plan | None:
        session = self._session
        method = method.upper()
        url = f"{site}/"
        if type(session.headers) is not CaseInsensitiveDict or method not in _METHODS:
            return None
        if is_wrapped() or not _OF_SESSIONS.isdisjoint(vars(session)):
            return None
        more = None if headers is None else dict(headers)
        # Its jar may be that of `pool.session`, whose cookies are not the pool's; the pool has none for this request.
        own, session.cookies = session.cookies, RequestsCookieJar()
        try:
            prepared = session.prepare_request(requests.Request(method, url, headers=more))
        except Exception:
            return None  # requests' own path says what is wrong with it
        finally:
            session.cookies = own
        if prepared.url != url or session.get_adapter(url) is not self._adapter:
            return None
        way = Way.of(**session.merge_environment_settings(url, {**(proxies or {})}, True, None, None))
        pool = self._adapter.pool_or_none(prepared, way)
        if pool is None:
            return None
        start = self._adapter.request_url(prepared, way.proxies).removesuffix("/")
        around = head_around(method, dict(prepared.headers), None, pool, url)
        return around and Plan(prepared, (around[0] + start, around[1]), pool, way, more)


def _is_own(auth: Any) -> bool:
    """Whether requests has to do something for an auth each time; a token is added to what is sent."""
    return bool(auth) and not isinstance(auth, TokenSource)


def _is_changing(auth: Any) -> bool:
    """The same of a session's: a pair is a header that stays as it is."""
    return _is_own(auth) and type(auth) is not tuple


_OF_SESSIONS = frozenset(name for name, value in vars(requests.Session).items() if callable(value))
_NO_HOOKS = default_hooks()
_UNKNOWN: Any = object()

"""What is the same for every plain request of a session to one site, made once: its connections, and its head but for
the path.

A plain request is a URL, a method without a body, and perhaps headers: what nearly every batch is made of. A session
belongs to one thread, and so do its plans.
"""

from __future__ import annotations

from typing import Any

import requests
from requests import PreparedRequest
from requests.cookies import RequestsCookieJar
from requests.hooks import default_hooks

from workerpool.model import Request
from workerpool.transport.adapter import SharedAdapter, verify_setting
from workerpool.transport.messages import Message, head_around, is_plain_target
from workerpool.transport.session import Session

PLANS_KEPT = 512
"""Sites and methods that a session has plans for: about a kilobyte each."""

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


class Plan:
    """How a session sends plain requests of one method to one site.

    `pool`: where their connections come from; `way`: how requests' own path would send them; `headers`: what they
    carry, and `more`, what of it was the request's own.
    """

    __slots__ = ("_end", "_start", "headers", "method", "more", "pool", "site", "way")

    def __init__(
        self, site: str, prepared: PreparedRequest, around: tuple[str, str], pool: Any, way: dict[str, Any], more: Any
    ) -> None:
        self.site = site
        self.method = prepared.method or ""
        self.headers = prepared.headers
        self.more = more
        self.pool = pool
        self.way = way
        self._start, self._end = around

    def message(self, url: str, target: str) -> Message:
        head = f"{self._start}{target}{self._end}".encode("latin-1")
        return Message(self.method, url, head, None, lambda: self.prepared(url))

    def prepared(self, url: str) -> PreparedRequest:
        """What requests would have made of a request to `url`."""
        prepared: Any = PreparedRequest()
        prepared.method = self.method
        prepared.url = url
        prepared.headers = self.headers.copy()
        prepared._cookies = RequestsCookieJar()
        prepared.hooks = default_hooks()
        return prepared  # type: ignore[no-any-return]


class Plans:
    """The plans of one session, as long as nobody changes it."""

    def __init__(self, session: Session, adapter: SharedAdapter) -> None:
        self._session = session
        self._adapter = adapter
        self._plans: dict[tuple[str, str], Plan | None] = {}
        self._state: tuple[Any, ...] = ()

    def find(self, request: Request, url: str) -> tuple[Plan, str] | None:
        """The plan for `request`, and its target; None if it is not plain, or the session has something to add."""
        if (
            request.params or request.data or request.json is not None or request.files or request.auth
            or request.cookies or request.stream or request.hooks or request.proxies
            or request.verify is not None or request.cert is not None
        ):  # fmt: skip
            return None
        cut = url.find("/", 8)
        if cut < 0:
            return None
        site, target = url[:cut], url[cut:]
        state = self._state_now()
        if state != self._state:
            self._plans.clear()
            self._state = state
        key = (request.method, site)
        plan = self._plans.get(key, _UNKNOWN)
        if plan is _UNKNOWN or (plan is not None and plan.more != request.headers):
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            plan = self._plans[key] = self._make(request, site)
        if plan is None or not is_plain_target(target):
            return None
        return plan, target

    def _state_now(self) -> tuple[Any, ...]:
        """Everything of the session that a plan depends on; compared by value, as all of it may be changed."""
        session: Any = self._session
        return (
            dict(session.headers), dict(session.proxies), session.verify, session.cert, session.trust_env,
            session.auth, session.params, [*session.hooks.values()], [*session.adapters.items()],
        )  # fmt: skip

    def _make(self, request: Request, site: str) -> Plan | None:
        session = self._session
        method = request.method.upper()
        url = f"{site}/"
        if method not in _METHODS or session.auth or session.params or any(session.hooks.values()):
            return None
        if session.get_adapter(url) is not self._adapter:
            return None
        more = None if request.headers is None else dict(request.headers)
        prepared = session.prepare_request(requests.Request(method, url, headers=more))
        settings = session.merge_environment_settings(url, {}, True, None, None)
        way = {name: settings[name] for name in ("verify", "cert", "proxies")}
        way["verify"] = verify_setting(way["verify"])
        pool = self._adapter.pool_for(prepared, way)
        if prepared.url != url or pool is None:
            return None
        start = self._adapter.request_url(prepared, way["proxies"]).removesuffix("/")
        around = head_around(method, dict(prepared.headers), None, pool, url)
        return around and Plan(site, prepared, (around[0] + start, around[1]), pool, way, more)


_UNKNOWN: Any = object()

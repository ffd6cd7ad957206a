"""What a redirect may carry on to another origin, and when a chain of them leads in a circle. Worker threads only."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar
from requests.utils import get_netrc_auth

from workerpool.credentials import TOKEN_SOURCE
from workerpool.model import DEFAULT_PORTS, origin

_HOME = "home;"
"""A cookie's attribute, never sent: the site that set it, by host and port. No server can give it: a semicolon ends a
name."""
_STRAYED = "has_left_origin"
TIME_LEFT = "time_left"
"""An attribute of a redirecting response that `pool.session` got, and of the request that goes on: seconds that the
rest of the chain has. The pool's own requests keep count elsewhere."""


def confine(session: Any, following: PreparedRequest, response: Response) -> None:
    """Take from `following`, which goes on where `response` redirects to, what another origin must not see.

    That is ``Authorization`` and the auth that would answer the new host's challenge, unless that host has a login of
    its own; the cookies that the request itself was given; and cookies that a server set for its own host only, at
    another port of the same host. requests lets the first pass from http to https, the second and third to anywhere,
    and the fourth to all ports, as RFC 6265 does. A proxy's login is none of the request's: urllib3 adds it where there
    is a proxy, and requests here even where there is none for the new host.
    """
    previous: Any = response.request
    if hasattr(response, TIME_LEFT):
        setattr(following, TIME_LEFT, getattr(response, TIME_LEFT))
    following.headers.pop("Proxy-Authorization", None)
    has_left = origin(following.url or "") != origin(previous.url or "")
    state: Any = following
    if has_left:
        _drop_login(session, following, previous)
    elif hasattr(previous, TOKEN_SOURCE):  # or a token that is refused there would not be renewed
        setattr(state, TOKEN_SOURCE, getattr(previous, TOKEN_SOURCE))
    has_strayed = has_left or getattr(previous, _STRAYED, False)
    setattr(state, _STRAYED, has_strayed)
    jar = state._cookies
    if jar is None or not len(jar):
        return
    home, there = _home(previous.url or ""), _home(following.url or "")
    allowed = RequestsCookieJar()
    for cookie in [*jar]:
        if not cookie.domain:
            if has_strayed:
                jar.clear(cookie.domain, cookie.path, cookie.name)
                continue
        elif not cookie.domain_specified:
            # No home yet: if its domain is the last hop's host, that hop set it, so that is its home. If not, it was in
            # the session's jar before; then only its host is known, and that is enough for it to go.
            if not cookie.has_nonstandard_attr(_HOME) and cookie.domain in (home[0], f"{home[0]}.local"):
                cookie.set_nonstandard_attr(_HOME, home)
            if not _may_go(cookie.get_nonstandard_attr(_HOME, there), there):
                continue
        allowed.set_cookie(cookie)
    following.headers.pop("Cookie", None)
    following.prepare_cookies(allowed)
    state._cookies = jar  # all of them: the chain may come back


def _drop_login(session: Any, following: PreparedRequest, previous: PreparedRequest) -> None:
    hooks: Any = following.hooks  # shared with `previous`
    answers = [hook for hook in hooks.get("response", ()) if not isinstance(getattr(hook, "__self__", None), AuthBase)]
    following.hooks = {**hooks, "response": answers}
    login = following.headers.get("Authorization")
    if login is None or login != previous.headers.get("Authorization"):
        return
    if not _login_of(session, following.url or ""):
        del following.headers["Authorization"]


def _login_of(session: Any, url: str) -> Any:
    """What netrc says: a session of ours remembers it."""
    if hasattr(session, "login_of"):
        return session.login_of(url)
    return get_netrc_auth(url) if getattr(session, "trust_env", False) else None


def _home(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    return (parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0))


def _may_go(home: tuple[str, int], there: tuple[str, int]) -> bool:
    """Whether a host's own cookies go there: to itself, or from http to https, as a site that moves takes them."""
    return home == there or (home[0] == there[0] and (home[1], there[1]) == (80, 443))


def step_of(prepared: PreparedRequest) -> tuple[Any, ...]:
    """What makes one step of a chain of redirects differ from another: the same step twice is a circle."""
    return (prepared.method, prepared.url, prepared.headers.get("Cookie"), prepared.headers.get("Authorization"))

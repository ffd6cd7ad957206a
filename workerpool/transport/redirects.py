"""What a redirect may carry on to another origin, and when a chain of them leads in a circle. Worker threads only."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.cookies import RequestsCookieJar
from requests.utils import get_netrc_auth

from workerpool.model import origin

_HOME = "workerpool-home"
"""A cookie's attribute, never sent: the site that set it, by host and port."""
_STRAYED = "has_left_origin"


def confine(session: Any, following: PreparedRequest, response: Response) -> None:
    """Take from `following`, which goes on where `response` redirects to, what another origin must not see.

    That is ``Authorization``, unless the new host has a login of its own; the cookies that the request itself was
    given; and cookies that a server set for its own host only, at another port of the same host. requests lets the
    first pass from http to https, the second to anywhere, and the third to all ports, as RFC 6265 does.
    """
    previous: Any = response.request
    has_left = origin(following.url or "") != origin(previous.url or "")
    if has_left:
        _drop_login(session, following, previous)
    state: Any = following
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
            if not cookie.has_nonstandard_attr(_HOME):
                cookie.set_nonstandard_attr(_HOME, home)
            if cookie.get_nonstandard_attr(_HOME) != there:
                continue
        allowed.set_cookie(cookie)
    following.headers.pop("Cookie", None)
    following.prepare_cookies(allowed)
    state._cookies = jar  # all of them: the chain may come back


def _drop_login(session: Any, following: PreparedRequest, previous: PreparedRequest) -> None:
    login = following.headers.get("Authorization")
    if login is None or login != previous.headers.get("Authorization"):
        return
    if not (getattr(session, "trust_env", False) and get_netrc_auth(following.url or "")):
        del following.headers["Authorization"]


def _home(url: str) -> tuple[str, int]:
    """Host and port; the default ports are one, as a site that moves to https takes its cookies along."""
    parts = urlsplit(url)
    port = parts.port or 443
    return (parts.hostname or "", 443 if port == 80 else port)


def step_of(prepared: PreparedRequest) -> tuple[Any, ...]:
    """What makes one step of a chain of redirects differ from another: the same step twice is a circle."""
    return (prepared.method, prepared.url, prepared.headers.get("Cookie"), prepared.headers.get("Authorization"))

"""Requests for pages, made of the request that a chain of them began with. Pure functions, any thread.

Whatever that one has, its pages have: method, headers, body, auth, key, idempotency. Where a link leads to another
origin they lose what a redirect to there would lose, and do not get it back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus, unquote_plus, urljoin, urlsplit

from workerpool.credentials import as_it_is
from workerpool.errors import PageError
from workerpool.model import Request, origin, problem_of
from workerpool.redact import printable, redact

_SECRET_HEADERS = frozenset(("authorization", "cookie", "proxy-authorization"))
_IDEMPOTENCY_KEY = "idempotency-key"
_NAMESPACE = uuid.UUID("8f4c1d0e-5b57-4a53-9a0c-6c3f0f5f2a61")
"""Of the keys of further pages; any other would do, as long as it stays the same."""

Value = str | int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page is: its URL, its cursor, its number or its offset. It can be written as JSON.

    `has_left`: whether a page before it, or this one, is at another origin than the first.
    """

    value: Value
    has_left: bool = False


def at_url(start: Request, position: Position) -> Request:
    """The request for the page at a URL."""
    url = _with_login(start.url, str(position.value)) if not position.has_left else str(position.value)
    request = replace(start, url=url, params=None)
    return _without_secrets(request) if position.has_left else request


def position_of(start: Request, before: Position | None, base: str, target: str) -> Position:
    """Where a link leads that a page has, whose final URL is `base`; raises `PageError` if that is nowhere."""
    try:
        url = urljoin(base, target)
        problem = problem_of(url)
    except ValueError as error:
        url, problem = target, str(error)
    if problem is not None:
        raise PageError(f"the link to the next page leads nowhere: {redact(printable(url))[:200]!r}: {problem}")
    has_left = before is not None and before.has_left
    return Position(url.partition("#")[0], has_left or origin(url) != origin(start.url))


def with_value(request: Request, name: str, value: Value, in_body: bool | None) -> Request:
    """Say `value` in the request: in its JSON body or in its query; None is in the body if that is an object."""
    if in_body or (in_body is None and isinstance(request.json, dict)):
        return replace(request, json={**(request.json or {}), name: value})
    head, hash_, fragment = request.url.partition("#")
    path, _, query = head.partition("?")
    pairs = [*_others(query, name), f"{quote_plus(name)}={quote_plus(str(value))}"]
    return replace(
        request, url=f"{path}?{'&'.join(pairs)}{hash_}{fragment}", params=_params_without(request.params, name)
    )


def value_in(request: Request, name: str, in_body: bool | None) -> Any:
    """What the request says for `name`, None if nothing."""
    if in_body or (in_body is None and isinstance(request.json, dict)):
        return (request.json or {}).get(name)
    given = dict(_pairs_of(request.params))
    if name in given:
        return given[name]
    query = request.url.partition("#")[0].partition("?")[2]
    said = [pair.partition("=")[2] for pair in query.split("&") if _name_of(pair) == name]
    return unquote_plus(said[-1]) if said else None


def as_page(request: Request, start: Request, page: int) -> Request:
    """Give a request for a page the identity of its first one, and its number."""
    key = start.key if request.url == start.url else start.label
    headers = request.headers
    if page > 1 and headers and any(name.lower() == _IDEMPOTENCY_KEY for name in headers):
        headers = {name: _key_of(name, value, page) for name, value in headers.items()}
    return replace(request, page=page, key=key, headers=headers, earlier=())


def _key_of(name: str, value: str, page: int) -> str:
    """A key of its own for each page: with its first one's, a server would give the first one's answer again."""
    return str(uuid.uuid5(_NAMESPACE, f"{value} {page}")) if name.lower() == _IDEMPOTENCY_KEY else value


def _with_login(start: str, url: str) -> str:
    """Keep a login that stands in the first URL, as links to the same origin leave it out."""
    login, at, _ = urlsplit(start).netloc.rpartition("@")
    parts = urlsplit(url)
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl() if at and "@" not in parts.netloc else url


def _without_secrets(request: Request) -> Request:
    headers = request.headers
    if headers is not None:
        headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}
    # Without any auth it would get the pool's own, which is for the sources' origins and not for where a link leads.
    return replace(request, headers=headers, auth=as_it_is, cookies=None)


def _others(query: str, name: str) -> list[str]:
    """The pairs of a query but those of that name, as they are written."""
    return [pair for pair in query.split("&") if pair and _name_of(pair) != name]


def _name_of(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _pairs_of(params: Any) -> list[tuple[Any, Any]]:
    """What `Request.params` says as pairs; a text as those of a query."""
    if isinstance(params, bytes):
        params = params.decode()
    if isinstance(params, str):
        halves = (pair.partition("=") for pair in params.split("&") if pair)
        return [(unquote_plus(name), unquote_plus(value)) for name, _, value in halves]
    return [*(params.items() if isinstance(params, Mapping) else params or ())]


def _params_without(params: Any, name: str) -> Any:
    if params is None:
        return None
    return [(other, value) for other, value in _pairs_of(params) if other != name] or None

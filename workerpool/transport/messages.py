"""A request's bytes, as http.client would send them: for the fast path. Pure functions, any thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from urllib3.connection import _get_default_user_agent

from workerpool.model import DEFAULT_PORTS
from workerpool.transport.http1 import TOKEN

_CHARACTERS = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"
_TARGET = re.compile(
    rf"/[{_CHARACTERS}]*(?:%[0-9A-F]{{2}}[{_CHARACTERS}]*)*"
    rf"(?:\?(?!\Z)[{_CHARACTERS}?]*(?:%[0-9A-F]{{2}}[{_CHARACTERS}?]*)*)?"  # not an empty query: requests drops its "?"
)
_UNRESERVED = re.compile(r"%(?:2[DE]|3\d|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])")
_NAME = re.compile(TOKEN)
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "TRACE", "OPTIONS", "CONNECT"})
_ODD_HEADERS = frozenset({"transfer-encoding", "expect", "upgrade", "connection"})
_USER_AGENT = _get_default_user_agent()


class Message:
    """One request for the wire.

    `head`: its request line and headers as bytes. `body`: bytes, or None. `make_request`: gives its `PreparedRequest`,
    should somebody ask for it.
    """

    __slots__ = ("body", "head", "make_request", "method", "url")

    def __init__(
        self, method: str, url: str, head: bytes, body: bytes | None, make_request: Callable[[], PreparedRequest]
    ) -> None:
        self.method = method
        self.url = url
        self.head = head
        self.body = body
        self.make_request = make_request


def is_plain_target(target: str) -> bool:
    """Whether a URL's path and query go out as they are: neither requests nor urllib3 would change a character."""
    return (
        _TARGET.fullmatch(target) is not None
        and "/." not in target
        and ("%" not in target or not _UNRESERVED.search(target))
    )


def message_of(request: PreparedRequest, target: str, pool: Any) -> Message | None:
    """Write down what requests would send of `request` over a connection of `pool`; None for what is not plain."""
    body: Any = request.body
    if isinstance(body, str):
        body = body.encode()
    if not (body is None or isinstance(body, bytes)):
        return None
    method = request.method or ""
    names = head_around(method, dict(request.headers), body, pool, request.url or "")
    path = request.path_url
    if names is None or not is_plain_target(path):
        return None
    start, end = names
    return Message(method, request.url or "", f"{start}{target}{end}".encode("latin-1"), body, lambda: request)


def head_around(
    method: str, headers: Mapping[Any, Any], body: bytes | None, pool: Any, url: str
) -> tuple[str, str] | None:
    """What of a head stands before and after the target, in http.client's and urllib3's order; None if not plain.

    What they would refuse is left to them: they say what is wrong with it.
    """
    if not (method.isascii() and method.isalpha() and method.isupper()):
        return None
    headers = {**headers, **pool.forward_headers}
    if not all(type(name) is str and type(value) is str and _NAME.fullmatch(name) for name, value in headers.items()):
        return None
    names = {name.lower() for name in headers}
    if not names.isdisjoint(_ODD_HEADERS) and not _is_usual(headers, names):
        return None
    host = _host(url, is_absolute=pool.forwards)
    if "%" in host:
        return None  # an address with a zone, which is left out somewhere
    lines = [] if "host" in names else [f"Host: {host}"]
    if "accept-encoding" not in names:
        lines.append("Accept-Encoding: identity")
    if "content-length" not in names and (body is not None or method not in _BODILESS):
        lines.append(f"Content-Length: {len(body or b'')}")
    if "user-agent" not in names:
        lines.append(f"User-Agent: {_USER_AGENT}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    text = "\r\n".join(["", *lines, "", ""])
    breaks = len(lines) + 2
    if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
        return None
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    return f"{method} ", f" HTTP/1.1{text}"


def _is_usual(headers: Mapping[str, str], names: set[str]) -> bool:
    """Whether of the headers that speak of the connection only ``Connection`` is there, and says nothing unusual."""
    odd = names & _ODD_HEADERS
    return odd == {"connection"} and all(
        value.lower() in ("keep-alive", "close") for name, value in headers.items() if name.lower() == "connection"
    )


def _host(url: str, *, is_absolute: bool) -> str:
    """What http.client puts into ``Host``: the port only where it is not the scheme's own.

    `is_absolute`: whether the target is the whole URL, for a proxy; what stands there is then taken as it is.
    """
    parts = urlsplit(url)
    if is_absolute:
        return parts.netloc.rpartition("@")[2]
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"

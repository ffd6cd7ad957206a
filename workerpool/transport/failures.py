"""Translates what requests and urllib3 raise into workerpool's errors, in sentences of our own without secrets."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from workerpool.errors import (
    BadBody,
    ConnectFailed,
    ConnectionLost,
    InvalidRequest,
    RequestError,
    TimedOut,
    TlsFailed,
    TooLarge,
    TooManyRedirects,
    UnexpectedError,
)
from workerpool.model import origin
from workerpool.redact import printable, redact
from workerpool.transport.connection import InvalidHeader, StaleSocket
from workerpool.transport.reading import HeadTooLarge
from workerpool.transport.trace import Trace

_INVALID = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidJSONError,
)

LONGEST_DETAIL = 200
"""Characters of somebody else's sentence that are repeated: a server may have written it."""

_MANY_HEADERS = "got more than"
"""How http.client's sentence about over 100 headers begins."""

_OF_IDENTITY = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")
"""What OpenSSL's names for the alerts have in them with which a server refuses a client or its certificate."""

_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""An end of the connection in the handshake; the latter before Python 3.11.4, or where TLS itself says that it ends."""

_OPENSSL_NOTES = re.compile(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$")
"""What OpenSSL's errors say for its own developers."""


def translate(error: BaseException, url: str, *, was_sent: bool = False) -> RequestError:
    """Return the error of ours for what a send to `url` raised; `error` becomes its cause.

    `was_sent`: the connection was made, and the request begun; urllib3 blames a proxy for what happens after that, too.
    """
    ours = _translated(error, origin(url), was_sent)
    ours.__cause__ = error
    return ours


def out_of_time(trace: Trace, cause: BaseException | None = None) -> requests.Timeout:
    """requests' error for a send whose deadline has passed; `cause`: what came of that in the library."""
    if trace.sent_at is None:
        late: requests.Timeout = requests.ConnectTimeout("no connection in the time allowed")
    else:
        late = requests.ReadTimeout("no complete answer in the time allowed")
    late.__cause__ = cause
    return late


def _translated(error: BaseException, host: str, was_sent: bool) -> RequestError:
    causes = [*causes_of(error)]
    host = redact(host)
    if _has(causes, urllib3.exceptions.InvalidHeader):  # of the answer; requests takes it for the request's
        return ConnectionLost(f"the answer of {host} is not HTTP: {_detail(causes)}")
    if isinstance(error, requests.exceptions.InvalidHeader) and not _has(causes, InvalidHeader):
        # Of a session of the user's own: requests tells the value, which may be a secret.
        return InvalidRequest("a header begins with white space, has a line break in it, or is no text")
    if isinstance(error, _INVALID) or _has(causes, InvalidHeader, urllib3.exceptions.LocationParseError):
        return InvalidRequest(redact(str(error)))
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return TooManyRedirects(redact(str(error)))
    proxy = next(filter(None, (getattr(cause, "through", None) for cause in causes)), None)
    through = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return TimedOut(f"no connection to {host}{through} in the time allowed")
    if isinstance(error, requests.exceptions.Timeout) or _has(
        causes, urllib3.exceptions.ReadTimeoutError, TimeoutError
    ):
        return TimedOut(f"{host} did not answer in the time allowed")
    if isinstance(error, requests.exceptions.SSLError) or _has(causes, ssl.SSLError, urllib3.exceptions.SSLError):
        if _has(causes, *_ENDED, StaleSocket) or (was_sent and not _refuses_us(causes)):
            return _lost(host, causes)
        return TlsFailed(f"no TLS connection to {host}: {_detail(causes)}")
    if _has(causes, HeadTooLarge) or any(_MANY_HEADERS in str(cause) for cause in causes[-1:]):
        return TooLarge(f"the answer of {host} was not read on: {_detail(causes)}")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return BadBody(f"the body from {host} does not decode: {_detail(causes)}")
    if _has(causes, urllib3.exceptions.NameResolutionError, socket.gaierror):
        name = f"of the proxy {proxy}" if proxy else urlsplit(host).hostname or host
        return ConnectFailed(f"the name {name} does not resolve")
    if isinstance(error, requests.exceptions.ProxyError) and not (was_sent or _has(causes, StaleSocket)):
        return ConnectFailed(f"no connection to {host}{through or ' through the proxy'}: {_detail(causes)}")
    if _has(causes, urllib3.exceptions.NewConnectionError):
        return ConnectFailed(f"no connection to {host}{through}: {_detail(causes)}")
    if isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        return _lost(host, causes)
    return UnexpectedError(f"{type(error).__name__}: {redact(str(error))}")


def _lost(host: str, causes: list[BaseException]) -> ConnectionLost:
    lost = ConnectionLost(f"the connection to {host} ended early: {_detail(causes)}")
    lost.stale = _has(causes, StaleSocket)
    return lost


def _refuses_us(causes: list[BaseException]) -> bool:
    """Whether the server did not accept who we are. By TLS 1.3 it says so when the request may be on its way, though it
    has read nothing of that."""
    reasons = [str(cause.reason) for cause in causes if isinstance(cause, ssl.SSLError)]
    return any("ALERT" in reason and any(word in reason for word in _OF_IDENTITY) for reason in reasons)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Walk from `error` to what caused it: requests and urllib3 keep that in arguments, ``reason`` or ``__cause__``."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        todo += [item for item in inner if isinstance(item, BaseException)]


def _has(causes: list[BaseException], *types: type[BaseException]) -> bool:
    return any(isinstance(cause, types) for cause in causes)


def _detail(causes: list[BaseException]) -> str:
    """The plainest words for what happened: the operating system's, else those of the innermost cause."""
    if _has(causes, http.client.IncompleteRead):
        return "the answer's body is cut short"
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message or "the certificate was not accepted"
        if isinstance(cause, OSError) and cause.strerror:
            text = _OPENSSL_NOTES.sub("", cause.strerror)
            return text[:1].lower() + text[1:] if text[1:2].islower() else text
    text = next((str(arg) for arg in reversed(causes[-1].args) if isinstance(arg, str)), type(causes[-1]).__name__)
    return redact(printable(text if len(text) <= LONGEST_DETAIL else f"{text[:LONGEST_DETAIL]}…"))

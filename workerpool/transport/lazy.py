"""The response of the fast path: a `requests.Response` that makes most of its attributes when they are first asked for.

The status, the URL and the body are there; the rest is made from the head as it came. Most batches look at the body and
one or two headers, and making all of what requests makes takes longer than reading the answer. For whoever has the
response, as with requests' own: one thread at a time.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import urllib3
from requests import PreparedRequest, Response
from requests.cookies import RequestsCookieJar, extract_cookies_to_jar
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPHeaderDict

from workerpool.transport.http1 import header_lines, reason_of


class LazyResponse(Response):
    """A response whose body has been read: `size` bytes, before they were decoded.

    `head`: the status line and headers, as they came; `make_request`: gives its `PreparedRequest`; `seconds` from the
    request's first byte to the end of the head; `adapter`: what it came through; `concerns_session`: whether it sets
    cookies, or may redirect.
    """

    _next: PreparedRequest | None = None
    _content_consumed = True

    def __init__(
        self,
        status: int,
        url: str,
        content: bytes,
        size: int,
        head: bytes,
        make_request: Callable[[], PreparedRequest],
        seconds: float,
        adapter: Any,
        concerns_session: bool,
    ) -> None:
        # requests' own __init__ would make everything that is to be made later.
        self.status_code = status
        self.url = url
        self._content = content
        self._size = size
        self._head = head
        self._make_request = make_request
        self._seconds = seconds
        self.connection = adapter
        self.concerns_session = concerns_session

    def __getattr__(self, name: str) -> Any:
        """Make an attribute that is not there yet, and keep it."""
        make = _MAKERS.get(name)
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = make(self)
        setattr(self, name, value)
        return value

    def __reduce__(self) -> Any:
        """Pickled, it is requests' own: whoever reads it need not know this class."""
        return (Response, (), self.__getstate__())

    def close(self) -> None:
        """As requests' own; nothing is held that was not asked for."""
        if "raw" in vars(self):
            super().close()


def has_header(response: Response, *names: str) -> bool:
    """Whether a response has one of some headers, in a tenth of the time that it takes to make all of them.

    `names`: in lower case. True may be wrong; then what is made of the headers will tell.
    """
    if not isinstance(response, LazyResponse) or "headers" in vars(response):
        return any(name in response.headers for name in names)
    head = response._head.lower()
    return any(name.encode() in head for name in names)


def _headers(response: LazyResponse) -> CaseInsensitiveDict[str]:
    lines = [*header_lines(response._head)]
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict(lines)
    return headers if len(headers) == len(lines) else CaseInsensitiveDict(HTTPHeaderDict(lines))


def _cookies(response: LazyResponse) -> RequestsCookieJar:
    jar = RequestsCookieJar()
    if "set-cookie" in response.headers:
        extract_cookies_to_jar(jar, response.request, response.raw)  # type: ignore[no-untyped-call]
    return jar


def _raw(response: LazyResponse) -> urllib3.HTTPResponse:
    """What urllib3 would have given, read to its end."""
    method = response.request.method
    answer = http.client.HTTPResponse(cast(Any, _Bytes(response._head + b"\r\n\r\n")), method=method)
    answer.begin()
    answer.close()
    raw: Any = urllib3.HTTPResponse(
        body=answer,
        headers=HTTPHeaderDict(answer.msg.items()),
        status=answer.status,
        version=answer.version,
        version_string="HTTP/1.1",
        reason=answer.reason,
        preload_content=False,
        decode_content=False,
        original_response=answer,
        request_method=method,
        request_url=response.request.path_url,
    )
    raw.retries = response.connection.max_retries
    if not raw.chunked:
        raw.length_remaining = 0
    raw._fp_bytes_read = response._size
    return cast(urllib3.HTTPResponse, raw)


_MAKERS: dict[str, Callable[[LazyResponse], Any]] = {
    "headers": _headers,
    "raw": _raw,
    "reason": lambda response: reason_of(response._head),
    "encoding": lambda response: get_encoding_from_headers(response.headers),
    "cookies": _cookies,
    "history": lambda response: [],
    "elapsed": lambda response: timedelta(seconds=response._seconds),
    "request": lambda response: response._make_request(),
}


class _Bytes:
    """What http.client takes for a socket: something to read from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)

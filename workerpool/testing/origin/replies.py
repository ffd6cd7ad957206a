"""What a client sent (`Arrival`), what it gets (`Reply`), and the bytes that a reply becomes. Values; any thread."""

from __future__ import annotations

import gzip
import http
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from workerpool.errors import OptionError

_LARGEST_CHUNK = 16 * 1024
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class Headers(Mapping[str, str]):
    """A request's headers: looked up in any case, iterated as they were sent; repeated ones joined by a comma."""

    __slots__ = ("_joined", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        #: Every header as it was sent, in order, repeated ones too.
        self.pairs = tuple(pairs)
        self._joined: dict[str, str] = {}
        for name, value in self.pairs:
            name = name.lower()
            before = self._joined.get(name)
            self._joined[name] = value if before is None else f"{before}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()]

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for name, _ in self.pairs:
            if name.lower() not in seen:
                seen.add(name.lower())
                yield name

    def __len__(self) -> int:
        return len(self._joined)

    def __repr__(self) -> str:
        return f"Headers({self.pairs!r})"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, as the server saw it.

    `time`: `time.monotonic` seconds at which its head was complete (for a pipelined request, at which its turn came).
    `path`: with the query. `host`: the Host header. `address`: the loopback address that it came to. `connection`: the
    number of its connection, from 1. `body`: as much of it as the origin's `body_cap` keeps; `body_bytes`: its whole
    length.
    """

    time: float
    method: str
    path: str
    headers: Headers
    body: bytes = b""
    connection: int = 1
    host: str = ""
    address: str = "127.0.0.1"
    body_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One response, and the ways in which it may misbehave.

    `status`, `body`, `headers` (a mapping, or pairs where a name repeats). A Content-Length, Transfer-Encoding,
        Content-Type or Connection given here stands in place of the origin's own, even if it lies.
    `delay`: seconds between the request and the first byte.
    `chunked`: send the body in chunks (four or more where its length allows) instead of with a Content-Length.
    `encoding`: compress the body with ``"gzip"`` or ``"deflate"`` (zlib's format, as RFC 9110 has it).
    `drip`: seconds between two bytes of the body, chunk framing included; None sends it whole.
    `drip_head`: seconds between two bytes of the status line and headers.
    `truncate`: bytes of the (encoded) body after which the connection is closed, short of what was announced.
    `reset`: end the connection with an RST; `reset_after`: bytes of the response, head included, that go out before.
    `close`: say ``Connection: close`` and do so.
    `etag`: send this ETag (quotes are added), and 304 without a body to an If-None-Match that names it.
    `early`: answer as soon as the request's head is there, leaving its body unread, and close. With a `delay`, a large
        upload stalls for that long. Only a `Reply` itself can do it, not one that a callable returns.
    `raw`: these bytes in place of the whole response; `delay`, `drip`, `reset` and `close` still hold.

    Raises `OptionError` for a value that cannot work.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    delay: float = 0.0
    chunked: bool = False
    encoding: Literal["gzip", "deflate"] | None = None
    drip: float | None = None
    drip_head: float | None = None
    truncate: int | None = None
    reset: bool = False
    reset_after: int = 0
    close: bool = False
    etag: str | None = None
    early: bool = False
    raw: bytes | None = None

    def __post_init__(self) -> None:
        pairs = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        object.__setattr__(self, "headers", tuple(pairs))
        if not 200 <= self.status <= 999:
            raise OptionError(f"status={self.status!r} must be a final status, 200 to 999")
        if self.encoding not in (None, "gzip", "deflate"):
            raise OptionError(f"encoding={self.encoding!r} is unknown: write 'gzip', 'deflate' or None")
        for name in ("delay", "drip", "drip_head"):
            seconds = getattr(self, name)
            if seconds is not None and not (seconds >= 0 and math.isfinite(seconds)):
                raise OptionError(f"{name}={seconds!r} must be seconds, zero or more")
        for name in ("truncate", "reset_after"):
            count = getattr(self, name)
            if count is not None and count < 0:
                raise OptionError(f"{name}={count!r} must be a number of bytes, zero or more")


Replier = Reply | Callable[[Arrival], Reply]
"""A reply, or what makes one for each arrival. A callable runs on the origin's only thread and must not block."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A reply as bytes, and what becomes of the connection after them."""

    head: bytes
    body: bytes
    end: Literal["keep", "close", "reset"]


def render(reply: Reply, arrival: Arrival, *, keep: bool, minor: int = 1, extra: bytes = b"") -> Wire:
    """Turn `reply` to `arrival` into bytes.

    `keep`: whether the connection may go on afterwards. `minor`: the client's HTTP/1 minor version. `extra`: header
    lines that the origin adds.
    """
    keep = keep and not (reply.close or reply.early)
    if reply.raw is not None:
        wire = Wire(b"", reply.raw, "keep" if keep else "close")
    else:
        wire = _rendered(reply, arrival, keep, minor, extra)
    if not reply.reset:
        return wire
    head, size = wire.head[: reply.reset_after], len(wire.head)
    return Wire(head, wire.body[: max(0, reply.reset_after - size)], "reset")


def _rendered(reply: Reply, arrival: Arrival, keep: bool, minor: int, extra: bytes) -> Wire:
    status = reply.status
    if reply.etag is not None and _matches(reply.etag, arrival.headers.get("if-none-match", "")):
        status = 304
    has_no_body = status in (204, 304)
    chunked = reply.chunked and minor > 0 and not has_no_body
    keep = keep and not (reply.chunked and minor == 0) and reply.truncate is None
    given = {name.lower() for name, _ in _pairs(reply)} if reply.headers else ()
    body = b"" if has_no_body else _encoded(reply)

    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    if chunked and "transfer-encoding" not in given:
        lines.append("Transfer-Encoding: chunked")
    elif not (has_no_body or reply.chunked or "content-length" in given or "transfer-encoding" in given):
        lines.append(f"Content-Length: {len(body)}")
    if body and "content-type" not in given:
        lines.append("Content-Type: text/plain; charset=utf-8")
    if reply.encoding and not has_no_body:
        lines.append(f"Content-Encoding: {reply.encoding}")
    if reply.etag is not None:
        lines.append(f"ETag: {_quoted(reply.etag)}")
    if "connection" not in given and (not keep or minor == 0):
        lines.append("Connection: keep-alive" if keep else "Connection: close")
    lines += [f"{name}: {value}" for name, value in _pairs(reply)]
    head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n" + (extra if keep else b"") + b"\r\n"

    is_cut = reply.truncate is not None and reply.truncate < len(body)
    body = body[: reply.truncate]
    if arrival.method == "HEAD":
        body = b""
    elif chunked:
        body = b"".join(_chunks(body)) + (b"" if is_cut else b"0\r\n\r\n")
    return Wire(head, body, "keep" if keep else "close")


def _pairs(reply: Reply) -> tuple[tuple[str, str], ...]:
    return reply.headers  # type: ignore[return-value]  # made a tuple of pairs in __post_init__


def _encoded(reply: Reply) -> bytes:
    if reply.encoding == "gzip":
        return gzip.compress(reply.body, mtime=0)
    if reply.encoding == "deflate":
        return zlib.compress(reply.body)
    return reply.body


def _chunks(body: bytes) -> Iterator[bytes]:
    size = max(1, min(_LARGEST_CHUNK, len(body) // 4))
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


def _quoted(etag: str) -> str:
    return etag if etag.endswith('"') else f'"{etag}"'


def _matches(etag: str, if_none_match: str) -> bool:
    """Compare weakly, as If-None-Match does (RFC 9110, section 13.1.2)."""
    named = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in named or _quoted(etag).removeprefix("W/") in named

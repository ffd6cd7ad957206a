"""Reading HTTP/1 requests from bytes, strictly (RFC 9112). No sockets, no time but each head's; one thread.

It is written for speed rather than for every client on earth: what the RFC lets a server refuse is refused, which also
shows up a client that sends something odd.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from workerpool.testing.origin.replies import Headers

_MAX_HEAD = 64 * 1024
_MAX_LINE = 4096
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/1\.([01])")
_NAME = re.compile(_TOKEN)
_ABSOLUTE = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class BadRequest(Exception):
    """What came is no request that can be answered; `status` says how to refuse it. The client's doing."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class Incoming:
    """A request whose head is complete; its body may still be on its way.

    `length`: bytes of body announced, None for a chunked one. `body` holds its first bytes, up to the parser's cap;
    `body_bytes` counts all that came.
    """

    time: float
    method: str
    path: str
    host: str
    headers: Headers
    minor: int
    length: int | None
    body: bytearray = field(default_factory=bytearray)
    body_bytes: int = 0

    @property
    def wants_keep_alive(self) -> bool:
        connection = self.headers.get("connection", "").lower()
        return "close" not in connection and (self.minor > 0 or "keep-alive" in connection)


class RequestParser:
    """Takes bytes as they come and gives requests as they end. `body_cap`: bytes of each body that are kept."""

    def __init__(self, body_cap: int) -> None:
        self._body_cap = body_cap
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer that are known to hold no end of a head
        self._chunk: int | None = None  # bytes left of the current chunk; None: a size line comes next; -1: trailers
        self._header_text = ""
        self._headers = Headers()
        #: The request whose body is still being read.
        self.pending: Incoming | None = None

    @property
    def buffered(self) -> int:
        """Bytes that came and belong to no finished request yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Incoming | None:
        """Return the next request if all of it is here. Raises `BadRequest`; the connection is then unusable."""
        if self.pending is None:
            self.pending = self._head()
            if self.pending is None:
                return None
        incoming = self.pending
        is_complete = self._read_chunks(incoming) if incoming.length is None else self._read_length(incoming)
        if not is_complete:
            return None
        self.pending = None
        return incoming

    def _head(self) -> Incoming | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0 or end > _MAX_HEAD:
            if len(buffer) > _MAX_HEAD:
                raise BadRequest("the request's head is over 64 KiB", 431)
            self._refuse_junk()
            self._searched = max(0, len(buffer) - 3)
            return None
        now = time.monotonic()
        text = buffer[:end].decode("latin-1")
        del buffer[: end + 4]
        self._searched = 0
        line, _, header_text = text.partition("\r\n")
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            raise BadRequest("the request line is malformed")
        # Most clients send the same header block again and again over a connection: reading it once saves half the
        # time of a small request, and its records share the memory.
        if header_text != self._header_text:
            self._headers = _read_headers(header_text)
            self._header_text = header_text
        return _incoming(now, match[1], match[2], int(match[3]), self._headers)

    def _refuse_junk(self) -> None:
        """Refuse what cannot become a request, rather than wait for the end of a head that will not come."""
        buffer = self._buffer
        line_end = buffer.find(b"\n", 0, _MAX_HEAD)
        if line_end >= 0:
            line = buffer[:line_end].decode("latin-1")
            if not line.endswith("\r") or not _REQUEST_LINE.fullmatch(line[:-1]):
                raise BadRequest("the request line is malformed")
        elif buffer and buffer[0] != 13 and not _NAME.match(chr(buffer[0])):
            raise BadRequest("this is not HTTP")

    def _read_length(self, incoming: Incoming) -> bool:
        assert incoming.length is not None
        if incoming.length:
            self._take(incoming, incoming.length - incoming.body_bytes)
        return incoming.body_bytes == incoming.length

    def _take(self, incoming: Incoming, most: int) -> int:
        count = min(most, len(self._buffer))
        room = min(count, self._body_cap - len(incoming.body))
        incoming.body += self._buffer[:room]
        incoming.body_bytes += count
        del self._buffer[:count]
        return count

    def _read_chunks(self, incoming: Incoming) -> bool:
        while True:
            if self._chunk is not None and self._chunk > 0:
                self._chunk -= self._take(incoming, self._chunk)
                if self._chunk:
                    return False
            line = self._line()
            if line is None:
                return False
            if self._chunk is None:
                size = _SIZE.fullmatch(line)
                if size is None:
                    raise BadRequest("a chunk's size is malformed")
                self._chunk = int(size[1], 16) or -1
            elif self._chunk == 0:
                if line:
                    raise BadRequest("a chunk is longer than its size says")
                self._chunk = None
            elif not line:
                self._chunk = None
                return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, _MAX_LINE)
        if end < 0:
            if len(self._buffer) >= _MAX_LINE:
                raise BadRequest("a line between chunks is over 4 KiB")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _read_headers(text: str) -> Headers:
    pairs = []
    for line in text.split("\r\n") if text else ():
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name) or "\n" in value or "\r" in value or "\0" in value:
            raise BadRequest("a header line is malformed")
        pairs.append((name, value.strip(" \t")))
    return Headers(pairs)


def _incoming(now: float, method: str, target: str, minor: int, headers: Headers) -> Incoming:
    host = headers.get("host")
    if host is None:
        if minor > 0:
            raise BadRequest("a Host header is missing")
        host = ""
    elif "," in host:
        raise BadRequest("there is more than one Host header")
    if target[0] != "/" and (absolute := _ABSOLUTE.fullmatch(target)):
        # A client sends the whole URL to what it takes for a proxy, and the host in it is then the one that counts.
        host, target = absolute[1], absolute[2] or "/"
    return Incoming(now, method, target, host, headers, minor, _body_length(headers))


def _body_length(headers: Headers) -> int | None:
    """Bytes of body that follow the head, None if it is chunked (RFC 9112, section 6.3)."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is None:
        if length is None:
            return 0
        if not (length.isascii() and length.isdigit()) or len(length) > 18:
            raise BadRequest("the Content-Length is malformed")
        return int(length)
    if length is not None:
        raise BadRequest("a Content-Length and a Transfer-Encoding contradict each other")
    if coding.lower() != "chunked":
        raise BadRequest("only the chunked transfer coding is known here", 501)
    return None

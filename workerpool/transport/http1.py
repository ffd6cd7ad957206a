"""HTTP/1.1 answers (RFC 9112) read from large pieces of bytes: the reader of the fast path.

It reads the answers that nearly all servers give: a status line and headers that are written as they should be, and a
body with a ``Content-Length``, in chunks, or with none. Whatever else comes (an interim answer, a folded header, a bare
line feed, HTTP/1.0, a body that ends with the connection, …) is not judged here: `parse_head` says None, and
http.client reads the same bytes from their start. So there is one place that knows what to make of odd servers.

Pure: what is not in the first piece comes from a function. No locks; one thread at a time for each answer.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from urllib3.exceptions import IncompleteRead

from workerpool.transport.reading import MAX_HEAD, MAX_LINE, HeadTooLarge, chunk_size

PIECE = 128 * 1024
"""Bytes that are asked of the socket at once, for a body. Memory for more comes from the system, and goes back to it,
each time: 1 MiB in pieces of 1 MiB takes several times the CPU."""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) [\x20-\x7e]*")
TOKEN = r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"  # RFC 9110, section 5.6.2
_TOKEN = re.compile(TOKEN.encode())
MAX_HEADERS = 99
"""As many as http.client takes; it says so when there are more."""
CHUNKED = -1
LONGEST_LENGTH = 18
"""Digits of a ``Content-Length`` that is believed."""

_BEGINNINGS = tuple(b"HTTP/1.1 %d" % first for first in (2, 3, 4, 5))
_MATTERING = (b"content-length", b"transfer-encoding", b"content-encoding", b"connection", b"keep-alive")
_REMEMBERED = 1000
"""Spellings of status lines and of header names that are remembered: servers use few."""


class _Statuses(dict[bytes, int]):
    """Statuses by their lines. Any thread: whole-value writes, under the GIL."""

    def __missing__(self, line: bytes) -> int:
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise ValueError("no usual status line")
        status = int(match[1])
        if len(self) < _REMEMBERED:
            self[line] = status
        return status


class _Names(dict[bytes, bytes]):
    """Names of headers in lower case, by how they were written. Any thread, too."""

    def __missing__(self, name: bytes) -> bytes:
        if not _TOKEN.fullmatch(name):
            raise ValueError("no header's name")
        key = name.lower()
        if len(self) < _REMEMBERED:
            self[name] = key
        return key


_statuses = _Statuses()
_names = _Names()


class Head:
    """An answer's status and headers. `end`: where its body begins. `fields`: values by lower-case name, the last one
    of each, with the spaces around them. `length`: of the body, `CHUNKED` if it comes in chunks."""

    __slots__ = ("end", "fields", "length", "status")

    def __init__(self, status: int, fields: dict[bytes, bytes], end: int, length: int) -> None:
        self.status = status
        self.fields = fields
        self.end = end
        self.length = length

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after this answer."""
        connection = self.fields.get(b"connection")
        return connection is not None and b"close" in connection.lower()


def parse_head(data: bytes, *, has_body: bool = True) -> Head | None:
    """Read the head that `data` begins with; None if it is not all there, or not as nearly all servers write it.

    `has_body`: False for the answer to HEAD, whose headers speak of a body that does not come.
    """
    end = data.find(b"\r\n\r\n")
    if not 0 < end < MAX_LINE:
        return None
    head = data[:end]
    status_line, *lines = head.split(b"\r\n")
    count = len(lines)
    if count > MAX_HEADERS or head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
        return None
    fields = {}
    try:
        status = _statuses[status_line]
        for line in lines:
            name, value = line.split(b":", 1)
            fields[_names[name]] = value
    except ValueError:
        return None
    if len(fields) != count and _repeats_what_matters(lines):
        return None
    if not has_body or status == 204 or status == 304:
        if b"," in fields.get(b"content-length", b""):
            return None  # urllib3 refuses lengths that differ, also those of a body that does not come
        return Head(status, fields, end + 4, 0)
    length = _length(fields)
    return None if length is None else Head(status, fields, end + 4, length)


def is_unfinished(data: bytes) -> bool:
    """Whether `data` is the beginning of a usual head that goes on: http.client, too, would wait for more."""
    return (
        b"\r\n\r\n" not in data
        and data.startswith(_BEGINNINGS)
        and data.count(b"\n") == data.count(b"\r\n")
        and len(data) < MAX_LINE
    )


def header_lines(head: bytes) -> Iterator[tuple[str, str]]:
    """The names and values of a head that `parse_head` has read, as http.client would give them."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        yield name, value.lstrip(" \t")


def reason_of(head: bytes) -> str:
    """The words of its status line."""
    return head.partition(b"\r\n")[0][13:].decode("latin-1").strip()


def _repeats_what_matters(lines: list[bytes]) -> bool:
    """Whether a header on which it depends how the body is read is there twice."""
    keys = [line.partition(b":")[0].lower() for line in lines]
    return any(keys.count(key) > 1 for key in _MATTERING)


def _length(fields: dict[bytes, bytes]) -> int | None:
    """The length of the body, `CHUNKED`, or None if that is not plainly said."""
    text = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        return CHUNKED if text is None and coding.strip(b" \t").lower() == b"chunked" else None
    if text is None:
        return None
    text = text.strip(b" \t")
    return int(text) if text.isdigit() and len(text) <= LONGEST_LENGTH else None


class Body:
    """The bytes of an answer's body: what came with the head first, then what `receive` gives.

    `receive` returns some bytes, at most as many as it is asked for, and none at the connection's end.
    """

    __slots__ = ("_receive", "_rest", "_start", "size")

    def __init__(self, data: bytes, start: int, receive: Callable[[int], bytes]) -> None:
        self._rest = data
        self._start = start
        self._receive = receive
        self.size = 0  # bytes of the body so far: of chunks, only whole ones

    @property
    def has_leftover(self) -> bool:
        """Whether more came than belongs to the answer, once all its pieces have been taken."""
        return self._start < len(self._rest)

    def of_length(self, length: int) -> Iterator[bytes]:
        """Yield `length` bytes in pieces; raises urllib3's `IncompleteRead` where they end early."""
        left = length
        piece = self._rest[self._start : self._start + length]
        self._start += len(piece)
        while True:
            left -= len(piece)
            self.size += len(piece)
            if piece:
                yield piece
            if not left:
                return
            piece = self._receive(min(left, PIECE))
            if not piece:
                raise IncompleteRead(length - left, left)

    def in_chunks(self) -> Iterator[bytes]:
        """Yield a chunked body's data, extensions and trailers left out (RFC 9112, section 7.1).

        Raises `http.client.HTTPException` for what is no chunk, and where the connection ends early.
        """
        while size := chunk_size(self._line() or self._cut_short()):
            end = self._start + size
            if end <= len(self._rest):
                yield self._rest[self._start : end]
                self._start = end
            else:
                yield from self._large_chunk(size)
            self.size += size
            while len(self._rest) - self._start < 2:
                if not self._extend():
                    self._cut_short()
            self._start += 2  # the line break after the chunk; as in http.client, whatever it is
        left = MAX_HEAD
        while (line := self._line()) not in (b"", b"\n", b"\r\n"):
            left -= len(line)
            if left < 0:
                raise HeadTooLarge(f"the answer's trailers are longer than {MAX_HEAD} bytes in all")

    def _large_chunk(self, size: int) -> Iterator[bytes]:
        """Yield a chunk that has not come whole, as it comes. What comes after it is kept."""
        left = size
        piece = self._rest[self._start :]
        while True:
            left -= len(piece)
            if piece:
                yield piece
            self._rest, self._start = self._receive(PIECE) or self._cut_short(), 0
            if len(self._rest) >= left:
                break
            piece = self._rest
        self._start = left
        yield self._rest[:left]

    def _line(self) -> bytes:
        """Take a line with its end; without one where the connection ends."""
        while (end := self._rest.find(b"\n", self._start)) < 0:
            if len(self._rest) - self._start > MAX_LINE:
                break
            if not self._extend():
                end = len(self._rest)
                break
        line = self._rest[self._start : end + 1]
        if end < 0 or len(line) > MAX_LINE:
            raise HeadTooLarge(f"a line of the answer is longer than {MAX_LINE} bytes")
        self._start += len(line)
        return line

    def _extend(self) -> bool:
        """Receive more; False if nothing comes any more."""
        piece = self._receive(MAX_LINE)
        self._rest, self._start = self._rest[self._start :] + piece, 0
        return bool(piece)

    def _cut_short(self) -> NoReturn:
        raise http.client.IncompleteRead(bytes(min(self.size, PIECE)))

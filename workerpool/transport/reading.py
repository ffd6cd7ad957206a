"""Between a socket and http.client: counts what comes, and bounds what http.client would take without a limit.

Entered by the thread that sends, and by whoever reads a streamed response; one thread at a time for each response.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
from typing import Any

from urllib3.exceptions import InvalidHeader

from workerpool.transport.trace import Trace

MAX_LINE = 65536
"""Bytes of one line: a header, or the size of a chunk. As in http.client, which bounds headers only."""
MAX_HEAD = 256 * 1024
"""Bytes of an answer's status line and headers together, those of interim answers (1xx) included.

http.client allows 100 headers of 64 KiB each, so 6.4 MB; servers themselves accept 8 to 64 KiB from clients. The same
holds for the trailers of a chunked body, which http.client reads without any limit.
"""
MAX_DIGITS = 1000
"""Digits of a ``Content-Length``; Python makes no number of more than 4,300."""

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;|\r?\n)")


_read_line = io.BufferedReader.readline  # a third of the time of super() in the hottest call of all


class HeadTooLarge(http.client.HTTPException):
    """An answer's headers, or a line between its chunks, are over the limit."""


def chunk_size(line: bytes) -> int:
    """Read the line before a chunk. http.client takes what `int` takes, and reads a chunk of -1 bytes until the server
    ends it, all into memory."""
    match = _CHUNK_SIZE.match(line)
    if match is None:
        raise http.client.HTTPException("the size of a chunk is no number")
    return int(match[1], 16)


class CountedSource(io.RawIOBase):
    """A socket's bytes, counted in the trace of the send that they answer; `ahead`: those that were read before."""

    def __init__(self, sock: socket.socket, trace: Trace, ahead: bytes = b"") -> None:
        super().__init__()
        self._raw = sock.makefile("rb", buffering=0)  # keeps the descriptor open until it is closed itself
        self._trace = trace
        self._ahead = memoryview(ahead)
        self.is_done = False  # nothing more is to be read from the socket

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._ahead:
            served = min(len(buffer), len(self._ahead))
            buffer[:served], self._ahead = self._ahead[:served], self._ahead[served:]
            return served
        if self.is_done:
            return 0
        count = self._raw.readinto(buffer)
        if count:
            self._trace.received += count
        return count

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._raw.close()


class Reader(io.BufferedReader):
    """What http.client reads an answer from: lines have an end, and so have its head and its trailers."""

    def __init__(self, sock: socket.socket, trace: Trace, ahead: bytes = b"") -> None:
        self._source = CountedSource(sock, trace, ahead)
        super().__init__(self._source)
        self._trace = trace
        self._head_left = MAX_HEAD
        self._is_in_trailers = False
        self.has_cut_head = False  # the connection ended before the head did

    def readline(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_LINE:
            size = MAX_LINE + 1
        line = _read_line(self, size)
        length = len(line)
        if not self._trace.answered and line[-1:] != b"\n" and length < size:
            self.has_cut_head = True
        if length > MAX_LINE:
            raise HeadTooLarge(f"a line of the answer is longer than {MAX_LINE} bytes")
        if self._trace.answered and not self._is_in_trailers:
            self._check_chunk_size(line)
            return line
        self._head_left -= length
        if self._head_left < 0:
            what = "trailers" if self._is_in_trailers else "headers"
            raise HeadTooLarge(f"the answer's {what} are longer than {MAX_HEAD} bytes in all")
        return line

    def close(self) -> None:
        """Note what came in one piece with the answer but is no part of it: it would be taken for the next one."""
        if not self.closed:
            self._source.is_done = True
            self._trace.has_leftover = bool(self.peek(1))
        super().close()

    def _check_chunk_size(self, line: bytes) -> None:
        """After the head and before the trailers, the only lines that http.client reads are the sizes of chunks."""
        if line and chunk_size(line) == 0:
            self._is_in_trailers = True
            self._head_left = MAX_HEAD


class Answer(http.client.HTTPResponse):
    """http.client's response, stricter where it guesses at what an answer means."""

    chunked: bool
    fp: Any
    length: int | None
    _method: str

    def begin(self) -> None:
        reader: Reader = self.fp
        super().begin()
        if reader.has_cut_head and not self.chunked:  # whose chunks are missing then, and that is said
            raise http.client.RemoteDisconnected("the connection ended in the middle of the answer's headers")
        if self.status == 101:
            self.will_close = True  # from here on it speaks another protocol
        if self._method == "HEAD" or self.status in (101, 204, 304):
            self.chunked, self.length = False, 0  # no body, whatever the headers say (RFC 9112, section 6.3)
            return
        lengths = self.headers.get_all("content-length", [])
        if "transfer-encoding" in self.headers:
            self.will_close = self.will_close or bool(lengths)  # somebody on the way may have read it otherwise
        elif lengths:
            self.length = _length_of(lengths)

    def _read_status(self) -> tuple[str, int, str]:
        """Skip every interim answer (1xx), not 100 alone.

        http.client takes a ``103 Early Hints`` for the final answer; the real one would then be that of the next
        request over the same socket. 101 is final: nobody has asked for it (RFC 9110, section 15.2).
        """
        while True:
            status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # the stubs lack it
            if not 100 <= status[1] < 200 or status[1] == 101:
                return status
            while self.fp.readline(MAX_LINE + 1).strip():  # bounded by the reader
                pass


def _length_of(headers: list[str]) -> int:
    """What all of an answer's ``Content-Length`` headers say.

    http.client takes the first, whatever the others say, and what `int` takes; urllib3 then knows better or worse. One
    that is no number, or several that differ, leave open where the next answer begins (RFC 9112, section 6.3).
    """
    said = {text.strip(" \t") for header in headers for text in header.split(",")}
    text = said.pop()
    if said or not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise InvalidHeader("the answer's Content-Length is no number, or there are several")
    return int(text)


class Source:
    """What http.client takes for a socket when it makes a response: something that opens a reader."""

    def __init__(self, sock: socket.socket, trace: Trace, ahead: bytes = b"") -> None:
        self._sock = sock
        self._trace = trace
        self._ahead = ahead

    def makefile(self, mode: str) -> Reader:
        return Reader(self._sock, self._trace, self._ahead)

"""Between a socket and http.client: counts what comes, and bounds what http.client would take without a limit.

Entered by the thread that sends, and by whoever reads a streamed response; one thread at a time for each response.
"""

from __future__ import annotations

import http.client
import io
import socket
from typing import Any

from workerpool.transport.trace import Trace

MAX_LINE = 65536
"""Bytes of one line: a header, or the size of a chunk. As in http.client, which bounds headers only."""
MAX_HEAD = 256 * 1024
"""Bytes of an answer's status line and headers together, those of interim answers (1xx) included.

http.client allows 100 headers of 64 KiB each, so 6.4 MB; servers themselves accept 8 to 64 KiB from clients.
"""


class HeadTooLarge(http.client.HTTPException):
    """An answer's headers, or a line between its chunks, are over the limit."""


class CountedSource(io.RawIOBase):
    """A socket's bytes, counted in the trace of the send that they answer."""

    def __init__(self, sock: socket.socket, trace: Trace) -> None:
        super().__init__()
        self._raw = sock.makefile("rb", buffering=0)  # keeps the descriptor open until it is closed itself
        self._trace = trace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
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
    """What http.client reads an answer from: lines have an end, and so has its head."""

    def __init__(self, sock: socket.socket, trace: Trace) -> None:
        super().__init__(CountedSource(sock, trace))
        self._trace = trace
        self._head_left = MAX_HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_LINE:
            size = MAX_LINE + 1
        line = super().readline(size)
        if len(line) > MAX_LINE:
            raise HeadTooLarge(f"a line of the answer is longer than {MAX_LINE} bytes")
        if not self._trace.answered:
            self._head_left -= len(line)
            if self._head_left < 0:
                raise HeadTooLarge(f"the answer's headers are longer than {MAX_HEAD} bytes in all")
        return line


class Source:
    """What http.client takes for a socket when it makes a response: something that opens a reader."""

    def __init__(self, sock: socket.socket, trace: Trace) -> None:
        self._sock = sock
        self._trace = trace

    def makefile(self, mode: str) -> Reader:
        return Reader(self._sock, self._trace)

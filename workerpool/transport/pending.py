"""A message under way by the fast path: sent by hand over one of urllib3's connections, its answer read piece by piece.

What one of these raises is the socket's own: `fast` knows what becomes of it. One thread at a time.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
from typing import Any

import urllib3.exceptions

from workerpool.transport.connection import ENDED
from workerpool.transport.deadline import NEVER
from workerpool.transport.http1 import Head
from workerpool.transport.messages import Message
from workerpool.transport.sockets import send_all
from workerpool.transport.trace import Trace
from workerpool.transport.way import Way

NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that never waits raises where it would have to."""
FIRST_PIECE = 16 * 1024
"""Bytes that are read at once of an answer's beginning: most answers are smaller."""
SMALL_BODY = 64 * 1024
"""Bytes of a request's body up to which it goes out in one piece with its head."""
LARGE = 128 * 1024
"""Bytes from which the C library asks the system for memory for each body, and gives it back, unless it has seen a
larger piece being freed."""
KEPT = 16 * 1024 * 1024
"""Bytes of such a piece: bodies up to this size are then read into memory that was used before."""
MOST_BYTES = 64 * 1024
"""Bytes of an answer in pieces that a thread comes back for, where what has come is looked through again for each."""
MOST_FILLS = 4
"""How often a thread that others wait for reads of a large body, before it comes back to them."""


class Pending:
    """A message that is sent over `connection` of `pool`, and what has come of its answer.

    `timeout`: seconds for connecting, and for each silence, None without a limit. `way`: how requests' own path would
    send it. `began`: when (`time.perf_counter`). `waits`: whether the socket does, rather than raise one of `NOT_YET`.
    If not: `expires_at`, when the answer is late (`time.monotonic` seconds); `needs_thread`, whether a thread is to go
    on with it that may wait.

    Requests' own path may have to finish it, from the same connection. Either something failed: `error` is then raised
    again where it came up, so that urllib3 and requests make of it what they always make of it; `has_failed_sending`
    tells sending from reading. Or the answer is an odd one: `data` are its first bytes.
    """

    __slots__ = (
        "began", "connection", "data", "deadline", "error", "has_failed_sending", "head", "heard_at", "is_silent",
        "message", "needs_thread", "pieces", "pool", "silence", "timeout", "trace", "unsent", "waits", "way", "whole",
    )  # fmt: skip

    def __init__(
        self,
        connection: Any,
        pool: Any,
        message: Message,
        trace: Trace,
        timeout: tuple[float | None, float | None],
        way: Way,
        *,
        waits: bool,
    ) -> None:
        self.connection = connection
        self.pool = pool
        self.message = message
        self.trace = trace
        self.timeout = timeout
        self.way = way
        self.waits = waits
        self.began = time.perf_counter()
        self.data = b""  # of the answer, so far
        self.head: Head | None = None
        self.whole: Whole | None = None  # its body, if that is read into one piece of memory
        self.pieces = 0
        self.unsent = b""  # of the message
        self.needs_thread = False
        self.deadline = self.silence = NEVER
        self.heard_at = 0.0
        self.is_silent = False
        self.error: Any = None
        self.has_failed_sending = False

    def allow(self, expires_at: float | None) -> None:
        """Set when the answer has to be there (`time.monotonic` seconds); silences are counted from now on."""
        silence = self.timeout[1]
        self.heard_at = time.monotonic()
        self.deadline = NEVER if expires_at is None else expires_at
        self.silence = NEVER if silence is None else silence

    @property
    def sock(self) -> Any:
        return self.connection.sock

    def close(self) -> None:
        """Give it up."""
        self.connection.close()

    @property
    def expires_at(self) -> float:
        return min(self.deadline, self.heard_at + self.silence)

    def ask(self, patience: float | None) -> None:
        """Send the message.

        `patience`: seconds to wait for each piece of the answer, None where the deadline alone ends that. Where the
        socket does not wait, 0: what cannot be sent at once, which is nothing as a rule, is `unsent` then.
        """
        connection, message = self.connection, self.message
        connection.begins()
        sock = connection.sock
        if sock.gettimeout() != patience:
            sock.settimeout(patience)
        head, body = message.head, message.body
        if not self.waits:
            self._send_at_once(head)
        elif body is None or len(body) < SMALL_BODY:
            self._send(head + body if body else head)
        else:
            self._send(head, body)

    def ask_the_rest(self, patience: float | None) -> None:
        """Wait from now on, and send what was not."""
        self.waits = True
        self.connection.sock.settimeout(patience)
        if self.unsent:
            self._send(self.unsent)

    def _send(self, *pieces: bytes) -> None:
        connection = self.connection
        try:
            for piece in pieces:
                send_all(connection.sock, piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it had read all
        except ENDED as error:
            connection.check_stale(error)
            raise
        connection.has_asked(self.message.body)

    def _send_at_once(self, head: bytes) -> None:
        """The same without a body and without waiting."""
        connection = self.connection
        sent = len(head)
        try:
            sent = connection.sock.send(head)
        except NOT_YET:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            pass
        except ENDED as error:
            connection.check_stale(error)
            raise
        if sent == len(head):
            connection.has_asked(None)
        else:
            self.unsent = head[sent:]
            self.needs_thread = True

    def hear(self) -> bytes:
        """Take some bytes of the head, none where the connection ends in the middle of it."""
        self._check_silence()
        connection, trace = self.connection, self.trace
        try:
            data: bytes = connection.sock.recv(FIRST_PIECE)
            if not (data or trace.received):
                raise http.client.RemoteDisconnected("Remote end closed connection without response")
        except ENDED as error:
            connection.check_stale(error)
            raise
        trace.received += len(data)
        return data

    def more(self, size: int) -> bytes:
        """Take at most `size` bytes of the body, none where the connection ends."""
        self._check_silence()
        if not self.waits and len(self.data) > MOST_BYTES:
            raise BlockingIOError  # as if there was nothing: another thread has to read on
        piece: bytes = self.connection.sock.recv(size)
        self.trace.received += len(piece)
        if not self.waits:
            self.data += piece  # kept: the next look goes through the body again from its start
        return piece

    def fill(self, whole: Whole) -> None:
        """Read the rest of a body. What is there is kept, should this not be all."""
        self._check_silence()
        sock = self.connection.sock
        # Woken once, not for each segment.
        flags = socket.MSG_WAITALL if self.waits and type(sock) is socket.socket else 0
        times = 0
        while whole.left:
            if not self.waits and times == MOST_FILLS:
                # urllib3's TLS inside of TLS keeps bytes that poll does not see: a thread that waits goes on.
                self.needs_thread = not isinstance(sock, socket.socket)
                raise BlockingIOError  # as if this was all: others wait, too
            times += 1
            size = sock.recv_into(whole.rest(), 0, flags)
            if not size:
                raise urllib3.exceptions.IncompleteRead(whole.came, whole.left)
            self.trace.received += size
            whole.came += size

    def _check_silence(self) -> None:
        if self.is_silent:
            raise TimeoutError("timed out")


class Whole:
    """A body of `length` bytes that begins with `start`, read into one piece of memory, which it is returned in.

    Pieces that are joined take twice the memory, and more time. Memory that nothing has been written to is none yet, so
    a server that promises more than it sends costs nothing.
    """

    __slots__ = ("_memory", "_view", "came", "length")

    def __init__(self, start: bytes, length: int) -> None:
        if length > LARGE:
            _keep_memory()
        self._memory = io.BytesIO(bytes(length))
        self._view = self._memory.getbuffer()
        self._view[: len(start)] = start
        self.came = len(start)
        self.length = length

    @property
    def left(self) -> int:
        return self.length - self.came

    def rest(self) -> memoryview:
        """Where the next bytes go."""
        return self._view[self.came :]

    def taken(self) -> bytes:
        """The body, which has come whole: the very bytes, not a copy."""
        self._view.release()
        return self._memory.getvalue()


@functools.cache
def _keep_memory() -> None:
    """Let the C library keep freed memory for the next bodies, once in a process: new pages, which the system has to
    empty first, take half of its time for a body of 1 MiB. See `M_MMAP_THRESHOLD` in mallopt(3); where there is no such
    thing, this does nothing."""
    bytes(KEPT)

"""The fast path: a plain request over one of urllib3's connections, sent and read in large pieces by ourselves.

Connecting, TLS, proxies, the budget and the deadline are those of requests' own path. Whatever is not plain goes back
to it: a failure, so that urllib3 and requests say what they always say of it, and an answer that only http.client knows
what to make of. What is kept here is made once and only read.

A worker either waits for the answer (`send`), or many requests are carried at once (`begin`, `go_on`): their sockets
never wait, and one thread comes back to each when something can be read. Where that does not do, as an answer is odd or
comes in many pieces, another thread takes over, which waits (`finish`).
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import urllib3.exceptions
from requests import PreparedRequest, Response
from requests.models import REDIRECT_STATI

from workerpool.transport.bodies import ENCODED_PIECE, UNREADABLE, collect, decoded, raise_as_requests, too_large
from workerpool.transport.connection import NOT_YET, HandedOver
from workerpool.transport.connections import Connections
from workerpool.transport.http1 import CHUNKED, Body, Head, is_unfinished, parse_head
from workerpool.transport.lazy import LazyResponse
from workerpool.transport.messages import Message
from workerpool.transport.trace import Trace

LARGEST = 1024**3
"""Bytes of a body for which memory is asked at once."""
LARGE = 128 * 1024
"""Bytes from which the C library asks the system for memory for each body, and gives it back, unless it has seen a
larger piece being freed."""
KEPT = 16 * 1024 * 1024
"""Bytes of such a piece: bodies up to this size are then read into memory that was used before."""
MOST_PIECES = 16
"""Pieces of an answer that a thread comes back for, where what has come is looked through again for each."""
MOST_BYTES = 64 * 1024
"""Bytes of such an answer."""
MOST_FILLS = 4
"""How often a thread that others wait for reads of a large body, before it comes back to them."""
NEVER = float("inf")

ByRequests = Callable[[PreparedRequest], Response]
"""Sends by requests' own path, which here only takes over what has been begun."""


class Pending:
    """A message that was sent over `connection` of `pool`, and what has come of its answer.

    `waits`: whether the socket does, rather than raise one of `NOT_YET`. If not: `expires_at`, when the answer is late
    (`time.monotonic` seconds); `needs_thread`, whether a thread is to go on with it that may wait.
    """

    __slots__ = (
        "connection", "data", "deadline", "head", "heard_at", "is_silent", "message", "needs_thread", "pieces", "pool",
        "silence", "trace", "unsent", "waits", "whole",
    )  # fmt: skip

    def __init__(self, connection: Any, pool: Any, message: Message, trace: Trace, *, waits: bool) -> None:
        self.connection = connection
        self.pool = pool
        self.message = message
        self.trace = trace
        self.waits = waits
        self.data = b""  # of the answer, so far
        self.head: Head | None = None
        self.whole: _Whole | None = None  # its body, if that is read into one piece of memory
        self.pieces = 0
        self.unsent = b""  # of the message
        self.needs_thread = False
        self.deadline = self.silence = NEVER
        self.heard_at = 0.0
        self.is_silent = False

    def allow(self, expires_at: float | None, silence: float | None) -> None:
        """Set when the answer has to be there (`time.monotonic` seconds), and the seconds of each silence."""
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

    def hear(self) -> bytes:
        """Take some bytes of the head, none where the connection ends."""
        self._check_silence()
        data: bytes = self.connection.hear()
        return data

    def more(self, size: int) -> bytes:
        """Take at most `size` bytes of the body, none where the connection ends."""
        self._check_silence()
        if not self.waits and len(self.data) > MOST_BYTES:
            raise BlockingIOError  # as if there was nothing: another thread has to read on
        piece: bytes = self.connection.sock.recv(size)
        self.trace.received += len(piece)
        if not self.waits:
            self.data += piece  # to be looked through from its start, should this not be all
        return piece

    def fill(self, whole: _Whole) -> None:
        """Read the rest of a body. What is there is kept, should this not be all."""
        self._check_silence()
        sock = self.connection.sock
        # Woken once, not for each segment.
        flags = socket.MSG_WAITALL if self.waits and type(sock) is socket.socket else 0
        times = 0
        while whole.left:
            if not self.waits and times == MOST_FILLS:
                # TLS inside of TLS may have taken more from its socket than it gave: nothing would tell of the rest.
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


class FastPath:
    """Sends messages over the connections of `connections`; `adapter` is what their responses say they came through."""

    def __init__(self, connections: Connections, max_body: int | None, adapter: Any) -> None:
        self._connections = connections
        self._max_body = max_body
        self._adapter = adapter

    def send(
        self, pool: Any, message: Message, connect: float | None, read: float | None, by_requests: ByRequests
    ) -> Response:
        """Send `message` over a connection of `pool` and read the whole answer. Raises what requests raises.

        `connect`, `read`: seconds for connecting, and for each silence.
        """
        connections = self._connections
        trace = connections.traces.current
        trace.fast_path = True
        connection: Any = connections.checkout(pool.idle_key, pool.host_key())
        if connection is None:
            connection = pool.new_connection()
            connections.went_fast()
        try:
            if connection.sock is None:
                pool.connect(connection, connect)
            connection.ask(message.head, message.body, self._patience(read))
        except Exception as error:
            is_sending = connection.sock is not None
            handed = HandedOver(connection, error=error, has_failed_sending=is_sending)
            return self._hand_over(handed, trace, message, by_requests)
        except BaseException:
            connection.close()
            raise
        return self._read_on(Pending(connection, pool, message, trace, waits=True), by_requests)

    def begin(
        self, pool: Any, message: Message, by_requests: ByRequests, *, connects: bool, connect: float | None
    ) -> Pending | None:
        """Send `message` without waiting for its answer. Raises what requests raises.

        `connects`: over a new connection, which may take `connect` seconds; otherwise over one that is idle, and where
        there is none, None is returned.
        """
        connections = self._connections
        trace = connections.traces.current
        trace.fast_path = True
        connection: Any
        if connects:
            connection = pool.new_connection()
            trace.reused = False
            connections.went_fast()
        else:
            connection = connections.checkout(pool.idle_key, pool.host_key())
            if connection is None:
                return None
        pending = Pending(connection, pool, message, trace, waits=False)
        try:
            if connection.sock is None:
                pool.connect(connection, connect)
            pending.unsent = connection.ask_at_once(message.head)
        except Exception as error:
            is_sending = connection.sock is not None
            handed = HandedOver(connection, error=error, has_failed_sending=is_sending)
            self._hand_over(handed, trace, message, by_requests)
        except BaseException:
            connection.close()
            raise
        pending.needs_thread = bool(pending.unsent)
        return pending

    def go_on(self, pending: Pending, by_requests: ByRequests) -> Response | None:
        """Read what has come, without waiting; None if that is not all. Raises what requests raises."""
        try:
            return self._receive(pending, by_requests)
        except NOT_YET:
            pending.heard_at = time.monotonic()
            if pending.whole is None:
                pending.pieces += 1
                pending.needs_thread = pending.pieces > MOST_PIECES or len(pending.data) > MOST_BYTES
            return None

    def finish(self, pending: Pending, read: float | None, by_requests: ByRequests) -> Response:
        """Go on with what was begun, on a thread that may wait. Raises what requests raises."""
        pending.waits = True
        try:
            pending.connection.ask_the_rest(pending.unsent, self._patience(read))
        except Exception as error:
            handed = HandedOver(pending.connection, error=error, has_failed_sending=True)
            return self._hand_over(handed, pending.trace, pending.message, by_requests)
        except BaseException:
            pending.connection.close()
            raise
        return self._read_on(pending, by_requests)

    def _read_on(self, pending: Pending, by_requests: ByRequests) -> Response:
        response = self._receive(pending, by_requests)
        assert response is not None
        return response

    def _patience(self, read: float | None) -> float | None:
        """What the socket's own timeout has to be. None where the deadline ends a silence as soon: without one, no
        system call comes before each read."""
        watchdog = self._connections.watchdog
        left = watchdog.watch.left()
        return None if read is None or (left is not None and left <= read and watchdog.is_running) else read

    def _hand_over(self, handed: HandedOver, trace: Trace, message: Message, by_requests: ByRequests) -> Response:
        connection = handed.connection
        connection.handed, trace.handed = handed, connection
        try:
            return by_requests(message.make_request())
        finally:
            # The error leads back to all of these by its traceback: a circle would wait for the garbage collector.
            connection.handed = trace.handed = handed.error = None

    def _receive(self, pending: Pending, by_requests: ByRequests) -> Response | None:
        """Read the answer from where that stands; None if it is an odd one, and a thread that may wait has to read it.

        Raises `NOT_YET` where the socket does not wait.
        """
        connection, message, trace = pending.connection, pending.message, pending.trace
        head = pending.head
        if head is None:
            try:
                while not pending.data or is_unfinished(pending.data):
                    piece = pending.hear()
                    if not piece:
                        break
                    pending.data += piece
            except NOT_YET:
                raise
            except Exception as error:
                return self._hand_over(HandedOver(connection, error=error), trace, message, by_requests)
            except BaseException:
                connection.close()
                raise
            head = parse_head(pending.data, has_body=message.method != "HEAD")
            if head is None:
                if not pending.waits:
                    pending.needs_thread = True
                    return None
                trace.fast_path = False
                self._connections.went_fast(-1)
                return self._hand_over(HandedOver(connection, ahead=pending.data), trace, message, by_requests)
            pending.head = head
            keep_alive = head.fields.get(b"keep-alive")
            connection.has_answered(None if keep_alive is None else keep_alive.decode("latin-1"))
        content, size = self._content(pending, head)
        if head.closes:
            connection.close()
        else:
            self._connections.checkin(pending.pool.idle_key, connection)
        return LazyResponse(
            head.status,
            message.url,
            content,
            size,
            pending.data[: head.end - 4],
            message.make_request,
            trace.first_byte,
            self._adapter,
            head.status in REDIRECT_STATI or b"set-cookie" in head.fields,
        )

    def _content(self, pending: Pending, head: Head) -> tuple[bytes, int]:
        """The body, read and decoded, and its size before that; the connection is closed if that fails."""
        encoding = head.fields.get(b"content-encoding")
        data = pending.data
        if encoding is None and head.length == len(data) - head.end and self._is_within(head.length):
            return data[head.end :], head.length
        try:
            return self._read(pending, head, encoding)
        except NOT_YET:
            raise
        except BaseException as error:
            pending.connection.close()
            try:
                raise_as_requests(_as_urllib3(error))
            except UNREADABLE as unreadable:
                if head.status not in REDIRECT_STATI or b"location" not in head.fields:
                    raise
                pending.trace.unreadable = unreadable
                return b"", 0  # see `read_redirect`
        finally:
            pending.trace.note_body()

    def _is_within(self, length: int) -> bool:
        return self._max_body is None or length <= self._max_body

    def _read(self, pending: Pending, head: Head, encoding: bytes | None) -> tuple[bytes, int]:
        if encoding is None and head.length != CHUNKED and not self._is_within(head.length):
            raise too_large(self._max_body)
        if encoding is None and 0 <= head.length <= LARGEST:
            whole = pending.whole
            if whole is None:
                pending.trace.has_leftover = len(pending.data) > head.end + head.length
                start = pending.data[head.end : head.end + head.length]
                whole = pending.whole = _Whole(start, head.length)
            pending.fill(whole)
            return whole.taken(), head.length
        body = Body(pending.data, head.end, pending.more)
        pieces = body.in_chunks() if head.length == CHUNKED else body.of_length(head.length)
        if encoding is not None:
            if not pending.waits:
                pieces = iter([*pieces])  # or else what has come would be decoded anew with each piece that comes
            pieces = decoded(_small(pieces), encoding.decode("latin-1").lstrip(" \t"), self._max_body)
        content = collect(pieces, self._max_body)
        pending.trace.has_leftover = body.has_leftover
        return content, body.size


class _Whole:
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


def _small(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cut pieces to what a decoder is given at once."""
    for piece in pieces:
        if len(piece) <= ENCODED_PIECE:
            yield piece
        else:
            for start in range(0, len(piece), ENCODED_PIECE):
                yield piece[start : start + ENCODED_PIECE]


def _as_urllib3(error: BaseException) -> BaseException:
    """What urllib3 raises for an error in the middle of a body."""
    if isinstance(error, TimeoutError):
        return urllib3.exceptions.ReadTimeoutError(None, None, "Read timed out.")  # type: ignore[arg-type]
    if isinstance(error, ssl.SSLError):
        return urllib3.exceptions.SSLError(error)
    if isinstance(error, (http.client.HTTPException, OSError)):
        return urllib3.exceptions.ProtocolError(f"Connection broken: {error!r}", error)
    return error

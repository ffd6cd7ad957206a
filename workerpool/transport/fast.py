"""The fast path: a plain request over one of urllib3's connections, sent and read in large pieces by ourselves.

Connecting, TLS, proxies, the budget and the deadline are those of requests' own path. Whatever is not plain goes back
to it: a failure, so that urllib3 and requests say what they always say of it, and an answer that only http.client knows
what to make of. Called on worker threads; what is kept here is made once and only read.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import urllib3.exceptions
from requests import PreparedRequest, Response
from requests.models import REDIRECT_STATI

from workerpool.transport.bodies import ENCODED_PIECE, UNREADABLE, collect, decoded, raise_as_requests, too_large
from workerpool.transport.connections import Connections
from workerpool.transport.http1 import CHUNKED, Body, Head, parse_head
from workerpool.transport.lazy import LazyResponse
from workerpool.transport.messages import Message
from workerpool.transport.pools import HandedOver
from workerpool.transport.trace import Trace

LARGEST = 1024**3
"""Bytes of a body for which memory is asked at once."""

ByRequests = Callable[[PreparedRequest], Response]
"""Sends by requests' own path, which here only takes over what has been begun."""


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
        connection: Any = connections.checkout(pool.idle_key, pool.host_key()) or pool.new_connection()
        try:
            if connection.sock is None:
                pool.connect(connection, connect)
            data = connection.exchange(message.head, message.body, self._patience(read))
        except Exception as error:
            is_sending = connection.sock is not None and not trace.has_sent
            handed = HandedOver(connection, error=error, has_failed_sending=is_sending)
            return self._hand_over(trace, handed, message, by_requests)
        except BaseException:
            connection.close()
            raise
        head = parse_head(data, has_body=message.method != "HEAD")
        if head is None:
            trace.fast_path = False
            connections.was_not_fast()
            return self._hand_over(trace, HandedOver(connection, ahead=data), message, by_requests)
        keep_alive = head.fields.get(b"keep-alive")
        connection.has_answered(None if keep_alive is None else keep_alive.decode("latin-1"))
        content, size = self._content(connection, trace, data, head)
        if head.closes:
            connection.close()
        else:
            connections.checkin(pool.idle_key, connection)
        return LazyResponse(
            head.status,
            message.url,
            content,
            size,
            data[: head.end - 4],
            message.make_request,
            trace.first_byte,
            self._adapter,
            head.status in REDIRECT_STATI or b"set-cookie" in head.fields,
        )

    def _patience(self, read: float | None) -> float | None:
        """What the socket's own timeout has to be. None where the deadline ends a silence as soon: without one, no
        system call comes before each read."""
        watchdog = self._connections.watchdog
        left = watchdog.watch.left()
        return None if read is None or (left is not None and left <= read and watchdog.is_running) else read

    def _hand_over(self, trace: Trace, handed: HandedOver, message: Message, by_requests: ByRequests) -> Response:
        connection = handed.connection
        connection.handed, trace.handed = handed, connection
        try:
            return by_requests(message.make_request())
        finally:
            # The error leads back to all of these by its traceback: a circle would wait for the garbage collector.
            connection.handed = trace.handed = handed.error = None

    def _content(self, connection: Any, trace: Trace, data: bytes, head: Head) -> tuple[bytes, int]:
        """The body, read and decoded, and its size before that; the connection is closed if that fails."""
        encoding = head.fields.get(b"content-encoding")
        if encoding is None and head.length == len(data) - head.end and self._is_within(head.length):
            return data[head.end :], head.length
        try:
            return self._read(connection, trace, data, head, encoding)
        except BaseException as error:
            connection.close()
            try:
                raise_as_requests(_as_urllib3(error))
            except UNREADABLE as unreadable:
                if head.status not in REDIRECT_STATI or b"location" not in head.fields:
                    raise
                trace.unreadable = unreadable
                return b"", 0  # see `read_redirect`
        finally:
            trace.note_body()

    def _is_within(self, length: int) -> bool:
        return self._max_body is None or length <= self._max_body

    def _read(
        self, connection: Any, trace: Trace, data: bytes, head: Head, encoding: bytes | None
    ) -> tuple[bytes, int]:
        receive = connection.sock.recv

        def more(size: int) -> bytes:
            piece: bytes = receive(size)
            trace.received += len(piece)
            return piece

        if encoding is None and head.length != CHUNKED and not self._is_within(head.length):
            raise too_large(self._max_body)
        if encoding is None and 0 <= head.length <= LARGEST:
            trace.has_leftover = len(data) > head.end + head.length
            start = data[head.end : head.end + head.length]
            return _whole(connection.sock, trace, start, head.length), head.length
        body = Body(data, head.end, more)
        pieces = body.in_chunks() if head.length == CHUNKED else body.of_length(head.length)
        if encoding is not None:
            pieces = decoded(_small(pieces), encoding.decode("latin-1").lstrip(" \t"), self._max_body)
        content = collect(pieces, self._max_body)
        trace.has_leftover = body.has_leftover
        return content, body.size


def _whole(sock: Any, trace: Trace, start: bytes, length: int) -> bytes:
    """Read a body of `length` bytes that begins with `start` into one piece of memory, which it is returned in.

    Pieces that are joined take twice the memory, and more time. Memory that nothing has been written to is none yet, so
    a server that promises more than it sends costs nothing.
    """
    flags = socket.MSG_WAITALL if type(sock) is socket.socket else 0  # woken once, not for each segment
    body = io.BytesIO(bytes(length))
    with body.getbuffer() as view:
        came = len(start)
        view[:came] = start
        while came < length:
            size = sock.recv_into(view[came:], 0, flags)
            if not size:
                raise urllib3.exceptions.IncompleteRead(came, length - came)
            trace.received += size
            came += size
    return body.getvalue()  # the very bytes, not a copy


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

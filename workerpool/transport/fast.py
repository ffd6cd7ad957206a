"""The fast path: a plain request over one of urllib3's connections, sent and read in large pieces by ourselves.

Connecting, TLS, proxies, the budget and the deadline are those of requests' own path. Whatever is not plain goes back
to it: a failure, so that urllib3 and requests say what they always say of it, and an answer that only http.client knows
what to make of. What is kept here is made once and only read.

A worker either waits for the answer (`send`), or many requests are carried at once (`begin`, `go_on`): their sockets
never wait, and one thread comes back to each when something can be read. Where that does not do, as an answer is odd or
comes in many pieces, another thread takes over, which waits (`finish`).
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import urllib3.exceptions
from requests import Response
from requests.models import REDIRECT_STATI

from workerpool.transport.bodies import ENCODED_PIECE, UNREADABLE, collect, decoded, raise_as_requests, too_large
from workerpool.transport.connections import Connections
from workerpool.transport.http1 import CHUNKED, Body, Head, is_unfinished, parse_head
from workerpool.transport.lazy import LazyResponse
from workerpool.transport.messages import Message
from workerpool.transport.pending import MOST_BYTES, NOT_YET, Pending, Whole
from workerpool.transport.way import Way

LARGEST = 1024**3
"""Bytes of a body for which memory is asked at once."""
MOST_PIECES = 16
"""Pieces of an answer that a thread comes back for, where what has come is looked through again for each."""


class FastPath:
    """Sends messages over the connections of `connections`; `adapter` is what their responses say they came through."""

    def __init__(self, connections: Connections, max_body: int | None, adapter: Any) -> None:
        self._connections = connections
        self._max_body = max_body
        self._adapter = adapter

    def send(self, pool: Any, message: Message, timeout: tuple[float | None, float | None], way: Way) -> Response:
        """Send `message` over a connection of `pool` and read the whole answer. Raises what requests raises.

        `timeout`, `way`: see `Pending`.
        """
        connections = self._connections
        trace = connections.traces.current
        trace.fast_path = True
        connection = connections.checkout(pool.idle_key, pool.host_key())
        if connection is None:
            connection = pool.new_connection()
            connections.went_fast()
        pending = Pending(connection, pool, message, trace, timeout, way, waits=True)
        self._set_out(pending)
        return self._read_on(pending)

    def begin(
        self, pool: Any, message: Message, timeout: tuple[float | None, float | None], way: Way, *, over_new: bool
    ) -> Pending | None:
        """Send `message`, which has no body, without waiting for its answer. Raises what requests raises.

        `over_new`: over a new connection, for which this waits; otherwise over one that is idle, and where there is
        none, None is returned.
        """
        connections = self._connections
        trace = connections.traces.current
        trace.fast_path = True
        if over_new:
            connection = pool.new_connection()
            trace.reused = False
            connections.went_fast()
        else:
            connection = connections.checkout(pool.idle_key, pool.host_key())
            if connection is None:
                return None
        pending = Pending(connection, pool, message, trace, timeout, way, waits=False)
        self._set_out(pending)
        return pending

    def go_on(self, pending: Pending) -> Response | None:
        """Read what has come, without waiting; None if that is not all. Raises what requests raises."""
        try:
            return self._receive(pending)
        except NOT_YET:
            pending.heard_at = time.monotonic()
            if pending.whole is None:
                pending.pieces += 1
                pending.needs_thread = pending.pieces > MOST_PIECES or len(pending.data) > MOST_BYTES
            return None

    def finish(self, pending: Pending) -> Response:
        """Go on with what was begun, on a thread that may wait. Raises what requests raises."""
        try:
            pending.ask_the_rest(self._patience(pending))
        except Exception as error:
            self._raise_as_requests(pending, error, is_sending=True)
        except BaseException:
            pending.close()
            raise
        return self._read_on(pending)

    def _set_out(self, pending: Pending) -> None:
        connection = pending.connection
        try:
            if connection.sock is None:
                pending.pool.connect(connection, pending.timeout[0])
            pending.ask(self._patience(pending) if pending.waits else 0)
        except Exception as error:
            self._raise_as_requests(pending, error, is_sending=connection.sock is not None)
        except BaseException:
            connection.close()
            raise

    def _read_on(self, pending: Pending) -> Response:
        response = self._receive(pending)
        assert response is not None
        return response

    def _patience(self, pending: Pending) -> float | None:
        """What the socket's own timeout has to be. None where the deadline ends a silence as soon: without one, no
        system call comes before each read."""
        read = pending.timeout[1]
        watchdog = self._connections.watchdog
        left = watchdog.watch.left()
        return None if read is None or (left is not None and left <= read and watchdog.is_running) else read

    def _raise_as_requests(self, pending: Pending, error: Exception, *, is_sending: bool) -> NoReturn:
        """Raise what requests makes of an error that came up in sending, or else in reading."""
        pending.error, pending.has_failed_sending = error, is_sending
        del error  # see below
        self._by_requests(pending)
        raise AssertionError("requests' own path raises what it is told")

    def _by_requests(self, pending: Pending) -> Response:
        """Let requests' own path finish it, over the same connection: urllib3 gets that from its pool, and it says what
        is in `pending` where urllib3 connects, sends and reads."""
        connection, trace = pending.connection, pending.trace
        connection.handed, trace.handed = pending, connection
        try:
            return cast(Response, self._adapter.finish_by_requests(pending))
        finally:
            # The error leads back to all of these by its traceback: a circle would wait for the garbage collector.
            connection.handed = trace.handed = pending.error = None

    def _receive(self, pending: Pending) -> Response | None:
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
                self._raise_as_requests(pending, error, is_sending=False)
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
                return self._by_requests(pending)
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
                whole = pending.whole = Whole(start, head.length)
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

"""A carrier that is driven by hand, and its server, both on one thread: what has come when the client looks is what was
sent before, so an answer can be cut anywhere, and nothing is left to chance."""

from __future__ import annotations

import concurrent.futures
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.wire.answers import End, sized
from workerpool import BadBody, Request, RequestError, WorkerPool
from workerpool.config import Timeout
from workerpool.crew.load import Load
from workerpool.transport import Exchange
from workerpool.transport.idle import IdleLimits
from workerpool.transport.trace import Trace

LIMIT = 5.0
"""Seconds that anything here may take."""
SOON = Timeout.of(LIMIT)
MOST_LOOKS = 100
"""Looks at an answer that is all there, after which a client counts as one that goes round and round."""
BEGINNING = len(b"HTTP/1.1 2")
"""Bytes of an answer from which one can see that it may be a usual one; with fewer it is http.client that reads it."""


@dataclass(frozen=True)
class Seen:
    """What came of an answer: the response's facts, or the error's; whether http.client read it, another thread had to
    finish it, and the connection was kept."""

    facts: tuple[Any, ...]
    by_requests: bool
    was_finished: bool
    is_kept: bool

    @property
    def is_response(self) -> bool:
        return isinstance(self.facts[0], int)


class _NoLimits(IdleLimits):
    """Learns nothing: what one answer says of its server, or does, is not to be that of the next."""

    def said(self, site: str, keep_alive: str) -> None:
        pass

    def closed_after(self, site: str, seconds: float) -> None:
        pass


class Carrier:
    """Carries one request at a time over the only connection to its server; `looks`: how often it looked at the last
    one. Under TLS with a `context`, in records of `record` bytes, which go out together; `options`: the pool's."""

    def __init__(self, context: ssl.SSLContext | None = None, record: int = 1 << 20, **options: Any) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT)
        self._context = context
        self._record = record
        scheme = "http" if context is None else "https"
        self._site = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pool = WorkerPool(2, retry=None, timeout=(LIMIT, LIMIT), **options)  # its threads have nothing to do
        self._transport: Any = self._pool._transport
        self._transport._connections._limits = _NoLimits()
        self._session = self._transport.open_session()
        self._transport.settle_session(self._session)
        self._helper = concurrent.futures.ThreadPoolExecutor(1)
        self._load = Load()
        self._server: Any = None  # its end of the connection
        self._asked = 0
        self.looks = 0

    def __enter__(self) -> Carrier:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._helper.shutdown()
        self._load.close()
        self._listener.close()
        if self._server is not None:
            self._server.close()

    def run(
        self,
        pieces: Sequence[bytes],
        end: End = "keep",
        method: str = "GET",
        *,
        timeout: Timeout = SOON,
        is_late: bool = False,
    ) -> Seen:
        """Ask, and send the answer piece by piece, each when the client has looked at what came before and come back
        for more; then ask for something else, which must be answered by its own answer.

        `is_late`: the time of the answer is over when all pieces have come.
        """
        if self._server is None:
            self._warm()
        asked = self._ask("/case", pieces, end, method, timeout, is_late=is_late)
        if asked is None:  # since the run before, it has rested for longer than connections are kept
            self._warm()
            asked = self._ask("/case", pieces, end, method, timeout, is_late=is_late)
        assert asked is not None, "the connection was kept just now"
        trace, outcome, was_finished = asked
        is_kept = self._gets_own_answer()
        if not is_kept:
            self._warm()
        facts = _of_error(outcome) if isinstance(outcome, RequestError) else _of_response(outcome)
        return Seen(facts, trace.fast_path is not True, was_finished, is_kept)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _warm(self) -> None:
        """Open a connection, and let one request go over it."""
        if self._server is not None:
            self._server.close()
        accepting = self._helper.submit(self._accept)
        assert self._transport.warm(self._session, f"{self._site}/", self._site)
        self._server = accepting.result(LIMIT)
        assert self._gets_own_answer()

    def _accept(self) -> Any:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(LIMIT)
        return sock if self._context is None else self._context.wrap_socket(sock, server_side=True)

    def _gets_own_answer(self) -> bool:
        """Ask for something that nobody else does; False if no connection is there that could carry it."""
        self._asked += 1
        path = f"/own-{self._asked}"
        asked = self._ask(path, [sized(path.encode())])
        if asked is None:
            return False
        _, outcome, _ = asked
        if isinstance(outcome, RequestError):
            raise AssertionError("it went over a connection that is of no use") from outcome
        assert (outcome.status_code, outcome.content) == (200, path.encode()), "it got another one's answer"
        return True

    def _ask(
        self,
        path: str,
        pieces: Sequence[bytes],
        end: End = "keep",
        method: str = "GET",
        timeout: Timeout = SOON,
        *,
        is_late: bool = False,
    ) -> tuple[Trace, Any, bool] | None:
        """Carry a request as the crew does; what came of it, and whether another thread had to finish it. None if it
        cannot be carried."""
        exchange = Exchange(Request(f"{self._site}{path}", method), f"{self._site}{path}", self._site)
        carried = self._transport.begin(self._session, exchange, timeout, connects=False)
        if carried is None:
            return None
        assert not carried.needs_thread
        self._read(path)
        load, ticket = self._load, object()
        load.add(ticket, carried)  # type: ignore[arg-type]  # it only hands the ticket back
        outcome: Any = None
        was_finished = came_early = False
        self.looks = 0
        for number, piece in enumerate(pieces):
            is_last = number == len(pieces) - 1
            came_early = came_early or (outcome is not None and piece != b"")
            self._send(piece)
            if is_last:
                self._end(end)
            while outcome is None and not was_finished and (piece or is_last):
                ((entry, was_late),) = load.wait() if not (is_late and is_last) else [(self._entry(), True)]
                assert entry.ticket is ticket
                assert was_late is (is_late and is_last), "nothing has come"
                self.looks += 1
                assert self.looks < MOST_LOOKS + len(pieces)
                try:
                    outcome = self._transport.go_on(self._session, exchange, carried, is_late=was_late)
                except RequestError as error:
                    outcome = error
                if outcome is None and carried.needs_thread:
                    was_finished = True
                if outcome is not None or was_finished:
                    load.remove(entry)
                elif not is_last:
                    break  # it has come back for more
        assert load.is_empty, "it waits for more than the answer"
        assert not load._poll.poll(0), "it looks at what it carries no longer"
        if was_finished:
            try:
                outcome = self._transport.finish(self._session, exchange, carried)
            except RequestError as error:
                outcome = error
        assert outcome is not None
        if came_early or end != "keep":
            self._await_event()
        return exchange.trace, outcome, was_finished

    def _await_event(self) -> None:
        """Return when the connection, if it is idle, has seen what the server did last: not always at once."""
        for connection in [*self._transport._connections._idle]:
            sock = connection.sock
            if sock is not None and sock.fileno() >= 0:  # the reaper may have seen it first
                poll = select.poll()
                poll.register(sock, select.POLLIN)
                assert poll.poll(LIMIT * 1000)

    def _entry(self) -> Any:
        (entry,) = self._load._entries.values()
        return entry

    def _read(self, path: str) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self._server.recv(65536)
            assert piece, "the request went over a connection that is closed"
            data += piece
        assert data.split(b" ", 2)[1] == path.encode()

    def _send(self, piece: bytes) -> None:
        if piece:
            try:
                if len(piece) > self._record:
                    self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                for start in range(0, len(piece), self._record):
                    self._server.sendall(piece[start : start + self._record])
                if len(piece) > self._record:
                    self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            except OSError:
                pass  # the client has seen enough

    def _end(self, end: End) -> None:
        if end == "reset":
            self._server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if end != "keep":
            self._server.close()


def _of_response(response: Any) -> tuple[Any, ...]:
    return (
        response.status_code,
        response.reason,
        [*response.headers.items()],
        response.content,
        [*response.cookies.items()],
        response.next and response.next.url,
    )


def _of_error(error: RequestError) -> tuple[Any, ...]:
    words = "" if isinstance(error, BadBody) else str(error)  # zlib's depend on the pieces that it is given
    return (type(error).__name__, words, type(error.__cause__).__name__, getattr(error, "stale", False))

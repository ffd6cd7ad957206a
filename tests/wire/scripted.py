"""A server that plays a case's answer, byte by byte as it is written, and takes down what clients send to it.

Each connection has a thread; the thread that calls `visit` owns the rest.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.waiting import let_pass
from tests.wire.answers import Case, sized

BETWEEN_WRITES = 0.0005
"""Seconds between two writes, so that the client reads what came with the first one by itself, as a rule."""
NO_CASE = Case("none", ())
LIMIT = 5.0
"""Seconds that a thread waits for anything here."""


@dataclass(frozen=True)
class Arrival:
    """A request as it came: the number of its connection, its head without the empty line, its body, unless the case
    leaves that unread, and how many bytes of it were to come."""

    connection: int
    head: bytes
    body: bytes
    unread: int = 0

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")


@dataclass
class Visit:
    """One client's dealings with the server."""

    case: Case
    arrivals: list[Arrival] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    has_response: threading.Event = field(default_factory=threading.Event)
    was_played: threading.Event = field(default_factory=threading.Event)

    def await_rest(self) -> None:
        """Return when everything that the server has to say is on its way."""
        self.has_response.set()
        if any(arrival.path == "/case" for arrival in self.arrivals):
            self.was_played.wait(LIMIT)


class ScriptedServer:
    """Answers ``/case`` with the case's answer, a path of `routes` with what is there, anything else with its own path.

    Asked for no case, it needs none.
    """

    def __init__(self, case: Case = NO_CASE, routes: Mapping[str, bytes] | None = None) -> None:
        self._listener = _listener()
        self.port = self._listener.getsockname()[1]
        self._case = case
        self._routes = routes or {}
        self._visit = Visit(case)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str = "/case") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()

    @contextmanager
    def visit(self) -> Iterator[Visit]:
        """Count from nothing; at the end, end every connection."""
        self._visit = visit = Visit(self._case)
        try:
            yield visit
        finally:
            visit.has_response.set()
            for sock in visit.sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            visit = self._visit
            visit.sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, visit, len(visit.sockets)), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, visit: Visit, number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            try:
                while arrival := self._read(sock, visit, number):
                    if arrival.path == "/case" and not self._play(sock, visit, arrival.unread):
                        return
                    if arrival.path != "/case":
                        sock.sendall(self._route(arrival))
            except OSError:
                pass
            finally:
                visit.was_played.set()

    def _route(self, arrival: Arrival) -> bytes:
        answer = self._routes.get(arrival.path.partition("?")[0]) or sized(arrival.path.encode("latin-1"))
        answer = answer.replace(b"{port}", b"%d" % self.port)
        return answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if arrival.head.startswith(b"HEAD ") else answer

    def _read(self, sock: socket.socket, visit: Visit, number: int) -> Arrival | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        length = _length(head)
        is_read = visit.case.reads or b" /case " not in head
        while is_read and not (rest.endswith(b"0\r\n\r\n") if length is None else len(rest) >= length):
            piece = sock.recv(1 << 20)
            if not piece:
                break
            rest += piece
        arrival = Arrival(number, head, rest if is_read else b"", (length or 0) - len(rest))
        visit.arrivals.append(arrival)
        return arrival

    def _play(self, sock: socket.socket, visit: Visit, unread: int) -> bool:
        """Answer as the case says; whether the connection goes on. `unread`: bytes of the request's body."""
        case = visit.case
        try:
            for number, piece in enumerate(case.pieces):
                if number:
                    let_pass(BETWEEN_WRITES)
                sock.sendall(piece.replace(b"{port}", b"%d" % self.port) if b"{port}" in piece else piece)
            if case.late:
                visit.has_response.wait(LIMIT)
                sock.sendall(case.late)
            if case.end == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif case.end == "close" and case.reads:
                sock.shutdown(socket.SHUT_WR)
        finally:
            visit.was_played.set()
        if case.end == "close" and case.reads:  # to close with something unread would be a reset
            while sock.recv(65536):
                pass
        if not case.reads and case.end == "keep":
            while unread > 0 and (piece := sock.recv(min(unread, 1 << 20))):
                unread -= len(piece)
        return case.end == "keep"


_FIRST, _COUNT = 20_000, 12_000  # below those that the system gives out
_ports = itertools.count(os.getpid() * 997)
"""Each server has a port that no other had before: pools know what servers at a port do, and a test in another process
may still try one that the system has given out before."""


def _listener() -> socket.socket:
    for _ in range(_COUNT):
        try:
            return socket.create_server(("127.0.0.1", _FIRST + next(_ports) % _COUNT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError(f"all ports from {_FIRST} on are in use")


def _length(head: bytes) -> int | None:
    """The length of a request's body; None if it is in chunks."""
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
    lengths = [int(value) for name, _, value in lines if name == b"content-length"]
    if lengths:
        return lengths[0]
    return None if any(name == b"transfer-encoding" for name, _, _ in lines) else 0

"""Servers of a few lines, for what no ordinary one does: a thread for each connection, all over when the test is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = 20.0
"""Seconds in which whatever serves has to end, once its connections have."""

Serve = Callable[[socket.socket], object]
Answer = Callable[[socket.socket, str], object]


class Serving:
    """A server on loopback: where it is, the ports that its clients came from, and when each connection ended."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.url = f"http://{address}"
        self.clients: list[int] = []
        self.ended: list[float] = []


@contextmanager
def serving(serve: Serve, *, backlog: int = 100, receives: int | None = None) -> Iterator[Serving]:
    """Call `serve` with each connection, which ends with it. `receives`: bytes that are kept for it until it reads."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    if receives is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    server = Serving(f"127.0.0.1:{listening.getsockname()[1]}")
    socks: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def run(sock: socket.socket) -> None:
        try:
            serve(sock)
        except OSError:
            pass
        finally:
            server.ended.append(time.monotonic())
            sock.close()

    def accept() -> None:
        while True:
            try:
                sock, (_, port) = listening.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.clients.append(port)
            socks.append(sock)
            threads.append(threading.Thread(target=run, args=(sock,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(LIMIT)
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join(LIMIT)


def answering(answer: Answer) -> AbstractContextManager[Serving]:
    """Call `answer` with each request's head, until it returns False."""

    def serve(sock: socket.socket) -> None:
        while (request := head(sock)) and answer(sock, request) is not False:
            pass

    return serving(serve)


def head(sock: socket.socket) -> str:
    """Read a request without a body; empty at the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return ""
        data += piece
    return data.decode("latin-1")


def until_closed(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass

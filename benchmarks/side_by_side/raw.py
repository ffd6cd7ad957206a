"""The least that a client in Python can do: one thread, bytes made beforehand, answers counted by their length.

No peer, but the ceiling: where a client comes near it, the server or the machine is what is measured. It learns how
long an answer is from the first one, and takes every further one to be as long.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

END = b"\r\n\r\n"
RECV_BYTES = 262144
TIMEOUT = 30.0


@dataclass(slots=True)
class Connection:
    """`left`: bytes that are still to come of the answer."""

    sock: socket.socket
    left: int = 0


class RawClient:
    """`number` connections to the host of one URL, made as they are first needed."""

    def __init__(self, number: int, body_bytes: int, context: ssl.SSLContext | None) -> None:
        self._number = number
        self._body_bytes = body_bytes
        self._context = context
        self._selector = selectors.DefaultSelector()
        self._connections: list[Connection] = []
        self._answer_bytes = 0

    def close(self) -> None:
        for connection in self._connections:
            connection.sock.close()
        self._selector.close()

    def fetch(self, urls: list[str]) -> int:
        """Return how many answers came in full; raises `ConnectionError` if one breaks off, or the first is no 200."""
        requests = [_request(url) for url in urls]
        if not self._connections:
            self._connect(urls[0], requests[0])
        pending = iter(requests)
        for connection, request in zip(self._connections, pending, strict=False):
            self._send(connection, request)
        done = 0
        while done < len(requests):
            for key, _ in self._selector.select():
                if self._completes(key.data):
                    done += 1
                    following = next(pending, None)
                    if following is not None:
                        self._send(key.data, following)
        return done

    def _connect(self, url: str, request: bytes) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
        for _ in range(self._number):
            sock = socket.create_connection((host, port), TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=host)
            # Also takes what TLS sends after the handshake, which would wake the selector for nothing.
            self._answer_bytes = self._measure(sock, request)
            sock.setblocking(False)
            connection = Connection(sock)
            self._connections.append(connection)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _measure(self, sock: socket.socket, request: bytes) -> int:
        sock.sendall(request)
        answer = b""
        while END not in answer:
            answer += self._some(sock)
        head = answer.index(END) + len(END)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"no 200: {answer[:head]!r}")
        while len(answer) < head + self._body_bytes:
            answer += self._some(sock)
        return len(answer)

    def _send(self, connection: Connection, request: bytes) -> None:
        connection.sock.sendall(request)
        connection.left = self._answer_bytes

    def _completes(self, connection: Connection) -> bool:
        """Take what there is, and return whether it was the rest of an answer.

        TLS may have more than the kernel tells of, or nothing although it can be read.
        """
        if connection.left == 0:
            return False
        while connection.left > 0:
            try:
                connection.left -= len(self._some(connection.sock))
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
        return True

    def _some(self, sock: socket.socket) -> bytes:
        heard = sock.recv(RECV_BYTES)
        if not heard:
            raise ConnectionError("the server closed the connection")
        return heard


def _request(url: str) -> bytes:
    parts = urlsplit(url)
    return f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()

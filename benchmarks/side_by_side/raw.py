"""The least that a client in Python can do: one thread, bytes made beforehand, answers counted by their length.

No peer, but the ceiling: where a client comes near it, the server or the machine is what is measured. It learns how
long an answer is from the first one, and takes every further one to be as long.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

END = b"\r\n\r\n"
RECV_BYTES = 262144


class RawClient:
    """`connections` sockets to the host of one URL, made as they are first needed."""

    def __init__(self, connections: int, body_bytes: int, ca: str | None) -> None:
        self._body_bytes = body_bytes
        self._context = None if ca is None else ssl.create_default_context(cafile=ca)
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._connections = connections
        self._answer_bytes = 0

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()

    def fetch(self, urls: list[str]) -> int:
        """Return how many answers came in full; raises `ConnectionError` if one breaks off, or is no 200."""
        requests = [_request(url) for url in urls]
        if not self._sockets:
            self._connect(urls[0], requests[0])
        left: dict[int, int] = {}
        pending = iter(requests)
        for descriptor in self._sockets:
            self._send_next(descriptor, pending, left)
        done = 0
        while left:
            for descriptor, _ in self._poll.poll():
                left[descriptor] -= self._receive(self._sockets[descriptor], left[descriptor])
                if left[descriptor] == 0:
                    done += 1
                    del left[descriptor]
                    self._send_next(descriptor, pending, left)
        return done

    def _connect(self, url: str, request: bytes) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
        for _ in range(self._connections):
            sock = socket.create_connection((host, port), 30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=host)
            if not self._answer_bytes:
                self._answer_bytes = self._measure(sock, request)
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock.fileno(), select.EPOLLIN)

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

    def _send_next(self, descriptor: int, pending: Iterator[bytes], left: dict[int, int]) -> None:
        request = next(pending, None)
        if request is not None:
            self._sockets[descriptor].sendall(request)
            left[descriptor] = self._answer_bytes

    def _receive(self, sock: socket.socket, wanted: int) -> int:
        """Return how many bytes came: TLS may have more of them than the kernel, or none although it is readable."""
        came = 0
        while came < wanted:
            try:
                came += len(self._some(sock))
            except (BlockingIOError, ssl.SSLWantReadError):
                break
        return came

    def _some(self, sock: socket.socket) -> bytes:
        heard = sock.recv(RECV_BYTES)
        if not heard:
            raise ConnectionError("the server closed the connection")
        return heard


def _request(url: str) -> bytes:
    parts = urlsplit(url)
    return f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()

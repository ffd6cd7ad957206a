"""A server that takes connections, and answers nothing until it is told to, so that a run waits for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Late:
    """`url`: of what one request may be sent for."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/late"

    def answer(self) -> None:
        """Answer the request, which has come or will come."""
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(ANSWER)


@contextmanager
def late() -> Iterator[Late]:
    """A server, which is gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield Late(listener)

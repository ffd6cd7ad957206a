"""A server that answers 50 ms late, in a process of its own: `python -m benchmarks.side_by_side.delaying BYTES DELAY`.

Prints its port, and serves until its standard input ends. One thread and a selector; every request is due the same time
after it came, so those that wait are a plain queue. It takes whatever ends with an empty line for a request, without
pipelining, and sends every one the same bytes. `raw.py` asks as little of a client as this asks of a server; what
both reach together is the row "raw sockets" of the table.
"""

from __future__ import annotations

import resource
import selectors
import socket
import sys
import time
from collections import deque
from typing import IO

from benchmarks.side_by_side.raw import END

BACKLOG = 1024
RECV_BYTES = 65536


class Server:
    def __init__(self, listener: socket.socket, answer: bytes, delay: float) -> None:
        self._listener = listener
        self._answer = answer
        self._delay = delay
        self._selector = selectors.DefaultSelector()
        self._read: dict[socket.socket, bytes] = {}
        self._waiting: deque[tuple[float, socket.socket]] = deque()

    def serve(self, until: IO[str]) -> None:
        """Serve until `until` can be read, which its end can."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(until, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._next_due()):
                if key.fileobj is until:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._hear(key.data)
            self._answer_due()

    def _next_due(self) -> float | None:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, sock)

    def _hear(self, sock: socket.socket) -> None:
        try:
            heard = sock.recv(RECV_BYTES)
        except ConnectionError:
            heard = b""
        request = self._read.pop(sock, b"") + heard
        if not heard:
            self._selector.unregister(sock)
            sock.close()
        elif request.endswith(END):
            self._waiting.append((time.monotonic() + self._delay, sock))
        else:
            self._read[sock] = request

    def _answer_due(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, sock = self._waiting.popleft()
            try:
                sock.sendall(self._answer)
            except OSError:
                pass  # closed meanwhile, which is heard, or was


def main() -> None:
    # Each client of a run keeps its connections while the others take their turns.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    body_bytes, delay = int(sys.argv[1]), float(sys.argv[2])
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        Server(listener, head.encode() + b"x" * body_bytes, delay).serve(sys.stdin)


if __name__ == "__main__":
    main()

"""A server that answers 50 ms late, in a process of its own: `python -m benchmarks.side_by_side.delaying BYTES DELAY`.

Prints its port, and serves until its standard input ends. One thread and epoll; every request is due the same time
after it came, so those that wait are a plain queue. It takes whatever ends with an empty line for a request, without
pipelining, and sends every one the same bytes. `raw.py` asks as little of a client as this asks of a server; what
both reach together is the row "raw sockets" of the table.
"""

from __future__ import annotations

import resource
import select
import socket
import sys
import time
from collections import deque

from benchmarks.side_by_side.raw import END

BACKLOG = 1024
RECV_BYTES = 65536


class Server:
    def __init__(self, listener: socket.socket, answer: bytes, delay: float) -> None:
        self._listener = listener
        self._answer = answer
        self._delay = delay
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._read: dict[int, bytes] = {}
        self._waiting: deque[tuple[float, int, socket.socket]] = deque()

    def serve(self, until: int) -> None:
        """Serve until the descriptor `until` can be read, which its end can."""
        for descriptor in (until, self._listener.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)
        while True:
            for descriptor, _ in self._poll.poll(self._next_due()):
                if descriptor == until:
                    return
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._hear(descriptor)
            self._answer_due()

    def _next_due(self) -> float:
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else -1

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[sock.fileno()] = sock
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def _hear(self, descriptor: int) -> None:
        sock = self._sockets[descriptor]
        try:
            heard = sock.recv(RECV_BYTES)
        except ConnectionError:
            heard = b""
        if not heard:
            self._poll.unregister(descriptor)
            del self._sockets[descriptor]
            self._read.pop(descriptor, None)
            sock.close()
            return
        request = self._read.pop(descriptor, b"") + heard
        if request.endswith(END):
            self._waiting.append((time.monotonic() + self._delay, descriptor, sock))
        else:
            self._read[descriptor] = request

    def _answer_due(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, descriptor, sock = self._waiting.popleft()
            if self._sockets.get(descriptor) is sock:  # else it was closed, and the number may be another one's by now
                try:
                    sock.sendall(self._answer)
                except ConnectionError:
                    pass  # its end is heard next


def main() -> None:
    # Each client of a run keeps its connections while the others take their turns.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    body_bytes, delay = int(sys.argv[1]), float(sys.argv[2])
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        Server(listener, head.encode() + b"x" * body_bytes, delay).serve(sys.stdin.fileno())


if __name__ == "__main__":
    main()

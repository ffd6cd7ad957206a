"""A server that does everything wrong that a server can do, at random, but never gives a wrong answer: what it sends is
always the path that was asked for, or the beginning of it.

A thread for each connection; `trouble` is the share of requests that meet some.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable

from tests.wire.answers import chunk, head, sized

STALL = 1.5
"""Seconds that it keeps silent: longer than its clients wait."""
LIMIT = 20.0


class UnrulyServer:
    """Serves on a free port of 127.0.0.1 from `__enter__` to `__exit__`; `context`: under TLS."""

    def __init__(self, context: ssl.SSLContext | None = None, trouble: float = 0.5, seed: int = 0) -> None:
        self._context = context
        self._trouble = trouble
        self._chance = random.Random(seed)
        self._lock = threading.Lock()  # guards the fields below
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ends = threading.Event()

    def __enter__(self) -> UnrulyServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends.is_set():
            return  # ended before its time, by the test itself
        self._ends.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(LIMIT)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                try:
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()

    def url(self, path: str) -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}{path}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(
                target=self._serve, args=(sock, random.Random(self._chance.random())), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, chance: random.Random) -> None:
        try:
            sock.settimeout(LIMIT)
            if self._context is not None:
                if chance.random() < self._trouble / 10:
                    self._ends.wait(STALL)
                    return
                sock = self._context.wrap_socket(sock, server_side=True)
            with self._lock:
                self._sockets.add(sock)
            if self._ends.is_set():
                return
            while path := _read(sock):
                if not self._answer(sock, path, chance):
                    return
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._sockets.discard(sock)
            sock.close()

    def _answer(self, sock: socket.socket, path: bytes, chance: random.Random) -> bool:
        """Answer somehow; whether the connection goes on."""
        body = path * chance.choice([1, 1, 1, 3, 300])
        lines = chance.choice([(), (), (b"Set-Cookie: a=b",), (b"Connection: keep-alive", b"Keep-Alive: timeout=1")])
        plain = sized(body, *lines)
        cuts = [*range(0, len(body), max(1, len(body) // 3))]
        parts = [chunk(body[at : at + max(1, len(body) // 3)]) for at in cuts]
        in_chunks = head(b"Transfer-Encoding: chunked", *lines) + b"".join(parts) + b"0\r\n\r\n"
        answer = chance.choice([plain, in_chunks])
        if chance.random() >= self._trouble:
            sock.sendall(answer)
            return True
        return chance.choice(TROUBLES)(sock, answer, self._ends, chance)


Trouble = Callable[[socket.socket, bytes, threading.Event, random.Random], bool]


def _reset(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer[: chance.choice([0, 0, 3, 20, len(answer) // 2, len(answer) - 1, len(answer)])])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _close(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer[: chance.choice([0, 0, 3, 20, len(answer) // 2, len(answer) - 1])])
    return False


def _close_after(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer)
    ends.wait(chance.choice([0.0, 0.0, 0.001, 0.01, 0.05]))
    return False


def _stall(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    at = chance.choice([0, 3, 20, len(answer) // 2, len(answer) - 1])
    sock.sendall(answer[:at])
    ends.wait(STALL)
    sock.sendall(answer[at:])
    return True


def _drip(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    for at in range(0, len(answer), max(1, len(answer) // 20)):
        sock.sendall(answer[at : at + max(1, len(answer) // 20)])
        ends.wait(chance.choice([0.0, 0.001]))
    return True


def _more_than_asked(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    wrong = sized(b"WRONG: the answer to nobody's request")
    sock.sendall(answer + wrong[: chance.choice([1, 2, 30, len(wrong)])])
    return True


def _more_a_moment_later(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer)
    ends.wait(0.02)  # a request that goes out just now gets this, rightly
    sock.sendall(b"HTTP/1.1 408 WRONG\r\nContent-Length: 5\r\nConnection: close\r\n\r\nWRONG")
    return False


def _interim(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(head(b"Link: </x>", start=b"HTTP/1.1 103 Early") + answer)
    return True


def _refuse(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer.replace(b"200 OK", chance.choice([b"404 No", b"500 No", b"503 No"]), 1))
    return True


def _redirect(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer.replace(b"200 OK\r\n", b"302 Go\r\nLocation: ?again\r\n", 1))
    return True


def _say_close(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    return False


def _old(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(answer.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    return False


def _nonsense(sock: socket.socket, answer: bytes, ends: threading.Event, chance: random.Random) -> bool:
    sock.sendall(chance.choice([b"SSH-2.0-x\r\n", b"HTTP/1.1 200\r\nContent-Length: x\r\n\r\n", bytes(100)]))
    return False


TROUBLES: tuple[Trouble, ...] = (
    *(_reset, _close, _close_after, _close_after, _drip, _drip, _more_than_asked, _more_a_moment_later),
    *(_interim, _refuse, _redirect, _say_close, _old, _nonsense, _stall),
)


def _read(sock: socket.socket) -> bytes:
    """Read a request; its path, nothing at the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return b""
        data += piece
    top, _, rest = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in top.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(rest) < length:
        piece = sock.recv(1 << 20)
        if not piece:
            return b""
        rest += piece
    target = top.split(b" ", 2)[1]
    path = target if target.startswith(b"/") else b"/" + target.split(b"/", 3)[3]  # through a proxy
    return path.partition(b"?")[0]

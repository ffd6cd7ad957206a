"""Uploads: answers that come before all of the body was sent, bodies that are sent again, and no word of Expect."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.wire import paths
from tests.wire.answers import sized
from workerpool import ConnectionLost, OutcomeUnknown, Request, RetryPolicy, WorkerPool

LARGE = bytes(range(256)) * 40_000
"""10 MB: more than the sockets' buffers hold."""
BODIES: dict[str, Any] = {"bytes": lambda: LARGE, "a file": lambda: io.BytesIO(LARGE), "an iterator": lambda: _pieces()}
TOO_MUCH = sized(b"too much", b"Connection: close", start=b"HTTP/1.1 413 Too Large")


def _pieces() -> Iterator[bytes]:
    return (LARGE[at : at + 100_000] for at in range(0, len(LARGE), 100_000))


class Server:
    """Answers each request in turn as `answers` says, on a thread for each connection.

    `early`: it answers when it has read the head of a POST, and then "reads" the rest, or "closes" at once; None reads
    the whole body first. `heads`, `bodies`: what came.
    """

    def __init__(self, *answers: bytes, early: str | None = None) -> None:
        self._answers = iter(answers)
        self._early = early
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while self._one(sock):
                    pass
            except OSError:
                pass

    def _one(self, sock: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return False
            data += piece
        top, _, rest = data.partition(b"\r\n\r\n")
        self.heads.append(top)
        early = self._early if top.startswith(b"POST") else None
        if early:
            sock.sendall(next(self._answers))
            if early == "closes":
                return False
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 20):
                pass
            return False
        pieces = [rest]
        length = next((int(line[15:]) for line in top.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        is_chunked = b"chunked" in top
        size = len(rest)
        while not pieces[-1].endswith(b"0\r\n\r\n") if is_chunked else size < length:
            pieces.append(sock.recv(1 << 20))
            size += len(pieces[-1])
        body = b"".join(pieces)
        self.bodies.append(_unchunked(body) if is_chunked else body)
        sock.sendall(next(self._answers))
        return True


def _unchunked(data: bytes) -> bytes:
    taken = []
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            return b"".join(taken)
        taken.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]


@contextmanager
def serving(*answers: bytes, early: str | None = None) -> Iterator[Server]:
    server = Server(*answers, early=early)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.end()
        thread.join(5)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", paths.POOLS)
@pytest.mark.parametrize("early", ["reads", "closes"])
def test_an_answer_that_comes_before_the_body_is_through_is_taken(kind: str, body: str, early: str) -> None:
    with serving(TOO_MUCH, sized(b"fine"), early=early) as server, paths.POOLS[kind]() as pool:
        (outcome,) = pool.stream([Request(server.url, "POST", data=BODIES[body](), timeout=10)])
        if early == "reads":
            assert outcome.status == 413
        else:  # closing with something unread is a reset, which may take the answer with it
            assert outcome.status == 413 or isinstance(outcome.error, (ConnectionLost, OutcomeUnknown))
        assert b"\r\nExpect:" not in server.heads[0]
        (after,) = pool.stream([server.url])
        assert after.response is not None
        assert after.response.content == b"fine"


@pytest.mark.parametrize("body", ["bytes", "a file"])
@pytest.mark.parametrize("fast_path", [True, False])
def test_a_body_is_sent_whole_at_each_try(fast_path: bool, body: str) -> None:
    busy = sized(b"busy", start=b"HTTP/1.1 503 Busy")
    policy = RetryPolicy(attempts=3, backoff=0)
    with serving(busy, busy, sized(b"ok")) as server, WorkerPool(1, retry=policy, fast_path=fast_path) as pool:
        (outcome,) = pool.stream([Request(server.url, "POST", data=BODIES[body](), idempotent=True, timeout=10)])
        assert outcome.ok
        assert [attempt.fast_path for attempt in outcome.attempts] == [fast_path and body == "bytes"] * 3
        assert [len(came) for came in server.bodies] == [len(LARGE)] * 3
        assert {*server.bodies} == {LARGE}


@pytest.mark.parametrize("kind", paths.POOLS)
def test_an_iterator_is_sent_in_chunks_and_once_only(kind: str) -> None:
    policy = RetryPolicy(attempts=3, backoff=0)
    busy = sized(b"busy", start=b"HTTP/1.1 503 Busy")
    with serving(busy, sized(b"ok")) as server, WorkerPool(1, retry=policy, fast_path=kind == "fast") as pool:
        (outcome,) = pool.stream([Request(server.url, "POST", data=_pieces(), idempotent=True, timeout=10)])
        assert outcome.status == 503
        assert server.bodies == [LARGE]

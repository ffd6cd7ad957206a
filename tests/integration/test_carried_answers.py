"""Answers whose request a carrier sent, come as they may: whole, in pieces, too late, or not at all."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.recorded import Recorded, content, looking, narrow, only, pool_of, warm
from tests.servers import CHUNKED, OK, answering, serving
from tests.waiting import LONG, eventually, let_pass
from workerpool import Request, RetryPolicy, Timeout, WorkerPool
from workerpool.testing import Origin

LONG_TARGET = 500_000
"""Bytes of a URL that no socket takes at once which is `narrow`."""


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_cookie_that_comes_with_an_error_is_kept() -> None:
    cookies: list[str] = []

    def answer(sock: socket.socket, request: str) -> None:
        cookies.extend(line for line in request.split("\r\n") if line.startswith("Cookie:"))
        if request.startswith("GET /error "):
            sock.sendall(b"HTTP/1.1 404 No\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        else:
            sock.sendall(OK)

    with answering(answer) as site, pool_of(cookies="shared") as (pool, transport):
        warm(pool, f"{site.url}/")
        assert only(pool.stream([f"{site.url}/error"])).status == 404
        assert transport.count("begin") == 2
        assert only(pool.stream([f"{site.url}/"])).ok
    assert cookies == ["Cookie: a=b"]


def in_chunks(data: bytes, size: int) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


TEXT = bytes(number * number % 251 for number in range(3000))
ANSWERS = {
    "with a length": b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + TEXT,
    "in chunks": CHUNKED + in_chunks(TEXT, 700),
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
    % (len(gzip.compress(TEXT)), gzip.compress(TEXT)),
    "compressed in chunks": b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n"
    + in_chunks(zlib.compress(TEXT), 700),
    "until the connection ends": b"HTTP/1.1 200 OK\r\n\r\n" + TEXT,
    "after an interim one": b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + TEXT,
    "with bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 3000\n\n" + TEXT,
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 3000\r\n\r\n" + TEXT,
}


@pytest.mark.parametrize("pieces", [2, 7, 40])
@pytest.mark.parametrize("how", ANSWERS)
def test_an_answer_in_pieces_is_put_together(how: str, pieces: int) -> None:
    """Wherever it is cut; a carrier that finds too many pieces, or an odd answer, leaves it to another thread."""
    data, looked = ANSWERS[how], threading.Semaphore(0)

    def answer(sock: socket.socket, request: str) -> object:
        if request.startswith("GET / "):
            return sock.sendall(OK)
        size = len(data) // pieces + 1
        for start in range(0, len(data), size):
            sock.sendall(data[start : start + size])
            looked.acquire(timeout=0.01)  # or another thread reads it
        return False

    with answering(answer) as site, pool_of(kind=looking(looked)) as (pool, transport):
        warm(pool, f"{site.url}/")
        looked.acquire()
        outcome = only(pool.stream([f"{site.url}/pieces"]))
        assert content(outcome) == TEXT
        assert transport.count("begin") == 2


@pytest.mark.parametrize("fast_path", [True, False])
def test_an_answer_that_comes_before_a_long_message_has_been_read_is_taken(fast_path: bool) -> None:
    """The rest of the message is sent by a thread that waits; the server resets that."""

    def serve(sock: socket.socket) -> None:
        data = b""
        while len(data) <= 5000:
            piece = sock.recv(1000)
            if not piece:
                return
            data += piece
            if data.endswith(b"\r\n\r\n"):
                data = b""
                sock.sendall(OK)
        sock.sendall(b"HTTP/1.1 414 Too long\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with serving(serve, receives=10_000) as site, pool_of(fast_path=fast_path) as (pool, transport):
        warm(pool, f"{site.url}/")
        narrow(transport)
        outcome = only(pool.stream([f"{site.url}/{'x' * LONG_TARGET}"]))
        assert outcome.status == 414
        assert transport.count("finish") == fast_path


def test_a_long_message_that_the_server_is_slow_to_read_holds_up_nobody() -> None:
    reads = threading.Event()

    def serve(sock: socket.socket) -> None:
        while data := sock.recv(100):
            if data.startswith(b"GET /x") and not reads.wait(LONG):
                return
            while not data.endswith(b"\r\n\r\n"):
                piece = sock.recv(1_000_000)
                if not piece:
                    return
                data = data[-4:] + piece
            sock.sendall(OK)

    def times_that_a_thread_waited() -> int:
        reads.clear()
        with serving(serve, receives=10_000) as site, pool_of(timeout=LONG) as (pool, transport):
            warm(pool, f"{site.url}/", 3)
            narrow(transport)
            outcomes = pool.stream([f"{site.url}/{'x' * LONG_TARGET}", *[f"{site.url}/{n}" for n in range(50)]])
            assert [len(next(outcomes).url) < 100 for _ in range(50)] == [True] * 50
            reads.set()
            assert content(only(outcomes)) == b"ok"
            return transport.count("finish")

    # On a busy machine another thread than the carrier may have taken it from the first.
    assert any(times_that_a_thread_waited() for _ in range(5))


# -- deadlines ---------------------------------------------------------------------------------------------------------


class Busy(Recorded):
    """Where the carrier is not back before more has come."""

    def go_on(self, *args: Any, **kwargs: Any) -> Any:
        response = super().go_on(*args, **kwargs)
        let_pass(0.005)
        return response


def test_a_body_of_which_something_has_come_at_each_look_meets_the_deadline() -> None:
    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET / "):
            sock.sendall(OK)
            return
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        for _ in range(5000):
            sock.sendall(bytes(100))
            let_pass(0.001)

    with answering(answer) as site, pool_of(kind=Busy, timeout=0.3) as (pool, transport):
        warm(pool, f"{site.url}/")
        began = time.monotonic()
        outcome = only(pool.stream([f"{site.url}/endless"]))
        assert time.monotonic() - began < 1.5
        assert outcome.error is not None
        assert outcome.error.reason == "timeout"
        assert transport.count("finish") == 0


def test_a_timeout_of_months_can_be_waited_for() -> None:
    timeout = Timeout(connect=5, read=None, total=1e7)
    with (
        answering(lambda sock, request: sock.sendall(OK)) as site,
        pool_of(timeout=timeout, retry=RetryPolicy(total=None)) as (pool, transport),
    ):
        warm(pool, f"{site.url}/")
        assert only(pool.stream([f"{site.url}/"])).ok
        assert transport.count("go_on") == 2


# -- deadlines, as on any other way ------------------------------------------------------------------------------------

LATE = {
    "nothing": (b"", b""),
    "a head that drips": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "a body that drips": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "a body that stalls": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nx", b""),
    "chunks that drip": (CHUNKED, b"1\r\nx\r\n"),
    "a chunk that stalls": (CHUNKED + b"9\r\nx", b""),
    "an error's body": (b"HTTP/1.1 404 No\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "a redirect's body": (b"HTTP/1.1 302 Go\r\nLocation: /\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "a compressed body": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9999\r\n\r\n\x1f\x8b", b""),
}


def told(error: BaseException | None) -> tuple[Any, ...]:
    """What an outcome's error says, and what requests' own says, but for its address in memory."""
    cause = error.__cause__ if error is not None else None
    return type(error), getattr(error, "reason", None), str(error), type(cause)


TOTAL, READ = Timeout(5, 5, 0.2), Timeout(5, 0.2, None)
# What drips is never silent for so long.
BY_TIMEOUT = [(late, timeout) for late in LATE for timeout in (TOTAL, READ) if timeout is TOTAL or not LATE[late][1]]


@pytest.mark.parametrize(
    ("late", "timeout"), BY_TIMEOUT, ids=[f"{late}, {'total' if by is TOTAL else 'read'}" for late, by in BY_TIMEOUT]
)
def test_a_late_answer_is_told_as_on_any_other_way(late: str, timeout: Timeout) -> None:
    opening, drop = LATE[late]

    def answer(sock: socket.socket, request: str) -> object:
        if request.startswith("GET / "):
            return sock.sendall(OK)
        sock.sendall(opening)
        sock.settimeout(0.03)
        while True:
            try:
                sock.recv(1)
                return False
            except TimeoutError:
                sock.sendall(drop)

    errors = []
    with answering(answer) as site:
        for workers, fast_path in [(4, True), (1, False)]:
            with pool_of(workers, timeout=timeout, fast_path=fast_path) as (pool, transport):
                warm(pool, f"{site.url}/")
                began = time.monotonic()
                outcome = only(pool.stream([f"{site.url}/late"]))
                assert 0.15 < time.monotonic() - began < 1.5
                assert transport.count("begin") == 2 * (workers > 1)
                errors.append(told(outcome.error))
                assert eventually(lambda: pool.statistics().sockets_open == 0)
    assert errors[0] == errors[1]


def test_an_answer_that_came_in_time_is_taken_by_a_carrier_that_was_busy() -> None:
    class Blocked(Recorded):
        def go_on(self, *args: Any, **kwargs: Any) -> Any:
            if is_busy.is_set():
                is_busy.clear()
                let_pass(0.4)
            return super().go_on(*args, **kwargs)

    is_busy = threading.Event()
    with answering(lambda sock, request: sock.sendall(OK)) as site, pool_of(kind=Blocked, timeout=0.2) as (pool, _):
        warm(pool, f"{site.url}/", 2)
        is_busy.set()
        assert [outcome.ok for outcome in pool.stream([f"{site.url}/1", f"{site.url}/2"])] == [True, True]


# -- sockets that died -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "resent"), [("GET", 1), ("HEAD", 1), ("DELETE", 1), ("OPTIONS", 1)])
@pytest.mark.parametrize("end", ["closes", "resets"])
def test_what_met_a_socket_that_the_server_had_ended_is_sent_again(method: str, resent: int, end: str) -> None:
    """It ends when the request is there, which is what a server that was about to close looks like."""
    ends = threading.Event()

    def answer(sock: socket.socket, request: str) -> object:
        if ends.is_set():
            ends.clear()
            if end == "resets":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        return sock.sendall(OK if method != "HEAD" else OK[:-2])

    with answering(answer) as site, pool_of() as (pool, transport):
        warm_by = [*pool.stream([Request(f"{site.url}/", method)])]
        assert warm_by[0].ok
        assert eventually(lambda: pool.statistics().active == 0)
        ends.set()
        outcome = only(pool.stream([Request(f"{site.url}/", method)]))
        assert outcome.ok, outcome.error
        now = pool.statistics()
        assert (now.resent, now.sockets_lost, now.sockets_open, now.sent) == (resent, 1, 1, 2 + resent)
        assert (transport.count("begin"), transport.count("send")) == (2 + resent, 0)


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_is_carried_whatever_the_size(tmp_path: Path, version: str) -> None:
    """Of bodies, of which some are read by other threads, and of messages that are not sent at once."""
    ca = Authority(tmp_path)
    paths = ["/bytes/10", "/bytes/20000", "/bytes/1000000", "/chunked?bytes=300000", "/gzip?bytes=200000"]
    paths += [f"/bytes/5?{'x' * 1000 * size}" for size in (1, 20, 60)]
    with (
        Origin(tls=ca.context(version=ssl.TLSVersion[version])) as origin,
        pool_of(4, verify=ca.file, timeout=LONG) as (pool, transport),
    ):
        warm(pool, origin.url("/"), 3)
        outcomes = [*pool.stream(origin.url(path) for path in paths * 10)]
        assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
        by_url = {outcome.url: content(outcome) for outcome in outcomes}
        plain = WorkerPool(1, verify=ca.file, fast_path=False)
        with plain:
            assert by_url == {outcome.url: content(outcome) for outcome in plain.stream([*by_url])}
        assert transport.count("begin") > 60

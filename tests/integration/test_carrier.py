"""The carrier: one thread sends many requests and waits for all their answers. What must hold for those who use it.

A request is carried where a connection is idle that can take it, so each test here warms its pool first. `Recorded`
tells which thread did what.
"""

from __future__ import annotations

import gc
import gzip
import itertools
import logging
import os
import random
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import weakref
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.thread import BrokenThreadPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.conftest import IN_FULL
from tests.waiting import eventually
from workerpool import Outcome, Request, RetryPolicy, Timeout, WorkerPool, testing
from workerpool.crew.load import Load
from workerpool.crew.locking import ChoreLock
from workerpool.testing import Origin, Reply, ScriptedTransport
from workerpool.tickets import Owner, Ticket
from workerpool.transport import RequestsTransport, fast
from workerpool.transport.pending import Pending

LONG = 20.0
"""Seconds that something may take which should be there soon."""
LONG_TARGET = 500_000
"""Bytes of a URL that no socket takes at once which is `narrow`."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[socket.socket, str], object]


def head(sock: socket.socket) -> str | None:
    """Read a request without a body; None at the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    return data.decode()


@contextmanager
def server(answer: Answer, *, unread: bool = False) -> Iterator[str]:
    """Call `answer` for each request of each connection, on a thread for each; gives the URL without a path.

    The connection ends when `answer` returns False. `unread`: `answer` reads the requests itself, and little of them is
    kept for it meanwhile.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    if unread:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    socks: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def run(sock: socket.socket) -> None:
        with sock:
            try:
                while (request := "" if unread else head(sock)) is not None:
                    if answer(sock, request) is False:
                        return
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            socks.append(sock)
            threads.append(threading.Thread(target=run, args=(sock,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(LONG)
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join(LONG)


class Recorded(RequestsTransport):
    """Notes which thread did what: `begin` for what was begun, `none` for what could not be."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[tuple[str, str]] = []

    def _note(self, what: str) -> None:
        self.calls.append((what, threading.current_thread().name))

    def send(self, session: Any, exchange: Any, timeout: Timeout) -> Any:
        self._note("send")
        return super().send(session, exchange, timeout)

    def begin(self, session: Any, exchange: Any, timeout: Timeout, *, connects: bool) -> Any:
        carried = super().begin(session, exchange, timeout, connects=connects)
        self._note("none" if carried is None else "begin")
        return carried

    def go_on(self, session: Any, exchange: Any, carried: Any, *, is_late: bool) -> Any:
        self._note("late" if is_late else "go_on")
        return super().go_on(session, exchange, carried, is_late=is_late)

    def finish(self, session: Any, exchange: Any, carried: Any) -> Any:
        self._note("finish")
        return super().finish(session, exchange, carried)

    def count(self, what: str) -> int:
        return sum(name == what for name, _ in self.calls)

    def threads(self, *what: str) -> set[str]:
        return {thread for name, thread in self.calls if name in what}


@contextmanager
def pool_of(workers: int = 4, kind: type[Recorded] = Recorded, **options: Any) -> Iterator[tuple[WorkerPool, Any]]:
    made: list[Recorded] = []

    def make(settings: Any, governor: Any) -> Recorded:
        made.append(kind(settings, governor))
        return made[0]

    with WorkerPool(workers, transport=make, **{"retry": None, **options}) as pool:
        yield pool, made[0]


def warm(pool: WorkerPool, url: str, sockets: int = 1) -> None:
    """Leave so many idle sockets to the site of `url`, and a pool that has come to rest."""
    for _ in range(sockets):
        assert pool.submit(lambda: pool._transport.warm(pool.session, url, url.rpartition("/")[0])).result(LONG)
    assert only(pool.stream([url])).ok
    assert eventually(lambda: pool.statistics().active == 0)
    assert pool.statistics().sockets_idle >= sockets


def narrow(transport: Any) -> None:
    """Let idle sockets take little at once."""
    for connection in transport._connections._idle:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)


def only(outcomes: Iterator[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def content(outcome: Outcome) -> bytes | None:
    return None if outcome.response is None else outcome.response.content


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_cookie_that_comes_with_an_error_is_kept() -> None:
    cookies: list[str] = []

    def answer(sock: socket.socket, request: str) -> None:
        cookies.extend(line for line in request.split("\r\n") if line.startswith("Cookie:"))
        if request.startswith("GET /error "):
            sock.sendall(b"HTTP/1.1 404 No\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        else:
            sock.sendall(OK)

    with server(answer) as site, pool_of(cookies="shared") as (pool, transport):
        warm(pool, f"{site}/")
        assert only(pool.stream([f"{site}/error"])).status == 404
        assert transport.count("begin") == 2
        assert only(pool.stream([f"{site}/"])).ok
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

    class Looking(Recorded):
        def go_on(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().go_on(*args, **kwargs)
            finally:
                looked.release()

    def answer(sock: socket.socket, request: str) -> object:
        if request.startswith("GET / "):
            return sock.sendall(OK)
        size = len(data) // pieces + 1
        for start in range(0, len(data), size):
            sock.sendall(data[start : start + size])
            looked.acquire(timeout=0.01)
        return False

    with server(answer) as site, pool_of(kind=Looking) as (pool, transport):
        warm(pool, f"{site}/")
        looked.acquire()
        outcome = only(pool.stream([f"{site}/pieces"]))
        assert content(outcome) == TEXT
        assert transport.count("begin") == 2


@pytest.mark.parametrize("fast_path", [True, False])
def test_an_answer_that_comes_before_a_long_message_has_been_read_is_taken(fast_path: bool) -> None:
    """The rest of the message is sent by a thread that waits; the server resets that."""

    def answer(sock: socket.socket, request: str) -> object:
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(1000)
            if not data:
                return False
            if len(data) > 5000:
                sock.sendall(b"HTTP/1.1 414 Too long\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return False
        return sock.sendall(OK)

    with server(answer, unread=True) as site, pool_of(fast_path=fast_path) as (pool, transport):
        warm(pool, f"{site}/")
        narrow(transport)
        outcome = only(pool.stream([f"{site}/{'x' * LONG_TARGET}"]))
        assert outcome.status == 414
        assert transport.count("finish") == fast_path


def test_a_long_message_that_the_server_is_slow_to_read_holds_up_nobody() -> None:
    reads = threading.Event()

    def answer(sock: socket.socket, request: str) -> object:
        data = sock.recv(100)
        if data.startswith(b"GET /x") and not reads.wait(LONG):
            return False
        while not data.endswith(b"\r\n\r\n"):
            piece = sock.recv(1_000_000)
            if not piece:
                return False
            data = data[-4:] + piece
        return sock.sendall(OK)

    with server(answer, unread=True) as site, pool_of(timeout=LONG) as (pool, transport):
        warm(pool, f"{site}/", 3)
        narrow(transport)
        outcomes = pool.stream([f"{site}/{'x' * LONG_TARGET}", *[f"{site}/{n}" for n in range(50)]])
        assert [len(next(outcomes).url) < 100 for _ in range(50)] == [True] * 50
        reads.set()
        assert content(only(outcomes)) == b"ok"
        assert transport.count("finish") >= 1


# -- what is over ------------------------------------------------------------------------------------------------------


def pendings() -> int:
    """Answers of which some more is waited for, and those that somebody keeps hold of."""
    gc.collect()
    return sum(type(each) is Pending for each in gc.get_objects())


def test_nothing_is_kept_of_what_is_over_while_another_request_is_carried() -> None:
    """Not the response, not its body, not the stream that it belonged to."""
    go, before = threading.Event(), pendings()

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            go.wait(LONG)
        sock.sendall(OK)

    with server(answer) as site, pool_of(timeout=LONG) as (pool, transport):
        warm(pool, f"{site}/", 3)
        slow: list[Outcome] = []
        first = pool.stream([f"{site}/1", f"{site}/2"])
        reader = threading.Thread(target=lambda: slow.extend(pool.stream([f"{site}/slow"])), daemon=True)
        alive: list[weakref.ref[Any]] = []
        for _ in range(2):
            outcome = next(first)
            alive.append(weakref.ref(outcome.response))
            del outcome
            if not reader.ident:
                reader.start()
                assert eventually(lambda: pool.statistics().in_flight > 0)
        first.close()
        del first
        for number in range(3):
            alive.extend(weakref.ref(outcome.response) for outcome in pool.stream([f"{site}/{number}"]))
        assert len(transport.threads("begin")) <= 2
        assert eventually(lambda: [ref() for ref in alive] == [None] * 5, 2)
        assert eventually(lambda: pendings() <= before + 1, 2)
        assert eventually(lambda: bool(gc.collect()) or len(pool._streams) == 1, 2)
        go.set()
        reader.join(LONG)
        assert content(slow[0]) == b"ok"


# -- deadlines ---------------------------------------------------------------------------------------------------------


class Busy(Recorded):
    """Where the carrier is not back before more has come."""

    def go_on(self, *args: Any, **kwargs: Any) -> Any:
        response = super().go_on(*args, **kwargs)
        time.sleep(0.005)
        return response


def test_a_body_of_which_something_has_come_at_each_look_meets_the_deadline() -> None:
    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET / "):
            sock.sendall(OK)
            return
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        for _ in range(5000):
            sock.sendall(bytes(100))
            time.sleep(0.001)

    with server(answer) as site, pool_of(kind=Busy, timeout=0.3) as (pool, transport):
        warm(pool, f"{site}/")
        began = time.monotonic()
        outcome = only(pool.stream([f"{site}/endless"]))
        assert time.monotonic() - began < 1.5
        assert outcome.error is not None
        assert outcome.error.reason == "timeout"
        assert transport.count("finish") == 0


def test_a_timeout_of_months_can_be_waited_for() -> None:
    timeout = Timeout(connect=5, read=None, total=1e7)
    with (
        server(lambda sock, request: sock.sendall(OK)) as site,
        pool_of(timeout=timeout, retry=RetryPolicy(total=None)) as (pool, transport),
    ):
        warm(pool, f"{site}/")
        assert only(pool.stream([f"{site}/"])).ok
        assert transport.count("go_on") == 2


# -- callables beside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["callables", "requests"])
def test_callables_and_carried_requests_share_the_workers_evenly(first: str) -> None:
    """Whichever of them began: neither keeps what it has got."""
    both, done, shares = threading.Event(), threading.Event(), list[int]()

    def answer(sock: socket.socket, request: str) -> None:
        time.sleep(0.01)
        sock.sendall(OK)

    def work() -> None:
        done.wait(0.01)
        if both.is_set() and not done.is_set():
            shares.append(pool.statistics().in_flight)

    def endless() -> Iterator[str]:
        while not done.is_set():
            yield f"{site}/"

    with server(answer) as site, pool_of(6) as (pool, _):
        warm(pool, f"{site}/", 6)
        reader = threading.Thread(target=lambda: [*pool.stream(endless(), window=50)], daemon=True)
        if first == "requests":
            reader.start()
            assert eventually(lambda: pool.statistics().in_flight == 6)
        futures = [pool.submit(work) for _ in range(400)]
        if first == "callables":
            reader.start()
        assert eventually(lambda: pool.statistics().in_flight > 0)
        both.set()
        assert eventually(lambda: len(shares) >= 60)
        done.set()
        reader.join(LONG)
        assert [future.result(LONG) for future in futures] == [None] * 400
    assert 2 <= sum(shares[10:60]) / 50 <= 4


def test_the_carrier_rests_while_a_thread_for_a_callable_is_slow_to_start() -> None:
    """It has room for more then, but it is the callable's turn."""
    goes, third, threads = threading.Event(), threading.Event(), list[str]()

    def start() -> None:
        threads.append(threading.current_thread().name)
        if len(threads) > 1:
            goes.wait(LONG)

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            goes.wait(LONG)
        elif request.startswith("GET /third "):
            third.wait(LONG)
        sock.sendall(OK)

    with server(answer) as site, pool_of(3, initializer=start, timeout=LONG) as (pool, _):
        warm(pool, f"{site}/", 3)
        assert len(threads) == 1
        outcomes: list[Outcome] = []
        urls = [*[f"{site}/slow"] * 2, f"{site}/third", *[f"{site}/"] * 50]
        reader = threading.Thread(target=lambda: outcomes.extend(pool.stream(urls)), daemon=True)
        reader.start()
        assert eventually(lambda: pool.statistics().in_flight == 3)
        future = pool.submit(pow, 2, 10)
        third.set()
        assert eventually(lambda: pool.statistics().in_flight == 2 and len(threads) >= 2)
        began = cpu_of_pools()
        assert began > 0
        time.sleep(0.3)
        spent = cpu_of_pools() - began
        goes.set()
        assert future.result(LONG) == 1024
        reader.join(LONG)
        assert [outcome.ok for outcome in outcomes] == [True] * len(urls)
    assert spent < 0.15


# -- who carries -------------------------------------------------------------------------------------------------------


def test_one_thread_sends_what_is_plain_within_the_budgets() -> None:
    """By the transport's count of threads and the server's count of sockets and requests."""
    most = {"/": 0, "now": 0}
    lock = threading.Lock()

    def answer(sock: socket.socket, request: str) -> None:
        with lock:
            most["now"] += 1
            most["/"] = max(most["/"], most["now"])
        time.sleep(0.002)
        with lock:
            most["now"] -= 1
        sock.sendall(OK)

    with server(answer) as site, pool_of(16, host_connections=7) as (pool, transport):
        warm(pool, f"{site}/", 7)
        transport.calls.clear()
        assert sum(outcome.ok for outcome in pool.stream(f"{site}/{n}" for n in range(500))) == 500
        assert (transport.count("begin"), transport.count("send")) == (500, 0)
        assert transport.count("finish") <= 4  # some threads may look for work before one of them carries
        assert len(transport.threads("begin", "go_on")) <= 4
        assert pool.statistics().sockets_opened == 7
    assert 5 <= most["/"] <= 7


@pytest.mark.parametrize(("workers", "expected"), [(1, 0), (2, 2), (3, 3)])
def test_as_many_requests_are_carried_at_once_as_there_are_workers(workers: int, expected: int) -> None:
    go, arrived = threading.Event(), list[str]()

    def answer(sock: socket.socket, request: str) -> None:
        if not request.startswith("GET / "):
            arrived.append(request)
            go.wait(LONG)
        sock.sendall(OK)

    with server(answer) as site, pool_of(workers, timeout=LONG) as (pool, transport):
        warm(pool, f"{site}/", 6)
        transport.calls.clear()
        outcomes = pool.stream(f"{site}/{n}" for n in range(10))
        reader = threading.Thread(target=lambda: [*outcomes], daemon=True)
        reader.start()
        assert eventually(lambda: len(arrived) == workers)
        assert not eventually(lambda: len(arrived) > workers, 0.1)
        assert pool.statistics().in_flight == pool.statistics().active == workers
        go.set()
        reader.join(LONG)
        assert transport.count("begin") == (10 if expected else 0)


def test_who_makes_a_connection_leaves_the_answer_to_the_carrier() -> None:
    """So as many connections are made as are in use at once, each is kept busy, and no thread waits for one answer."""
    with Origin() as origin, pool_of(4) as (pool, transport):
        urls = [origin.url(f"/bytes/10?{number}") for number in range(200)]
        assert all(outcome.ok and outcome.attempts[0].fast_path for outcome in pool.stream(urls))
        now = pool.statistics()
        assert (transport.count("send"), transport.count("begin")) == (0, 200)
        assert now.sockets_opened <= 4
        assert (now.sent_fast, now.sockets_reused) == (200, 200 - now.sockets_opened)


def test_callables_get_their_turn_while_a_stream_keeps_two_workers_busy() -> None:
    done = threading.Event()

    def endless() -> Iterator[str]:
        while not done.is_set():
            yield f"{site}/"

    with server(lambda sock, request: sock.sendall(OK)) as site, pool_of(2) as (pool, _):
        warm(pool, f"{site}/", 2)
        reader = threading.Thread(target=lambda: [*pool.stream(endless(), window=20)], daemon=True)
        reader.start()
        assert eventually(lambda: pool.statistics().requests > 50)
        for number in range(20):
            assert pool.submit(pow, 2, number).result(LONG) == 2**number
            assert pool.get(f"{site}/").result(LONG).content == b"ok"
        done.set()
        reader.join(LONG)
        assert not reader.is_alive()


def test_a_carrier_that_is_still_telling_what_ended_does_not_meddle_with_the_next_one() -> None:
    """Its handler of log records takes its time, and meanwhile another thread begins to carry."""
    tells, goes = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "host.paused" in record.getMessage():
                tells.set()
                goes.wait(LONG)

    limited = b"HTTP/1.1 429 Slower\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    handler, logger = Slow(), logging.getLogger("workerpool")
    logger.addHandler(handler)
    try:
        with (
            server(lambda sock, request: sock.sendall(limited if "/limited" in request else OK)) as one,
            server(lambda sock, request: sock.sendall(OK)) as other,
            pool_of(4) as (pool, transport),
        ):
            warm(pool, f"{one}/")
            warm(pool, f"{other}/")
            transport.calls.clear()
            got: list[Outcome] = []
            reader = threading.Thread(target=lambda: got.extend(pool.stream([f"{one}/limited"])), daemon=True)
            reader.start()
            assert tells.wait(LONG)
            for number in range(5):
                assert only(pool.stream([f"{other}/{number}"])).ok
            goes.set()
            reader.join(LONG)
            assert [outcome.status for outcome in got] == [429]
            assert len(transport.threads("begin")) > 1
            assert eventually(lambda: pool.statistics().active == 0)
            now = pool.statistics()
            assert (now.in_flight, now.requests, now.ok, now.sent) == (0, 8, 7, 8)
    finally:
        goes.set()
        logger.removeHandler(handler)


def test_a_transport_that_cannot_carry_is_used_as_ever() -> None:
    with WorkerPool(4, transport=ScriptedTransport()) as pool:
        assert sum(outcome.ok for outcome in pool.stream(f"http://h.test/{n}" for n in range(100))) == 100


# -- hosts that are slow -----------------------------------------------------------------------------------------------

SLOW: dict[str, Callable[[socket.socket, threading.Event], object]] = {
    "stalls": lambda sock, done: done.wait(LONG),
    "drips its head": lambda sock, done: drip(sock, done, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9999),
    "drips its body": lambda sock, done: drip(
        sock, done, b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999
    ),
    "drips chunks": lambda sock, done: drip(sock, done, CHUNKED + b"1\r\nx\r\n" * 9999),
    "never stops": lambda sock, done: pour(sock, done, b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n"),
    "never stops its chunks": lambda sock, done: pour(sock, done, CHUNKED + b"ffffffff\r\n"),
}


def drip(sock: socket.socket, done: threading.Event, data: bytes) -> None:
    for number in range(len(data)):
        sock.sendall(data[number : number + 1])
        if done.wait(0.005):
            return


def pour(sock: socket.socket, done: threading.Event, head: bytes) -> None:
    sock.sendall(head)
    while not done.is_set():
        sock.sendall(bytes(100_000))
        time.sleep(0.001)


@pytest.mark.parametrize("how", SLOW)
def test_a_slow_answer_holds_up_no_other(how: str) -> None:
    """A thousand come while it lasts."""
    done = threading.Event()

    def answer(sock: socket.socket, request: str) -> object:
        if request.startswith("GET /slow "):
            SLOW[how](sock, done)
            return False
        return sock.sendall(OK)

    with (
        server(answer) as slow,
        server(answer) as quick,
        pool_of(4, timeout=LONG, max_body=None) as (pool, transport),
    ):
        warm(pool, f"{slow}/")
        warm(pool, f"{quick}/", 3)
        began = time.monotonic()
        outcomes = pool.stream([f"{slow}/slow", *(f"{quick}/{n}" for n in range(1000))])
        try:
            assert all(next(outcomes).ok for _ in range(1000))
            assert time.monotonic() - began < LONG / 4
            assert pool.statistics().in_flight == 1
        finally:
            done.set()
        assert not only(outcomes).ok
        assert transport.count("begin") > 900


def test_a_compressed_body_is_decoded_once_though_it_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few KB may be dozens of MB: to decode them for each piece would hold up all others."""
    decodings: list[str] = []
    decoded = fast.decoded

    def counting(pieces: Iterator[bytes], *args: Any) -> Iterator[bytes]:
        for piece in decoded(pieces, *args):
            decodings.append(threading.current_thread().name)
            yield piece

    monkeypatch.setattr(fast, "decoded", counting)
    body = gzip.compress(bytes(1_000_000))
    data = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET / "):
            sock.sendall(OK)
            return
        for start in range(0, len(data), len(data) // 8):
            sock.sendall(data[start : start + len(data) // 8])
            time.sleep(0.01)

    with server(answer) as site, pool_of() as (pool, transport):
        warm(pool, f"{site}/")
        assert content(only(pool.stream([f"{site}/pieces"]))) == bytes(1_000_000)
        assert (transport.count("begin"), transport.count("finish")) == (2, 0)
        assert transport.count("go_on") > 4
    assert len(decodings) <= 1 + 1_000_000 // (128 * 1024)


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


@pytest.mark.parametrize("timeout", [Timeout(5, 5, 0.2), Timeout(5, 0.2, None)], ids=["total", "read"])
@pytest.mark.parametrize("late", LATE)
def test_a_late_answer_is_told_as_on_any_other_way(late: str, timeout: Timeout) -> None:
    opening, drop = LATE[late]
    if drop and timeout.total is None:
        return  # never silent for so long

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
    with server(answer) as site:
        for workers, fast_path in [(4, True), (1, False)]:
            with pool_of(workers, timeout=timeout, fast_path=fast_path) as (pool, transport):
                warm(pool, f"{site}/")
                began = time.monotonic()
                outcome = only(pool.stream([f"{site}/late"]))
                assert 0.15 < time.monotonic() - began < 1.5
                assert transport.count("begin") == 2 * (workers > 1)
                errors.append(told(outcome.error))
                assert eventually(lambda: pool.statistics().sockets_open == 0)
    assert errors[0] == errors[1]


def test_an_answer_that_came_in_time_is_taken_by_a_carrier_that_was_busy() -> None:
    class Blocked(Recorded):
        def go_on(self, *args: Any, **kwargs: Any) -> Any:
            blocked.wait(LONG)
            return super().go_on(*args, **kwargs)

    blocked = threading.Event()
    blocked.set()
    with server(lambda sock, request: sock.sendall(OK)) as site, pool_of(kind=Blocked, timeout=0.2) as (pool, _):
        warm(pool, f"{site}/", 2)
        blocked.clear()
        threading.Timer(0.4, blocked.set).start()
        assert [outcome.ok for outcome in pool.stream([f"{site}/1", f"{site}/2"])] == [True, True]


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

    with server(answer) as site, pool_of() as (pool, transport):
        warm_by = [*pool.stream([Request(f"{site}/", method)])]
        assert warm_by[0].ok
        assert eventually(lambda: pool.statistics().active == 0)
        ends.set()
        outcome = only(pool.stream([Request(f"{site}/", method)]))
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


# -- everything at once ------------------------------------------------------------------------------------------------

HOSTS = [f"127.0.7.{n}" for n in range(1, 6)]
PATHS = (
    *("/", "/", "/", "/bytes/20000", "/bytes/300000", "/chunked?bytes=5000", "/gzip?bytes=20000", "/deflate?bytes=9"),
    *("/reset?after=0", "/reset?after=40", "/truncate?bytes=100&after=50", "/status/503", "/status/404", "/status/204"),
    *(
        "/retry-after/0?n={n}",
        "/flaky/1?n={n}",
        "/redirect/2",
        "/drip?bytes=9&seconds=0.1",
        "/delay/0.03",
        "/odd",
        "/bye",
    ),
)


@pytest.fixture(scope="module")
def unruly() -> Iterator[Origin]:
    with Origin(HOSTS) as origin:
        origin.script("/odd", Reply(raw=b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
        origin.script("/bye", Reply(body=b"bye", close=True))
        yield origin


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


_others: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@pytest.fixture(autouse=True)
def _know_the_threads_of_others() -> None:
    """Threads that other tests have left are no fault of what is tested here: a source may wait for ever."""
    _others.update(threading.enumerate())


def cpu_of_pools() -> float:
    """The CPU time of all pools' threads that are there, in seconds."""
    ids = [thread.ident for thread in threading.enumerate() if thread.name in of_pools()]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in ids if ident is not None)


def of_pools() -> list[str]:
    names = [thread.name for thread in threading.enumerate() if thread not in _others]
    return [name for name in names if name.startswith(("ThreadPool", "workerpool-")) and "origin" not in name]


class Users:
    """Threads that use a pool in every way until it is shut down, and count what they get."""

    def __init__(self, pool: WorkerPool, origin: Origin, seed: int, ends_at: float) -> None:
        self._pool, self._origin, self._ends_at = pool, origin, ends_at
        self._lock = threading.Lock()  # guards the two fields below
        self.futures: list[Future[Any]] = []
        self.ends: Counter[int] = Counter()
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(seed * 10 + n,), daemon=True) for n in range(5)]
        for thread in self.threads:
            thread.start()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        try:
            while time.monotonic() < self._ends_at:
                self._act(chance, chance.random())
        except RuntimeError as error:
            if "after shutdown" not in str(error):
                self.failures.append(error)
        except BaseException as error:
            self.failures.append(error)

    def _url(self, chance: random.Random) -> str:
        return self._origin.url(chance.choice(PATHS).format(n=chance.random()), chance.choice(HOSTS))

    def _keep(self, future: Future[Any]) -> Future[Any]:
        with self._lock:
            self.futures.append(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self.ends[id(future)] += 1

    def _act(self, chance: random.Random, draw: float) -> None:
        pool, url = self._pool, self._url(chance)
        if pool.statistics().queued > 200:  # or shutdown would have thousands to see through
            time.sleep(0.001)
        elif draw < 0.2:
            self._keep(pool.get(url))
        elif draw < 0.35:
            self._keep(pool.submit(time.sleep, chance.choice([0, 0.001, 0.01])))
        elif draw < 0.45:
            self._keep(pool.get(url)).cancel()
        elif draw < 0.5:
            self._keep(pool.submit(lambda: pool.session.get(url)))
        elif draw < 0.8:
            urls = [self._url(chance) for _ in range(chance.randrange(50))]
            got = [outcome.url for outcome in pool.stream(urls, ordered=draw < 0.6, window=chance.choice([1, 7, 1000]))]
            assert (got if draw < 0.6 else sorted(got)) == (urls if draw < 0.6 else sorted(urls))
        else:
            outcomes = pool.stream([self._url(chance) for _ in range(50)])
            for _ in itertools.islice(outcomes, chance.randrange(50)):
                pass
            outcomes.close()


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize(
    ("seed", "workers", "options"),
    [
        (1, 5, {}),
        (2, 16, {"rate": 2000, "burst": 10, "host_connections": 2}),
        (3, 3, {"max_connections": 3, "cookies": "shared"}),
        (4, 2, {"host_rate": 300}),
    ],
)
def test_whatever_servers_and_users_do_everything_ends_once(
    tiny_switch_interval: None, unruly: Origin, seed: int, workers: int, options: dict[str, Any], cancel: bool
) -> None:
    """Shutdown comes in the middle. Nothing is left: no work, no thread, no socket, no descriptor."""
    gc.collect()
    before = descriptors()
    policy = RetryPolicy(attempts=3, backoff=0.005)
    with pool_of(workers, retry=policy, timeout=5, **options) as (pool, transport):
        users = Users(pool, unruly, seed, time.monotonic() + LONG)
        time.sleep(5.0 if IN_FULL else 0.4)
        pool.shutdown(cancel_futures=cancel)
    for thread in users.threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert users.failures == []
    assert all(future.done() for future in users.futures)
    assert list(users.ends.values()) == [1] * len(users.futures)
    now = pool.statistics()
    assert (now.active, now.queued, now.parked, now.in_flight, now.callables_queued) == (0, 0, 0, 0, 0)
    assert now.sockets_open == 0
    assert transport.count("begin") > 0
    assert eventually(lambda: of_pools() == [])
    del pool, transport, users
    assert eventually(lambda: bool(gc.collect()) or descriptors() - unruly.connections_open <= before)


def test_the_counts_of_a_carried_stream_add_up(tiny_switch_interval: None, unruly: Origin) -> None:
    chance = random.Random(5)
    urls = [unruly.url(chance.choice(PATHS).format(n=n), chance.choice(HOSTS)) for n in range(600)]
    unruly.reset_records()
    with pool_of(8, retry=RetryPolicy(attempts=3, backoff=0.005), timeout=5, host_connections=3) as (pool, transport):
        outcomes = [*pool.stream(urls)]
    now = pool.statistics()
    assert sorted(outcome.url for outcome in outcomes) == sorted(urls)
    assert (now.requests, now.ok) == (len(urls), sum(outcome.ok for outcome in outcomes))
    assert now.sent == now.requests + now.retries + now.redirects + now.resent
    assert now.sent - now.resent <= unruly.requests <= now.sent
    assert max(unruly.records().sockets_at[host].peak for host in HOSTS) <= 3
    assert transport.count("begin") > now.sent / 3


# -- pools that end in the middle --------------------------------------------------------------------------------------


def test_an_initializer_that_fails_breaks_the_pool_and_what_is_carried_still_ends() -> None:
    goes, started = threading.Event(), list[str]()

    def start() -> None:
        started.append(threading.current_thread().name)
        if len(started) > 1:
            raise LookupError("no second worker")

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            goes.wait(LONG)
        sock.sendall(OK)

    with server(answer) as site, pool_of(4, initializer=start, timeout=LONG) as (pool, _):
        warm(pool, f"{site}/", 6)
        got: list[Outcome] = []
        reader = threading.Thread(target=lambda: got.extend(pool.stream([f"{site}/slow"])), daemon=True)
        reader.start()
        assert eventually(lambda: pool._crew._dispatcher.carrier.is_carrying)  # or else another is called next
        assert [outcome.ok for outcome in pool.stream([f"{site}/"] * 5)] == [True] * 5
        future = pool.submit(pow, 2, 10)
        with pytest.raises(BrokenThreadPool):
            future.result(LONG)
        with pytest.raises(BrokenThreadPool):
            pool.submit(pow, 2, 10)
        goes.set()
        reader.join(LONG)
        assert [outcome.ok for outcome in got] == [True]
    assert pool.statistics().active == 0


def test_a_turn_that_a_defect_has_ended_breaks_the_pool_and_does_not_keep_it_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = WorkerPool(3, transport=ScriptedTransport())

    def defective(*args: object) -> None:
        raise LookupError("a defect of ours")

    monkeypatch.setattr(pool._crew._turns, "_announce", defective)
    pool.get("http://a.test/")
    assert eventually(lambda: pool._broken, LONG)
    with pytest.raises(BrokenThreadPool):
        pool.get("http://a.test/")
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    ending.join(LONG)
    assert not ending.is_alive()
    assert pool._crew._dispatcher.threads.called == pool._crew._dispatcher.threads.turns == 0


@pytest.mark.parametrize("where", ["before_change", "carry_out", "pick", "wake_for_work"])
def test_a_request_that_a_turn_has_in_hand_when_a_defect_ends_it_ends_once(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    goes, broken = threading.Event(), threading.Event()

    def script(request: Request, url: str) -> testing.Answer:
        goes.wait(LONG)
        return testing.Answer()

    pool = WorkerPool(1, transport=ScriptedTransport(script))
    act = getattr(pool._crew._dispatcher, where)

    def defective(*args: object) -> object:
        if goes.is_set() and not broken.is_set():
            broken.set()
            raise LookupError("a defect of ours")
        return act(*args)

    future = pool.get("http://a.test/")
    waiting = pool.get("http://a.test/")
    assert eventually(lambda: pool._crew._dispatcher.on_requests == 1)
    monkeypatch.setattr(pool._crew._dispatcher, where, defective)
    goes.set()
    assert future.result(LONG).status_code == 200
    with pytest.raises(LookupError):
        waiting.result(LONG)
    pool.shutdown()


def test_what_is_carried_when_a_defect_ends_its_carrier_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(sock: socket.socket, request: str) -> None:
        sock.sendall(OK)

    with server(answer) as site, pool_of(4, timeout=LONG) as (pool, _):
        warm(pool, f"{site}/", 4)
        wait, calls = Load.wait, itertools.count()

        def defective(load: Load, **kwargs: Any) -> Any:
            if next(calls) == 5:
                raise LookupError("a defect of ours")
            return wait(load, **kwargs)

        monkeypatch.setattr(Load, "wait", defective)
        urls = [f"{site}/{n}" for n in range(50)]
        assert sorted(outcome.url for outcome in pool.stream(urls)) == sorted(urls)
        assert eventually(lambda: pool._broken)


END = """
import atexit, threading
from workerpool import WorkerPool
from workerpool.crew.locking import ChoreLock
from workerpool.testing import Origin

origin = Origin().start()
pool = WorkerPool(8, timeout=10)
list(pool.stream([origin.url("/delay/0.02")] * 6))
got = []
urls = [origin.url(f"/delay/0.05?{n}") for n in range(60)]
threading.Thread(target=lambda: got.extend(pool.stream(urls))).start()
while pool.statistics().requests < 12:
    pass
atexit.register(lambda: print(len(got), sum(outcome.ok for outcome in got), flush=True))
"""


def test_at_the_end_of_the_interpreter_what_was_taken_is_seen_through() -> None:
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", ["60", "60"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_that_is_forked_while_its_parent_carries_carries_by_itself() -> None:
    go, arrived = threading.Event(), threading.Event()

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            arrived.set()
            go.wait(LONG)
        sock.sendall(OK)

    with server(answer) as site, pool_of(4, timeout=LONG) as (pool, transport):
        warm(pool, f"{site}/", 3)
        got: list[Outcome] = []
        reader = threading.Thread(target=lambda: got.extend(pool.stream([f"{site}/slow"] * 2)), daemon=True)
        reader.start()
        assert arrived.wait(LONG)
        child = os.fork()
        if not child:
            code = 1
            try:
                urls = [f"{site}/{n}" for n in range(50)]
                code = 2 * (sum(outcome.ok for outcome in pool.stream(urls)) != 50)
                pool.shutdown()
            finally:
                os._exit(code)
        handle = os.pidfd_open(child)
        try:
            in_time = bool(select.select([handle], [], [], LONG)[0])
        finally:
            os.close(handle)
            if not in_time:
                os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        go.set()
        reader.join(LONG)
        assert code == 0
        assert [content(outcome) for outcome in got] == [b"ok"] * 2
        assert transport.count("begin") >= 2


@pytest.mark.parametrize("when", ["after", "while"])
def test_a_pool_that_is_dropped_without_shutdown_leaves_no_descriptor(when: str) -> None:
    """Dropped while its last requests are carried, or after."""
    go = threading.Event()

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            go.wait(LONG)
        sock.sendall(OK)

    with server(answer) as site:
        gc.collect()
        assert eventually(lambda: of_pools() == [])
        pool = WorkerPool(4, timeout=LONG)
        before = sockets_of_ours()
        warm(pool, f"{site}/", 2)
        assert all(outcome.ok for outcome in pool.stream([f"{site}/"] * 20))
        outcomes = pool.stream([f"{site}/slow", f"{site}/1"])
        assert next(outcomes).ok
        assert sockets_of_ours() > before
        if when == "while":
            outcomes.close()
            del outcomes, pool
            gc.collect()
            go.set()
        else:
            go.set()
            assert only(outcomes).ok
            del outcomes, pool
        assert eventually(lambda: bool(gc.collect()) or (of_pools() == [] and sockets_of_ours() <= before))


def sockets_of_ours() -> int:
    """Descriptors of sockets, but for those of the servers here, which end with their clients'."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(name) and os.readlink(name).startswith("socket:") for name in names)


# -- what is called with a lock held -----------------------------------------------------------------------------------


def test_no_thread_is_started_under_the_lock_of_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new thread may collect garbage before it says that it has started, and so give back a connection's place."""
    deadlocks: list[str] = []
    start = threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if thread.name == "workerpool-reaper":
            ended = threading.Event()
            closing = threading.Thread(target=lambda: (pool._transport.counts(), ended.set()), daemon=True)
            start(closing)
            if not ended.wait(2):
                deadlocks.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    with server(lambda sock, request: sock.sendall(OK)) as site, pool_of() as (pool, _):
        warm(pool, f"{site}/")
        assert only(pool.stream([f"{site}/"])).ok
        assert any(thread.name == "workerpool-reaper" for thread in threading.enumerate())
    assert deadlocks == []


class Chores:
    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.done: list[str] = []
        self.lock = ChoreLock(self.waiting, self.do)

    def leave(self, chore: str) -> None:
        self.waiting.append(chore)
        self.do()

    def do(self) -> None:
        while self.waiting and self.lock.acquire(blocking=False):
            try:
                self.done.append(self.waiting.popleft())
            finally:
                self.lock.release()


def in_a_thread(act: Callable[[], object]) -> None:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()


def test_a_chore_is_done_at_once_where_the_lock_is_free_and_else_by_its_holder_after_letting_go() -> None:
    chores = Chores()
    chores.leave("1")
    assert chores.done == ["1"]
    with chores.lock:
        in_a_thread(lambda: chores.leave("2"))
        chores.leave("3")  # as the garbage collector may, in the thread that holds it
        assert chores.done == ["1"]
    assert chores.done == ["1", "2", "3"]
    assert chores.lock.acquire(blocking=False)
    in_a_thread(lambda: chores.leave("4"))
    chores.lock.release()
    assert chores.done == ["1", "2", "3", "4"]


def test_a_chore_is_done_by_a_holder_that_begins_to_wait_for_a_condition() -> None:
    chores, waits = Chores(), threading.Event()
    condition = chores.lock.condition()

    def wait() -> None:
        with condition:
            chores.leave("1")
            assert chores.done == []
            waits.set()
            condition.wait(LONG)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert waits.wait(LONG)
    assert eventually(lambda: chores.done == ["1"])
    with condition:
        condition.notify()
    waiting.join(LONG)
    assert not waiting.is_alive()


def test_no_chore_is_forgotten_by_threads_that_contend(tiny_switch_interval: None) -> None:
    chores = Chores()

    def leave_some(number: int) -> None:
        for n in range(300):
            if n % 3:
                chores.leave(f"{number}-{n}")
            else:
                with chores.lock:
                    chores.leave(f"{number}-{n}")

    threads = [threading.Thread(target=leave_some, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert sorted(chores.done) == sorted(f"{number}-{n}" for number in range(4) for n in range(300))
    assert not chores.waiting


def test_a_lock_keeps_nobody_alive_whose_chores_it_does() -> None:
    chores = Chores()
    lock, gone = chores.lock, weakref.ref(chores)
    chores.waiting.append("1")
    del chores
    gc.collect()
    assert gone() is None
    with lock:
        pass


class Unheard(Ticket):
    def deliver(self, outcome: Outcome) -> None:
        pass


@pytest.mark.parametrize("by", ["another thread", "the collector"])
def test_a_stream_that_is_left_while_it_is_full_and_the_lock_is_held_does_not_keep_its_pool_from_draining(
    by: str,
) -> None:
    """Its requests are put aside, and only who holds the lock can forget them."""
    pool, stream = WorkerPool(4, transport=ScriptedTransport()), Owner()
    stream.is_full = True

    def leave() -> None:
        stream.is_over = stream.is_forsaken = True
        pool._crew.forsake(stream, has_requests=True)

    pool._crew.add([Unheard(Request("http://h.test/"), "h", stream) for _ in range(3)])
    assert pool.get("http://h.test/").result(LONG).ok
    assert pool.statistics().queued == 3
    with pool._crew._dispatcher.lock:
        if by == "another thread":
            in_a_thread(leave)
        else:
            leave()
    assert pool.statistics().queued == 0
    in_a_thread(pool.shutdown)

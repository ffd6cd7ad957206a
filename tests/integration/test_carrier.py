"""The carrier: one thread sends many requests and waits for all their answers. What must hold for those who use it.

A request is carried where a connection is idle that can take it, so each test here warms its pool first. `Recorded`
tells which thread did what.
"""

from __future__ import annotations

import gc
import gzip
import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.leftovers import Since
from tests.recorded import content, looking, only, pool_of, warm
from tests.servers import CHUNKED, OK, answering
from tests.waiting import LONG, eventually, let_pass
from workerpool import Outcome, WorkerPool
from workerpool.testing import Origin, ScriptedTransport
from workerpool.transport import fast
from workerpool.transport.pending import Pending

# -- callables beside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["callables", "requests"])
def test_callables_and_carried_requests_share_the_workers_evenly(first: str) -> None:
    """Whichever of them began: neither keeps what it has got."""
    both, done, shares = threading.Event(), threading.Event(), list[int]()

    def answer(sock: socket.socket, request: str) -> None:
        let_pass(0.01)
        sock.sendall(OK)

    def work() -> None:
        let_pass(0.01)
        if both.is_set() and not done.is_set():
            shares.append(pool.statistics().in_flight)

    def endless() -> Iterator[str]:
        while not done.is_set():
            yield f"{site.url}/"

    with answering(answer) as site, pool_of(6) as (pool, _):
        warm(pool, f"{site.url}/", 6)
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
    begun = Since()

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

    with answering(answer) as site, pool_of(3, initializer=start, timeout=LONG) as (pool, _):
        warm(pool, f"{site.url}/", 3)
        assert len(threads) == 1
        outcomes: list[Outcome] = []
        urls = [*[f"{site.url}/slow"] * 2, f"{site.url}/third", *[f"{site.url}/"] * 50]
        reader = threading.Thread(target=lambda: outcomes.extend(pool.stream(urls)), daemon=True)
        reader.start()
        assert eventually(lambda: pool.statistics().in_flight == 3)
        future = pool.submit(pow, 2, 10)
        third.set()
        assert eventually(lambda: pool.statistics().in_flight == 2 and len(threads) >= 2)
        began = begun.cpu_of_pools()
        assert began > 0
        let_pass(0.3)
        spent = begun.cpu_of_pools() - began
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
        let_pass(0.002)
        with lock:
            most["now"] -= 1
        sock.sendall(OK)

    with answering(answer) as site, pool_of(16, host_connections=7) as (pool, transport):
        warm(pool, f"{site.url}/", 7)
        transport.calls.clear()
        assert sum(outcome.ok for outcome in pool.stream(f"{site.url}/{n}" for n in range(500))) == 500
        assert (transport.count("begin"), transport.count("send")) == (500, 0)
        # Until one of them carries, each thread may begin a request, and wait for its answer by itself.
        assert transport.count("finish") < 16
        # One after the other, as each has its turn, and not side by side.
        assert transport.changes("begin", "go_on") < 50
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

    with answering(answer) as site, pool_of(workers, timeout=LONG) as (pool, transport):
        warm(pool, f"{site.url}/", 6)
        transport.calls.clear()
        outcomes = pool.stream(f"{site.url}/{n}" for n in range(10))
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
            yield f"{site.url}/"

    with answering(lambda sock, request: sock.sendall(OK)) as site, pool_of(2) as (pool, _):
        warm(pool, f"{site.url}/", 2)
        reader = threading.Thread(target=lambda: [*pool.stream(endless(), window=20)], daemon=True)
        reader.start()
        assert eventually(lambda: pool.statistics().requests > 50)
        for number in range(20):
            assert pool.submit(pow, 2, number).result(LONG) == 2**number
            assert pool.get(f"{site.url}/").result(LONG).content == b"ok"
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
            answering(lambda sock, request: sock.sendall(limited if "/limited" in request else OK)) as one,
            answering(lambda sock, request: sock.sendall(OK)) as other,
            pool_of(4) as (pool, transport),
        ):
            warm(pool, f"{one.url}/")
            warm(pool, f"{other.url}/")
            transport.calls.clear()
            got: list[Outcome] = []
            reader = threading.Thread(target=lambda: got.extend(pool.stream([f"{one.url}/limited"])), daemon=True)
            reader.start()
            assert tells.wait(LONG)
            for number in range(5):
                assert only(pool.stream([f"{other.url}/{number}"])).ok
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
        let_pass(0.001)


@pytest.mark.parametrize("how", SLOW)
def test_a_slow_answer_holds_up_no_other(how: str) -> None:
    """Hundreds come while it lasts."""
    done = threading.Event()

    def answer(sock: socket.socket, request: str) -> object:
        if request.startswith("GET /slow "):
            SLOW[how](sock, done)
            return False
        return sock.sendall(OK)

    with (
        answering(answer) as slow,
        answering(answer) as quick,
        pool_of(4, timeout=LONG, max_body=None) as (pool, transport),
    ):
        warm(pool, f"{slow.url}/")
        warm(pool, f"{quick.url}/", 3)
        began = time.monotonic()
        outcomes = pool.stream([f"{slow.url}/slow", *(f"{quick.url}/{n}" for n in range(300))])
        try:
            assert all(next(outcomes).ok for _ in range(300))
            assert time.monotonic() - began < LONG / 4
            assert pool.statistics().in_flight == 1
        finally:
            done.set()
        assert not only(outcomes).ok
        assert transport.count("begin") > 270


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
            looked.acquire(timeout=LONG)

    looked = threading.Semaphore(0)
    with answering(answer) as site, pool_of(kind=looking(looked)) as (pool, transport):
        warm(pool, f"{site.url}/")
        looked.acquire()
        assert content(only(pool.stream([f"{site.url}/pieces"]))) == bytes(1_000_000)
        assert (transport.count("begin"), transport.count("finish")) == (2, 0)
        assert transport.count("go_on") > 4
    assert len(decodings) <= 1 + 1_000_000 // (128 * 1024)


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

    with answering(answer) as site, pool_of(timeout=LONG) as (pool, transport):
        warm(pool, f"{site.url}/", 3)
        slow: list[Outcome] = []
        first = pool.stream([f"{site.url}/1", f"{site.url}/2"])
        reader = threading.Thread(target=lambda: slow.extend(pool.stream([f"{site.url}/slow"])), daemon=True)
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
            alive.extend(weakref.ref(outcome.response) for outcome in pool.stream([f"{site.url}/{number}"]))
        assert len(transport.threads("begin")) <= 2
        assert eventually(lambda: [ref() for ref in alive] == [None] * 5, 2)
        assert eventually(lambda: pendings() <= before + 1, 2)
        assert eventually(lambda: bool(gc.collect()) or len(pool._streams) == 1, 2)
        go.set()
        reader.join(LONG)
        assert content(slow[0]) == b"ok"


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
    with answering(lambda sock, request: sock.sendall(OK)) as site, pool_of() as (pool, _):
        warm(pool, f"{site.url}/")
        assert only(pool.stream([f"{site.url}/"])).ok
        assert any(thread.name == "workerpool-reaper" for thread in threading.enumerate())
    assert deadlocks == []

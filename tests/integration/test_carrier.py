"""The carrier: one thread sends many requests and waits for all their answers. What must hold for those who use it.

A request is carried where a connection is idle that can take it, so each test here warms its pool first. `Recorded`
tells which thread did what.
"""

from __future__ import annotations

import gc
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.waiting import eventually
from workerpool import Outcome, RetryPolicy, Timeout, WorkerPool
from workerpool.transport import RequestsTransport
from workerpool.transport.fast import Pending

LONG = 20.0
"""Seconds that something may take which should be there soon."""
LONG_TARGET = 6_000_000
"""Bytes of a URL that no socket takes at once."""
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

    def begin(self, session: Any, exchange: Any, timeout: Timeout) -> Any:
        carried = super().begin(session, exchange, timeout)
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
    assert pool.statistics().sockets_idle == sockets


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
        outcomes = pool.stream([f"{site}/{'x' * LONG_TARGET}", *[f"{site}/{n}" for n in range(50)]])
        assert [len(next(outcomes).url) < 100 for _ in range(50)] == [True] * 50
        reads.set()
        assert content(only(outcomes)) == b"ok"
        assert transport.count("finish") == 1


# -- what is over ------------------------------------------------------------------------------------------------------


def test_nothing_is_kept_of_what_is_over_while_another_request_is_carried() -> None:
    """Not the response, not its body, not the stream that it belonged to."""
    go = threading.Event()

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
        assert eventually(lambda: sum(type(each) is Pending for each in gc.get_objects()) == 1, 2)
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
        assert eventually(lambda: pool.statistics().in_flight == 2 and len(threads) == 2)
        began = time.process_time()
        time.sleep(0.3)
        spent = time.process_time() - began
        goes.set()
        assert future.result(LONG) == 1024
        reader.join(LONG)
        assert [outcome.ok for outcome in outcomes] == [True] * len(urls)
    assert spent < 0.15

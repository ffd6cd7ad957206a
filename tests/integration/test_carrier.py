"""The carrier: one thread sends many requests and waits for all their answers. What must hold for those who use it.

A request is carried where a connection is idle that can take it, so each test here warms its pool first. `Recorded`
tells which thread did what.
"""

from __future__ import annotations

import gc
import gzip
import socket
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.waiting import eventually
from workerpool import Outcome, Request, RetryPolicy, Timeout, WorkerPool
from workerpool.testing import ScriptedTransport
from workerpool.transport import RequestsTransport
from workerpool.transport.fast import Pending

LONG = 20.0
"""Seconds that something may take which should be there soon."""
LONG_TARGET = 3_000_000
"""Bytes of a URL that no socket takes at once."""
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
    assert pool.statistics().sockets_idle >= sockets


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
        assert transport.count("finish") <= 2  # two threads may look for work before one of them carries
        assert len(transport.threads("begin", "go_on")) <= 2
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
        assert transport.count("begin") == 1

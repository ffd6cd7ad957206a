"""The socket budget under churn, and idle sockets: retired before their server closes them, closed when it has, and
what a request over a dead one gets. Counted by the server and by the kernel."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any, cast

import psutil
import pytest

from tests.conftest import IN_FULL
from tests.leftovers import Since, descriptors
from tests.waiting import eventually
from workerpool import OutcomeUnknown, Request, RetryPolicy, WorkerPool
from workerpool.testing import Origin, OriginProcess, Reply
from workerpool.transport import connection, trace
from workerpool.transport.connection import CountedConnection

LOOPBACK = [f"127.{n // 250}.{n // 250}.{n % 250 + 1}" for n in range(500)]
INPUTS = 2_000 if IN_FULL else 600


def sockets_of_ours(*ports: int) -> Counter[str]:
    """The kernel's count of this process's own connections to `ports`, by state."""
    mine = psutil.Process().net_connections("tcp")
    return Counter(sock.status for sock in mine if sock.raddr and sock.raddr.port in ports)


def connected_to(port: int) -> set[object]:
    """The ends of this process's sockets that are connected to `port`: by its descriptors, so it is quick.

    One descriptor is looked at after the other, so these may never have been open all at once.
    """
    ours = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=int(name))
        except OSError:
            continue  # no socket, or closed meanwhile
        try:
            if sock.getpeername()[1:2] == (port,):
                ours.add(sock.getsockname())
        except OSError:
            pass  # not connected
        finally:
            sock.detach()
    return ours


@contextmanager
def watching(port: int) -> Iterator[Callable[[], int]]:
    """Ask the kernel again and again how many sockets are open to `port`; gives the most that there were.

    What two looks both find was open between them, all at once.
    """
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        before: set[object] = set()
        while not done.wait(0.01):
            now = connected_to(port)
            most = max(most, len(before & now))
            before = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most
    finally:
        done.set()
        thread.join()


# -- the budget -------------------------------------------------------------------------------------------------------


def test_no_more_sockets_than_allowed_are_open_over_500_hosts() -> None:
    """Idle ones included, with redirects across hosts, by the server's count and the kernel's."""
    with OriginProcess(LOOPBACK) as server:
        urls = [
            server.url(f"/redirect-to?url={server.url('/', LOOPBACK[(n * 7 + 1) % 500])}" if n % 5 == 0 else "/", host)
            for n, host in enumerate(islice(cycle(LOOPBACK), INPUTS))
        ]
        with watching(server.port) as most_by_kernel, WorkerPool(16, max_connections=20) as pool:
            outcomes = list(pool.stream(urls))
            assert pool.statistics().sockets_open <= 20
        assert [outcome.error for outcome in outcomes if not outcome.ok] == []
        records = server.records()
    assert records.requests == INPUTS + INPUTS // 5
    assert records.sockets.peak <= 20
    assert 5 <= most_by_kernel() <= 20


def test_each_host_has_its_own_socket_budget_over_many_hosts() -> None:
    hosts = LOOPBACK[:40]
    with OriginProcess(hosts) as server, WorkerPool(32, host_connections=2, max_connections=64) as pool:
        outcomes = list(pool.stream(server.url("/delay/0.005", host) for host in islice(cycle(hosts), 400)))
        assert all(outcome.ok for outcome in outcomes)
        records = server.records()
        assert max(records.sockets_at[host].peak for host in hosts) <= 2
        assert records.sockets.peak <= 64


def test_the_socket_that_has_been_idle_longest_makes_room_for_another_host() -> None:
    hosts = LOOPBACK[:3]
    with Origin(hosts) as origin, WorkerPool(1, max_connections=2) as pool:
        for host in (hosts[0], hosts[1], hosts[0], hosts[2]):
            pool.get(origin.url("/", host)).result()
        origin.wait_until(lambda: origin.connections_open == 2)
        assert [origin.sockets(host).open for host in hosts] == [1, 0, 1]


# -- idle sockets -----------------------------------------------------------------------------------------------------


def test_what_the_server_has_closed_is_closed_while_the_pool_is_idle() -> None:
    """Nothing stays in CLOSE_WAIT beyond 2 s."""
    with Origin(idle_timeout=0.3) as origin, WorkerPool(8, host_connections=8) as pool:
        list(pool.stream([origin.url("/delay/0.1")] * 8))
        assert sum(sockets_of_ours(origin.port).values()) == 8
        origin.wait_until(lambda: origin.connections_open == 0)
        closed_at = time.monotonic()
        assert eventually(lambda: pool.statistics().sockets_open == 0)
        assert time.monotonic() - closed_at < 2
        assert sockets_of_ours(origin.port)["CLOSE_WAIT"] == 0
        assert pool.statistics().sockets_lost == 8


def test_an_idle_socket_is_retired_before_the_limit_that_its_server_said() -> None:
    with Origin(idle_timeout=2.0, advertise_idle_timeout=True) as origin, WorkerPool(1) as pool:
        pool.get(origin.url("/")).result()
        assert eventually(lambda: pool.statistics().sockets_open == 0)
        assert (pool.statistics().sockets_retired, pool.statistics().sockets_lost) == (1, 0)


def test_a_limit_that_was_not_said_is_learned_from_closes() -> None:
    """After it has seen one socket closed, the pool retires the next ones sooner, without losing any."""
    with Origin(idle_timeout=1.2) as origin, WorkerPool(1) as pool:
        pool.get(origin.url("/")).result()
        assert eventually(lambda: pool.statistics().sockets_lost == 1)
        for retired in (1, 2):
            pool.get(origin.url("/")).result()
            assert eventually(lambda retired=retired: pool.statistics().sockets_retired == retired)
        assert pool.statistics().sockets_lost == 1


def test_the_reaper_ends_when_nothing_is_idle_any_more() -> None:
    begun = Since()
    with Origin() as origin:
        with WorkerPool(1) as pool:
            pool.get(origin.url("/")).result()
            assert len(begun.threads("workerpool-reaper")) == 1
        assert eventually(lambda: not begun.threads("workerpool-reaper"))


def test_a_limit_of_requests_per_connection_is_absorbed() -> None:
    with Origin(requests_per_connection=7) as origin, WorkerPool(4, retry=None) as pool:
        outcomes = list(pool.stream([origin.url("/")] * 200))
        assert all(outcome.ok for outcome in outcomes)
        assert origin.requests == 200
        assert origin.connections_opened >= 200 / 7


def test_a_connection_shows_where_it_leads_and_how_it_stands_but_no_login() -> None:
    with Origin() as origin:
        proxy = origin.url("/").replace("//", "//user:secret@")
        with WorkerPool(1, proxies={"http": proxy}) as pool:
            connections = cast(Any, pool)._transport._connections
            for _ in range(2):
                pool.get("http://name.test/").result()
            assert eventually(lambda: len(connections._idle) == 1)
            ((connection, key),) = connections._idle.items()
            there = f"<CountedConnection 127.0.0.1:{origin.port}: "
            assert re.fullmatch(re.escape(there) + r"idle for \d\.\d s, 2 sent>", repr(connection))
            connections.checkout(key, connection.host_key)
            assert repr(connection) == there + "in use, 2 sent>"
            connections.checkin(key, connection)
        assert repr(connection) == there + "closed, 2 sent>"
    made = CountedConnection("name.test")
    made.site = "name.test:80"
    assert repr(made) == "<CountedConnection name.test:80: new, 0 sent>"


# -- a request over a dead socket -------------------------------------------------------------------------------------


REQUESTS = 10_000 if IN_FULL else 2_400


@pytest.mark.slow
def test_no_request_fails_while_its_server_closes_idle_sockets_at_random() -> None:
    """Thousands of requests to a server that closes idle sockets without notice after 50 to 200 ms.

    As good as none needs a second attempt. A few may on a busy machine: a free send's new socket, too, is closed if its
    thread has to wait for 50 ms between connecting and sending.
    """
    with OriginProcess(idle_timeout=0.05, idle_timeout_max=0.2) as server:
        with WorkerPool(16, host_connections=16, rate="2000/s", burst=16) as pool:
            pauses = threading.Event()

            def in_bursts() -> Iterator[str]:
                for n in range(REQUESTS):
                    if n % 400 == 0:
                        pauses.wait(0.05 + 0.15 * (n // 400 % 7) / 6)  # so that sockets are idle when they are needed
                    yield server.url(f"/bytes/{n % 50}")

            outcomes = list(pool.stream(in_bursts(), window=400))
            assert [outcome.error for outcome in outcomes if not outcome.ok] == []
            figures = pool.statistics()
        assert server.records().requests == REQUESTS
        assert figures.sockets_lost > 0
        assert figures.retries <= 5
        assert figures.sent == REQUESTS + figures.resent + figures.retries


class Closer:
    """Answers a connection's first request, and closes the second time it is asked, before a byte of the answer."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def __call__(self, arrival: object) -> Reply:
        number = arrival.connection  # type: ignore[attr-defined]
        self.seen[number] += 1
        return Reply(body=b"here") if self.seen[number] == 1 else Reply(reset=True)


def test_a_used_socket_that_dies_before_any_byte_costs_no_attempt() -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Closer())
        outcomes = list(pool.stream([origin.url("/")] * 2))
        assert [outcome.ok for outcome in outcomes] == [True, True]
        assert [len(outcome.attempts) for outcome in outcomes] == [1, 1]
        assert outcomes[1].attempts[0].reused is False
        assert (pool.statistics().resent, pool.statistics().sent, origin.requests) == (1, 3, 3)


def test_a_socket_that_was_opened_ahead_and_died_costs_no_attempt_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_FROM", 0.0)
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Reply(reset=True), Reply(body=b"here"))
        assert pool.warm([origin.url("/")]) == 1
        assert pool.get(origin.url("/")).result().content == b"here"
        assert pool.statistics().resent == 1


def test_the_free_send_spends_a_slot_of_the_rate() -> None:
    with Origin() as origin, WorkerPool(1, rate="10/s", retry=None) as pool:
        origin.script("/", Closer())
        list(pool.stream([origin.url("/")] * 2))
        times = [arrival.time for arrival in origin.arrivals]
    assert times[2] - times[1] >= 0.09


def test_a_request_gets_one_free_send_only() -> None:
    """A new socket that dies is a failed attempt, and so is a second one."""
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Reply(), Reply(reset=True), Reply(reset=True))
        first, second = pool.stream([origin.url("/")] * 2)
        assert first.ok
        assert not second.ok
        assert (second.error.reason, pool.statistics().resent, origin.requests) == ("connection", 1, 3)  # type: ignore[union-attr]


def test_an_answer_that_had_begun_is_not_asked_for_again_for_free() -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Reply(), Reply(reset=True, reset_after=10))
        _, second = pool.stream([origin.url("/")] * 2)
        assert not second.ok
        assert pool.statistics().resent == 0


def test_code_inside_a_callable_gets_the_free_send_too() -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Closer())
        url = origin.url("/")
        assert [pool.submit(lambda: pool.session.get(url).status_code).result() for _ in range(2)] == [200, 200]
        assert origin.requests == 3


def test_a_request_that_is_not_idempotent_never_goes_again_by_itself() -> None:
    """It ends as unknown: the server may have acted on it."""
    with Origin() as origin, WorkerPool(1, retry=RetryPolicy(attempts=4)) as pool:
        origin.script("/", Closer())
        url = origin.url("/")
        first, second = pool.stream([Request(url), Request(url, method="POST", data=b"x")])
        assert first.ok
        assert isinstance(second.error, OutcomeUnknown)
        assert "POST" in str(second.error)
        assert (origin.requests, len(second.attempts)) == (2, 1)


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_get_that_says_that_it_is_not_idempotent_ends_as_unknown_too(fast_path: bool) -> None:
    with Origin() as origin, WorkerPool(1, fast_path=fast_path) as pool:
        origin.script("/", Reply(reset=True))
        (outcome,) = pool.stream([Request(origin.url("/"), idempotent=False)])
        assert isinstance(outcome.error, OutcomeUnknown)
        assert "GET" in str(outcome.error)
        assert (origin.requests, len(outcome.attempts)) == (1, 1)


def test_a_get_that_a_post_was_redirected_to_goes_again() -> None:
    """It is the GET that met a dead socket; the POST has had its answer, and is not repeated."""
    with Origin(LOOPBACK[:2]) as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Closer())
        target = origin.url("/", LOOPBACK[1])
        origin.script("/form", Reply(status=303, headers={"Location": target}))
        outcomes = list(pool.stream([Request(target), Request(origin.url("/form"), method="POST", data=b"x")]))
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert [arrival.method for arrival in origin.arrivals] == ["GET", "POST", "GET", "GET"]
        assert pool.statistics().resent == 1


def test_a_request_with_an_idempotency_key_goes_again() -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Closer())
        url = origin.url("/")
        keyed = Request(url, method="POST", data=b"x", headers={"Idempotency-Key": "7"})
        assert [outcome.ok for outcome in pool.stream([Request(url), keyed])] == [True, True]


def test_a_request_that_is_not_idempotent_takes_no_socket_that_was_idle_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert trace.UNREPEATABLE_IDLE == 1.0
    with Origin() as origin, WorkerPool(1) as pool:
        pool.get(origin.url("/")).result()
        pool.post(origin.url("/echo"), data=b"x").result()  # at once: over the same socket
        monkeypatch.setattr(trace, "UNREPEATABLE_IDLE", 0.0)
        pool.post(origin.url("/echo"), data=b"x").result()
        pool.get(origin.url("/")).result()
        assert [arrival.connection for arrival in origin.arrivals] == [1, 1, 2, 2]


def test_a_truncated_upload_answer_of_a_post_is_not_called_unknown() -> None:
    """Its headers came, so the server has acted, and said so."""
    with Origin() as origin, WorkerPool(1) as pool:
        origin.script("/", Reply(body=b"x" * 100, truncate=10))
        (outcome,) = pool.stream([Request(origin.url("/"), method="POST")])
        assert outcome.error is not None
        assert outcome.error.reason == "connection"


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_socket_that_is_let_go_before_its_answer_is_read_serves_nobody_else(fast_path: bool) -> None:
    """Its next answer would begin in the middle of the one before."""
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
    with Origin() as origin, WorkerPool(1, retry=None, fast_path=fast_path) as pool:
        origin.script("/long", Reply(body=rest, drip=0.05))
        streamed = pool.get(origin.url("/long"), stream=True).result(5)
        streamed.raw.release_conn()
        assert pool.get(origin.url("/echo")).result(5).json()["path"] == "/echo"


def test_closing_an_idle_socket_touches_no_answer_that_came_over_it() -> None:
    """Who reads that on another thread may be closing it at the same moment."""
    with Origin() as origin:
        origin.script("/", Reply(body=b"hello"))
        with WorkerPool(1) as pool:
            streamed = pool.get(origin.url("/"), stream=True).result(5)
            assert streamed.raw.read(5) == b"hello"
            assert eventually(lambda: pool.statistics().sockets_idle == 1)
        assert not streamed.raw._fp.closed


def test_no_descriptor_is_left_open() -> None:
    before = descriptors()
    with Origin(idle_timeout=0.05) as origin, WorkerPool(8) as pool:
        paths = ["/", "/reset", "/truncate", "/chunked", "/redirect/2", "/reset?after=20", "/gzip"]
        list(pool.stream(origin.url(path) for path in paths * 30))
    assert eventually(lambda: descriptors() <= before)

"""Every wait of an attempt ends within its time: looking a name up, connecting, sending, and a server that drips."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import pytest
import requests
import urllib3
from requests.auth import HTTPDigestAuth

from tests.certificates import Authority
from tests.leftovers import Since, descriptors
from tests.servers import CHUNKED, serving, until_closed
from tests.waiting import eventually
from workerpool import OutcomeUnknown, Request, RetryPolicy, TimedOut, Timeout, WorkerPool
from workerpool.testing import Origin, Reply
from workerpool.transport.deadline import Watchdog
from workerpool.transport.dns import Resolver
from workerpool.transport.trace import Trace
from workerpool.transport.wire import Exchange

SOON = 0.25
"""Seconds of a deadline in these tests."""
MARGIN = 0.6
"""Seconds that an end may come after its deadline, on a busy machine. A watchdog that fails costs far more."""

HEAD = b"HTTP/1.1 200 OK\r\n"


def dripping(opening: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Answer the first request with `opening`, and then with `drop` every 50 ms, for ever."""

    def serve(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(opening)
        conn.settimeout(0.05)
        while True:
            try:
                if not conn.recv(1):
                    return
            except TimeoutError:
                conn.sendall(drop)

    return serve


def ask(pool: WorkerPool, how: str, url: str, method: str = "GET", **options: Any) -> requests.Response:
    """Send a request by the pool itself, or by ``pool.session`` inside of a callable."""
    if how == "pool":
        return pool.request(method, url, **options).result()
    return pool.submit(lambda: pool.session.request(method, url, **options)).result()  # type: ignore[no-any-return]


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Hold what is inside to `seconds`, no less and not much more."""
    began = time.monotonic()
    try:
        yield
    finally:
        assert seconds - 0.05 <= time.monotonic() - began <= seconds + MARGIN


DRIPS = {
    "status line": (b"", b"H"),
    "a header": (HEAD + b"X-Long: ", b"x"),
    "headers": (HEAD, b"X: y\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "body that ends with the connection": (HEAD + b"Connection: close\r\n\r\n", b"x"),
    "between chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a chunk": (CHUNKED + b"fffff\r\n", b"x"),
    "a chunk's size": (CHUNKED, b"0"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
    "a redirect's body": (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x"),
    "an error's body": (b"HTTP/1.1 404 Not Found\r\n\r\n", b"x"),
    "nothing at all": (b"", b""),
}


@pytest.mark.parametrize("where", DRIPS)
@pytest.mark.parametrize("how", ["pool", "pool.session"])
def test_a_server_that_drips_meets_the_deadline(where: str, how: str) -> None:
    with serving(dripping(*DRIPS[where])) as server, WorkerPool(1, retry=None, timeout=SOON) as pool:
        url = f"{server.url}/"
        began = time.monotonic()
        with pytest.raises(requests.Timeout):
            ask(pool, how, url)
        took = time.monotonic() - began
        assert SOON - 0.05 <= took <= SOON + MARGIN
        assert eventually(lambda: len(server.ended) == 1)
        assert server.ended[0] - began <= SOON + MARGIN  # the server sees the end, too
        assert pool.statistics().sockets_open == 0


def test_the_outcome_is_timed_out_and_its_cause_is_requests_own() -> None:
    with serving(dripping(CHUNKED, b"1\r\nx\r\n")) as server, WorkerPool(1, retry=None, timeout=SOON) as pool:
        (outcome,) = pool.stream([f"{server.url}/"])
    assert isinstance(outcome.error, TimedOut)
    assert isinstance(outcome.error.__cause__, requests.Timeout)
    assert outcome.response is None


def test_a_post_that_was_sent_and_not_answered_in_time_ends_as_unknown() -> None:
    with serving(dripping(b"", b"H")) as server, WorkerPool(1, timeout=SOON) as pool, in_time(SOON):
        (outcome,) = pool.stream([Request(f"{server.url}/", method="POST", data=b"x")])
    assert isinstance(outcome.error, OutcomeUnknown)
    assert isinstance(outcome.error.__cause__, requests.Timeout)
    assert len(outcome.attempts) == 1


# -- which time holds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_pool", "of_request"),
    [
        (SOON, None),
        (Timeout(5, 5, SOON), None),
        (Timeout(5, 5, SOON), (5, 5)),  # a pair leaves the pool's total on top
        (30, SOON),
        (30, Timeout(5, 5, SOON)),
        (None, SOON),
    ],
    ids=repr,
)
@pytest.mark.parametrize("how", ["pool", "pool.session"])
def test_the_total_holds_however_it_is_said(of_pool: Any, of_request: Any, how: str) -> None:
    with serving(dripping(HEAD, b"X: y\r\n")) as server, WorkerPool(1, retry=None, timeout=of_pool) as pool:
        url = f"{server.url}/"
        with pytest.raises(requests.Timeout), in_time(SOON):
            ask(pool, how, url, timeout=of_request)


@pytest.mark.parametrize("how", ["pool", "pool.session"])
def test_the_read_time_is_the_longest_silence_and_not_the_whole(how: str) -> None:
    with Origin() as origin, WorkerPool(1, retry=None, timeout=Timeout(5, 0.3, None)) as pool:
        urls = origin.url("/drip?bytes=10&seconds=1"), origin.url("/delay/2")
        assert len(ask(pool, how, urls[0]).content) == 10
        with pytest.raises(requests.Timeout), in_time(0.3):
            ask(pool, how, urls[1])


def test_the_policys_total_ends_an_attempt_under_way_and_allows_no_other() -> None:
    policy = RetryPolicy(attempts=100, backoff=0.01, backoff_max=0.02, total=1.0)
    with serving(dripping(HEAD, b"X: y\r\n")) as server, WorkerPool(1, retry=policy, timeout=0.7) as pool:
        with in_time(1.0):
            (outcome,) = pool.stream([f"{server.url}/"])
        assert isinstance(outcome.error, TimedOut)
        assert len(outcome.attempts) == 2
        assert eventually(lambda: len(server.ended) == 2)


def test_the_policys_total_holds_for_pool_session_too() -> None:
    with (
        serving(dripping(HEAD, b"X: y\r\n")) as server,
        WorkerPool(1, retry=RetryPolicy(total=SOON), timeout=5.0) as pool,
        pytest.raises(requests.Timeout),
        in_time(SOON),
    ):
        pool.submit(lambda: pool.session.get(f"{server.url}/")).result()


def test_redirects_share_one_attempts_time() -> None:
    """Each hop takes two thirds of it."""
    with Origin() as origin, WorkerPool(1, retry=None, timeout=0.6) as pool:
        origin.default = lambda arrival: Reply(status=302, headers={"Location": arrival.path + "x"}, delay=0.4)
        with in_time(0.6):
            (outcome,) = pool.stream([origin.url("/")])
        assert isinstance(outcome.error, TimedOut)
        assert origin.requests == 2


def test_redirects_of_pool_session_share_the_time_as_well() -> None:
    with Origin() as origin, WorkerPool(1, retry=None, timeout=0.6) as pool:
        origin.default = lambda arrival: Reply(status=302, headers={"Location": arrival.path + "x"}, delay=0.4)
        with pytest.raises(requests.Timeout), in_time(0.6):
            pool.submit(lambda: pool.session.get(origin.url("/"))).result()
        assert origin.requests == 2


def test_the_time_begins_anew_for_each_attempt() -> None:
    with Origin() as origin, WorkerPool(1, retry=RetryPolicy(attempts=2, backoff=0), timeout=0.5) as pool:
        origin.script("/", Reply(delay=0.35, status=503), Reply(delay=0.35))
        (outcome,) = pool.stream([origin.url("/")])
        assert outcome.ok


def test_waiting_for_a_slot_is_no_part_of_the_time() -> None:
    with Origin() as origin, WorkerPool(4, rate="4/s", retry=None, timeout=0.3) as pool:
        assert all(outcome.ok for outcome in pool.stream([origin.url("/")] * 4))


# -- everything else that can hang ------------------------------------------------------------------------------------


def test_a_tls_handshake_that_stalls_meets_the_connect_time() -> None:
    with (
        serving(until_closed) as server,
        WorkerPool(1, retry=None, timeout=Timeout(SOON, 5, 5)) as pool,
        pytest.raises(requests.ConnectTimeout),
        in_time(SOON),
    ):
        pool.get(f"https://{server.address}/").result()


def test_a_tls_handshake_that_drips_meets_the_total() -> None:
    with (
        serving(dripping(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\0")) as server,
        WorkerPool(1, retry=None, timeout=Timeout(5, 5, SOON)) as pool,
        pytest.raises(requests.ConnectTimeout),
        in_time(SOON),
    ):
        pool.get(f"https://{server.address}/").result()


def test_an_answer_over_tls_that_drips_meets_the_deadline(authority: Authority) -> None:
    with (
        Origin(tls=authority.context()) as origin,
        WorkerPool(1, retry=None, timeout=SOON, verify=authority.file) as pool,
    ):
        assert pool.get(origin.url("/")).result().status_code == 200
        with pytest.raises(requests.ReadTimeout), in_time(SOON):
            pool.get(origin.url("/drip?bytes=100&seconds=5")).result()
        assert pool.get(origin.url("/")).result().status_code == 200


@pytest.mark.parametrize("opening", [b"", b"HTTP/1.1 200 Connection established\r\n"], ids=["silent", "dripping"])
def test_a_proxy_that_stalls_in_connect_meets_the_deadline(opening: bytes) -> None:
    with (
        serving(dripping(opening, b"X: y\r\n" if opening else b"")) as server,
        WorkerPool(1, retry=None, timeout=SOON, proxies={"https": f"http://{server.address}"}) as pool,
        pytest.raises(requests.Timeout),
        in_time(SOON),
    ):
        pool.get("https://example.invalid/").result()


def silence() -> urllib3.exceptions.ReadTimeoutError:
    return urllib3.exceptions.ReadTimeoutError(Mock(), "/", "Read timed out.")


@pytest.mark.parametrize(
    "failure",
    [
        requests.exceptions.ReadTimeout(silence()),  # of a handshake that stalls
        requests.exceptions.ProxyError(urllib3.exceptions.ProxyError("Unable to connect to proxy", silence())),
    ],
    ids=["handshake", "proxy"],
)
def test_the_sockets_own_timeout_before_there_is_a_connection_is_told_as_the_deadline(failure: Exception) -> None:
    """Which of them comes a moment before the other is chance."""
    url = "https://example.invalid/"
    with WorkerPool(1, timeout=SOON) as pool:
        exchange = Exchange(Request(url), url, url, trace=Trace(host=url))
        failed = pool._transport._failure(failure, exchange, has_expired=False)  # type: ignore[attr-defined]
    assert str(failed).startswith("no connection to https://example.invalid")
    assert isinstance(failed, TimedOut)
    assert isinstance(failed.__cause__, requests.ConnectTimeout)
    assert failed.__cause__.__cause__ is failure


@pytest.mark.parametrize("drop", [b"", b"x"], ids=["silent", "dripping"])
def test_a_socks_proxy_that_stalls_meets_the_deadline(drop: bytes) -> None:
    """Its reply announces a name of 255 bytes, which come one at a time or not at all."""

    def serve(conn: socket.socket) -> None:
        conn.recv(100)
        conn.sendall(b"\x05\x00")
        dripping(b"\x05\x00\x00\x03\xff", drop)(conn)

    with (
        serving(serve) as server,
        WorkerPool(1, retry=None, timeout=SOON, proxies={"http": f"socks5h://{server.address}"}) as pool,
        pytest.raises(requests.Timeout),
        in_time(SOON),
    ):
        pool.get("http://example.invalid/").result()


@pytest.mark.parametrize("how", ["pool", "pool.session"])
def test_an_upload_that_nobody_reads_meets_the_deadline(how: str) -> None:
    def serve(conn: socket.socket) -> None:
        conn.recv(100)
        done.wait(10)

    done = threading.Event()
    with serving(serve) as server, WorkerPool(1, timeout=SOON) as pool:
        url, body = f"{server.url}/", b"x" * 50_000_000
        with pytest.raises(requests.RequestException) as caught, in_time(SOON):
            ask(pool, how, url, "POST", data=body)
        assert isinstance(caught.value, requests.Timeout)
        done.set()


def test_a_name_whose_look_up_hangs_meets_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, begun = threading.Event(), Since()

    def look_up(*args: Any) -> Any:
        answer.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr("workerpool.transport.sending.Resolver", lambda: Resolver(look_up=look_up))
    with WorkerPool(1, retry=None, timeout=SOON) as pool:
        with pytest.raises(requests.ConnectTimeout), in_time(SOON):
            pool.get("http://name.test/").result()
        answer.set()
    assert eventually(lambda: not begun.threads("workerpool-resolver"))


def test_waiting_for_a_socket_that_streams_hold_meets_the_deadline() -> None:
    with Origin() as origin, WorkerPool(2, max_connections=1, retry=None, timeout=SOON) as pool:
        held = pool.get(origin.url("/drip?bytes=100&seconds=20"), stream=True).result()
        with pytest.raises(requests.RequestException), in_time(SOON):
            pool.get(origin.url("/")).result()
        held.close()
        assert pool.get(origin.url("/")).result().status_code == 200


def test_the_answer_to_a_digest_challenge_shares_the_attempts_time() -> None:
    """The challenge takes two thirds of it, and so does what follows."""
    challenge = Reply(status=401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}, delay=0.4)
    with Origin() as origin, WorkerPool(1, retry=None, timeout=0.6) as pool:
        origin.script("/", challenge, Reply(delay=0.4))
        with pytest.raises(requests.Timeout), in_time(0.6):
            pool.get(origin.url("/"), auth=HTTPDigestAuth("me", "pw")).result()
        assert origin.requests == 2


@pytest.mark.parametrize("how", ["pool", "pool.session"])
def test_a_challenge_that_drips_its_body_meets_the_deadline(how: str) -> None:
    opening = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n'
    with serving(dripping(opening, b"x")) as server, WorkerPool(1, retry=None, timeout=SOON) as pool:
        url, auth = f"{server.url}/", HTTPDigestAuth("me", "pw")
        with pytest.raises(requests.Timeout), in_time(SOON):
            ask(pool, how, url, auth=auth)


def test_a_challenge_to_a_streamed_request_meets_the_deadline_as_well() -> None:
    opening = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\r\n\r\n'
    with serving(dripping(opening, b"x")) as server, WorkerPool(1, retry=None, timeout=SOON) as pool:
        url, auth = f"{server.url}/", HTTPDigestAuth("me", "pw")
        with pytest.raises(requests.Timeout), in_time(SOON):
            pool.submit(lambda: pool.session.get(url, auth=auth, stream=True)).result()


@pytest.mark.parametrize("factory", [requests.Session, None], ids=["plain session", "own session"])
def test_a_session_of_the_users_own_making_has_the_pools_deadline(factory: Any) -> None:
    with (
        serving(dripping(HEAD + b"\r\n", b"x")) as server,
        WorkerPool(1, retry=None, timeout=SOON, session_factory=factory) as pool,
    ):
        for how in ("pool", "pool.session"):
            with pytest.raises(requests.Timeout), in_time(SOON):
                ask(pool, how, f"{server.url}/")


def test_a_hook_that_reads_the_body_is_under_the_deadline() -> None:
    with (
        serving(dripping(HEAD + b"\r\n", b"x")) as server,
        WorkerPool(1, retry=None, timeout=SOON) as pool,
        pytest.raises(requests.Timeout),
        in_time(SOON),
    ):
        pool.get(f"{server.url}/", hooks={"response": lambda response, **_: response.content}).result()


def test_warming_a_host_that_stalls_meets_the_deadline() -> None:
    with serving(until_closed) as server, WorkerPool(1, timeout=SOON) as pool, in_time(SOON):
        assert pool.warm([f"https://{server.address}/"]) == 0


def test_warming_that_takes_too_long_is_told_as_that() -> None:
    with serving(until_closed) as server, WorkerPool(1, timeout=SOON) as pool:
        transport: Any = pool._transport
        with pytest.raises(TimedOut):
            pool.submit(lambda: transport.warm(pool.session, f"https://{server.address}/", server.address)).result(5)


# -- a bite hits its own send only ------------------------------------------------------------------------------------


def test_a_deadline_that_passes_in_a_hook_leaves_the_socket_to_the_request_that_has_it_now() -> None:
    """The body was read, so the socket was handed back, and another thread took it, while the hook still ran."""
    is_answered, may_end = threading.Event(), threading.Event()

    def hook(response: requests.Response, **_: Any) -> None:
        is_answered.set()
        may_end.wait(10)

    with Origin() as origin, WorkerPool(2, host_connections=2, max_connections=2, retry=None, timeout=0.5) as pool:
        late = pool.get(origin.url("/"), hooks={"response": hook})
        assert is_answered.wait(5)
        other = pool.get(origin.url("/delay/1"), timeout=10)
        origin.wait_for(2)
        assert [arrival.connection for arrival in origin.arrivals] == [1, 1]
        assert other.result().status_code == 200  # long after the first one's deadline
        may_end.set()
        with pytest.raises(requests.Timeout):
            late.result()


@pytest.mark.usefixtures("tiny_switch_interval")
def test_deadlines_close_to_the_servers_own_time_hit_nobody_else() -> None:
    """Half of the requests have a deadline that passes just as they end; the other half must all succeed."""
    near = 0.03
    with Origin() as origin, WorkerPool(12, host_connections=12, retry=None, timeout=30) as pool:
        requests_ = [
            Request(origin.url(f"/delay/{near}"), timeout=near + 0.002 * (n % 5 - 1), key="near")
            if n % 2
            else Request(origin.url(f"/bytes/{n}"), key="far", method="POST")
            for n in range(600)
        ]
        outcomes = list(pool.stream(requests_))
        wrong = [outcome.error for outcome in outcomes if outcome.request.key == "far" and not outcome.ok]
        assert wrong == []
        late = [outcome for outcome in outcomes if not outcome.ok]
        assert {type(outcome.error) for outcome in late} == {TimedOut}
        assert all(len(o.response.content) == int(o.url.rpartition("/")[2]) for o in outcomes if o.request.key == "far")
        assert pool.statistics().sockets_open <= 12


@pytest.mark.usefixtures("tiny_switch_interval")
def test_many_threads_and_sockets_of_a_watchdog_never_meet_anothers_deadline() -> None:
    """A socket is shut down if and only if its own deadline passed: `end` and the socket tell the same."""
    watchdog, begun = Watchdog(), Since()
    wrong: list[str] = []

    def run(seed: int) -> None:
        for n in range(150):
            ours, theirs = socket.socketpair()
            watch = watchdog.watch
            watch.begin(0.001 * ((seed + n) % 4) or 0.0005)
            watch.attach(ours)
            ours.settimeout(0.002)
            try:
                was_shut = ours.recv(1) == b""
            except TimeoutError:
                was_shut = False
            is_intact = watch.detach(ours)
            expired = watch.end()
            if (was_shut and not expired) or (is_intact and was_shut):
                wrong.append(f"shut {was_shut}, intact {is_intact}, expired {expired}")
            if is_intact:
                theirs.sendall(b"x")
                if ours.recv(1) != b"x":
                    wrong.append("shut after it had been let go of")
            ours.close()
            theirs.close()

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert eventually(lambda: not begun.threads("workerpool-watchdog"))


def test_the_watchdog_survives_a_socket_that_is_none() -> None:
    """TLS inside of TLS is read through an object that only looks like a socket; the one below it is shut down."""

    class Layer:
        def __init__(self, inner: socket.socket) -> None:
            self.socket = inner

    watchdog = Watchdog()
    for layered in (True, False):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watchdog.watch.begin(0.05)
            watchdog.watch.attach(Layer(ours) if layered else ours)
            ours.settimeout(5)
            assert ours.recv(1) == b""
            assert watchdog.watch.end()


@pytest.mark.parametrize("opening", [b"", HEAD + b"Content-Length: 5\r\n\r\n", CHUNKED + b"5\r\n"])
@pytest.mark.parametrize("fast_path", [True, False])
def test_a_silence_ends_also_where_no_watchdog_can_be_started(
    monkeypatch: pytest.MonkeyPatch, fast_path: bool, opening: bytes
) -> None:
    start = threading.Thread.start

    def no_watchdog(thread: threading.Thread) -> None:
        if thread.name == "workerpool-watchdog":
            raise RuntimeError("can't start new thread")
        start(thread)

    def stall(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(opening)
        conn.recv(1)

    monkeypatch.setattr(threading.Thread, "start", no_watchdog)
    with serving(stall) as server, WorkerPool(1, retry=None, timeout=SOON, fast_path=fast_path) as pool:
        assert isinstance(pool.get(f"{server.url}/").exception(10), requests.RequestException)


def test_nothing_is_left_behind_by_sends_that_met_their_deadline() -> None:
    """No thread, no socket, no descriptor."""
    begun, before = Since(), descriptors()
    with Origin() as origin:
        with WorkerPool(8, host_connections=8, retry=None, timeout=0.2) as pool:
            paths = ["/drip?bytes=100&seconds=5", "/delay/3", "/", "/unread/3", "/redirect/2", "/chunked"]
            outcomes = list(pool.stream(origin.url(path) for path in paths * 8))
            late = [outcome.url for outcome in outcomes if not outcome.ok]
            assert sum(any(word in url for word in ("drip", "delay", "unread")) for url in late) == 24
            assert eventually(lambda: pool.statistics().sockets_open == pool.statistics().sockets_idle)
        assert pool.statistics().sockets_open == 0
        assert eventually(lambda: not begun.threads("workerpool-watchdog", "workerpool-reaper"), 3)
    assert eventually(lambda: descriptors() <= before)

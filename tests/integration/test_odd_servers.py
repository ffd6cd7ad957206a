"""Servers that do what none should, and what became of sockets and times: each was a defect once."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import requests
from requests.auth import HTTPDigestAuth

from tests.servers import OK, Serve, head, serving
from tests.waiting import LONG, eventually, let_pass
from workerpool import Denied, InvalidRequest, Outcome, Request, RetryPolicy, WorkerPool
from workerpool.testing import Origin, Reply


def always(answer: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        while head(sock):
            sock.sendall(answer)

    return serve


def test_streamed_requests_that_are_retried_do_not_hold_the_sockets_that_their_retries_need() -> None:
    with Origin() as origin, WorkerPool(6, timeout=5, retry=RetryPolicy(attempts=9, backoff=0)) as pool:
        origin.script("/", *[Reply(status=503, body=bytes(100_000))] * 12, Reply(body=b"here"))
        futures = [pool.get(origin.url("/"), stream=True) for _ in range(6)]
        assert [future.result().content for future in futures] == [b"here"] * 6


def test_a_streamed_request_in_a_callable_is_retried_over_its_own_socket() -> None:
    with Origin() as origin, WorkerPool(1, host_connections=1, timeout=5, retry=RetryPolicy(backoff=0)) as pool:
        origin.script("/", Reply(status=503, body=bytes(100_000)), Reply(body=b"here"))
        url = origin.url("/")
        assert pool.submit(lambda: pool.session.get(url, stream=True).content).result() == b"here"


def test_the_connection_of_a_body_that_does_not_decode_is_not_used_again() -> None:
    """Half of it is still to come, and would be taken for the next answer."""
    rubbish = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 200000\r\n\r\n" + bytes(65536)
    answers = [rubbish, OK]

    def serve(sock: socket.socket) -> None:
        while head(sock):
            sock.sendall(answers.pop(0))

    with serving(serve) as server, WorkerPool(1, retry=None) as pool:
        first, second = pool.stream([server.url, Request(server.url, method="POST")])
        assert first.error is not None
        assert first.error.reason == "body"
        assert second.ok
        assert len(server.clients) == 2


def test_bytes_after_an_answer_end_its_connection() -> None:
    """Whatever they are, they would be taken for the answer to the next request."""
    two = OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with serving(always(two)) as server, WorkerPool(1) as pool:
        outcomes = [*pool.stream([server.url] * 3)]
        assert [outcome.response.content for outcome in outcomes if outcome.response] == [b"ok"] * 3
        assert len(server.clients) == 3


def test_a_body_after_the_answer_to_head_ends_its_connection() -> None:
    with serving(always(OK)) as server, WorkerPool(1) as pool:
        assert [outcome.status for outcome in pool.stream([Request(server.url, "HEAD"), server.url])] == [200, 200]
        assert len(server.clients) == 2


def test_stray_bytes_on_an_idle_connection_teach_nothing_of_idle_limits() -> None:
    answered, sent = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        while head(sock):
            sock.sendall(OK)
            if not sent.is_set():
                assert answered.wait(10)
                sock.sendall(b"\r\n")
                sent.set()

    with serving(serve) as server, WorkerPool(1) as pool:
        pool.get(server.url).result()
        answered.set()
        assert sent.wait(10)  # and on a loopback, what was sent has come
        pool.get(server.url).result()
        assert (len(server.clients), pool.statistics().sockets_lost) == (2, 0)


def test_a_server_that_drips_after_our_end_holds_up_nobody() -> None:
    def serve(sock: socket.socket) -> None:
        head(sock)
        sock.sendall(OK)
        sock.recv(1)  # until the pool ends its side
        for _ in range(30):
            let_pass(0.1)
            sock.sendall(b"x")

    with (
        serving(serve) as one,
        serving(always(OK)) as other,
        WorkerPool(1, max_connections=1, timeout=2, retry=None) as pool,
    ):
        pool.get(one.url).result()
        began = time.monotonic()
        assert pool.get(other.url).result().content == b"ok"
        assert time.monotonic() - began < 1.5


def test_the_answer_to_a_challenge_waits_for_its_slot_outside_of_the_timeout() -> None:
    challenge = (
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="a", nonce="b", qop="auth"\r\nContent-Length: 2\r\n\r\nno'
    )

    def serve(sock: socket.socket) -> None:
        while request := head(sock):
            sock.sendall(OK if "\r\nAuthorization:" in request else challenge)

    with serving(serve) as server, WorkerPool(1, rate="1/s", timeout=0.5, retry=None) as pool:
        (outcome,) = pool.stream([Request(server.url, auth=HTTPDigestAuth("u", "p"))])
        assert outcome.ok, outcome.error


def test_the_policys_total_holds_after_a_wait_for_a_slot_in_a_callable() -> None:
    with Origin() as origin, WorkerPool(1, rate="1/s", retry=RetryPolicy(attempts=1, total=1.5)) as pool:
        pool.get(origin.url("/")).result()
        url, began = origin.url("/delay/1.2"), time.monotonic()
        with pytest.raises(Exception, match="time allowed"):
            pool.submit(lambda: pool.session.get(url)).result()
        assert time.monotonic() - began < 2.2


@pytest.mark.parametrize("path", ["/delay/5", "/drip?bytes=100&seconds=20"])
def test_the_timings_of_an_attempt_that_ran_out_of_time_add_up(path: str) -> None:
    with Origin() as origin, WorkerPool(1, timeout=0.5, retry=None) as pool:
        (outcome,) = pool.stream([origin.url(path)])
    times = outcome.attempts[0].timings
    spent = times.dns + times.connect + times.tls + times.first_byte + times.body
    assert spent == pytest.approx(outcome.attempts[0].elapsed, abs=0.1)


def test_a_request_given_up_while_it_was_parked_was_parked_only_so_long() -> None:
    with Origin() as origin:
        pool = WorkerPool(1, retry=RetryPolicy(backoff=0, retry_after_max=100))
        origin.script("/", Reply(status=503, headers={"Retry-After": "60"}))
        outcomes: list[Outcome] = []
        reader = threading.Thread(target=lambda: outcomes.extend(pool.stream([origin.url("/")])), daemon=True)
        reader.start()
        assert eventually(lambda: pool.statistics().parked == 1)
        let_pass(0.3)
        pool.drain()
        reader.join(10)
        pool.shutdown()
    (outcome,) = outcomes
    assert 0.3 < outcome.timings.parked < 10


def test_conflicting_lengths_are_the_servers_fault_not_the_requests() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"
    with serving(always(answer)) as server, WorkerPool(1, retry=None) as pool:
        (outcome,) = pool.stream([server.url])
    assert outcome.error is not None
    assert outcome.error.reason == "connection"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 500 \x1b[2J\x07Oops\r\nContent-Length: 0\r\n\r\n", b"\x1b[2J\r\n\r\n"])
def test_what_a_server_wrote_does_nothing_to_a_terminal(answer: bytes) -> None:
    with serving(always(answer)) as server, WorkerPool(1, retry=None) as pool:
        (outcome,) = pool.stream([server.url])
    assert str(outcome.error).isprintable()


def test_too_many_headers_are_too_large() -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n"
    with serving(always(answer)) as server, WorkerPool(1) as pool:
        (outcome,) = pool.stream([server.url])
    assert outcome.error is not None
    assert (outcome.error.reason, len(outcome.attempts)) == ("size", 1)


def test_a_proxy_whose_url_does_not_parse_is_told_of_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://joe:hu/sh@127.0.0.1:9")
    with Origin() as origin, WorkerPool(1) as pool:
        (outcome,) = pool.stream([origin.url("/")])
    assert "does not parse" in str(outcome.error)
    assert "hu" not in str(outcome.error)


def test_what_a_server_wrote_makes_no_endless_error() -> None:
    with serving(always(b"x" * 60_000 + b"\r\n\r\n")) as server, WorkerPool(1, retry=None) as pool:
        (outcome,) = pool.stream([server.url])
    assert len(str(outcome.error)) < 500


# -- where redirects lead ---------------------------------------------------------------------------------------------


def redirecting(location: bytes) -> Reply:
    return Reply(raw=b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location)


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("location", [b"http://[bad", b"http://h:99999/", b"http://h:abc/", b"mailto:a@b"])
def test_a_redirect_to_what_is_no_url_is_the_servers_doing_and_an_answer_to_who_does_not_follow(
    location: bytes, fast_path: bool
) -> None:
    with Origin() as origin, WorkerPool(1, fast_path=fast_path) as pool:
        origin.script("/junk", redirecting(location))
        with pytest.raises(Denied, match="a redirect leads"):
            pool.get(origin.url("/junk")).result(LONG)
        response = pool.get(origin.url("/junk"), allow_redirects=False).result(LONG)
        assert (response.status_code, response.headers["Location"]) == (302, location.decode())


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_redirect_whose_bytes_are_no_utf_8_is_followed_as_browsers_do(fast_path: bool) -> None:
    with Origin() as origin, WorkerPool(1, fast_path=fast_path) as pool:
        origin.script("/menu", redirecting(b"/caf\xe9?x=%2F"))
        origin.script("/caf%E9?x=%2F", Reply(body=b"here"))
        response = pool.get(origin.url("/menu")).result(LONG)
        assert response.url == origin.url("/caf%E9?x=%2F")


@pytest.mark.parametrize("fast_path", [True, False])
def test_where_no_redirect_may_be_followed_one_that_is_not_to_be_is_an_answer(fast_path: bool) -> None:
    with Origin() as origin, WorkerPool(1, max_redirects=0, fast_path=fast_path) as pool:
        assert pool.get(origin.url("/redirect/1"), allow_redirects=False).result(LONG).status_code == 302
        assert pool.head(origin.url("/redirect/1")).result(LONG).status_code == 302
        with pytest.raises(requests.TooManyRedirects, match="more than 0 redirects"):
            pool.get(origin.url("/redirect/1")).result(LONG)
        with pytest.raises(requests.TooManyRedirects):
            pool.submit(lambda: pool.session.get(origin.url("/redirect/1"))).result(LONG)


def test_a_host_that_is_none_is_the_requests_own_fault() -> None:
    with WorkerPool(1) as pool:
        (outcome,) = pool.stream(["http://a..b/"])
    assert isinstance(outcome.error, InvalidRequest)


@pytest.mark.parametrize("fast_path", [True, False])
def test_an_answer_that_changes_the_protocol_is_a_failure_and_ends_its_connection(fast_path: bool) -> None:
    with Origin() as origin, WorkerPool(1, fast_path=fast_path, retry=1) as pool:
        origin.script("/", Reply(raw=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))
        outcomes = [*pool.stream([origin.url("/"), origin.url("/bytes/1")], ordered=True)]
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert "HTTP 101" in str(outcomes[0].error)
    assert not outcomes[1].attempts[0].reused

"""Which proxy a request takes, what a proxy that fails leads to, and that its password shows nowhere."""

from __future__ import annotations

import base64
import io
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.contract.routes import ADDRESSES, LOGIN, fetch_one, open_pool
from tests.contract.tinyproxy import PASSWORD, USER, Tinyproxy
from tests.socks_server import SocksServer
from tests.waiting import LONG
from workerpool import ConnectFailed, ConnectionLost, OutcomeUnknown, Request, RetryPolicy, StatusError, WorkerPool
from workerpool.testing import Arrival, Origin, Reply
from workerpool.transport import adapter


@pytest.fixture
def keeper() -> Iterator[Origin]:
    """An origin that stands for an HTTP proxy which keeps its clients' connections: it answers every request itself."""
    with Origin() as keeper:
        keeper.default = Reply(body=b"by the proxy")
        yield keeper


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that refuses connections: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def through(proxy: str) -> dict[str, str]:
    return {"http": proxy, "https": proxy}


def text_of(outcome: Any) -> str:
    assert outcome.response is not None, outcome.error
    return outcome.response.text


# -- plain HTTP proxies ------------------------------------------------------------------------------------------------


def test_sockets_to_a_proxy_that_keeps_them_are_used_again(keeper: Origin) -> None:
    with open_pool(8, proxies={"http": keeper.url()}) as pool:
        outcomes = [*pool.stream(["http://host.test/page"] * 100)]
        assert {text_of(outcome) for outcome in outcomes} == {"by the proxy"}
        assert pool.statistics().sockets_reused >= 94
    assert keeper.connections_opened <= 6
    assert {arrival.host for arrival in keeper.arrivals} == {"host.test"}


def test_a_proxy_is_told_the_login_in_its_url(keeper: Origin) -> None:
    with open_pool(proxies={"http": keeper.url().replace("//", "//me:my%20pass@")}) as pool:
        assert fetch_one(pool, "http://host.test/").ok
    login = base64.b64encode(b"me:my pass").decode()
    assert keeper.arrivals[0].headers["Proxy-Authorization"] == f"Basic {login}"


def test_a_login_of_its_own_for_each_request_takes_no_more_memory_the_more_there_are(
    keeper: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "POOLS_KEPT", 4)
    logins = [keeper.url().replace("://", f"://user{number}:secret@") for number in range(20)]
    with WorkerPool(2) as pool:
        outcomes = pool.stream(Request("http://a.test/", proxies=through(login)) for login in logins * 2)
        assert {text_of(outcome) for outcome in outcomes} == {"by the proxy"}
        assert len(pool._transport._adapter.proxy_manager) <= 4  # type: ignore[attr-defined]
    assert len({arrival.headers["proxy-authorization"] for arrival in keeper.arrivals}) == 20


def test_a_request_of_its_own_proxy_takes_that_one(keeper: Origin, origin: Origin) -> None:
    with open_pool() as pool:
        assert text_of(fetch_one(pool, Request(origin.url(), proxies={"http": keeper.url()}))) == "by the proxy"
        assert text_of(fetch_one(pool, origin.url())) == "workerpool test origin\n"


def test_a_requests_own_proxy_goes_before_the_pools(keeper: Origin, origin: Origin, dead_port: int) -> None:
    with open_pool(proxies={"http": f"http://127.0.0.1:{dead_port}"}, retry=None) as pool:
        assert text_of(fetch_one(pool, Request(origin.url(), proxies={"http": keeper.url()}))) == "by the proxy"
        assert not fetch_one(pool, origin.url()).ok


def test_a_proxy_for_one_host_goes_before_the_one_for_its_scheme(keeper: Origin, dead_port: int) -> None:
    proxies = {"http": f"http://127.0.0.1:{dead_port}", "http://host.test": keeper.url()}
    with open_pool(proxies=proxies) as pool:
        assert text_of(fetch_one(pool, "http://host.test/")) == "by the proxy"


# -- proxies from the environment --------------------------------------------------------------------------------------


def test_a_proxy_from_the_environment_is_taken(keeper: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", keeper.url())
    with open_pool() as pool:
        assert text_of(fetch_one(pool, "http://host.test/")) == "by the proxy"


@pytest.mark.parametrize(
    ("host", "excepted"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "other.test, 127.0.0.1"),
        ("127.0.0.1", "*"),
        ("localhost", "localhost"),
        ("localhost", "localhost:{port}"),  # requests heeds a port after names only
    ],
)
def test_no_proxy_excepts_a_host_by_name_port_address_or_network(
    keeper: Origin, origin: Origin, monkeypatch: pytest.MonkeyPatch, host: str, excepted: str
) -> None:
    monkeypatch.setenv("http_proxy", keeper.url())
    monkeypatch.setenv("no_proxy", excepted.format(port=origin.port))
    with open_pool() as pool:
        assert text_of(fetch_one(pool, f"http://{host}:{origin.port}/")) == "workerpool test origin\n"
    assert keeper.requests == 0


@pytest.mark.parametrize("excepted", ["10.0.0.0/8", "127.0.0.2", "127.0.0.1:1", "host.test"])
def test_no_proxy_excepts_no_other_host(
    keeper: Origin, origin: Origin, monkeypatch: pytest.MonkeyPatch, excepted: str
) -> None:
    monkeypatch.setenv("http_proxy", keeper.url())
    monkeypatch.setenv("no_proxy", excepted)
    with open_pool() as pool:
        assert text_of(fetch_one(pool, origin.url())) == "by the proxy"
    assert origin.requests == 0


def test_two_ports_of_one_host_are_told_apart_by_no_proxy(
    keeper: Origin, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of the environment for one site must not be taken for another's."""
    monkeypatch.setenv("http_proxy", keeper.url())
    direct, proxied = f"http://localhost:{origin.port}/", "http://localhost:1/"
    monkeypatch.setenv("no_proxy", f"localhost:{origin.port}")
    with open_pool() as pool:
        assert text_of(fetch_one(pool, direct)) == "workerpool test origin\n"
        assert text_of(fetch_one(pool, proxied)) == "by the proxy"
        assert text_of(fetch_one(pool, direct)) == "workerpool test origin\n"


def test_a_requests_own_no_proxy_is_heeded(keeper: Origin, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", keeper.url())
    with open_pool() as pool:
        direct = Request(origin.url(), proxies={"no_proxy": "127.0.0.1"})
        assert text_of(fetch_one(pool, direct)) == "workerpool test origin\n"
        assert text_of(fetch_one(pool, origin.url())) == "by the proxy"


def test_the_pools_proxies_go_before_the_environments(
    keeper: Origin, origin: Origin, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deviation: requests lets the environment win over a session's proxies. What is in the code was meant for it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    with open_pool(proxies={"http": keeper.url()}) as pool:
        assert text_of(fetch_one(pool, origin.url())) == "by the proxy"


def test_a_session_that_does_not_trust_the_environment_takes_no_proxy_from_it(
    keeper: Origin, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", keeper.url())

    def session() -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        return session

    with open_pool(session_factory=session) as pool:
        assert text_of(fetch_one(pool, origin.url())) == "workerpool test origin\n"


def test_code_on_a_workers_session_takes_the_pools_proxy(keeper: Origin, origin: Origin) -> None:
    with open_pool(proxies={"http": keeper.url()}) as pool:
        assert pool.submit(lambda: pool.session.get(origin.url()).text).result(LONG) == "by the proxy"


# -- SOCKS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "host"), [("socks5", "127.0.0.1"), ("socks5h", "localhost")])
def test_a_name_is_looked_up_here_with_socks5_and_by_the_proxy_with_socks5h(
    origin: Origin, scheme: str, host: str
) -> None:
    with SocksServer() as server, open_pool(proxies=through(f"{scheme}://127.0.0.1:{server.port}")) as pool:
        assert fetch_one(pool, f"http://localhost:{origin.port}/").ok
    assert server.targets == [(host, origin.port)]


def test_a_socks_login_that_is_wrong_is_a_failed_connection(origin: Origin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "workerpool")
    with (
        SocksServer(LOGIN) as server,
        open_pool(proxies=through(f"socks5://{LOGIN[0]}:wrongpass77@127.0.0.1:{server.port}"), retry=None) as pool,
    ):
        outcome = fetch_one(pool, origin.url())
        assert server.refused == 1
    assert isinstance(outcome.error, ConnectFailed)
    assert "authentication failed" in str(outcome.error).lower()
    assert "wrongpass77" not in f"{outcome!r} {outcome.error} {outcome.attempts} {caplog.text}"


# -- proxies that fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("target", ["http", "https"])
def test_a_proxy_that_is_down_is_named_without_its_password(
    dead_port: int, caplog: pytest.LogCaptureFixture, scheme: str, target: str
) -> None:
    caplog.set_level(logging.DEBUG, "workerpool")
    proxy = f"{scheme}://me:secretpass77@127.0.0.1:{dead_port}"
    with open_pool(proxies=through(proxy), retry=2) as pool:
        outcome = fetch_one(pool, f"{target}://host.test/" if scheme != "socks5" else f"{target}://127.0.0.2:1/")
        shown = f"{pool!r} {outcome!r} {outcome.error!r} {outcome.attempts}"
    assert isinstance(outcome.error, ConnectFailed)
    assert f"127.0.0.1:{dead_port}" in str(outcome.error)
    assert "refused" in str(outcome.error)
    assert caplog.records
    assert "secretpass77" not in f"{shown} {caplog.text}"


@pytest.mark.parametrize(("login", "status"), [("", 407), (f"{USER}:wrongpass77@", 401)])
def test_a_login_that_a_proxy_refuses_for_a_plain_request_is_its_status(
    login_proxy: Tinyproxy, origin: Origin, caplog: pytest.LogCaptureFixture, login: str, status: int
) -> None:
    """tinyproxy says 407 to none, and 401 to a wrong one."""
    caplog.set_level(logging.DEBUG, "workerpool")
    with open_pool(proxies=through(f"http://{login}127.0.0.1:{login_proxy.port}")) as pool:
        outcome = fetch_one(pool, origin.url())
    assert isinstance(outcome.error, StatusError)
    assert (outcome.status, len(outcome.attempts), origin.requests) == (status, 1, 0)
    assert "wrongpass77" not in f"{outcome!r} {outcome.error} {caplog.text}"


@pytest.mark.parametrize(("login", "status"), [("", "407"), (f"{USER}:wrongpass77@", "401")])
def test_a_login_that_a_proxy_refuses_for_a_tunnel_is_a_failed_connection_that_says_so(
    login_proxy: Tinyproxy,
    tls_origin: Origin,
    ca_file: str,
    caplog: pytest.LogCaptureFixture,
    login: str,
    status: str,
) -> None:
    caplog.set_level(logging.DEBUG, "workerpool")
    proxies = through(f"http://{login}127.0.0.1:{login_proxy.port}")
    with open_pool(proxies=proxies, verify=ca_file, retry=None) as pool:
        outcome = fetch_one(pool, tls_origin.url())
    assert isinstance(outcome.error, ConnectFailed)
    assert status in str(outcome.error)
    assert tls_origin.requests == 0
    assert "wrongpass77" not in f"{outcome!r} {outcome.error} {caplog.text}"


def test_a_proxys_right_password_shows_nowhere(
    login_proxy: Tinyproxy, origin: Origin, tls_origin: Origin, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "workerpool")
    origin.script("/cut", Reply(body=b"x" * 100, truncate=10))
    tls_origin.script("/cut", Reply(reset=True))
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with open_pool(proxies=through(login_proxy.url), verify=ca_file, retry=2) as pool:
        outcomes = [*pool.stream([origin.url(), origin.url("/cut"), tls_origin.url(), tls_origin.url("/cut")])]
        own = fetch_one(pool, Request(origin.url("/cut"), proxies=through(login_proxy.url)))
        shown = f"{pool!r} {pool.statistics()} {outcomes} {[outcome.error for outcome in outcomes]} {own!r} {own.error}"
    assert sorted(outcome.ok for outcome in outcomes) == [False, False, True, True]
    for secret in (PASSWORD, basic):
        assert secret not in shown
        assert secret not in caplog.text


def test_the_future_of_a_request_raises_requests_own_proxy_error(dead_port: int) -> None:
    with open_pool(proxies=through(f"http://127.0.0.1:{dead_port}"), retry=None) as pool:
        future = pool.get("http://host.test/")
        with pytest.raises(requests.exceptions.ProxyError):
            future.result(LONG)


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:1", "http://"])
def test_a_proxy_that_is_no_proxy_is_an_outcome_too(proxy: str) -> None:
    with open_pool(retry=None) as pool:
        outcome = fetch_one(pool, Request("http://host.test/", proxies=through(proxy)))
    assert outcome.error is not None
    assert outcome.error.reason in ("invalid", "connect")


def test_a_tunnel_that_ends_early_fails_and_leaves_no_socket(tls_origin: Origin, ca_file: str) -> None:
    """A proxy that answers a CONNECT with something else than HTTP, or not at all."""
    for raw in (b"nonsense\r\n\r\n", b"", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"):
        with Origin() as keeper, open_pool(proxies=through(keeper.url()), verify=ca_file, retry=None) as pool:
            keeper.default = Reply(raw=raw, close=True)
            outcome = fetch_one(pool, tls_origin.url())
            assert outcome.error is not None
            assert outcome.error.reason in ("connect", "connection")
            assert pool.statistics().sockets_open == 0
            keeper.wait_until(lambda keeper=keeper: keeper.connections_open == 0)
    assert tls_origin.requests == 0


def test_a_body_goes_through_a_tunnel_once_the_proxy_has_let_it_pass(
    login_proxy: Tinyproxy, tls_origin: Origin, ca_file: str
) -> None:
    """Nothing of the request, its body least of all, is told to a proxy that has refused."""
    body = io.BytesIO(b"private")
    with open_pool(proxies=through(login_proxy.url.replace(PASSWORD, "wrong")), verify=ca_file, retry=None) as pool:
        assert not fetch_one(pool, Request(tls_origin.url("/echo"), "POST", data=body)).ok
    assert body.tell() == 0
    with open_pool(proxies=through(login_proxy.url), verify=ca_file, retry=None) as pool:
        outcome = fetch_one(pool, Request(tls_origin.url("/echo"), "POST", data=body))
    assert outcome.response is not None
    assert outcome.response.json()["body"] == "private"
    assert "Proxy-Authorization" not in outcome.response.json()["headers"]


def test_two_hosts_are_reached_through_one_proxy(open_proxy: Tinyproxy, origin: Origin) -> None:
    with open_pool(proxies=through(open_proxy.url)) as pool:
        assert all(outcome.ok for outcome in pool.stream([origin.url("/", address) for address in ADDRESSES] * 5))
    assert {arrival.address for arrival in origin.arrivals} == {*ADDRESSES}


# -- connections to a proxy that end -----------------------------------------------------------------------------------


class Closer:
    """Answers the first request of each connection, and ends it without a word at the second."""

    def __init__(self) -> None:
        self.served: set[int] = set()

    def __call__(self, arrival: Arrival) -> Reply:
        if arrival.connection in self.served:
            return Reply(reset=True)
        self.served.add(arrival.connection)
        return Reply(body=b"by the proxy")


def test_a_socket_to_a_proxy_that_died_while_idle_costs_no_attempt(keeper: Origin) -> None:
    keeper.default = Closer()
    with open_pool(1, proxies={"http": keeper.url()}, retry=None) as pool:
        outcomes = [*pool.stream(["http://host.test/"] * 2)]
        assert [outcome.ok for outcome in outcomes] == [True, True], outcomes
        assert pool.statistics().resent == 1
    assert keeper.requests == 3


def test_an_answer_that_a_proxy_never_gives_is_a_lost_connection_and_no_failed_one(keeper: Origin) -> None:
    """A connection that failed means that nothing was sent."""
    keeper.default = Reply(reset=True)
    with open_pool(1, proxies={"http": keeper.url()}, retry=None) as pool:
        assert isinstance(fetch_one(pool, "http://host.test/").error, ConnectionLost)


def test_a_post_that_a_proxy_never_answers_is_unknown_and_sent_once(keeper: Origin) -> None:
    keeper.default = Reply(reset=True)
    with open_pool(1, proxies={"http": keeper.url()}, retry=RetryPolicy(attempts=3, backoff=0)) as pool:
        outcome = fetch_one(pool, Request("http://host.test/", "POST", data=b"x"))
    assert isinstance(outcome.error, OutcomeUnknown)
    assert keeper.requests == 1

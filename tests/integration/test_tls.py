"""HTTPS through a pool: who is believed, which sessions are resumed, and when an idle TLS socket is at its end."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks import nginx
from tests.certificates import VERSIONS, Authority
from tests.socks_server import SocksServer
from tests.tunnels import Tunnels
from tests.waiting import eventually
from workerpool import Outcome, Request, TlsFailed, WorkerPool
from workerpool.testing import Origin, Reply
from workerpool.transport import connections, reaper

LIMIT = 20  # seconds that something may take which should be there at once

EVERY_VERSION = pytest.mark.parametrize("version", [version for version, _ in VERSIONS], ids=[n for _, n in VERSIONS])
IN_SECURE = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signed the certificates of the servers here."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signed nothing."""
    return Authority(tmp_path_factory.mktemp("other"))


def fetch(pool: WorkerPool, *requests: str | Request) -> list[Outcome]:
    """One after the other."""
    return [outcome for request in requests for outcome in pool.stream([request])]


def resumed(outcomes: list[Outcome]) -> list[bool | None]:
    """Of each request's attempt: whether its handshake resumed a session, None where there was no handshake."""
    assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
    return [outcome.attempts[0].resumed for outcome in outcomes]


def error_of(pool: WorkerPool, request: str | Request) -> str:
    """The sentence in which a request fails for its TLS."""
    (outcome,) = fetch(pool, request)
    assert isinstance(outcome.error, TlsFailed), outcome
    assert len(outcome.attempts) == 1, "a retry cannot help"
    return str(outcome.error)


# -- resumption -------------------------------------------------------------------------------------------------------


@EVERY_VERSION
@pytest.mark.parametrize("manners", [{"requests_per_connection": 1}, {"keep_alive": False}], ids=["limited", "closing"])
def test_reconnecting_resumes_sessions(ca: Authority, version: ssl.TLSVersion, manners: dict[str, Any]) -> None:
    """By what attempts and statistics say, and by the server's own count."""
    context = ca.context(version=version)
    with Origin(tls=context, **manners) as origin, WorkerPool(8, verify=ca.file) as pool:
        outcomes = list(pool.stream([origin.url("/bytes/100")] * 60))
        figures = pool.statistics()
        assert origin.connections_opened == figures.tls_handshakes == 60
    by_attempts = resumed(outcomes).count(True)
    assert figures.tls_resumed == by_attempts
    assert context.session_stats()["hits"] == by_attempts
    assert by_attempts >= 60 - 8  # but for those that started together, before there was a session


@EVERY_VERSION
def test_a_connection_after_the_servers_idle_limit_resumes(ca: Authority, version: ssl.TLSVersion) -> None:
    with Origin(tls=ca.context(version=version), idle_timeout=0.05) as origin, WorkerPool(1, verify=ca.file) as pool:
        outcomes = []
        for opened in range(1, 6):
            outcomes += fetch(pool, origin.url("/"))
            assert eventually(lambda: pool.statistics().sockets_open == 0)
            assert origin.connections_opened == opened
        assert resumed(outcomes) == [False, True, True, True, True]
        assert (pool.statistics().tls_handshakes, pool.statistics().tls_resumed) == (5, 4)


@EVERY_VERSION
def test_sessions_are_resumed_with_nginx_which_remembers_none_itself(
    ca: Authority, version: ssl.TLSVersion, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    """All that its defaults give a client is tickets, on TLS 1.2 too, where urllib3 asks for none."""
    with nginx_with(ca, version, tmp_path, require) as url, WorkerPool(4, verify=ca.file) as pool:
        outcomes = list(pool.stream([url] * 60))
        assert resumed(outcomes).count(True) == pool.statistics().tls_resumed >= 50
        assert pool.statistics().tls_handshakes == 60


@contextlib.contextmanager
def nginx_with(
    ca: Authority, version: ssl.TLSVersion, folder: Path, require: Callable[[object, str], None]
) -> Iterator[str]:
    """Run nginx with one request for each connection; gives a URL of it."""
    binary = nginx.find()
    require(binary, "nginx is not installed")
    (chain, key), port = ca.files("127.0.0.1"), nginx.free_port()
    http = f"""
        keepalive_requests 1;
        server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
                  ssl_protocols {dict(VERSIONS)[version]}; location / {{ return 200 "here"; }} }}
    """
    with nginx.running(str(binary), folder, http, ("127.0.0.1", port)):
        yield f"https://127.0.0.1:{port}/"


def test_a_connection_shows_whether_its_session_was_resumed(ca: Authority) -> None:
    with Origin(tls=ca.context()) as origin, WorkerPool(1, verify=ca.file) as pool:
        idle = cast(Any, pool)._transport._connections._idle
        for shown in (", 1 sent, TLS>", ", 1 sent, TLS resumed>"):
            fetch(pool, origin.url("/"))
            assert eventually(lambda: len(idle) == 1)
            (connection,) = idle
            assert repr(connection).endswith(shown)
            connection.sock.close()  # the next one is new


def test_a_used_socket_says_nothing_of_resumption(ca: Authority) -> None:
    with Origin(tls=ca.context()) as origin, WorkerPool(1, verify=ca.file) as pool:
        outcomes = fetch(pool, origin.url("/"), origin.url("/"))
        assert resumed(outcomes) == [False, None]
        assert outcomes[0].attempts[0].timings.tls > 0
        assert outcomes[1].attempts[0].timings.tls == 0


def test_a_session_is_kept_also_of_a_connection_that_ends_in_an_error(ca: Authority) -> None:
    with Origin(tls=ca.context()) as origin, WorkerPool(1, verify=ca.file, retry=None) as pool:
        origin.script("/", Reply(body=b"x" * 100, truncate=50), Reply())
        first, second = fetch(pool, origin.url("/"), origin.url("/"))
        assert not first.ok
        assert second.attempts[0].resumed is True


def test_a_session_is_not_resumed_with_another_host(ca: Authority) -> None:
    """Two hosts of one server, which would take the session of either."""
    with Origin(("127.0.0.1", "127.0.0.2"), tls=ca.context(), keep_alive=False) as origin:
        here, there = origin.url("/", "127.0.0.1"), origin.url("/", "127.0.0.2")
        with WorkerPool(1, verify=ca.file) as pool:
            assert resumed(fetch(pool, here, there, here, there)) == [False, False, True, True]


def test_a_session_is_not_resumed_with_another_port(ca: Authority) -> None:
    context = ca.context()
    with (
        Origin(tls=context, keep_alive=False) as one,
        Origin(tls=context, keep_alive=False) as two,
        WorkerPool(1, verify=ca.file) as pool,
    ):
        urls = [one.url("/"), two.url("/")] * 2
        assert resumed(fetch(pool, *urls)) == [False, False, True, True]


@IN_SECURE
def test_a_session_is_not_resumed_where_verification_or_certificate_differ(ca: Authority, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pem"
    copy.write_bytes(Path(ca.file).read_bytes())
    one, two = ca.one_file("one"), ca.one_file("two")
    with Origin(tls=ca.context(), keep_alive=False) as origin, WorkerPool(1, verify=ca.file) as pool:
        url = origin.url("/")
        settings: list[dict[str, Any]] = [
            {},
            {"verify": False},
            {"verify": str(copy)},
            {"cert": one},
            {"cert": two},
            {"cert": one, "verify": False},
        ]
        requests = [Request(url, **options) for options in settings]
        assert resumed(fetch(pool, *requests)) == [False] * len(requests)
        assert resumed(fetch(pool, *requests)) == [True] * len(requests)


@IN_SECURE
def test_what_was_not_verified_is_never_resumed_where_it_must_be(ca: Authority, other: Authority) -> None:
    with Origin(tls=ca.context(), keep_alive=False) as origin, WorkerPool(1, verify=other.file) as pool:
        assert fetch(pool, Request(origin.url("/"), verify=False))[0].ok
        assert "certificate" in error_of(pool, origin.url("/"))


@pytest.mark.parametrize("kind", [Tunnels, SocksServer])
def test_a_session_is_not_resumed_through_another_proxy(ca: Authority, kind: type[Tunnels | SocksServer]) -> None:
    """A ticket tells the server that two connections are of one client, which may use proxies not to be known."""
    with (
        Origin(tls=ca.context(), keep_alive=False) as origin,
        kind() as one,
        kind() as two,
        WorkerPool(1, verify=ca.file) as pool,
    ):
        url = origin.url("/")
        ways = [Request(url, proxies={"https": one.url}), Request(url, proxies={"https": two.url}), Request(url)]
        assert resumed(fetch(pool, *ways)) == [False, False, False]
        assert resumed(fetch(pool, *ways)) == [True, True, True]
        assert (one.tunnels, two.tunnels) == (2, 2)


def test_a_pool_does_not_resume_another_pools_sessions(ca: Authority) -> None:
    with Origin(tls=ca.context(), keep_alive=False) as origin:
        for _ in range(2):
            with WorkerPool(1, verify=ca.file) as pool:
                assert resumed(fetch(pool, origin.url("/"))) == [False]


def test_a_server_that_was_restarted_and_knows_no_session_gets_a_whole_handshake(ca: Authority) -> None:
    with Origin(tls=ca.context()) as origin:
        port = origin.port
        pool = WorkerPool(1, verify=ca.file)
        assert resumed(fetch(pool, origin.url("/"))) == [False]
    with pool, Origin(tls=ca.context(), port=port) as origin:
        assert resumed(fetch(pool, origin.url("/"))) == [False]


def test_code_on_a_workers_session_resumes_too(ca: Authority) -> None:
    with Origin(tls=ca.context(), keep_alive=False) as origin, WorkerPool(1, verify=ca.file) as pool:
        for _ in range(3):
            assert pool.submit(lambda: pool.session.get(origin.url("/")).status_code).result(LIMIT) == 200
        assert (pool.statistics().tls_handshakes, pool.statistics().tls_resumed) == (3, 2)


def test_sixteen_workers_that_start_together_read_the_authorities_once(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    real = ssl.SSLContext.load_verify_locations

    def load(self: ssl.SSLContext, *args: Any) -> None:
        loads.append(args)
        real(self, *args)

    hosts = [f"127.0.0.{n}" for n in range(1, 17)]
    with Origin(hosts, tls=ca.context(*hosts)) as origin, WorkerPool(16, verify=ca.file) as pool:
        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
        assert all(outcome.ok for outcome in pool.stream(origin.url("/delay/0.05", host) for host in hosts))
        assert origin.connections_peak > 1
    assert len(loads) == 1


def test_every_request_succeeds_while_many_threads_reconnect_resume_and_differ(
    ca: Authority, tiny_switch_interval: None
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    certs = [None, ca.one_file("one"), ca.one_file("two")]
    with (
        Origin(hosts, tls=ca.context(*hosts), requests_per_connection=2) as origin,
        WorkerPool(8, verify=ca.file, retry=None, max_connections=8) as pool,
    ):
        requests = [
            Request(origin.url(f"/bytes/{number % 300}", host), cert=cert)
            for number, (host, cert) in enumerate(itertools.product(hosts * 17, certs))
        ]
        outcomes = list(pool.stream(requests))
        assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
        assert sorted(len(outcome.response.content) for outcome in outcomes if outcome.response) == sorted(
            number % 300 for number in range(len(requests))
        )
        figures = pool.statistics()
        assert origin.connections_peak <= 8
        assert figures.tls_handshakes == origin.connections_opened
        assert figures.tls_resumed >= 0.5 * figures.tls_handshakes


# -- who is believed --------------------------------------------------------------------------------------------------


def test_a_certificate_of_an_unknown_authority_is_refused_by_default(ca: Authority) -> None:
    with Origin(tls=ca.context()) as origin, WorkerPool(1) as pool:
        text = error_of(pool, origin.url("/"))
        assert text.startswith(f"no TLS connection to https://127.0.0.1:{origin.port}: ")
        assert "issuer certificate" in text
        assert origin.requests == 0


def test_a_certificate_for_another_name_is_refused(ca: Authority) -> None:
    with Origin(tls=ca.context("elsewhere.test")) as origin, WorkerPool(1, verify=ca.file) as pool:
        assert "certificate is not valid for '127.0.0.1'" in error_of(pool, origin.url("/"))
        assert origin.requests == 0


def test_an_expired_certificate_is_refused(ca: Authority) -> None:
    now = datetime.datetime.now(datetime.UTC)
    validity = {
        "not_before": now - datetime.timedelta(days=2),
        "not_after": now - datetime.timedelta(days=1),
    }
    with Origin(tls=ca.context(**validity)) as origin, WorkerPool(1, verify=ca.file) as pool:
        assert "certificate has expired" in error_of(pool, origin.url("/"))


def test_a_private_authority_is_given_as_a_file(ca: Authority, other: Authority) -> None:
    with Origin(tls=ca.context()) as origin:
        with WorkerPool(1, verify=ca.file) as pool:
            assert pool.get(origin.url("/")).result(LIMIT).ok
        with WorkerPool(1, verify=other.file) as pool:
            assert "certificate" in error_of(pool, origin.url("/"))


def test_a_private_authority_is_given_as_a_directory(
    ca: Authority, other: Authority, require: Callable[[object, str], None]
) -> None:
    require(shutil.which("openssl"), "openssl is not installed")
    with Origin(tls=ca.context()) as origin:
        with WorkerPool(1, verify=ca.directory()) as pool:
            assert pool.get(origin.url("/")).result(LIMIT).ok
        with WorkerPool(1, verify=other.directory()) as pool:
            assert "certificate" in error_of(pool, origin.url("/"))


@IN_SECURE
def test_a_call_verifies_as_it_says_whatever_the_pool_does(ca: Authority, other: Authority) -> None:
    with Origin(tls=ca.context()) as origin:
        url = origin.url("/")
        with WorkerPool(1, verify=other.file) as pool:
            assert pool.get(url, verify=ca.file).result(LIMIT).ok
            assert pool.get(url, verify=False).result(LIMIT).ok
            assert "certificate" in error_of(pool, url)
        with WorkerPool(1, verify=False) as pool:
            assert pool.get(url).result(LIMIT).ok
            assert "certificate" in error_of(pool, Request(url, verify=True))
            assert "certificate" in error_of(pool, Request(url, verify=other.file))


@IN_SECURE
def test_a_socket_that_was_not_verified_carries_no_request_that_must_be(ca: Authority) -> None:
    with Origin(tls=ca.context()) as origin, WorkerPool(1) as pool:
        assert pool.get(origin.url("/"), verify=False).result(LIMIT).ok
        assert pool.statistics().sockets_idle == 1
        assert "certificate" in error_of(pool, origin.url("/"))
        assert origin.requests == 1


@EVERY_VERSION
def test_a_server_that_requires_a_clients_certificate_gets_it(
    ca: Authority, other: Authority, version: ssl.TLSVersion
) -> None:
    """From the pool, or from the call; as one file, or as two."""
    with Origin(tls=ca.context(version=version, clients=other)) as origin:
        url = origin.url("/")
        with WorkerPool(1, verify=ca.file, cert=other.one_file("client")) as pool:
            assert pool.get(url).result(LIMIT).ok
            assert not fetch(pool, Request(url, cert=ca.one_file("client")))[0].ok
        with WorkerPool(1, verify=ca.file, retry=None) as pool:
            assert not fetch(pool, url)[0].ok
            assert pool.get(url, cert=other.files("client")).result(LIMIT).ok
            assert not fetch(pool, url)[0].ok


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@IN_SECURE
def test_the_environments_authorities_count_only_where_nothing_else_is_said(
    ca: Authority, other: Authority, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with Origin(tls=ca.context()) as origin:
        url = origin.url("/")
        monkeypatch.setenv(name, ca.file)
        with WorkerPool(1) as pool:
            assert pool.get(url).result(LIMIT).ok
        with WorkerPool(1, verify=other.file) as pool:
            assert "certificate" in error_of(pool, url)
        monkeypatch.setenv(name, other.file)
        with WorkerPool(1) as pool:
            assert "certificate" in error_of(pool, url)
            assert pool.get(url, verify=ca.file).result(LIMIT).ok
        with WorkerPool(1, verify=ca.file) as pool:
            assert pool.get(url).result(LIMIT).ok
            assert pool.submit(lambda: pool.session.get(url).status_code).result(LIMIT) == 200
        with WorkerPool(1, verify=False) as pool:
            assert pool.get(url).result(LIMIT).ok


@pytest.mark.parametrize("option", ["verify", "cert"])
@pytest.mark.parametrize("content", [None, b"", b"junk\n"], ids=["missing", "empty", "junk"])
def test_an_error_in_a_certificate_file_names_the_file(
    ca: Authority, tmp_path: Path, option: str, content: bytes | None
) -> None:
    """As it is spelled, whatever its case."""
    path = tmp_path / "MyFile.pem"
    if content is not None:
        path.write_bytes(content)
    with Origin(tls=ca.context()) as origin, WorkerPool(1, verify=ca.file) as pool:
        (outcome,) = fetch(pool, Request(origin.url("/"), **{option: str(path)}))
        assert str(path) in str(outcome.error)
        assert len(outcome.attempts) <= 1
        assert pool.statistics().sockets_open == 0
        assert pool.get(origin.url("/")).result(LIMIT).ok


@pytest.mark.parametrize("kind", [Tunnels, SocksServer])
def test_a_server_behind_a_proxy_is_verified_by_its_own_name(
    ca: Authority, other: Authority, kind: type[Tunnels | SocksServer]
) -> None:
    with kind() as proxy, Origin(tls=ca.context("127.0.0.1")) as good, Origin(tls=ca.context("else.test")) as bad:
        with WorkerPool(1, verify=ca.file, proxies={"https": proxy.url}) as pool:
            assert pool.get(good.url("/")).result(LIMIT).ok
            assert "127.0.0.1" in error_of(pool, bad.url("/"))
        with WorkerPool(1, verify=other.file, proxies={"https": proxy.url}) as pool:
            assert "certificate" in error_of(pool, good.url("/"))


def test_a_proxy_that_speaks_tls_itself_is_verified_and_used(ca: Authority, other: Authority) -> None:
    """TLS inside of TLS, both by the authority that the pool was given, as requests has it."""
    with Tunnels(ca.context()) as proxy, Origin(tls=ca.context()) as origin:
        with WorkerPool(2, verify=ca.file, proxies={"https": proxy.url}) as pool:
            outcomes = fetch(pool, *[origin.url("/")] * 3)
            assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
        with WorkerPool(1, verify=other.file, proxies={"https": proxy.url}) as pool:
            assert not fetch(pool, origin.url("/"))[0].ok


def test_deadlines_hold_through_a_proxy_that_speaks_tls_itself(ca: Authority) -> None:
    with (
        Tunnels(ca.context()) as proxy,
        Origin(tls=ca.context()) as origin,
        WorkerPool(1, verify=ca.file, proxies={"https": proxy.url}, timeout=1.0, retry=None) as pool,
    ):
        for _ in range(2):
            began = time.monotonic()
            (outcome,) = fetch(pool, origin.url("/drip?bytes=30&seconds=15"))
            assert outcome.error is not None
            assert outcome.error.reason == "timeout"
            assert time.monotonic() - began < 5


# -- idle sockets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], bool]:
    """Let the reaper look at idle sockets every 10 ms; wait until it has looked so many times more."""
    done = 0
    real = connections.Connections.reap

    def reap(self: connections.Connections) -> bool:
        nonlocal done
        is_left = real(self)
        done += 1
        return is_left

    monkeypatch.setattr(reaper, "TICK", 0.01)
    monkeypatch.setattr(connections.Connections, "reap", reap)

    def look(more: int) -> bool:
        wanted = done + more
        return eventually(lambda: done >= wanted)

    return look


@EVERY_VERSION
def test_a_warmed_socket_serves_the_first_request(
    ca: Authority, version: ssl.TLSVersion, looks: Callable[[int], bool]
) -> None:
    """The tickets on it that nobody has read do not make it look dead, to the request or to the reaper."""
    with Origin(tls=ca.context(version=version)) as origin, WorkerPool(1, verify=ca.file) as pool:
        assert pool.warm([origin.url("/")]) == 1
        assert looks(3)
        (outcome,) = fetch(pool, origin.url("/"))
        assert outcome.ok
        assert outcome.attempts[0].reused is False
        assert outcome.attempts[0].timings.tls == 0
        assert (origin.connections_opened, pool.statistics().sockets_lost) == (1, 0)


@EVERY_VERSION
def test_a_warmed_socket_serves_the_first_request_at_once(ca: Authority, version: ssl.TLSVersion) -> None:
    with Origin(tls=ca.context(version=version)) as origin, WorkerPool(1, verify=ca.file) as pool:
        assert pool.warm([origin.url("/")]) == 1
        assert pool.get(origin.url("/")).result(LIMIT).ok
        assert origin.connections_opened == 1


class Hangs:
    """A server that answers one request for each connection, and ends that one as told, or never."""

    def __init__(self, context: ssl.SSLContext, end: str) -> None:
        self._context = context
        self._end = end
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.may_end = threading.Event()
        self.has_ended = threading.Event()
        self.connections = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}/"

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                plain.settimeout(LIMIT)
                with self._context.wrap_socket(plain, server_side=True) as sock:
                    self.connections += 1
                    while b"\r\n\r\n" not in sock.recv(65536):
                        pass
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    self.may_end.wait(LIMIT)
                    if self._end == "close_notify":
                        sock.settimeout(0)
                        with contextlib.suppress(ssl.SSLWantReadError):
                            sock.unwrap()
                self.has_ended.set()  # without TLS's goodbye, if there was none yet

    def __enter__(self) -> Hangs:
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.may_end.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT)
        self._listener.close()


@EVERY_VERSION
@pytest.mark.parametrize("end", ["close_notify", "fin"])
def test_the_end_of_an_idle_tls_socket_is_seen_while_nothing_is_sent(
    ca: Authority, version: ssl.TLSVersion, end: str
) -> None:
    with Hangs(ca.context(version=version), end) as server, WorkerPool(1, verify=ca.file, retry=None) as pool:
        assert pool.get(server.url).result(LIMIT).ok
        assert pool.statistics().sockets_idle == 1
        server.may_end.set()
        assert eventually(lambda: pool.statistics().sockets_open == 0, 2)
        assert pool.statistics().sockets_lost == 1


@EVERY_VERSION
@pytest.mark.parametrize("end", ["close_notify", "fin"])
def test_a_request_after_the_end_of_an_idle_tls_socket_goes_over_a_new_one(
    ca: Authority, version: ssl.TLSVersion, end: str
) -> None:
    with Hangs(ca.context(version=version), end) as server, WorkerPool(1, verify=ca.file, retry=None) as pool:
        assert pool.get(server.url).result(LIMIT).ok
        server.may_end.set()
        assert server.has_ended.wait(LIMIT)
        (outcome,) = fetch(pool, server.url)
        assert outcome.ok
        assert len(outcome.attempts) == 1
        assert (server.connections, pool.statistics().sent) == (2, 2)


@IN_SECURE
def test_a_setting_that_only_looks_like_false_is_never_shared_with_one_that_verifies(ca: Authority) -> None:
    """requests keeps the connections of ``verify=0`` under the key of ``verify=True``."""
    settings: list[Any] = [0, True, Path(ca.file), None]
    with Origin(tls=ca.context()) as origin, WorkerPool(1, retry=None) as pool:
        outcomes = fetch(pool, *(Request(origin.url(), verify=verify) for verify in settings))
    assert [outcome.ok for outcome in outcomes] == [True, False, True, False]

"""Whose certificates are accepted, who says so, and what is shown to a server that asks for one."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.exceptions import InsecureRequestWarning

from tests.certificates import Authority
from tests.conftest import require
from tests.contract.routes import ADDRESSES, fetch_one, open_pool
from tests.contract.tinyproxy import Tinyproxy
from tests.servers import head, serving
from tests.socks_server import SocksServer
from tests.waiting import LONG
from workerpool import ConnectionLost, OutcomeUnknown, Request, TlsFailed
from workerpool.testing import Origin, Reply


@pytest.fixture(scope="session")
def other_ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The certificate of an authority that signed nothing here."""
    return Authority(tmp_path_factory.mktemp("other")).file


def on_session(pool: Any, url: str, **options: Any) -> int:
    """The status of a GET by code on a worker's session, where requests' own path decides."""
    status: int = pool.submit(lambda: pool.session.get(url, **options).status_code).result(LONG)
    return status


# -- whom to believe ---------------------------------------------------------------------------------------------------


def test_an_unknown_authority_is_refused_at_once(tls_origin: Origin) -> None:
    with open_pool() as pool:
        outcome = fetch_one(pool, tls_origin.url())
    assert isinstance(outcome.error, TlsFailed)
    assert "unable to get local issuer certificate" in str(outcome.error)
    assert (len(outcome.attempts), tls_origin.requests) == (1, 0)


def test_a_certificate_for_another_name_is_refused(authority: Authority, ca_file: str) -> None:
    with Origin(tls=authority.context("host.test")) as origin, open_pool(verify=ca_file) as pool:
        outcome = fetch_one(pool, origin.url())
        assert isinstance(outcome.error, TlsFailed)
        assert "127.0.0.1" in str(outcome.error)
        assert origin.requests == 0


@pytest.mark.parametrize("way", ["connect", "socks5", "socks5h"])
def test_a_certificate_is_checked_for_the_origin_and_not_for_the_proxy(
    authority: Authority, ca_file: str, open_proxy: Tinyproxy, way: str
) -> None:
    """The proxy is at 127.0.0.1, whose name the first certificate has, and the origin at 127.0.0.2."""
    for name, is_accepted in (("127.0.0.1", False), ("127.0.0.2", True)):
        with Origin(ADDRESSES, tls=authority.context(name)) as origin, SocksServer() as server:
            proxy = open_proxy.url if way == "connect" else f"{way}://127.0.0.1:{server.port}"
            with open_pool(proxies={"https": proxy}, verify=ca_file) as pool:
                outcome = fetch_one(pool, origin.url("/", "127.0.0.2"))
        assert outcome.ok == is_accepted
        assert is_accepted or isinstance(outcome.error, TlsFailed)


def test_plain_http_at_an_https_url_is_a_failed_handshake(origin: Origin) -> None:
    with open_pool(retry=None) as pool:
        outcome = fetch_one(pool, origin.url().replace("http:", "https:"))
    assert isinstance(outcome.error, TlsFailed)


def test_one_request_may_go_unverified_and_warns_as_urllib3_does(tls_origin: Origin) -> None:
    with open_pool(1) as pool:
        with pytest.warns(InsecureRequestWarning):
            assert fetch_one(pool, Request(tls_origin.url(), verify=False)).ok
        assert isinstance(fetch_one(pool, tls_origin.url()).error, TlsFailed)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_socket_that_was_not_verified_serves_no_request_that_is(tls_origin: Origin, ca_file: str) -> None:
    with open_pool(1) as pool:
        assert fetch_one(pool, Request(tls_origin.url(), verify=False)).ok
        assert fetch_one(pool, Request(tls_origin.url(), verify=ca_file)).ok
        assert fetch_one(pool, Request(tls_origin.url(), verify=False)).ok
        assert isinstance(fetch_one(pool, tls_origin.url()).error, TlsFailed)
    assert [arrival.connection for arrival in tls_origin.arrivals] == [1, 2, 1]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_pool_may_go_unverified_and_a_request_of_it_be_verified(tls_origin: Origin, ca_file: str) -> None:
    with open_pool(1, verify=False) as pool:
        assert fetch_one(pool, tls_origin.url()).ok
        assert fetch_one(pool, Request(tls_origin.url(), verify=ca_file)).ok
        assert isinstance(fetch_one(pool, Request(tls_origin.url(), verify=True)).error, TlsFailed)


def test_a_folder_of_authorities_is_taken_too(tls_origin: Origin, ca_file: str, tmp_path: Path) -> None:
    """OpenSSL finds a certificate there by the hash of its subject."""
    openssl = shutil.which("openssl")
    require(openssl, "the openssl command")
    hashed = subprocess.run(
        [str(openssl), "x509", "-noout", "-hash", "-in", ca_file], capture_output=True, text=True, check=True
    )
    (tmp_path / f"{hashed.stdout.strip()}.0").write_text(Path(ca_file).read_text())
    with open_pool(verify=str(tmp_path)) as pool:
        assert fetch_one(pool, tls_origin.url()).ok


def test_a_file_of_authorities_that_is_not_there_is_an_outcome(tls_origin: Origin, tmp_path: Path) -> None:
    with open_pool() as pool:
        outcome = fetch_one(pool, Request(tls_origin.url(), verify=str(tmp_path / "none.pem")))
    assert outcome.error is not None
    assert "none.pem" in str(outcome.error)
    assert tls_origin.requests == 0


# -- the environment's authorities -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_authorities_are_believed_where_nothing_is_said(
    tls_origin: Origin, ca_file: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, ca_file)
    with open_pool() as pool:
        assert fetch_one(pool, tls_origin.url()).ok
        assert on_session(pool, tls_origin.url()) == 200


def test_the_pools_authorities_go_before_the_environments(
    tls_origin: Origin, ca_file: str, other_ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other_ca_file)
    with open_pool(verify=ca_file) as pool:
        assert fetch_one(pool, tls_origin.url()).ok
        assert on_session(pool, tls_origin.url()) == 200
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with open_pool(verify=other_ca_file) as pool:
        assert isinstance(fetch_one(pool, tls_origin.url()).error, TlsFailed)


def test_a_requests_own_authorities_go_before_all_others(
    tls_origin: Origin, ca_file: str, other_ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other_ca_file)
    with open_pool(verify=other_ca_file) as pool:
        assert fetch_one(pool, Request(tls_origin.url(), verify=ca_file)).ok
        assert on_session(pool, tls_origin.url(), verify=ca_file) == 200


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_verify_false_is_kept_whatever_the_environment_says(
    tls_origin: Origin, other_ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests lets ``REQUESTS_CA_BUNDLE`` undo a session's ``verify = False``."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other_ca_file)
    with open_pool() as pool:
        assert fetch_one(pool, Request(tls_origin.url(), verify=False)).ok
    with open_pool(verify=False) as pool:
        assert fetch_one(pool, tls_origin.url()).ok
        assert on_session(pool, tls_origin.url()) == 200


def test_a_request_that_says_true_believes_the_usual_authorities_only(
    tls_origin: Origin, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with open_pool() as pool:
        assert isinstance(fetch_one(pool, Request(tls_origin.url(), verify=True)).error, TlsFailed)


def test_what_a_session_believes_goes_before_the_environments(
    tls_origin: Origin, ca_file: str, other_ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other_ca_file)
    with open_pool(1) as pool:

        def set_up() -> int:
            pool.session.verify = ca_file
            return pool.session.get(tls_origin.url()).status_code

        assert pool.submit(set_up).result(LONG) == 200
        assert fetch_one(pool, tls_origin.url()).ok


def test_a_session_that_does_not_trust_the_environment_believes_the_usual_authorities(
    tls_origin: Origin, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)

    def session() -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        return session

    with open_pool(session_factory=session) as pool:
        assert isinstance(fetch_one(pool, tls_origin.url()).error, TlsFailed)


# -- certificates of our own -------------------------------------------------------------------------------------------


@pytest.fixture
def strict_origin(authority: Authority) -> Iterator[Origin]:
    """An origin that talks only to clients with a certificate."""
    with Origin(ADDRESSES, tls=authority.context(*ADDRESSES, clients=authority)) as origin:
        yield origin


@pytest.fixture(scope="session")
def client_files(authority: Authority) -> tuple[str, str, str]:
    """A client's certificate, its key, and both in one file."""
    return *authority.files("client@host.test"), authority.one_file("client@host.test")


@pytest.mark.parametrize("way", ["direct", "connect", "socks5"])
def test_a_client_certificate_is_presented(
    strict_origin: Origin, ca_file: str, client_files: tuple[str, str, str], open_proxy: Tinyproxy, way: str
) -> None:
    certificate, key, both = client_files
    with SocksServer() as server:
        ways = {"direct": None, "connect": open_proxy.url, "socks5": f"socks5://127.0.0.1:{server.port}"}
        proxies = None if ways[way] is None else {"https": ways[way]}
        for cert in ((certificate, key), both):
            with open_pool(verify=ca_file, cert=cert, proxies=proxies) as pool:
                assert all(outcome.ok for outcome in pool.stream([strict_origin.url()] * 20))
                assert on_session(pool, strict_origin.url()) == 200


def test_one_request_may_present_a_certificate_and_the_others_none(
    strict_origin: Origin, ca_file: str, client_files: tuple[str, str, str]
) -> None:
    with open_pool(1, verify=ca_file, retry=None) as pool:
        assert not fetch_one(pool, strict_origin.url()).ok
        assert fetch_one(pool, Request(strict_origin.url(), cert=client_files[2])).ok
        assert not fetch_one(pool, strict_origin.url()).ok
    assert strict_origin.requests == 1


def test_a_server_that_misses_a_certificate_is_a_failed_handshake(authority: Authority, ca_file: str) -> None:
    """On TLS 1.3 it says so only after the client's side of it is done, where the first answer would come.

    (`Origin` would not say so: asyncio drops such a connection without a word.)
    """
    context = authority.context(*ADDRESSES, clients=authority)
    with socket.create_server(("127.0.0.1", 0)) as listener, open_pool(verify=ca_file, retry=None) as pool:
        future = pool.get(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        client, _ = listener.accept()
        with context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as server:
            server.settimeout(LONG)
            with pytest.raises(ssl.SSLError):
                server.do_handshake()
            socket.socket.shutdown(server, socket.SHUT_WR)
            with pytest.raises(requests.exceptions.SSLError):
                future.result(LONG)


def test_a_client_certificate_that_is_not_there_is_an_outcome(
    strict_origin: Origin, ca_file: str, tmp_path: Path
) -> None:
    with open_pool(verify=ca_file) as pool:
        outcome = fetch_one(pool, Request(strict_origin.url(), cert=str(tmp_path / "none.pem")))
    assert outcome.error is not None
    assert "none.pem" in str(outcome.error)
    assert strict_origin.requests == 0


# -- sessions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["direct", "connect", "socks5"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_a_second_socket_resumes_the_firsts_session(
    authority: Authority, ca_file: str, open_proxy: Tinyproxy, way: str, version: ssl.TLSVersion
) -> None:
    with Origin(tls=authority.context(*ADDRESSES, version=version)) as origin, SocksServer() as server:
        origin.script("/", Reply(body=b"ok", close=True))
        ways = {"direct": None, "connect": open_proxy.url, "socks5": f"socks5://127.0.0.1:{server.port}"}
        with open_pool(1, verify=ca_file, proxies=None if ways[way] is None else {"https": ways[way]}) as pool:
            outcomes = [*pool.stream([origin.url()] * 4)]
            assert all(outcome.ok for outcome in outcomes), outcomes[0].error
            statistics = pool.statistics()
    assert (statistics.tls_handshakes, statistics.tls_resumed) == (4, 3)
    assert [outcome.attempts[-1].resumed for outcome in outcomes] == [False, True, True, True]


def test_a_session_is_not_resumed_with_another_verification(tls_origin: Origin, ca_file: str) -> None:
    """A resumed handshake shows no certificate, so there would be nothing to verify."""
    tls_origin.default = Reply(body=b"ok", close=True)
    with open_pool(1) as pool:
        with pytest.warns(InsecureRequestWarning):
            assert fetch_one(pool, Request(tls_origin.url(), verify=False)).ok
        assert isinstance(fetch_one(pool, tls_origin.url()).error, TlsFailed)
        trusted = fetch_one(pool, Request(tls_origin.url(), verify=ca_file))
        assert trusted.attempts[-1].resumed is False


# -- connections that break --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "kind", "clients"), [("GET", ConnectionLost, 2), ("POST", OutcomeUnknown, 1)])
def test_an_answer_that_breaks_in_tls_is_a_lost_connection(
    authority: Authority, ca_file: str, method: str, kind: type[Exception], clients: int
) -> None:
    """The request had gone out: whether a POST was acted upon nobody knows."""
    context = authority.context(*ADDRESSES)

    def break_off(sock: socket.socket) -> None:
        with context.wrap_socket(sock.dup(), server_side=True) as secure:
            head(secure)
            sock.sendall(b"\x17\x03\x03\x00\x20" + 32 * b"x")  # a record that nobody has encrypted
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)

    with serving(break_off) as server, open_pool(verify=ca_file, retry=2) as pool:
        outcome = fetch_one(pool, Request(server.url.replace("http:", "https:"), method))
        assert type(outcome.error) is kind
        assert len(server.clients) == clients


def test_a_handshake_that_the_server_ends_is_tried_again(authority: Authority, ca_file: str) -> None:
    context = authority.context(*ADDRESSES)
    answers = iter([False, True])

    def serve(sock: socket.socket) -> None:
        if not next(answers):
            sock.recv(1)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
            return
        with context.wrap_socket(sock.dup(), server_side=True) as secure:
            head(secure)
            secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with serving(serve) as server, open_pool(verify=ca_file, retry=2) as pool:
        outcome = fetch_one(pool, server.url.replace("http:", "https:"))
        assert (outcome.status, len(outcome.attempts)) == (204, 2)

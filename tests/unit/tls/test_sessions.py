"""TLS sessions are resumed only where the certificate was verified for them, also inside of a proxy's TLS."""

from __future__ import annotations

import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.util.ssltransport import SSLTransport

from tests.certificates import Authority
from tests.conftest import IN_FULL
from tests.tls_ends import HOST, LIMIT, TLS12, TLS13, VERSIONS, Server, verifying
from tests.tunnels import Tunnels
from workerpool.testing import Origin
from workerpool.transport import tls
from workerpool.transport.sockets import is_dead
from workerpool.transport.tls import SESSIONS_KEPT, VERIFIED_FOR, Context, Contexts


@VERSIONS
def test_the_next_connection_resumes_the_last_ones_session(
    version: ssl.TLSVersion, ca: Authority, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, ca.context(version=version))
    assert [server.talk(context) for _ in range(4)] == [False, True, True, True]
    assert server.hits == 3
    assert context.sessions == 1


def test_without_tickets_tls_1_2_resumes_what_the_server_remembers(
    ca: Authority, folder: Path, stack: ExitStack
) -> None:
    server = Server(stack, ca.context(version=TLS12))
    context = verifying(Contexts(tls12_tickets=False), folder)
    client, peer = server.pair(context.view("key"))
    assert not client.session.has_ticket
    assert context.save("key", client)
    assert server.talk(context) is True  # the first connection is still open, and so its session in the server's cache
    peer.close()


def test_a_tls_1_3_session_cannot_be_saved_before_its_ticket_was_read(
    ca: Authority, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, ca.context(version=TLS13))
    client, peer = server.pair(context.view("key"))
    assert not context.save("key", client)
    peer.sendall(b"x")
    client.recv(1)
    assert context.save("key", client)


def test_one_ticket_serves_connections_that_are_open_at_once(ca: Authority, context: Context, stack: ExitStack) -> None:
    server = Server(stack, ca.context(version=TLS13))
    server.talk(context)
    views = [context.view("key") for _ in range(4)]
    for view in views:
        server.pair(view)
    assert [view.resumed for view in views] == [True] * 4


@VERSIONS
def test_sessions_stay_with_their_key(
    version: ssl.TLSVersion, ca: Authority, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, ca.context(version=version))
    server.talk(context, "one")
    assert server.talk(context, "another") is False
    assert server.talk(context, "one") is True


@VERSIONS
def test_a_session_is_not_resumed_for_another_name_although_the_key_is_the_same(
    version: ssl.TLSVersion, ca: Authority, context: Context, stack: ExitStack
) -> None:
    # A resumed handshake shows no certificate: the name would not be verified at all.
    server = Server(stack, ca.context(version=version))
    server.talk(context, name=HOST)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        server.pair(context.view("key"), "wrong.test")
    assert server.talk(context, name="localhost") is False
    assert server.talk(context, name=HOST) is True


@VERSIONS
def test_what_was_not_verified_is_not_resumed_where_it_must_be(
    version: ssl.TLSVersion, ca: Authority, contexts: Contexts, folder: Path, stack: ExitStack
) -> None:
    server = Server(stack, ca.context(version=version))
    careless = contexts.get("CERT_NONE", None, None, None, None)
    suspicious = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
    assert [server.talk(careless), server.talk(careless)] == [False, True]
    with pytest.raises(ssl.SSLCertVerificationError):
        server.pair(suspicious.view("key"))


def test_a_session_of_another_context_is_not_saved(
    ca: Authority, contexts: Contexts, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, ca.context(version=TLS12))
    client, _ = server.pair(contexts.get("CERT_NONE", None, None, None, None).view("key"))
    assert not context.save("key", client)
    assert context.sessions == 0


def test_what_has_no_session_is_not_saved(context: Context, stack: ExitStack) -> None:
    assert not context.save("key", stack.enter_context(socket.socket()))
    assert not context.save("key", None)


def test_a_certificate_is_verified_again_after_an_hour_of_resumed_sessions(
    ca: Authority, folder: Path, stack: ExitStack
) -> None:
    now = [0.0]
    context = verifying(Contexts(clock=lambda: now[0]), folder)
    server = Server(stack, ca.context(version=TLS13))

    def resumed_at(seconds: float) -> bool | None:
        now[0] = seconds
        return server.talk(context)

    resumed = [resumed_at(VERIFIED_FOR * part) for part in (0, 0.6, 0.99, 1, 1.9)]
    assert resumed == [False, True, True, False, True]


def test_a_full_handshake_starts_the_hour_anew_although_a_session_was_offered(
    ca: Authority, folder: Path, stack: ExitStack
) -> None:
    now = [0.0]
    context = verifying(Contexts(clock=lambda: now[0]), folder)
    assert Server(stack, ca.context(version=TLS13)).talk(context) is False
    now[0] = VERIFIED_FOR * 0.9
    another = Server(stack, ca.context(version=TLS13))  # cannot read the first one's tickets
    assert another.talk(context) is False
    now[0] = VERIFIED_FOR * 1.5
    assert another.talk(context) is True


def test_a_session_whose_handshake_failed_is_not_tried_again(ca: Authority, context: Context, stack: ExitStack) -> None:
    server = Server(stack, ca.context(version=TLS13))
    server.talk(context)
    view = context.view("key", lambda sock: socket.socket.shutdown(sock, socket.SHUT_RDWR))
    with pytest.raises(OSError):
        server.pair(view)
    assert view.resumed is None
    assert context.sessions == 0


def test_a_failed_handshake_leaves_a_newer_session_alone(ca: Authority, context: Context, stack: ExitStack) -> None:
    server = Server(stack, ca.context(version=TLS13))
    server.talk(context)

    other = Server(stack, server.context)

    def meanwhile(sock: ssl.SSLSocket) -> None:
        other.talk(context)
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

    with pytest.raises(OSError):
        server.pair(context.view("key", meanwhile))
    assert context.sessions == 1


def test_the_sessions_kept_are_bounded(
    ca: Authority, context: Context, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SESSIONS_KEPT <= 4096
    monkeypatch.setattr(tls, "SESSIONS_KEPT", 2)
    server = Server(stack, ca.context(version=TLS13))
    for key in ("one", "two", "one", "three"):
        server.talk(context, key)
    assert context.sessions == 2
    assert [server.talk(context, key) for key in ("one", "two")] == [True, False]


# TLS inside TLS


@VERSIONS
def test_tls_inside_tls_resumes_both_and_verifies_both(
    version: ssl.TLSVersion, ca: Authority, contexts: Contexts, context: Context, stack: ExitStack, folder: Path
) -> None:
    proxy = stack.enter_context(Tunnels(ca.context(version=version)))
    origin = stack.enter_context(Origin(tls=ca.context(version=version)))

    def fetch(inner: Context, outer: Context) -> tuple[bool | None, bool | None]:
        views = inner.view("origin"), outer.view("proxy")
        with urllib3.ProxyManager(proxy.url, ssl_context=views[0], proxy_ssl_context=views[1]) as manager:
            pool = manager.connection_from_url(origin.url())
            assert pool.urlopen("GET", "/", retries=False, timeout=LIMIT).status == 200
            connection: Any = pool.pool.get_nowait()  # type: ignore[union-attr]
            assert isinstance(connection.sock, SSLTransport)
            assert not is_dead(connection.sock)
            assert inner.save("origin", connection.sock)
            assert outer.save("proxy", connection.sock.socket)
            connection.close()
        return views[0].resumed, views[1].resumed

    assert [fetch(context, context) for _ in range(3)] == [(False, False), (True, True), (True, True)]
    suspicious = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
    with pytest.raises(urllib3.exceptions.SSLError):
        fetch(suspicious, context)
    with pytest.raises(urllib3.exceptions.ProxyError):
        fetch(context, suspicious)


def test_tls_inside_tls_offers_a_session_once(ca: Authority, context: Context, stack: ExitStack) -> None:
    # Its handshake is urllib3's, so a session that makes it fail would be offered again and again.
    Server(stack, ca.context(version=TLS13)).talk(context)
    context.view("key").wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
    assert context.sessions == 0


# All at once


@pytest.mark.usefixtures("tiny_switch_interval")
@VERSIONS
def test_many_threads_connect_and_save_at_once(
    version: ssl.TLSVersion, ca: Authority, contexts: Contexts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "SESSIONS_KEPT", 3)  # so that they also go
    server = ca.context(version=version)
    with Origin(tls=server) as origin:

        def fetch(thread: int) -> list[bool]:
            resumed = []
            for turn in range(12):
                context = verifying(contexts, folder)
                key = (thread + turn) % 4
                view = context.view(key)
                sock = socket.create_connection((HOST, origin.port), timeout=LIMIT)
                with view.wrap_socket(sock, server_hostname=HOST) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                    assert client.makefile("rb").read().startswith(b"HTTP/1.1 200")
                    assert context.save(key, client)
                    assert context.sessions <= 3
                resumed.append(view.resumed is True)
            return resumed

        with ThreadPoolExecutor(8) as threads:
            resumed = [one for result in threads.map(fetch, range(8)) for one in result]
    assert len(resumed) == 96
    assert sum(resumed) == server.session_stats()["hits"]
    assert any(resumed)


@pytest.mark.usefixtures("tiny_switch_interval")
def test_many_threads_save_take_and_drop_sessions_at_once(
    ca: Authority, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock() -> float:
        os.sched_yield()  # let another thread in where the time is asked for
        return 0.0

    monkeypatch.setattr(tls, "SESSIONS_KEPT", 1)
    context = verifying(Contexts(clock=clock), folder)
    server = Server(stack, ca.context(version=TLS12))
    clients = [server.pair(context.view("key"))[0] for _ in range(8)]

    def work(client: ssl.SSLSocket) -> None:
        for turn in range(500 if IN_FULL else 100):
            assert context.save(turn % 2, client)
            context._offer(turn % 2, HOST, once=True)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, clients)) == [None] * 8
    assert context.sessions <= 1

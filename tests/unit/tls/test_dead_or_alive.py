"""Whether an idle socket is dead: a plain one, one of TLS with unread tickets, one of TLS inside TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from urllib3.util.ssltransport import SSLTransport

from tests.certificates import Authority
from tests.tls_ends import LIMIT, TLS13, VERSIONS, Server, wait_until_readable
from workerpool.transport.sockets import is_dead, is_readable
from workerpool.transport.tls import Context


def test_a_plain_socket_is_dead_once_it_is_readable(stack: ExitStack) -> None:
    for end in (lambda sock: sock.sendall(b"x"), lambda sock: sock.shutdown(socket.SHUT_WR), lambda sock: sock.close()):
        ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
        assert not is_dead(ours)
        end(theirs)
        assert is_dead(ours)


def test_a_closed_socket_is_dead(ca: Authority, context: Context, stack: ExitStack) -> None:
    plain, _ = (stack.enter_context(sock) for sock in socket.socketpair())
    client, _ = Server(stack, ca.context(version=TLS13)).pair(context.view("key"))
    for sock in (plain, client):
        sock.close()
        assert is_dead(sock)


def test_a_fresh_socket_with_unread_tickets_is_alive(ca: Authority, context: Context, stack: ExitStack) -> None:
    client, server = Server(stack, ca.context(version=TLS13)).pair(context.view("key"))
    wait_until_readable(client)
    assert not is_dead(client)
    assert not is_readable(client)
    assert client.gettimeout() == LIMIT
    assert context.save("key", client), "the tickets were read"
    server.sendall(b"still usable")
    assert client.recv(100) == b"still usable"


def close_notify(server: ssl.SSLSocket) -> None:
    server.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()  # says it, and would wait for the client to say it too


def plain_end(server: ssl.SSLSocket) -> None:
    socket.socket.shutdown(server, socket.SHUT_WR)


def reset(server: ssl.SSLSocket) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()


def junk(server: ssl.SSLSocket) -> None:
    socket.socket.send(server, b"this is no TLS record")


def data(server: ssl.SSLSocket) -> None:
    server.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


@VERSIONS
@pytest.mark.parametrize("end", [close_notify, plain_end, reset, junk, data])
@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_tls_socket_that_was_ended_or_written_to_is_dead(
    is_fresh: bool,
    end: Callable[[ssl.SSLSocket], None],
    version: ssl.TLSVersion,
    ca: Authority,
    context: Context,
    stack: ExitStack,
) -> None:
    client, server = Server(stack, ca.context(version=version)).pair(context.view("key"))
    if not is_fresh:  # its tickets are read
        server.sendall(b"x")
        client.recv(1)
        assert not is_dead(client)
    end(server)
    wait_until_readable(client)
    found = is_dead(client)
    if is_fresh and version == TLS13:  # that may have read the tickets alone; the end comes after them
        while not found:
            wait_until_readable(client)
            found = is_dead(client)
    assert found
    assert client.gettimeout() == LIMIT


def test_decrypted_data_that_nobody_read_makes_a_socket_dead(ca: Authority, context: Context, stack: ExitStack) -> None:
    client, server = Server(stack, ca.context(version=TLS13)).pair(context.view("key"))
    server.sendall(b"two")
    assert client.recv(1) == b"t"
    assert client.pending()
    assert is_dead(client)


def test_descriptors_over_1023_are_looked_at(stack: ExitStack) -> None:
    import fcntl
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
    high = stack.enter_context(socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1050)))
    assert not is_dead(high)
    theirs.sendall(b"x")
    assert is_dead(high)


def test_tls_inside_tls_is_dead_once_it_is_readable(stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
    transport = SSLTransport.__new__(SSLTransport)
    transport.socket = ours
    assert not is_dead(transport)
    theirs.sendall(b"x")
    assert is_dead(transport)

"""TLS connections with both ends in the test's hands."""

from __future__ import annotations

import select
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import urllib3

from workerpool.transport import tls
from workerpool.transport.tls import Context, Contexts

LIMIT = 30.0
"""Seconds for whatever must end by itself."""

HOST = "127.0.0.1"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


def verifying(contexts: Contexts, folder: Path, **options: Any) -> Context:
    return contexts.get("CERT_REQUIRED", str(folder / "ca.pem"), None, None, None, **options)


class Server:
    """Accepts TLS connections one by one, and hands this side's end of each to the test."""

    def __init__(self, stack: ExitStack, context: ssl.SSLContext) -> None:
        self.context = context
        self.listener = stack.enter_context(socket.create_server((HOST, 0)))
        self.listener.settimeout(LIMIT)
        self._stack = stack
        self._thread = stack.enter_context(ThreadPoolExecutor(1))

    @property
    def hits(self) -> int:
        """How many handshakes were resumptions, as the server counts them."""
        return self.context.session_stats()["hits"]

    def connect(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(self.listener.getsockname(), timeout=LIMIT))

    def accept(self) -> ssl.SSLSocket:
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(LIMIT)
            return self._stack.enter_context(self.context.wrap_socket(sock, server_side=True))

    def pair(self, view: tls.ContextView, name: str = HOST) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        """Return both ends of a new connection, the client's first."""
        sock = self.connect()
        accepted = self._thread.submit(self.accept)
        try:
            client = self._stack.enter_context(view.wrap_socket(sock, server_hostname=name))
        except BaseException:
            accepted.exception(LIMIT)
            raise
        return client, accepted.result(LIMIT)

    def talk(self, context: Context, key: object = "key", name: str = HOST) -> bool | None:
        """Connect, let the client read something, save its session; returns whether it was a resumed one."""
        view = context.view(key)
        client, server = self.pair(view, name)
        server.sendall(b"x")
        assert client.recv(1) == b"x"
        assert context.save(key, client)
        assert view.resumed == client.session_reused
        return view.resumed


def get(context: Context, url: str, **options: Any) -> tls.ContextView:
    """Fetch `url` over a connection of its own by urllib3's pool; returns the connection's view."""
    view = context.view("key")
    parts = urllib3.util.parse_url(url)
    options = {"cert_reqs": "CERT_REQUIRED", "retries": False, "timeout": LIMIT, **options}
    with urllib3.HTTPSConnectionPool(parts.host, parts.port, ssl_context=view, **options) as pool:
        response = pool.urlopen("GET", parts.request_uri, preload_content=False)
        assert response.status == 200
        response.read()
        connection = pool.pool.get_nowait()  # type: ignore[union-attr]
        context.save("key", connection.sock)
        connection.close()
    return view


def wait_until_readable(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    assert poll.poll(LIMIT * 1000)

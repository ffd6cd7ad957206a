"""A small proxy for the tests that opens tunnels (HTTP's CONNECT) and counts them, over TLS too."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from types import TracebackType

LIMIT = 10.0
"""Seconds without a byte after which a tunnel is given up."""


class Tunnels:
    """A proxy on loopback. `tls`: what the proxy itself serves TLS with. `tunnels`: how many it has opened."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._sockets: list[socket.socket] = []
        self.tunnels = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Tunnels:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in [self._listener, *self._sockets]:
            _end(sock)
        for thread in self._threads:
            thread.join(LIMIT)
        for sock in [self._listener, *self._sockets]:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._open, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _open(self, client: socket.socket) -> None:
        self._sockets.append(client)
        client.settimeout(LIMIT)
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._sockets.append(client)
            server = socket.create_connection(self._target(client), LIMIT)
        except (OSError, ValueError, IndexError):
            client.close()
            return
        self._sockets.append(server)
        self.tunnels += 1
        _relay(client, server)

    def _target(self, client: socket.socket) -> tuple[str, int]:
        """Read where the tunnel is to lead, and say that it is there."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1) or b"\r\n\r\n"
        host, _, port = head.split()[1].decode().rpartition(":")
        client.sendall(b"HTTP/1.1 200 here you are\r\n\r\n")
        return host, int(port)


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes on in both directions, in one thread: a TLS socket is not for two, not even one for each direction."""
    other = {client: server, server: client}
    try:
        while True:
            has_more = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if has_more else select.select([client, server], [], [], LIMIT)[0]
            if not ready:
                return
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                other[source].sendall(data)
    except OSError:
        pass
    finally:
        _end(client)
        _end(server)


def _end(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass

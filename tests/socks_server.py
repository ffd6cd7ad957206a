"""A SOCKS5 proxy for tests (RFC 1928, user and password by RFC 1929): CONNECT only, a thread for each connection.

It counts its connections and remembers where each one wanted to go, by name or by address as the client said it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from types import TracebackType

VERSION, NO_AUTH, PASSWORD, NONE_FITS = 5, 0, 2, 0xFF
CONNECT, IPV4, NAME, IPV6 = 1, 1, 3, 4
DONE, REFUSED, UNSUPPORTED = 0, 5, 7
PIECE = 65536


class SocksServer:
    """Serves on a free port of 127.0.0.1 from `__enter__` to `__exit__`.

    `login`: the user and password that every client must give; None asks for none. `targets`: host and port of each
    CONNECT, in order. `refused`: clients that were turned away for their login.
    """

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        self._login = login
        self._lock = threading.Lock()  # guards the fields below
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.refused = 0
        self.targets: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        return f"socks5://127.0.0.1:{self.port}"

    @property
    def tunnels(self) -> int:
        return len(self.targets)

    def __enter__(self) -> SocksServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        with self._lock:
            for sock in self._sockets:
                _shut_down(sock)
            threads = [*self._threads]
        for thread in threads:
            thread.join(10)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._sockets.add(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        try:
            if self._greet(client):
                server = self._connect(client)
            if server is not None:
                _relay(client, server)
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets -= {client, server}
            client.close()
            if server is not None:
                server.close()

    def _greet(self, client: socket.socket) -> bool:
        """Agree on a method, and check the login; returns whether the client may go on."""
        _, count = _read(client, 2)
        wanted = NO_AUTH if self._login is None else PASSWORD
        if wanted not in _read(client, count):
            return self._refuse(client, bytes([VERSION, NONE_FITS]))
        client.sendall(bytes([VERSION, wanted]))
        if self._login is None:
            return True
        _read(client, 1)
        if (_read_counted(client).decode(), _read_counted(client).decode()) != self._login:
            return self._refuse(client, bytes([1, 1]))
        client.sendall(bytes([1, 0]))
        return True

    def _refuse(self, client: socket.socket, answer: bytes) -> bool:
        with self._lock:
            self.refused += 1  # before the client knows
        client.sendall(answer)
        return False

    def _connect(self, client: socket.socket) -> socket.socket | None:
        """Take the client's request and answer it; returns the connection to its target."""
        _, command, _, kind = _read(client, 4)
        if kind == NAME:
            host = _read_counted(client).decode()
        elif kind == IPV4:
            host = socket.inet_ntop(socket.AF_INET, _read(client, 4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, _read(client, 16))
        (port,) = struct.unpack("!H", _read(client, 2))
        with self._lock:
            self.targets.append((host, port))
        server, answer = None, UNSUPPORTED
        if command == CONNECT:
            try:
                server, answer = socket.create_connection((host, port), 10), DONE
            except OSError:
                answer = REFUSED
        if server is not None:
            server.settimeout(None)
            with self._lock:
                self._sockets.add(server)
        client.sendall(bytes([VERSION, answer, 0, IPV4, 0, 0, 0, 0, 0, 0]))
        return server


def _relay(client: socket.socket, server: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended; each end is passed on, a reset as a reset."""
    reading = {client, server}
    for sock in reading:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while reading:
        for sock in select.select([*reading], [], [])[0]:
            target = client if sock is server else server
            try:
                piece = sock.recv(PIECE)
            except ConnectionResetError:
                target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if piece:
                target.sendall(piece)
            else:
                reading.discard(sock)
                target.shutdown(socket.SHUT_WR)


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("the client left")
        data += piece
    return data


def _read_counted(sock: socket.socket) -> bytes:
    return _read(sock, _read(sock, 1)[0])


def _shut_down(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

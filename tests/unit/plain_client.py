"""A client that is nothing but a socket, for tests that must see the very bytes a server sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from workerpool.testing import Origin, OriginProcess

LIMIT = 20.0
"""Seconds after which something that should have come counts as lost."""


class Client:
    """A plain socket that sends bytes and reads one response at a time."""

    def __init__(self, origin: Origin | OriginProcess, address: str | None = None) -> None:
        host = address or origin.addresses[0]
        self.socket = socket.create_connection((host, origin.port), timeout=LIMIT)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, text: str | bytes) -> None:
        self.socket.sendall(text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode())

    def get(self, path: str, headers: str = "", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        self.send(f"{method} {path} HTTP/1.1\nHost: here\n{headers}\n")
        return self.response(has_body=method != "HEAD")

    def response(self, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status_line = self.file.readline()
        assert status_line, "the connection was closed"
        status = int(status_line.split()[1])
        headers = {}
        while (line := self.file.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        if not has_body or status in (100, 204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, b"".join(self.chunks())
        return status, headers, self.file.read(int(headers.get("content-length", "-1")))

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.file.readline(), 16):
            yield self.file.read(size)
            assert self.file.readline() == b"\r\n"
        assert self.file.readline() == b"\r\n"

    def is_closed(self) -> bool:
        """Whether the server has ended the connection; waits for it."""
        return self.file.read() == b""

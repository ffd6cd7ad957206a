"""A PostgreSQL server of the tests' own, in a directory of its own, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.databases import started, wait_until_answering

USER = "tester"
PASSWORD = "hunter2-Xyzzy"


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def url(
        self, table: str = "results", *, user: str = USER, password: str = PASSWORD, database: str = "postgres"
    ) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}?table={table}"

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres", autocommit=True, connect_timeout=5
        )


def find(name: str) -> str | None:
    """Return the path of one of PostgreSQL's programs, which Debian keeps out of the way."""
    for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    return shutil.which(name)


def account() -> str | None:
    """Name somebody who is not root, which PostgreSQL refuses to run as; None if there is no need to."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def running(port: int) -> Iterator[Server]:
    """Run a server at `port`, and end it."""
    user = account()
    directory = Path(tempfile.mkdtemp(prefix="workerpool-postgres-"))
    try:
        (directory / "password").write_text(PASSWORD)
        if user is not None:
            for path in (directory, directory / "password"):
                shutil.chown(path, user)
        data = str(directory / "data")
        made = subprocess.run(
            [
                *(find("initdb") or "", "-D", data, "-U", USER, "--pwfile", str(directory / "password")),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            user=user, cwd=directory, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        options = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "lc_messages=C")
        command = [find("postgres") or "", "-D", data, "-p", str(port)]
        command += [word for option in options for word in ("-c", option)]
        with started(command, directory, user, signal.SIGINT) as process:  # which ends connections, and then the server
            server = Server(port, process)
            wait_until_answering("PostgreSQL", lambda: _answers(server), directory)
            yield server
    finally:
        shutil.rmtree(directory)


def _answers(server: Server) -> bool:
    try:
        server.connect().close()
    except psycopg.OperationalError:
        return False
    return True

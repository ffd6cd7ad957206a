"""A MariaDB server of the tests' own, in a directory of its own, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql

from tests.databases import started, wait_until_answering

USER = "tester"
PASSWORD = "hunter2-Xyzzy"


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    def url(self, table: str = "results", *, user: str = USER, password: str = PASSWORD) -> str:
        return f"mysql+pymysql://{user}:{password}@127.0.0.1:{self.port}/jobs?table={table}"

    def connect(self, user: str = USER, password: str = PASSWORD) -> pymysql.Connection:  # type: ignore[type-arg]
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, password=password, autocommit=True)


def find(name: str) -> str | None:
    """Return the path of one of MariaDB's programs, which Debian keeps where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def running(port: int) -> Iterator[Server]:
    """Run a server at `port`, and end it."""
    user = "mysql" if os.getuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="workerpool-mariadb-"))
    try:
        if user is not None:
            shutil.chown(directory, user)
        data = f"--datadir={directory / 'data'}"
        made = subprocess.run(
            [
                *(find("mariadb-install-db") or "", "--no-defaults", data, "--skip-test-db"),
                "--auth-root-authentication-method=normal",
            ],
            user=user, cwd=directory, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        (directory / "init.sql").write_text(
            f"CREATE DATABASE jobs;\nCREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON jobs.* TO {USER}@'127.0.0.1';\n"
        )
        options = [
            *(f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=32M"),
            *(f"--socket={directory / 'socket'}", f"--pid-file={directory / 'pid'}"),
            *(f"--init-file={directory / 'init.sql'}", "--innodb-flush-log-at-trx-commit=0"),
        ]
        command = [find("mariadbd") or "", "--no-defaults", data, *options]
        with started(command, directory, user, signal.SIGTERM) as process:
            server = Server(port, process)
            wait_until_answering("MariaDB", lambda: _answers(server), directory)
            yield server
    finally:
        shutil.rmtree(directory)


def _answers(server: Server) -> bool:
    try:
        server.connect().close()
    except pymysql.MySQLError:
        return False
    return True

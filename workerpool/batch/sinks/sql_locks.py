"""The lock of an SQL output: one job at a time writes a table, for as long as its connection lasts.

PostgreSQL and MariaDB keep it for a connection; beside a database that is a file there is a file, which is locked.
Other databases have none that all of them know: two jobs on one of their tables are the user's to avoid.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from workerpool.batch.sinks.sql_url import SqlUrl
from workerpool.extras import load

LOCK_WAIT = 10.0
"""Seconds to wait for another process that writes the table, or for the end of one that was killed."""

_PAUSE = 0.05


class Held(Exception):
    """Another process writes the table."""


def lock(connection: Any, url: SqlUrl) -> Callable[[], None]:
    """Take the lock, and return what gives it up once the connection is closed; raises `Held`."""
    if url.file is not None:
        return _lock_file(f"{url.file}.{'.'.join(url.table)}.lock")
    text = load("sqlalchemy", "sql", "this database as an output").text
    name = ".".join(url.table)
    if url.kind in ("mysql", "mariadb"):
        _lock_in_mysql(connection, text, f"{url.database.database}.{name}")
    elif url.kind == "postgresql":
        with connection.begin():
            connection.execute(text(f"SET SESSION lock_timeout = {LOCK_WAIT * 1000:.0f}"))
            connection.execute(text("SET SESSION synchronous_commit = on"))
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": name})
    return lambda: None


def _lock_in_mysql(connection: Any, text: Any, name: str) -> None:
    digest = sha256(name.encode()).hexdigest()[:40]  # its names are 64 characters long at most
    with connection.begin():
        # Else who reads the table, and never ends, would keep us waiting for a year.
        connection.execute(text(f"SET SESSION lock_wait_timeout = {max(1, LOCK_WAIT):.0f}"))
        got = connection.execute(
            text("SELECT GET_LOCK(:name, :wait)"), {"name": f"workerpool {digest}", "wait": LOCK_WAIT}
        )
        if got.scalar() != 1:
            raise Held


def _lock_file(path: str) -> Callable[[], None]:
    until = time.monotonic() + LOCK_WAIT
    while (file := _try_file(path)) is None:
        if time.monotonic() > until:
            raise Held
        time.sleep(_PAUSE)

    def give_up() -> None:
        with suppress(OSError):
            os.unlink(path)  # before it is closed, when it may be another's
        os.close(file)

    return give_up


def _try_file(path: str) -> int | None:
    """Return a locked file at `path`; None if another process has it, or has removed it meanwhile."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), os.stat(path)):
            return file
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.ENOENT):
            os.close(file)
            raise
    os.close(file)
    return None

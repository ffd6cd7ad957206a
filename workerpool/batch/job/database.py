"""An SQLite database in WAL mode, for one process that writes it and any number that look.

One connection writes, under a lock; another one reads, for one thread of its owner's. A transaction is in the system's
hands when it is over, and so outlives the process; `sync` makes it outlive a power cut. SQLite's errors come out in our
words. Any thread.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from workerpool.batch.sinks.place import sync_directory
from workerpool.errors import JobError, SinkError

LOG_MOST = 32 * 1024 * 1024
"""Above so many bytes SQLite's log is emptied at once, and writers wait for it; below, it is done beside them."""


class Database:
    """The file `name`, with the `tables` that it is made of, statements that each end in a semicolon.

    `tables` are None for one that is only read: as it is at this moment, also while another process writes it.
    `version`: of the tables; a file of another one is refused. `is_scratch`: nobody wants it once the process has
    ended. Every method raises `JobError` if the file is damaged, `SinkError` if it cannot be written.
    """

    def __init__(self, name: str, tables: str | None, version: int, *, is_scratch: bool = False) -> None:
        self.name = name
        self._version = version
        self._is_scratch = is_scratch
        self._lock = threading.Lock()  # guards the connection that writes, and what is below
        self._sync_lock = threading.Lock()  # guards _synced and _log; taken before the other, if both
        self._commits = 0
        self._synced = 0
        self._log = -1
        with self._told():
            if tables is None:
                self._writer = self._reader = self._look()
            else:
                self._writer = self._connect("rwc")
                self._prepare(tables)
                self._reader = self._connect("rw")

    # -- writing and reading ------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all that is done inside, or nothing."""
        with self._lock, self._told():
            writer = self._writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            self._commits += 1

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._told():
            return self._writer.execute(statement, values).fetchall()

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        with self._lock, self._told():
            return self._writer.execute(statement, values).fetchone()

    def read(self, statement: str, values: Sequence[Any], most: int) -> list[tuple[int, bytes]]:
        """Read numbers and what they stand for, about `most` bytes of it, on the thread that reads."""
        rows: list[tuple[int, bytes]] = []
        with self._told(), closing(self._reader.execute(statement, values)) as cursor:
            for row in cursor:
                rows.append(row)
                most -= len(row[1])
                if most <= 0:
                    break
        return rows

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Say in our words that what was read means nothing."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise self._damaged(error) from error

    # -- keeping it ---------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Let a power cut not undo what was written before; threads that come together share the wait."""
        with self._lock:
            mine = self._commits
        with self._sync_lock:
            if self._synced >= mine:
                return
            with self._lock:
                now = self._commits
            try:
                if self._log < 0:
                    self._log = os.open(f"{self.name}-wal", os.O_RDONLY | os.O_CLOEXEC)
                    sync_directory(os.path.dirname(os.path.abspath(self.name)))  # or its name may be gone
                os.fsync(self._log)
            except OSError as error:
                raise SinkError(f"{self.name} cannot be written: {_reason(error)}; what it holds is kept") from error
            self._synced = now

    def tidy(self) -> None:
        """Take what is in SQLite's log to its place; holds nobody up, unless the log has become long."""
        with self._told():
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            try:
                size = os.stat(f"{self.name}-wal").st_size
            except OSError as error:
                raise SinkError(
                    f"{self.name} cannot be written: {_reason(error)}; was its directory removed?"
                ) from error
            if size > LOG_MOST:
                with self._lock:
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty if nothing is."""
        with self._told():
            rows = self._reader.execute("PRAGMA integrity_check(5)").fetchall()
        return [text for (text,) in rows if text != "ok"]

    def close(self) -> None:
        with self._sync_lock, self._lock:  # a sync that is under way has the log
            try:
                self._reader.close()
                self._writer.close()
            except sqlite3.Error:
                pass  # everything is written; what is left is to be tidied by the next one
            if self._log >= 0:
                os.close(self._log)
                self._log = -1

    # -- inside -------------------------------------------------------------------------------------------------------

    def _connect(self, mode: str, more: str = "") -> sqlite3.Connection:
        uri = f"{Path(self.name).absolute().as_uri()}?mode={mode}{more}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        if self._is_scratch:
            database.execute("PRAGMA synchronous = OFF")
        elif mode != "ro":
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_autocheckpoint = 0")  # `tidy` does it, on a thread that nobody waits for
        return database

    def _look(self) -> sqlite3.Connection:
        """Open the file to read it as it is now, without a trace and without holding anybody up.

        While a log is there it is read with it, and what others write from now on is not seen. Without one nothing
        is under way, and SQLite is told so: it would make a log and its index, or fail where it must not.
        """
        has_log = os.path.exists(f"{self.name}-wal")
        try:
            database = self._connect("ro", "" if has_log else "&immutable=1")
            database.execute("BEGIN")
            version = database.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError as error:
            log = ", or its log beside it," if has_log else ""
            raise JobError(
                f"{self.name}{log} cannot be read: {_reason(error)}; look at the rights of its directory, "
                "or copy that and look at the copy"
            ) from error
        if version != self._version:
            is_made = version or _has_tables(database)
            database.close()
            raise self._other_version(version) if is_made else self._not_made()
        return database

    def _other_version(self, version: int) -> JobError:
        return JobError(
            f"{self.name} is not a ledger that this version of workerpool reads (it says {version}, not "
            f"{self._version}): name another directory, or finish the run with the version that began it"
        )

    def _not_made(self) -> JobError:
        return JobError(
            f"{self.name} has nothing in it yet: the command that makes it has only just begun, or was ended as it "
            "did; look again in a moment, or run that command again"
        )

    def _prepare(self, tables: str) -> None:
        """Make the tables of a new job, and look whether those that are there are ours."""
        writer = self._writer
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not _has_tables(writer):
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("BEGIN IMMEDIATE")
            for statement in tables.split(";")[:-1]:
                writer.execute(statement)
            writer.execute(f"PRAGMA user_version = {self._version}")
            writer.execute("COMMIT")
        elif version != self._version:
            raise self._other_version(version)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say SQLite's errors in our words."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", "") or ""
            if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
                raise SinkError(f"{self.name} cannot be written: {_reason(error)}; what it holds is kept") from error
            if code.startswith("SQLITE_BUSY"):
                raise JobError(
                    f"{self.name} is held by another program: close it, and run the command again"
                ) from error
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> JobError:
        return JobError(
            f"{self.name} is damaged ({error}): keep a copy of its directory, and give directory= another one; "
            "the output so far stays where it is"
        )


def _has_tables(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{text[:1].lower()}{text[1:]}"

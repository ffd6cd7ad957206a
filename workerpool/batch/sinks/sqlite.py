"""An SQLite database: a table `results`, a row for each record, numbered from 1 in the column `id`.

OUTPUT.partial is a database file of its own. A batch is a transaction, synced when it is confirmed, and to resume is to
delete what is numbered higher. It keeps a rollback journal, not a write-ahead log: that works on every file system, and
a closed database is one file. Booleans are 0 and 1, `started_at` is ISO 8601 in UTC, headers are a JSON object.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from workerpool.batch.columns import Columns, Kind, text_of
from workerpool.batch.sinks.base import KEY_AND_URL, Cadence
from workerpool.batch.sinks.place import Place, remove_beside
from workerpool.batch.sinks.position import Position, parse
from workerpool.batch.sinks.sentences import write_error
from workerpool.errors import SinkError

CADENCE = Cadence(seconds=0.5, bytes=1024 * 1024)
BUSY = 5.0
"""Seconds to wait for another process that has the database locked."""

_TYPES = {Kind.SHORT: "INTEGER", Kind.LONG: "INTEGER", Kind.BOOLEAN: "INTEGER", Kind.REAL: "REAL"}


class SqliteSink:
    """A `DurableSink` that fills a table."""

    is_exactly_once = True
    cadence = CADENCE

    def __init__(self, output: str, columns: Columns, *, overwrite: bool = False) -> None:
        self._place = Place(output)
        self._columns = columns
        self._overwrite = overwrite
        self._database: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None  # of the file, as it was when the database was opened
        self._rows = 0
        self._is_finished = False

    @property
    def name(self) -> str:
        return self._place.name

    def leftover(self) -> str | None:
        return self._place.leftover()

    def begin(self) -> str:
        self._place.check_new(self._overwrite)
        with self._making_ready():
            database = self._make()
            names = zip(self._columns.names, self._columns.kinds, strict=True)
            columns = ", ".join(f"{name} {_TYPES.get(kind, 'TEXT')}" for name, kind in names)
            database.execute(f"CREATE TABLE results (id INTEGER PRIMARY KEY, {columns})")
        return str(Position())

    def resume(self, position: str) -> None:
        wanted = parse(position)
        if not os.path.lexists(self._place.partial):
            self._find_finished(wanted)
            return
        with self._making_ready():
            database = self._open()
            if _last(database) < wanted.rows:
                raise self._place.gone(f"does not hold the {wanted.rows:,} records that it did")
            database.execute("DELETE FROM results WHERE id > ?", (wanted.rows,))
        self._rows = wanted.rows

    def reopen(self, position: str) -> str:
        wanted = parse(position)
        if not os.path.exists(self._place.path):
            raise self._place.changed()
        with self._making_ready(), closing(_open(self._place.path, "ro")) as source:
            if _last(source) < wanted.rows:
                raise self._place.changed()
            database = self._make()
            source.backup(database)
            database.execute("DELETE FROM results WHERE id > ?", (wanted.rows,))
        self._rows = wanted.rows
        return str(Position(wanted.rows))

    def write(self, rows: Sequence[bytes]) -> str:
        database = self._check_ready()
        marks = ", ".join("?" * (len(self._columns.names) + 1))
        statement = f"INSERT INTO results (id, {', '.join(self._columns.names)}) VALUES ({marks})"
        cells = enumerate(self._columns.rows(self._columns.records(rows), _cell), self._rows + 1)
        with self._writing():
            try:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(statement, ((number, *row) for number, row in cells))
                database.execute("COMMIT")
            except sqlite3.Error:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        self._rows += len(rows)
        return str(Position(self._rows))

    def finish(self) -> None:
        if self._is_finished:
            return
        self._check_ready()
        with self._writing():
            self.close()
            remove_beside(self._place.partial)  # an empty journal of a process that was killed
            # What the older database's user has left there would be taken for the new one's.
            remove_beside(self._place.path)
            self._place.publish(self._place.partial)
        self._is_finished = True

    def close(self) -> None:
        if self._database is not None:
            database, self._database = self._database, None
            database.close()

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        path, rows = self._place.path, -1
        if position is not None and os.path.exists(self._place.partial):
            path, rows = self._place.partial, parse(position).rows
        if not os.path.exists(path):
            raise self._place.changed()
        with self._making_ready(), closing(_open(path, "rw" if rows >= 0 else "ro")) as database:
            names = ", ".join(f'"{field}"' for field in fields)
            yield from database.execute(f"SELECT {names} FROM results ORDER BY id LIMIT ?", (rows,))

    def _make(self) -> sqlite3.Connection:
        """Have an empty database in place of whatever was left."""
        self._refuse_if_in_use()
        self._place.clear()
        os.close(self._place.create(self._place.partial))
        self._place.sync_directory()
        return self._open()

    def _open(self) -> sqlite3.Connection:
        self._database = _open(self._place.partial, "rw")
        self._opened = os.stat(self._place.partial)
        return self._database

    def _check_ready(self) -> sqlite3.Connection:
        if self._database is None or self._opened is None:
            raise SinkError(f"{self.name} is finished or closed, and takes no more records", records=self._rows)
        self._place.check_there(self._opened)
        return self._database

    def _refuse_if_in_use(self) -> None:
        if not os.path.exists(self._place.partial):
            return
        try:
            _open(self._place.partial, "rw").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise
        except sqlite3.DatabaseError:
            pass  # no database, so nobody's

    def _find_finished(self, wanted: Position) -> None:
        if not os.path.exists(self._place.path):
            raise self._place.gone("is gone")
        with self._making_ready():
            with closing(_open(self._place.path, "ro")) as database:
                if _last(database) != wanted.rows:
                    raise self._place.gone("is gone")
            self._place.sync_directory()  # the rename was done by a process that may have had no time for this
        self._rows, self._is_finished = wanted.rows, True

    @contextmanager
    def _making_ready(self) -> Iterator[None]:
        with self._place.making_ready():
            try:
                yield
            except sqlite3.Error as error:
                raise SinkError(f"{self._place.partial_name} cannot be used: {_reason(error)}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._place.writing(self._rows):
            try:
                yield
            except sqlite3.Error as error:
                raise write_error(self.name, _reason(error), self._rows, self._place.partial_name) from error


def _open(path: str, mode: str) -> sqlite3.Connection:
    """Open the database at `path`, which is there: ``ro`` to read, ``rw`` for this process alone, by a lock.

    EXTRA syncs the directory too when the journal is removed: without it a power cut could bring the journal back, and
    so undo a transaction that was confirmed.
    """
    uri = f"{Path(path).as_uri()}?mode={mode}"
    database = sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        if mode == "rw":
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _last(database: sqlite3.Connection) -> int:
    (number,) = database.execute("SELECT max(id) FROM results").fetchone()
    return number or 0


def _reason(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return "another process is using it: let it end, or name another output"
    if code == sqlite3.SQLITE_FULL:
        return "no space left on device"
    return str(error)


def _cell(kind: Kind, value: Any) -> Any:
    if kind is Kind.TEXT or kind is Kind.TIME:
        return text_of(value)
    return text_of(json.dumps(value, ensure_ascii=False)) if kind is Kind.MAP else value

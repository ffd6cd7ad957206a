"""An SQLite database: a table `results`, a row for each record, numbered from 1 in `id` (with a schema in `_row`).

OUTPUT.partial is a database file of its own. A batch is a transaction, synced when it is confirmed, and to resume is to
delete what is numbered higher. It keeps a rollback journal, not a write-ahead log: that works on every file system, and
a closed database is one file. Booleans are 0 and 1, times ISO 8601 in UTC, decimals the text of their digits, as SQLite
knows binary ones only; headers and other JSON are its text.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

from workerpool.batch.columns import Columns, Kind, Row, json_text, text_of
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.place import remove_beside
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.staged import FileStore
from workerpool.errors import SinkError

CADENCE = Cadence(seconds=0.5, bytes=1024 * 1024)
BUSY = 5.0
"""Seconds to wait for another process that has the database locked."""

_VALUES = 999
"""Values in a statement at most: what SQLite takes, however it was built (its limits, section 9)."""

_TYPES = {Kind.SHORT: "INTEGER", Kind.LONG: "INTEGER", Kind.BOOLEAN: "INTEGER", Kind.REAL: "REAL"}


class SqliteStore(FileStore):
    """A table in a database file."""

    cadence = CADENCE
    errors = (OSError, sqlite3.Error)

    def __init__(self, output: str, columns: Columns) -> None:
        super().__init__(output)
        self._columns = columns
        self._number = columns.number
        self._database: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None  # of the file, as it was when the database was opened

    def reason(self, error: Exception) -> str:
        return _reason(error) if isinstance(error, sqlite3.Error) else super().reason(error)

    def refusal(self, error: Exception) -> SinkError:
        if isinstance(error, sqlite3.Error):
            return SinkError(f"{self.partial_name} cannot be used: {_reason(error)}")
        return super().refusal(error)

    def make(self) -> Position:
        defined = ", ".join(definitions(self._columns))
        self._open_new().execute(f"CREATE TABLE results ({self._number} INTEGER PRIMARY KEY, {defined})")
        return Position()

    def open(self) -> bool:
        if not os.path.lexists(self._place.partial):
            return False
        self._hold()
        return True

    def cut(self, position: Position) -> bool:
        database = self._held()
        if self._last(database) < position.rows:
            return False
        database.execute(f"DELETE FROM results WHERE {self._number} > ?", (position.rows,))
        return True

    def copy(self, position: Position) -> bool:
        os.stat(self._place.path)
        with closing(open_database(self._place.path, "ro")) as source:
            if self._last(source) < position.rows:
                return False
            source.backup(self._open_new())
        return self.cut(position)

    def find_output(self, position: Position) -> bool:
        if not os.path.exists(self._place.path):
            return False
        with closing(open_database(self._place.path, "ro")) as database:
            if self._last(database) != position.rows:
                return False
        self._place.sync_directory()
        return True

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        database = self._held()
        try:
            database.execute("BEGIN IMMEDIATE")
            self._insert(database, self._columns.rows(self._columns.records(rows), _CELLS), position.rows + 1)
            database.execute("COMMIT")
        except sqlite3.Error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return Position(position.rows + len(rows))

    def publish(self) -> None:
        self._held()
        self.close()
        remove_beside(self._place.partial)  # an empty journal of a process that was killed
        # What the older database's user has left there would be taken for the new one's.
        remove_beside(self._place.path)
        self._place.publish(self._place.partial)

    def close(self) -> None:
        if self._database is not None:
            database, self._database = self._database, None
            database.close()

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        path, mode, rows = self._place.path, "ro", -1
        if position is not None and os.path.exists(self._place.partial):
            path, mode, rows = self._place.partial, "rw", position.rows
        os.stat(path)
        kinds = [column.kind for _, column in self._columns.picked(fields)]
        statement = f"SELECT {listed(fields)} FROM results ORDER BY {self._number} LIMIT ?"
        with closing(open_database(path, mode)) as database:
            for row in database.execute(statement, (rows,)):
                yield tuple([_value(kind, cell) for kind, cell in zip(kinds, row, strict=True)])

    def _insert(self, database: sqlite3.Connection, rows: Iterator[tuple[Any, ...]], number: int) -> None:
        """Insert rows, numbered from `number` on, many with a statement.

        The module gives the interpreter's lock away for each statement. With one for each row it would ask for it back
        once per row, and wait each time while another thread computes.
        """
        names = (self._number, *self._columns.names)
        into = f"INSERT INTO results ({listed(names)}) VALUES "
        row = f"({', '.join('?' * len(names))})"
        while some := [*islice(rows, max(1, _VALUES // len(names)))]:
            values = chain.from_iterable((place, *cells) for place, cells in enumerate(some, number))
            database.execute(into + ", ".join([row] * len(some)), [*values])
            number += len(some)

    def _last(self, database: sqlite3.Connection) -> int:
        (number,) = database.execute(f"SELECT max({self._number}) FROM results").fetchone()
        return number or 0

    def _open_new(self) -> sqlite3.Connection:
        """Have an empty database in place of whatever was left."""
        self._refuse_if_in_use()
        self._place.clear()
        os.close(self._place.create(self._place.partial))
        self._place.sync_directory()
        return self._hold()

    def _hold(self) -> sqlite3.Connection:
        self._database = open_database(self._place.partial, "rw")
        self._opened = os.stat(self._place.partial)
        return self._database

    def _held(self) -> sqlite3.Connection:
        assert self._database is not None
        assert self._opened is not None
        self._place.check_there(self._opened)
        return self._database

    def _refuse_if_in_use(self) -> None:
        if not os.path.exists(self._place.partial):
            return
        try:
            open_database(self._place.partial, "rw").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise
        except sqlite3.DatabaseError:
            pass  # no database, so nobody's


def open_database(path: str, mode: str) -> sqlite3.Connection:
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


def _reason(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return "another process is using it: let it end, or name another output"
    if code == sqlite3.SQLITE_FULL:
        return "no space left on device"
    return str(error)


def definitions(columns: Columns) -> list[str]:
    """What a table says of its columns."""
    return [f'"{column.name}" {_TYPES.get(column.kind, "TEXT")}' for column in columns.columns]


def listed(names: Sequence[str]) -> str:
    """Write names as SQL has them; they hold no quotes."""
    return ", ".join(f'"{name}"' for name in names)


_CELLS = {Kind.TEXT: text_of, Kind.MAP: json_text, Kind.JSON: json_text}


def _value(kind: Kind, cell: Any) -> Any:
    """What a cell stands for."""
    if cell is None:
        return None
    if kind is Kind.BOOLEAN:
        return bool(cell)
    return json.loads(cell) if kind is Kind.MAP or kind is Kind.JSON else cell

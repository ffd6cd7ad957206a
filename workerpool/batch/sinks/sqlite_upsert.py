"""Rows merged into a table of an SQLite database, each in place of the one with the same key; the last one wins.

Until the end they are in OUTPUT.partial, as those of any run. Then one transaction of the output, which is made if need
be, takes them all. The partial then says that it was merged, and goes when that is written down: a process that ends
right between the two merges once more, which changes nothing unless somebody else has changed these rows.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from workerpool.batch.columns import Columns
from workerpool.batch.sinks.place import remove_beside
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.sqlite import BUSY, SqliteStore, definitions, listed, open_database
from workerpool.errors import OptionError

_MERGED = 1
"""What `PRAGMA user_version` of a partial says once it was merged."""


class SqliteUpsert(SqliteStore):
    """The table `results`, known by the key of `columns`."""

    def __init__(self, output: str, columns: Columns) -> None:
        super().__init__(output, columns)
        names, key = columns.names, listed(columns.key)
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in columns.key)
        self._table = f"CREATE TABLE IF NOT EXISTS results ({', '.join(definitions(columns))}, PRIMARY KEY ({key}))"
        self._merge = (
            f"INSERT INTO results ({listed(names)}) SELECT {listed(names)} FROM staged.results WHERE true "
            f"ORDER BY {columns.number} ON CONFLICT ({key}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
        )

    def check_new(self, overwrite: bool) -> None:
        """Raise `OptionError` for an output whose table would not take the rows; `overwrite` says nothing here."""
        path = self._place.path
        if os.path.lexists(path) and not os.path.isfile(path):
            self._place.check_new(overwrite)
        if not os.path.exists(path):
            return
        try:
            with closing(open_database(path, "ro")) as database:
                self._check_table(database)
        except sqlite3.DatabaseError as error:
            raise OptionError(f"{self.name} does not take these rows: {error}; name another output") from error
        if not os.access(path, os.W_OK):
            raise OptionError(f"{self.name} is not this user's to write: name another output")

    def leftover(self) -> str | None:
        left = super().leftover()
        if left is None or not os.path.isfile(self._place.partial):
            return left
        with suppress(sqlite3.Error), closing(open_database(self._place.partial, "ro")) as database:
            if _is_merged(database):
                return None
        return left

    def find_output(self, position: Position) -> bool:
        """What was merged cannot be told from the rows beside it: only the partial knows."""
        return False

    def publish(self) -> None:
        database = self._held()
        if not _is_merged(database):
            self.close()
            self._merge_all()
            with closing(open_database(self._place.partial, "rw")) as partial:
                partial.execute(f"PRAGMA user_version = {_MERGED}")
        self.close()

    def settle(self) -> None:
        Path(self._place.partial).unlink(missing_ok=True)
        remove_beside(self._place.partial)
        self._place.sync_directory()

    def _merge_all(self) -> None:
        database = sqlite3.connect(self._place.path, timeout=BUSY, isolation_level=None)
        with closing(database):
            database.execute("PRAGMA synchronous = FULL")
            database.execute("ATTACH ? AS staged", (self._place.partial,))
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute(self._table)
                database.execute(self._merge)
                database.execute("COMMIT")
            except sqlite3.Error:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        self._place.sync_directory()

    def _check_table(self, database: sqlite3.Connection) -> None:
        """Have SQLite prepare the merge, with an empty table in place of the partial."""
        if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'results'").fetchone() is None:
            return
        columns = database.execute("PRAGMA table_info(results)").fetchall()
        ours = set(self._columns.names)
        for _, name, _, is_needed, default, _ in columns:
            if is_needed and default is None and name not in ours:
                raise sqlite3.DatabaseError(f"its column {name} may not be null, and is none of the schema's")
        database.execute("ATTACH ':memory:' AS staged")
        database.execute(f"CREATE TABLE staged.results ({self._number}, {listed(self._columns.names)})")
        database.execute(f"EXPLAIN {self._merge}").fetchall()


def _is_merged(database: sqlite3.Connection) -> bool:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version == _MERGED

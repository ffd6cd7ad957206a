"""Rows merged into a PostgreSQL table, each in place of the one with the same key; the last one wins.

Until the end they are in `<table>_partial`, as those of any run. Then one transaction puts them all into the table,
which is made if need be, and notes in the partial that this was done: so it is done once, whatever ends the process.
The partial goes when that is written down elsewhere, too.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Columns
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.postgres import PostgresStore, definitions
from workerpool.batch.sinks.sentences import not_taken, null_is_refused
from workerpool.errors import OptionError

if TYPE_CHECKING:
    import psycopg

_MERGED = "merged by workerpool"
"""The comment on a partial that was merged."""


class PostgresUpsert(PostgresStore):
    """The table, known by the key of `columns`."""

    def __init__(self, url: str, columns: Columns) -> None:
        super().__init__(url, columns)
        self._key = ", ".join(f'"{name}"' for name in columns.key)
        listed = ", ".join(f'"{name}"' for name in columns.names)
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in columns.names if name not in columns.key)
        # The last row of each key, as one statement may change a row once.
        self._merge = (
            f"INSERT INTO {{table}} ({listed}) SELECT DISTINCT ON ({self._key}) {listed} FROM {{partial}} "
            f"WHERE {{number}} > 0 ORDER BY {self._key}, {{number}} DESC "
            f"ON CONFLICT ({self._key}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
        )

    def check_new(self, overwrite: bool) -> None:
        """Nothing is replaced: whether the table takes the rows, `make` asks the server."""

    def leftover(self) -> str | None:
        with closing(self._connect()) as connection:
            if self._exists(connection, self._url.partial) and self._is_merged(connection):
                return None
        return super().leftover()

    def make(self) -> Position:
        position = super().make()
        connection = self._hold()
        if self._exists(connection, self._url.table):
            try:
                self._check_table(connection)
            except OptionError:
                self._run(connection, "DROP TABLE {partial}")
                raise
        return position

    def find_output(self, position: Position) -> bool:
        """What was merged cannot be told from the rows beside it: only the partial knows."""
        return False

    def publish(self) -> None:
        connection = self._hold()
        if self._is_merged(connection):
            return
        with connection.transaction():
            if not self._exists(connection, self._url.table):
                defined = ", ".join(definitions(self._columns))
                self._run(connection, f"CREATE TABLE {{table}} ({defined}, PRIMARY KEY ({self._key}))")
            self._run(connection, self._merge)
            self._run(connection, f"COMMENT ON TABLE {{partial}} IS '{_MERGED}'")

    def settle(self) -> None:
        self._run(self._hold(), "DROP TABLE IF EXISTS {partial}")

    def _is_merged(self, connection: psycopg.Connection[Any]) -> bool:
        name = self._sql.Identifier(*self._url.partial).as_string(connection)
        said = connection.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", (name,)).fetchone()
        return said is not None and said[0] == _MERGED

    def _check_table(self, connection: psycopg.Connection[Any]) -> None:
        """Have the server plan the merge, which shows whether columns, types, key and rights are there."""
        table = self._sql.Identifier(*self._url.table).as_string(connection)
        needed = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
            "AND attnotnull AND NOT atthasdef AND attidentity = '' ORDER BY attnum",
            (table,),
        )
        filled = {column.name for column in self._columns.columns if column.is_required}
        for (name,) in needed:
            if name not in filled:
                raise null_is_refused(self.name, name)
        try:
            self._run(connection, f"EXPLAIN {self._merge}")
        except self._psycopg.Error as error:
            raise not_taken(self.name, self._url.reason(error)) from None

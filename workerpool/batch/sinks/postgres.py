"""A PostgreSQL table: a row for each record, numbered from 1 in the column `id` (`_row` with a schema).

Rows go to `<table>_partial`, a batch in a transaction, and to resume is to delete what is numbered higher. The end puts
them into `<table>` in one transaction: an older table keeps its grants, indexes and views, and gets new rows. One
process at a time writes a table, by an advisory lock, which is held until the server has ended what a process that died
had begun.

Text of PostgreSQL holds no NUL. It is written as U+FFFD, in JSON too, which holds no lone surrogate there either; a
body with a NUL is in `body_base64`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Column, Columns, Kind, Row, json_text
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.database_url import DatabaseUrl, database_of
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.sentences import column_is_missing, is_there_already
from workerpool.batch.sinks.storable import storable, storable_text, value_of, without_nul
from workerpool.errors import OptionError, SinkError
from workerpool.extras import load

if TYPE_CHECKING:
    import psycopg

CADENCE = Cadence(seconds=1.0, bytes=4 * 1024 * 1024)
LOCK_WAIT = 10.0
"""Seconds to wait for another process that writes the table, or for the end of one that was killed."""

_TYPES = {
    Kind.TEXT: "text",
    Kind.SHORT: "integer",
    Kind.LONG: "bigint",
    Kind.REAL: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.TIME: "timestamp with time zone",
    Kind.MAP: "jsonb",
    Kind.JSON: "jsonb",
}


class PostgresStore:
    """A table; `url` is a libpq URL, with ``table=`` among its parameters or not."""

    cadence = CADENCE
    hides_causes = True  # which may say the password

    def __init__(self, url: str, columns: Columns) -> None:
        self._psycopg = load("psycopg", "postgres", "a PostgreSQL output")
        self._sql = load("psycopg.sql", "postgres", "a PostgreSQL output")
        self.errors: tuple[type[Exception], ...] = (self._psycopg.Error,)
        self._url: DatabaseUrl = database_of(url)
        self._columns = columns
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def name(self) -> str:
        return self._url.name

    @property
    def partial_name(self) -> str:
        return self._url.partial_name

    def reason(self, error: Exception) -> str:
        if isinstance(error, self._psycopg.errors.LockNotAvailable):
            return "another process is writing it: let it end, or name another table with ?table="
        return self._url.reason(error)

    def refusal(self, error: Exception) -> SinkError:
        return SinkError(f"{self.name} cannot be used: {self.reason(error)}")

    def check_new(self, overwrite: bool) -> None:
        connection = self._hold()
        if self._exists(connection, self._url.table):
            self._check_old(connection, overwrite)

    def leftover(self) -> str | None:
        with closing(self._connect()) as connection:
            rows = self._exists(connection, self._url.partial) and self._last(connection, self._url.partial)
        return self.partial_name if rows else None

    def make(self) -> Position:
        self._create(self._hold())
        return Position()

    def open(self) -> bool:
        return self._exists(self._hold(), self._url.partial)

    def cut(self, position: Position) -> bool:
        connection = self._hold()
        if self._last(connection, self._url.partial) < position.rows:
            return False
        self._run(connection, "DELETE FROM {partial} WHERE {number} > %s", position.rows)
        return True

    def copy(self, position: Position) -> bool:
        connection = self._hold()
        there = self._exists(connection, self._url.table)
        if not there or self._last(connection, self._url.table) < position.rows:
            return False
        with connection.transaction():
            self._create(connection)
            kept = "INSERT INTO {partial} ({names}) SELECT {names} FROM {table} WHERE {number} <= %s"
            self._run(connection, kept, position.rows)
        return True

    def find_output(self, position: Position) -> bool:
        connection, table = self._hold(), self._url.table
        return self._exists(connection, table) and self._last(connection, table) == position.rows

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        connection = self._hold()
        records = self._columns.records(rows)
        cells = self._columns.rows(records if self._columns.is_typed else without_nul(records), _CELLS)
        statement = self._compose("COPY {partial} ({names}) FROM STDIN")
        with connection.transaction(), connection.cursor().copy(statement) as copy:
            for number, row in enumerate(cells, position.rows + 1):
                copy.write_row((number, *row))
        return Position(position.rows + len(rows))

    def publish(self) -> None:
        connection = self._hold()
        with connection.transaction():
            if self._exists(connection, self._url.table):
                self._run(connection, "DELETE FROM {table}")
                self._run(connection, "INSERT INTO {table} ({names}) SELECT {names} FROM {partial} ORDER BY {number}")
                self._run(connection, "DROP TABLE {partial}")
            else:
                self._run(connection, "ALTER TABLE {partial} RENAME TO {last_name}")

    def settle(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        columns = [column for _, column in self._columns.picked(fields)]
        with closing(self._connect()) as connection, connection.transaction():
            names = ", ".join(f'"{field}"' for field in fields)
            statement = f"SELECT {names} FROM {{table}} ORDER BY {{number}}"
            values: tuple[int, ...] = ()
            if position is not None and self._exists(connection, self._url.partial):
                statement = f"SELECT {names} FROM {{partial}} WHERE {{number}} <= %s ORDER BY {{number}}"
                values = (position.rows,)
            with connection.cursor("workerpool") as cursor:  # on the server, so that not all rows come at once
                for row in cursor.execute(self._compose(statement), values):
                    yield tuple([value_of(column, cell) for column, cell in zip(columns, row, strict=True)])

    # -- the connection -----------------------------------------------------------------------------------------------

    def _hold(self) -> psycopg.Connection[Any]:
        """Connect, and keep others from writing the table until this connection ends."""
        if self._connection is None:
            with ExitStack() as stack:
                connection = stack.enter_context(closing(self._connect()))
                connection.execute(f"SET lock_timeout = {LOCK_WAIT * 1000:.0f}")
                connection.execute("SET synchronous_commit = on")
                connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (".".join(self._url.table),))
                stack.pop_all()
            self._connection = connection
        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = self._psycopg.connect(self._url.conninfo, autocommit=True)
        connection.execute("SET client_encoding = 'UTF8'")
        connection.execute("SET TimeZone = 'UTC'")  # so that times stay what they are in a column without a zone
        return connection

    # -- tables -------------------------------------------------------------------------------------------------------

    def _create(self, connection: psycopg.Connection[Any]) -> None:
        """Have an empty table in place of whatever was left."""
        self._run(connection, "DROP TABLE IF EXISTS {partial}")
        defined = ", ".join(definitions(self._columns))
        self._run(connection, f"CREATE TABLE {{partial}} ({{number}} bigint PRIMARY KEY, {defined})")

    def _check_old(self, connection: psycopg.Connection[Any], overwrite: bool) -> None:
        """Raise `OptionError` for a table that may not be filled anew, before anything is fetched for it."""
        if not overwrite:
            raise is_there_already(self.name)
        table = self._sql.Identifier(*self._url.table).as_string(connection)
        columns = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        there = {name for (name,) in connection.execute(columns, (table,))}
        missing = [name for name in (self._columns.number, *self._columns.names) if name not in there]
        if missing:
            raise column_is_missing(self.name, missing[0])
        allowed = connection.execute(
            "SELECT has_table_privilege(%s, 'INSERT') AND has_table_privilege(%s, 'DELETE')", (table, table)
        ).fetchone()
        if allowed is not None and not allowed[0]:
            raise OptionError(f"{self.name} is not this user's to fill: grant INSERT and DELETE, or name another one")

    def _exists(self, connection: psycopg.Connection[Any], table: tuple[str, ...]) -> bool:
        name = self._sql.Identifier(*table).as_string(connection)
        found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone()
        return bool(found and found[0])

    def _last(self, connection: psycopg.Connection[Any], table: tuple[str, ...]) -> int:
        identifier = self._sql.Identifier
        statement = self._sql.SQL("SELECT max({}) FROM {}").format(identifier(self._columns.number), identifier(*table))
        found = connection.execute(statement).fetchone()
        return int(found[0] or 0) if found else 0

    def _run(self, connection: psycopg.Connection[Any], statement: str, *values: int) -> None:
        connection.execute(self._compose(statement), values or None)

    def _compose(self, statement: str) -> Any:
        """Put our names into a statement."""
        identifier = self._sql.Identifier
        return self._sql.SQL(statement).format(
            table=identifier(*self._url.table),
            partial=identifier(*self._url.partial),
            last_name=identifier(self._url.table[-1]),
            number=identifier(self._columns.number),
            names=self._sql.SQL(", ").join(map(identifier, (self._columns.number, *self._columns.names))),
        )


def definitions(columns: Columns) -> list[str]:
    """What a table says of its columns, whose names hold no quotes."""
    return [f'"{column.name}" {_type(column)}' for column in columns.columns]


def _type(column: Column) -> str:
    if column.kind is Kind.DECIMAL:
        return f"numeric({column.precision}, {column.scale})"
    return _TYPES[column.kind]


def _json_cell(value: Any) -> str:
    return json_text(storable(value))


_CELLS: dict[Kind, Callable[[Any], str]] = {Kind.TEXT: storable_text, Kind.MAP: _json_cell, Kind.JSON: _json_cell}

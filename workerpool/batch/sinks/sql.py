"""A table of any database that SQLAlchemy knows: a row for each record, numbered from 1 (`Columns.number`).

Rows go to `<table>_partial`, a batch in a transaction, and to resume is to delete what is numbered higher. The end puts
them into `<table>` by one transaction, or on MariaDB and MySQL by one statement that renames both tables. Elsewhere,
where making or dropping a table ends a transaction, the rows are put there before the partial is dropped: a process
that ends between the two does it once more, with the same rows. One thread at a time.

Text holds no NUL: it is written as U+FFFD, and a body with one is in `body_base64`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from workerpool.batch.columns import Columns, Kind, Row, json_text
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.sentences import column_is_missing, is_there_already
from workerpool.batch.sinks.sql_locks import Held, lock
from workerpool.batch.sinks.sql_types import cells_of, numbered
from workerpool.batch.sinks.sql_url import SqlUrl, sql_of
from workerpool.batch.sinks.storable import value_of, without_nul
from workerpool.errors import OptionError, SinkError, SourceError
from workerpool.extras import load

CADENCE = Cadence(seconds=1.0, bytes=4 * 1024 * 1024)
ROWS = 1000
"""Rows that are read back at a time."""


class SqlStore:
    """A table; `url` is SQLAlchemy's, with ``table=`` among its parameters or not."""

    cadence = CADENCE
    hides_causes = True  # which may say the password

    def __init__(self, url: str, columns: Columns) -> None:
        self._sql = load("sqlalchemy", "sql", "this database as an output")
        self.errors: tuple[type[Exception], ...] = (self._sql.exc.SQLAlchemyError, OSError, Held)
        self._url: SqlUrl = sql_of(url)
        self._columns = columns
        self._table = self._made("")
        self._partial = self._made("_partial")
        self._replaced = self._made("_replaced")
        self._renames = self._url.kind in ("mysql", "mariadb")
        self._engine = self._connected()
        self._connection: Any = None
        self._give_up: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self._url.name

    @property
    def partial_name(self) -> str:
        return self._url.partial_name

    def reason(self, error: Exception) -> str:
        if isinstance(error, Held) or "lock timeout" in str(error):
            return "another process is writing it: let it end, or name another table with ?table="
        return self._url.database.reason(error)

    def refusal(self, error: Exception) -> SinkError:
        return SinkError(f"{self.name} cannot be used: {self.reason(error)}")

    def check_new(self, overwrite: bool) -> None:
        with self._begun() as connection:
            if self._exists(connection, self._table):
                self._check_old(connection, overwrite)

    def leftover(self) -> str | None:
        if not self._may_exist():
            return None
        with closing(self._engine.connect()) as connection, connection.begin():
            rows = self._exists(connection, self._partial) and self._last(connection, self._partial)
        return self.partial_name if rows else None

    def make(self) -> Position:
        with self._begun() as connection:
            self._create(connection)
        return Position()

    def open(self) -> bool:
        if not self._may_exist():
            return False
        with self._begun() as connection:
            return self._exists(connection, self._partial)

    def cut(self, position: Position) -> bool:
        with self._begun() as connection:
            if self._last(connection, self._partial) < position.rows:
                return False
            connection.execute(self._sql.delete(self._partial).where(self._number(self._partial) > position.rows))
        return True

    def copy(self, position: Position) -> bool:
        if not self._may_exist():
            return False
        with self._begun() as connection:
            if not self._exists(connection, self._table) or self._last(connection, self._table) < position.rows:
                return False
            self._create(connection)
            self._fill(connection, self._partial, self._table, self._number(self._table) <= position.rows)
        return True

    def find_output(self, position: Position) -> bool:
        if not self._may_exist():
            return False
        with self._begun() as connection:
            if not self._exists(connection, self._table) or self._last(connection, self._table) != position.rows:
                return False
            self._drop_replaced(connection)
        return True

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        records = self._columns.records(rows)
        records = records if self._columns.is_typed else without_nul(records)
        cells = self._columns.rows(records, cells_of(self._url.kind))
        names = (self._columns.number, *self._columns.names)
        with self._begun() as connection:
            connection.execute(
                self._sql.insert(self._partial),
                [dict(zip(names, (number, *row), strict=True)) for number, row in enumerate(cells, position.rows + 1)],
            )
        return Position(position.rows + len(rows))

    def publish(self) -> None:
        with self._begun() as connection:
            if self._renames:
                self._rename(connection)
                return
            self._table.create(connection, checkfirst=True)
            connection.execute(self._sql.delete(self._table))
            self._fill(connection, self._table, self._partial)
        with self._begun() as connection:
            self._partial.drop(connection)

    def settle(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        connection, self._connection = self._connection, None
        give_up, self._give_up = self._give_up, None
        if connection is not None:
            connection.close()
        if give_up is not None:
            give_up()

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        columns = [column for _, column in self._columns.picked(fields)]
        if not self._may_exist():
            raise FileNotFoundError
        with closing(self._engine.connect()) as connection, connection.begin():
            table = self._partial if position is not None and self._exists(connection, self._partial) else self._table
            if not self._exists(connection, table):
                raise FileNotFoundError
            number = self._number(table)
            wanted = self._sql.select(*(self._read(table.c[column.name], column.kind) for column in columns))
            if table is self._partial and position is not None:
                wanted = wanted.where(number <= position.rows)
            streamed = connection.execution_options(stream_results=True, yield_per=ROWS)
            for row in streamed.execute(wanted.order_by(number)):
                yield tuple([value_of(column, cell) for column, cell in zip(columns, row, strict=True)])

    # -- the connection -----------------------------------------------------------------------------------------------

    def _connected(self) -> Any:
        """Return the engine, which connects when it is asked to; raises `OptionError` for a driver that is missing."""
        try:
            engine = self._url.database.engine(json_serializer=json_text)
        except SourceError as error:  # an argument in the URL that the driver does not know
            raise OptionError(f"{error}: change the URL") from None
        if self._url.kind == "sqlite":
            self._sql.event.listen(engine, "connect", _leave_transactions)
            self._sql.event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def _begun(self) -> Iterator[Any]:
        """Enter a transaction of the connection that keeps others from writing the table."""
        if self._connection is None:
            with ExitStack() as stack:
                connection = stack.enter_context(closing(self._engine.connect()))
                self._give_up = lock(connection, self._url)
                stack.pop_all()
            self._connection = connection
        with self._connection.begin():
            yield self._connection

    def _may_exist(self) -> bool:
        """Whether there is a database: to connect to a file makes it."""
        return self._url.file is None or os.path.exists(self._url.file)

    # -- tables -------------------------------------------------------------------------------------------------------

    def _made(self, suffix: str) -> Any:
        return numbered(self._columns, self._url.table[-1] + suffix, self._url.schema, self._url.kind)

    def _exists(self, connection: Any, table: Any) -> bool:
        return bool(self._sql.inspect(connection).has_table(table.name, schema=table.schema))

    def _number(self, table: Any) -> Any:
        return table.c[self._columns.number]

    def _last(self, connection: Any, table: Any) -> int:
        return connection.scalar(self._sql.select(self._sql.func.max(self._number(table)))) or 0

    def _create(self, connection: Any) -> None:
        """Have an empty partial in place of whatever was left."""
        self._partial.drop(connection, checkfirst=True)
        self._drop_replaced(connection)
        self._partial.create(connection)

    def _fill(self, connection: Any, table: Any, source: Any, condition: Any = None) -> None:
        rows = self._sql.select(source).order_by(self._number(source))
        rows = rows if condition is None else rows.where(condition)
        connection.execute(self._sql.insert(table).from_select([*source.c.keys()], rows))

    def _rename(self, connection: Any) -> None:
        quote = connection.dialect.identifier_preparer.format_table
        renames = [(self._partial, self._table)]
        if self._exists(connection, self._table):
            self._drop_replaced(connection)
            renames.insert(0, (self._table, self._replaced))
        text = ", ".join(f"{quote(old)} TO {quote(new)}" for old, new in renames)
        connection.exec_driver_sql(f"RENAME TABLE {text}")
        self._drop_replaced(connection)

    def _drop_replaced(self, connection: Any) -> None:
        if self._renames:
            self._replaced.drop(connection, checkfirst=True)

    def _check_old(self, connection: Any, overwrite: bool) -> None:
        """Raise `OptionError` for a table that may not be filled anew, before anything is fetched for it."""
        if not overwrite:
            raise is_there_already(self.name)
        everything = self._sql.text("*")
        there = {*connection.execute(self._sql.select(everything).select_from(self._table).limit(0)).keys()}
        missing = [name for name in (self._columns.number, *self._columns.names) if name not in there]
        if missing:
            raise column_is_missing(self.name, missing[0])

    def _read(self, column: Any, kind: Kind) -> Any:
        """What is selected for a column: DuckDB's driver reads a zone only with a library more."""
        is_zoned = kind is Kind.TIME and self._url.kind == "duckdb"
        return self._sql.func.timezone("UTC", column) if is_zoned else column


def _leave_transactions(connection: Any, record: Any) -> None:
    """Have Python's `sqlite3` begin no transactions of its own, which leave out what makes and drops tables."""
    connection.isolation_level = None


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")

"""Rows merged into a table of MariaDB, MySQL or DuckDB, each in place of the one with the same key; the last one wins.

Until the end they are in `<table>_partial`, as those of any run. Then one transaction changes the rows that are there,
adds the others, and notes that in the partial, by a row numbered 0: so it is done once, whatever ends the process. The
partial goes when that is written down elsewhere, too.

MariaDB's own `ON DUPLICATE KEY UPDATE` names no key: it would change the row that has the same value in any other
unique column. So rows are compared by the key, and one that meets another row there ends the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workerpool.batch.columns import Columns
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.sentences import not_taken, null_is_refused
from workerpool.batch.sinks.sql import SqlStore
from workerpool.batch.sinks.sql_tables import TableFacts, look_at
from workerpool.batch.sinks.sql_types import keyed
from workerpool.errors import OptionError

KINDS = ("mysql", "mariadb", "duckdb")

_MERGED = 0
"""The number of a row in a partial that was merged."""

_SESSION = {
    # Without it a server may cut what is too long, and say nothing.
    "mysql": "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), time_zone = '+00:00'",
    "duckdb": "SET TimeZone = 'UTC'",
}
"""What is said on connecting, so that times of UTC stay what they are in columns without a zone."""


class SqlUpsert(SqlStore):
    """The table, known by the key of `columns`."""

    def __init__(self, url: str, columns: Columns) -> None:
        super().__init__(url, columns)
        if self._url.kind not in KINDS:
            raise OptionError(
                f"upsert=True: {self._url.kind} is none of the databases by SQLAlchemy whose rows are replaced by "
                "their key here: write to MariaDB, MySQL, DuckDB, postgresql:// or an SQLite file, or leave it out"
            )
        self._dialect = "duckdb" if self._url.kind == "duckdb" else "mysql"
        self._renames = False
        self._table = keyed(columns, self._url.table[-1], self._url.schema, self._url.kind)
        self._sql.event.listen(self._engine, "connect", self._begin_session)

    def check_new(self, overwrite: bool) -> None:
        """Nothing is replaced: whether the table takes the rows, `make` finds out."""

    def leftover(self) -> str | None:
        left = super().leftover()
        if left is None:
            return None
        with self._engine.connect() as connection, connection.begin():
            return None if self._is_merged(connection) else left

    def make(self) -> Position:
        position = super().make()
        try:
            self._check_table()
        except OptionError:
            with self._begun() as connection:
                self._partial.drop(connection)
            raise
        return position

    def find_output(self, position: Position) -> bool:
        """What was merged cannot be told from the rows beside it: only the partial knows."""
        return False

    def publish(self) -> None:
        with self._begun() as connection:
            if self._is_merged(connection):
                return
            self._table.create(connection, checkfirst=True)  # which ends a transaction of MariaDB
        with self._begun() as connection:
            self._merge(connection)
            connection.execute(self._sql.insert(self._partial), {self._columns.number: _MERGED})

    def settle(self) -> None:
        with self._begun() as connection:
            self._partial.drop(connection, checkfirst=True)

    def _is_merged(self, connection: Any) -> bool:
        marks = self._sql.select(self._sql.func.count()).where(self._number(self._partial) == _MERGED)
        return bool(connection.scalar(marks))

    # -- merging ------------------------------------------------------------------------------------------------------

    def _merge(self, connection: Any) -> None:
        """Put the last row of each key into the table: first over those that are there, then beside them."""
        number, last = self._number(self._partial), self._last_of_each()
        key = self._sql.and_(*(self._table.c[name] == self._partial.c[name] for name in self._columns.key))
        others = {
            self._table.c[name]: self._partial.c[name] for name in self._columns.names if name not in self._columns.key
        }
        if others:
            connection.execute(self._sql.update(self._table).values(others).where(number == last.c.number, key))
        rows = self._partial.join(last, number == last.c.number).outerjoin(self._table, key)
        new = self._sql.select(*(self._partial.c[name] for name in self._columns.names)).select_from(rows)
        new = new.where(self._table.c[self._columns.key[0]].is_(None)).order_by(number)
        connection.execute(self._sql.insert(self._table).from_select(self._columns.names, new))

    def _last_of_each(self) -> Any:
        number = self._number(self._partial)
        last = self._sql.select(self._sql.func.max(number).label("number")).where(number > _MERGED)
        return last.group_by(*(self._partial.c[name] for name in self._columns.key)).subquery("last")

    # -- a table that is there ----------------------------------------------------------------------------------------

    def _check_table(self) -> None:
        """Raise `OptionError` if a table that is there would not take the rows: it is tried with none."""
        with self._begun() as connection:
            if not self._exists(connection, self._table):
                return
            facts = look_at(connection, self._dialect, self._url)
        self._check_facts(facts)
        try:
            with self._begun() as connection:
                self._take_types(connection, facts)
            with self._begun() as connection:
                self._merge(connection)
        except self._sql.exc.SQLAlchemyError as error:
            raise not_taken(self.name, self.reason(error)) from None

    def _check_facts(self, facts: TableFacts) -> None:
        if not facts.has_transactions:
            raise not_taken(self.name, "its engine has no transactions: ALTER TABLE … ENGINE=InnoDB gives it them")
        required = {column.name.lower() for column in self._columns.columns if column.is_required}
        for name in facts.needed:
            if name.lower() not in required:
                raise null_is_refused(self.name, name)
        if _folded(self._columns.key) not in map(_folded, facts.keys):
            names = ", ".join(self._columns.key)
            raise not_taken(
                self.name, f"no constraint, PRIMARY KEY or UNIQUE, says that there is one row for each {names}"
            )

    def _take_types(self, connection: Any, facts: TableFacts) -> None:
        """Give the key in the partial the table's types.

        So two texts are one key here if they are one there, however it takes capitals and accents, and a value that
        does not fit is refused as it comes. The table's index serves the comparison only then, too.
        """
        quote = connection.dialect.identifier_preparer.quote
        partial = connection.dialect.identifier_preparer.format_table(self._partial)
        change = "MODIFY {} {}" if self._dialect == "mysql" else "ALTER {} SET DATA TYPE {}"
        for name, type_ in facts.types:
            if name.lower() in _folded(self._columns.key):
                changed = change.format(quote(name), type_)
                connection.exec_driver_sql(f"ALTER TABLE {partial} {changed}".replace("%", "%%"))

    def _begin_session(self, connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(_SESSION[self._dialect])
        cursor.close()


def _folded(names: Iterable[str]) -> frozenset[str]:
    """Names of columns as these databases compare them."""
    return frozenset(name.lower() for name in names)

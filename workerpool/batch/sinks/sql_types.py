"""The tables of an SQL output and what is in their cells, as SQLAlchemy has them. Pure functions, any thread.

Types are SQLAlchemy's own, which each dialect writes in its words, but where these would lose something: a decimal is
the text of its digits where the database has none that are as long, and times are in UTC where they have no zone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from workerpool.batch.columns import Column, Columns, Kind
from workerpool.batch.sinks.storable import storable, storable_text
from workerpool.extras import load

_MYSQL = ("mysql", "mariadb")
_WITHOUT_ZONES = (*_MYSQL, "sqlite", "oracle")
_LONGEST_SCALE = 30  # of MariaDB's and MySQL's decimals
_KEY_LENGTH = 191  # characters of a text in a key, of which these index some 3,000 bytes in all
_IN_MYSQL = {
    f"{kind}_{name}": value for kind in _MYSQL for name, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}
_EXACT = "utf8mb4_bin"  # other collations take a and A for one key


def numbered(columns: Columns, name: str, schema: str | None, kind: str) -> Any:
    """Return a table of these columns, after the one that numbers the rows: no value but this one is needed."""
    types = Types()
    # DuckDB keeps an index of a key in memory, and orders without one as fast.
    number = types.sql.Column(columns.number, types.sql.BigInteger, primary_key=kind != "duckdb", autoincrement=False)
    others = types.columns(columns, kind)
    return types.sql.Table(name, types.sql.MetaData(), number, *others, schema=schema, **_IN_MYSQL)


def keyed(columns: Columns, name: str, schema: str | None, kind: str) -> Any:
    """Return a table of these columns, with their key: what rows are merged into, made where there is none."""
    types = Types()
    made = types.columns(columns, kind)
    key = types.sql.PrimaryKeyConstraint(*columns.key)
    return types.sql.Table(name, types.sql.MetaData(), *made, key, schema=schema, **_IN_MYSQL)


class Types:
    """What a column is in a database."""

    def __init__(self) -> None:
        self.sql = load("sqlalchemy", "sql", "this database as an output")
        self._mysql = load("sqlalchemy.dialects.mysql", "sql", "this database as an output")

    def columns(self, columns: Columns, kind: str) -> list[Any]:
        """All columns. DuckDB's dialect does not know which words are DuckDB's own, such as `at`."""
        quote = True if kind == "duckdb" else None
        return [
            self.sql.Column(column.name, self.of(column, columns), autoincrement=False, quote=quote)
            for column in columns.columns
        ]

    def of(self, column: Column, columns: Columns) -> Any:
        simple = {
            Kind.SHORT: self.sql.Integer,
            Kind.LONG: self.sql.BigInteger,
            Kind.REAL: self.sql.Double,
            Kind.BOOLEAN: self.sql.Boolean,
        }
        if column.kind in simple:
            return simple[column.kind]()
        if column.kind is Kind.TEXT:
            return self._text(column.name in columns.key)
        if column.kind is Kind.DECIMAL:
            return self._decimal(column)
        if column.kind is Kind.TIME:
            return self.sql.DateTime(timezone=True).with_variant(self._mysql.DATETIME(fsp=6), *_MYSQL)
        return self.sql.JSON(none_as_null=True)

    def _text(self, is_key: bool) -> Any:
        text = self._mysql.VARCHAR(_KEY_LENGTH, collation=_EXACT) if is_key else self._mysql.LONGTEXT(collation=_EXACT)
        return self.sql.Text().with_variant(text, *_MYSQL)

    def _decimal(self, column: Column) -> Any:
        text = self.sql.String(column.precision + 2)
        without = ("sqlite", *(_MYSQL if column.scale > _LONGEST_SCALE else ()))
        digits = self.sql.Numeric(column.precision, column.scale)
        return digits.with_variant(text, *without).with_variant(self._digits(column), "duckdb")

    def _digits(self, column: Column) -> Any:
        """A decimal that goes to the driver as it is, where SQLAlchemy would make a double of it first."""

        class Digits(self.sql.types.UserDefinedType):  # type: ignore[misc,name-defined]
            cache_ok = True

            def get_col_spec(self, **_: Any) -> str:
                return f"DECIMAL({column.precision}, {column.scale})"

        return Digits()


def cells_of(database: str) -> dict[Kind, Callable[[Any], Any]]:
    """What makes of values what a driver takes. The digits of a decimal stay text: some drivers make doubles."""
    time = _time_without_zone if database in _WITHOUT_ZONES else _time
    return {Kind.TIME: time, Kind.TEXT: storable_text, Kind.MAP: storable, Kind.JSON: storable}


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


def _time_without_zone(value: str) -> datetime:
    return _time(value).replace(tzinfo=None)

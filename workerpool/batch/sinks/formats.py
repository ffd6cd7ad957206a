"""The formats of outputs, each with what writes it: a new one is registered here, and named in `workerpool.options`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workerpool.batch.columns import Columns
from workerpool.batch.sinks.appended import AppendedStore, Rows
from workerpool.batch.sinks.csv import CsvRows
from workerpool.batch.sinks.jsonl import JsonRows
from workerpool.batch.sinks.parquet import ParquetStore
from workerpool.batch.sinks.postgres import PostgresStore
from workerpool.batch.sinks.postgres_upsert import PostgresUpsert
from workerpool.batch.sinks.remote import RemoteStore
from workerpool.batch.sinks.remote_content import Content, ParquetContent, TextContent
from workerpool.batch.sinks.sql import SqlStore
from workerpool.batch.sinks.sql_upsert import SqlUpsert
from workerpool.batch.sinks.sqlite import SqliteStore
from workerpool.batch.sinks.sqlite_upsert import SqliteUpsert
from workerpool.batch.sinks.staged import Store
from workerpool.batch.sources.database import is_database
from workerpool.errors import OptionError

STDOUT = "-"
PACKED = ".gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What an output may hold: text, which is made of `rows`, or else what `store` keeps.

    `upsert`: what merges rows into a table that is there, by the columns' key.
    `endings` of the names of files, or `schemes` of a database's URLs, say that it is meant. Text may be packed, and
    may go to standard output.
    """

    name: str
    endings: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    rows: Callable[[Columns], Rows] | None = None
    store: Callable[[str, Columns], Store] | None = None
    upsert: Callable[[str, Columns], Store] | None = None

    def store_of(self, output: str, columns: Columns) -> Store:
        if columns.key:
            return self._upsert_of(output, columns)
        if is_remote(output):
            return RemoteStore(output, self._content_of(output, columns))
        if self.store is not None:
            return self.store(output, columns)
        return AppendedStore(output, self.rows_of(columns), packed=is_packed(output))

    def _upsert_of(self, output: str, columns: Columns) -> Store:
        if self.upsert is None:
            known = ", ".join(one.name for one in FORMATS if one.upsert is not None)
            raise OptionError(
                f"upsert=True: {self.name} has no rows that could be replaced by their key; write to {known}, or to a "
                "table of MariaDB, MySQL or DuckDB, or leave it out"
            )
        return self.upsert(output, columns)

    def _content_of(self, output: str, columns: Columns) -> Content:
        """What the objects at a URL hold."""
        return TextContent(self.rows_of(columns), packed=is_packed(output)) if self.rows else ParquetContent(columns)

    def rows_of(self, columns: Columns) -> Rows:
        assert self.rows is not None
        return self.rows(columns)


FORMATS = (
    Format(name="jsonl", endings=(".jsonl",), rows=JsonRows),
    Format(name="csv", endings=(".csv",), rows=CsvRows),
    Format(name="parquet", endings=(".parquet",), store=ParquetStore),
    Format(name="sqlite", endings=(".sqlite", ".sqlite3", ".db"), store=SqliteStore, upsert=SqliteUpsert),
    Format(name="postgres", schemes=("postgresql://", "postgres://"), store=PostgresStore, upsert=PostgresUpsert),
)
SQL = Format(name="sql", store=SqlStore, upsert=SqlUpsert)
"""What writes to a database that none of the others is for."""

OF_FILES = tuple(one.name for one in FORMATS if one.endings)
"""The names of those that a file may hold; the first one is that of standard output."""

ENDINGS = ", ".join(
    f"{one.endings[0]} or {one.endings[0]}{PACKED}" if one.rows else one.endings[0] for one in FORMATS if one.endings
)
"""How the name of an output may end, for sentences."""


def format_of(output: str, format: str | None = None) -> Format:
    """Return what is written to `output`: `format` if given, or what its name says; raises `OptionError`."""
    if "://" in output and not is_remote(output):
        return _of_url(output, format)
    if format is not None and format not in OF_FILES:
        raise OptionError(f"the format {format!r} is unknown: write {', '.join(OF_FILES[:-1])} or {OF_FILES[-1]}")
    name = format or (OF_FILES[0] if output == STDOUT else None)
    ending = Path(output.lower().removesuffix(PACKED)).suffix
    chosen = next((one for one in FORMATS if (one.name == name if name else ending in one.endings)), None)
    if chosen is None:
        raise OptionError(f"the output {output}: end its name in {ENDINGS}, or give format=")
    if chosen.rows is None and output == STDOUT:
        raise OptionError(f"the format {chosen.name} cannot go to standard output: name a file with -o")
    if chosen.rows is None and is_packed(output):
        raise OptionError(f"the output {output}: {chosen.name} is not packed by gzip: leave out {PACKED}")
    return chosen


_SCHEMES = tuple(scheme for one in FORMATS for scheme in one.schemes)
_OF_OBJECTS = tuple(ending for one in FORMATS if one.name in ("jsonl", "csv", "parquet") for ending in one.endings)


def is_packed(output: str) -> bool:
    return output.lower().endswith(PACKED)


def is_remote(output: str) -> bool:
    """Whether an output is an object at a URL: it is no database, and its name says what it holds."""
    if "://" not in output or is_database(output) or output.lower().startswith(("http://", "https://", *_SCHEMES)):
        return False
    return Path(output.lower().removesuffix(PACKED)).suffix in _OF_OBJECTS


def _of_url(output: str, format: str | None) -> Format:
    """Return the format of an output that is a URL; errors show its scheme and no more, as it may hold a password."""
    shown = f"{output.partition('://')[0]}://…"
    chosen = next((one for one in FORMATS if one.schemes and output.lower().startswith(one.schemes)), None)
    if chosen is None and is_database(output):
        chosen = SQL
    if chosen is None:
        known = ", ".join(f"{one.schemes[0]}…" for one in FORMATS if one.schemes)
        raise OptionError(
            f"the output {shown} is no database that is known here: write {known} or SQLAlchemy's URL of "
            "another one, as mysql+pymysql://…, or name a file, "
            "or an object by its URL, as s3://bucket/out.jsonl"
        )
    if format is not None:
        raise OptionError(f"the output {shown} is a database's table, so format={format!r} says nothing: leave it out")
    return chosen

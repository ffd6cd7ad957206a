"""What a database says of a table that is there: its keys, what it needs, and its columns' types. Pure queries.

By the databases' own catalogues, as SQLAlchemy's inspection leaves out how much of a text MariaDB has in a key, and
knows nothing of DuckDB's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workerpool.batch.sinks.sql_url import SqlUrl
from workerpool.extras import load

_KEYS = {
    # A key that holds the beginning of a text does not tell whole texts apart.
    "mysql": (
        "SELECT index_name, column_name, sub_part FROM information_schema.statistics WHERE non_unique = 0 AND {here}"
    ),
    "duckdb": (
        "SELECT constraint_index, unnest(constraint_column_names), NULL FROM duckdb_constraints() "
        "WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND database_name = current_database() AND "
        "schema_name = coalesce(:schema, current_schema()) AND table_name = :table"
    ),
}
_NEEDED = {
    "mysql": (
        "SELECT column_name FROM information_schema.columns WHERE is_nullable = 'NO' AND column_default IS NULL AND "
        "extra = '' AND {here} ORDER BY ordinal_position"
    ),
    "duckdb": (
        "SELECT column_name FROM information_schema.columns WHERE is_nullable = 'NO' AND column_default IS NULL AND "
        "{here} ORDER BY ordinal_position"
    ),
}
_TYPES = {
    "mysql": (
        "SELECT column_name, concat(column_type, coalesce(concat(' COLLATE ', collation_name), '')) "
        "FROM information_schema.columns WHERE {here}"
    ),
    "duckdb": "SELECT column_name, data_type FROM information_schema.columns WHERE {here}",
}
_HERE = {
    "mysql": "table_schema = coalesce(:schema, database()) AND table_name = :table",
    "duckdb": (
        "table_catalog = current_database() AND table_schema = coalesce(:schema, current_schema()) AND "
        "table_name = :table"
    ),
}
_ENGINE = "SELECT engine FROM information_schema.tables WHERE {here}"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """`keys`: the columns of each constraint by which rows are told apart. `needed`: columns that take no null, and
    have no default. `types`: every column's, as its definition says it.
    """

    keys: tuple[tuple[str, ...], ...]
    needed: tuple[str, ...]
    types: tuple[tuple[str, str], ...]
    has_transactions: bool


def look_at(connection: Any, dialect: str, url: SqlUrl) -> TableFacts:
    """Ask for what is known of a table that is there; `dialect` is ``mysql`` or ``duckdb``."""
    text = load("sqlalchemy", "sql", "this database as an output").text
    name = {"schema": url.schema, "table": url.table[-1]}

    def ask(query: str) -> Sequence[Any]:
        found: Sequence[Any] = connection.execute(text(query.format(here=_HERE[dialect])), name).fetchall()
        return found

    return TableFacts(
        keys=_whole_keys(ask(_KEYS[dialect])),
        needed=tuple(name for (name,) in ask(_NEEDED[dialect])),
        types=tuple((name, type_) for name, type_ in ask(_TYPES[dialect])),
        has_transactions=dialect != "mysql" or [engine for (engine,) in ask(_ENGINE)] == ["InnoDB"],
    )


def _whole_keys(found: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    """Put the columns of each key together, but of those that hold a part of a column, or what is computed."""
    keys: dict[Any, list[str]] = {}
    parts = {key for key, name, part in found if name is None or part is not None}
    for key, name, _ in found:
        keys.setdefault(key, []).append(name)
    return tuple(tuple(names) for key, names in keys.items() if key not in parts)

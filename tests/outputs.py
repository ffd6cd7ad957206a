"""Every kind of output, and what is in one, read by other means than ours: a new kind is named in `FILES`.

This imports nothing but the standard library until something else is read: processes that are to be killed use it.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sqlite3
from contextlib import closing
from typing import Any

FILES = ("out.jsonl", "out.csv", "out.jsonl.gz", "out.csv.gz", "out.sqlite", "out.parquet")
"""A name for each kind of file."""

Row = dict[str, Any]


def load_library_of(output: str) -> None:
    """Import what an output is written with: who forks many writers has it imported once. It begins no thread."""
    if ".parquet" in output:
        import pyarrow.parquet

        pyarrow.array([0])  # the first one imports pandas
    if "postgresql://" in output:
        import psycopg  # noqa: F401
    if "mysql+" in output:
        import sqlalchemy.dialects.mysql
    if "duckdb:" in output:
        import duckdb_engine  # noqa: F401
    if "sqlite:" in output:
        import sqlalchemy.dialects.sqlite  # noqa: F401


def rows_in(output: str) -> list[Row] | None:
    """Return the records of a finished output, in their order; None if there is none. Cells of CSV are text."""
    if "://" in output:
        return _rows_of_a_table(output)
    if not os.path.exists(output):
        return None
    if output.endswith(".sqlite"):
        with closing(sqlite3.connect(output)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM results ORDER BY id")]
    if output.endswith(".parquet"):
        import pyarrow.parquet

        return list(pyarrow.parquet.read_table(output, use_threads=False).to_pylist())
    with gzip.open(output, "rt", newline="") if output.endswith(".gz") else open(output, newline="") as file:
        if ".csv" in output:
            return [{**row, "error": row["error"] or None} for row in csv.DictReader(file)]
        return [json.loads(line) for line in file]


def keys_in(output: str) -> list[str] | None:
    """Return the keys of the records in a finished output; None if there is none."""
    rows = rows_in(output)
    return None if rows is None else [row["key"] for row in rows]


def _rows_of_a_table(url: str) -> list[Row] | None:
    if not url.startswith("postgresql://"):
        return _rows_by_sqlalchemy(url)
    import psycopg
    from psycopg.rows import dict_row

    base, _, table = url.partition("?table=")
    with psycopg.connect(base, row_factory=dict_row) as connection:
        if connection.execute("SELECT to_regclass(%s) AS found", (table,)).fetchone() == {"found": None}:
            return None
        return [*connection.execute(f"SELECT * FROM {table} ORDER BY id")]


def _rows_by_sqlalchemy(url: str) -> list[Row] | None:
    """Its drivers begin threads, which no fork survives: `tests/contract/killing.py` asks in a process of its own."""
    import sqlalchemy

    base, _, table = url.partition("?table=")
    database = sqlalchemy.make_url(base).database
    if ":///" in base and not os.path.exists(str(database)):
        return None
    with sqlalchemy.create_engine(base, poolclass=sqlalchemy.NullPool).connect() as connection:
        if not sqlalchemy.inspect(connection).has_table(table):
            return None
        columns = [sqlalchemy.column(name) for name in ("id", "key", "url", "status", "ok")]
        found = connection.execute(sqlalchemy.select(*columns).select_from(sqlalchemy.table(table)).order_by("id"))
        return [dict(row) for row in found.mappings()]

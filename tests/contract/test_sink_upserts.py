"""What every sink that merges rows owes: the last row of a key, in a table that may be others', and all at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.mariadb import Server as MariaDB
from tests.outputs import FILES
from tests.postgres import Server
from workerpool.batch.columns import Column, Columns, Kind
from workerpool.batch.sinks import DurableSink, durable_sink_for, sink_for
from workerpool.batch.sinks.jsonl import encode_row
from workerpool.errors import OptionError, SinkError

COLUMNS = Columns(
    (
        Column(name="id", kind=Kind.LONG, is_required=True),
        Column(name="order", kind=Kind.TEXT, is_required=True),
        Column(name="price", kind=Kind.DECIMAL, scale=2),
    ),
    is_typed=True,
    key=("id", "order"),
)
_numbers = count(1)


class Table:
    """A place that is merged into."""

    def __init__(self, name: str, run: Callable[[str], list[Any]], table: str, text: str = "text") -> None:
        self.name = name
        self.run = run
        self.table = table
        self.text = text

    def sink(self, columns: Columns = COLUMNS) -> DurableSink:
        return durable_sink_for(self.name, typed=columns)

    def merge(self, *rows: tuple[int, str, str | None]) -> None:
        sink = self.sink()
        sink.begin()
        sink.write(lines(*rows))
        sink.finish()
        sink.settle()
        sink.close()

    def rows(self) -> list[tuple[int, str, str]]:
        return [
            tuple(row)
            for row in self.run(f'SELECT id, "order", CAST(price AS {self.text}) FROM {self.table} ORDER BY 1, 2')
        ]


def lines(*rows: tuple[int, str, str | None]) -> list[bytes]:
    return [encode_row({"id": id, "order": order, "price": price}) for id, order, price in rows]


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "duckdb"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    if request.param == "sqlite":
        path = tmp_path / "out.sqlite"

        def ask(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                return database.execute(statement).fetchall()

        return Table(str(path), ask, "results")
    if request.param == "duckdb":
        return duckdb_table(tmp_path)
    if request.param == "mariadb":
        return mariadb_table(request.getfixturevalue("mariadb"))
    server: Server = request.getfixturevalue("postgres")
    name = f"merged_{next(_numbers)}"

    def query(statement: str) -> list[Any]:
        with server.connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return Table(server.url(name), query, name)


def duckdb_table(directory: Path) -> Table:
    duckdb = pytest.importorskip("duckdb")

    def ask(statement: str) -> list[Any]:
        with closing(duckdb.connect(str(directory / "out.db"))) as database:
            return list(database.execute(statement).fetchall())

    return Table(f"duckdb:///{directory}/out.db?table=merged", ask, "merged")


def mariadb_table(server: MariaDB) -> Table:
    name = f"merged_{next(_numbers)}"

    def ask(statement: str) -> list[Any]:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')")
            cursor.execute("USE jobs")
            cursor.execute(statement)
            return list(cursor.fetchall())

    return Table(server.url(name), ask, name, "char")


def test_a_table_is_made_with_its_key_and_has_the_last_row_of_each(table: Table) -> None:
    table.merge((1, "a", "1.00"), (2, "a", "2.00"), (1, "a", "3.00"), (1, "b", None))
    assert table.rows() == [(1, "a", "3.00"), (1, "b", None), (2, "a", "2.00")]
    with pytest.raises(Exception, match=r"UNIQUE|unique|Duplicate"):
        table.run(f"INSERT INTO {table.table} (id, \"order\") VALUES (1, 'a')")


def test_rows_that_are_there_are_replaced_or_stay(table: Table) -> None:
    table.merge((1, "a", "1.00"), (2, "a", "2.00"))
    table.merge((2, "a", "5.00"), (3, "a", "3.00"))
    assert table.rows() == [(1, "a", "1.00"), (2, "a", "5.00"), (3, "a", "3.00")]


def test_a_table_of_others_keeps_its_other_columns(table: Table) -> None:
    table.run(
        f'CREATE TABLE {table.table} (id bigint, "order" varchar(9), price numeric(9, 2), '
        "note varchar(9) DEFAULT 'new', UNIQUE (\"order\", id))"
    )
    table.run(f"INSERT INTO {table.table} VALUES (1, 'a', 1, 'mine')")
    table.merge((1, "a", "2.00"), (2, "a", "2.00"))
    assert table.run(f"SELECT id, note FROM {table.table} ORDER BY id") == [(1, "mine"), (2, "new")]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ('id bigint, "order" varchar(9), PRIMARY KEY (id, "order")', "price"),
        ('id bigint, "order" text, price numeric', "constraint"),
        (
            'id bigint, "order" varchar(9), price numeric, other text NOT NULL, PRIMARY KEY (id, "order")',
            "other may not be null",
        ),
    ],
)
def test_a_table_that_would_not_take_the_rows_is_refused_before_anything_is_sent(
    table: Table, definition: str, words: str
) -> None:
    table.run(f"CREATE TABLE {table.table} ({definition})")
    sink = table.sink()
    with pytest.raises(OptionError, match=rf"does not take these rows: .*{words}"):
        sink.begin()
    sink.close()
    assert table.sink().leftover() is None


def test_rows_are_merged_once_though_the_process_ended_before_that_was_written_down(table: Table) -> None:
    sink = table.sink()
    sink.begin()
    position = sink.write(lines((1, "a", "1.00"), (2, "a", "2.00")))
    sink.finish()
    sink.close()  # and nobody has settled it
    table.run(f"UPDATE {table.table} SET price = 7 WHERE id = 1")
    assert table.sink().leftover() is None
    sink = table.sink()
    sink.resume(position)
    sink.finish()
    sink.settle()
    sink.close()
    assert [row[:2] for row in table.rows()] == [(1, "a"), (2, "a")]
    assert table.rows()[0][2].startswith("7")


def test_what_was_written_after_the_position_is_not_merged(table: Table) -> None:
    sink = table.sink()
    sink.begin()
    position = sink.write(lines((1, "a", "1.00")))
    sink.write(lines((1, "a", "9.00"), (9, "a", "9.00")))
    sink.close()
    assert "partial" in str(table.sink().leftover())
    sink = table.sink()
    sink.resume(position)
    sink.write(lines((2, "a", "2.00")))
    sink.finish()
    sink.settle()
    sink.close()
    assert table.rows() == [(1, "a", "1.00"), (2, "a", "2.00")]


def test_a_partial_that_has_gone_is_missed(table: Table) -> None:
    table.merge((1, "a", "1.00"))
    sink = table.sink()
    with pytest.raises(SinkError, match="is gone"):
        sink.resume('{"rows": 1}')
    sink.close()


def test_going_on_from_what_was_merged_begins_with_nothing(table: Table) -> None:
    table.merge((1, "a", "1.00"), (2, "a", "2.00"))
    sink = table.sink()
    position = sink.reopen('{"rows": 2}')
    sink.close()
    sink = table.sink()
    sink.resume(position)
    sink.write(lines((3, "a", "3.00")))
    sink.finish()
    sink.settle()
    sink.close()
    assert len(table.rows()) == 3


def test_a_key_may_be_all_there_is(table: Table) -> None:
    columns = Columns(COLUMNS.columns[:2], is_typed=True, key=COLUMNS.key)
    for _ in range(2):
        sink = sink_for(table.name, typed=columns)
        sink.open()
        sink.write({"id": 1, "order": "a"})
        sink.close()
    assert table.run(f"SELECT id FROM {table.table}") == [(1,)]


@pytest.mark.parametrize("name", [*(file for file in FILES if "sqlite" not in file), "-"])
def test_an_output_without_keys_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="has no rows that could be replaced by their key; write to sqlite, postgres"):
        durable_sink_for(name, typed=COLUMNS)

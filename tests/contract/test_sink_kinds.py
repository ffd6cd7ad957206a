"""Every kind of value in every kind of output: it is written with its type, and read back as it was in the row."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.contract.test_sinks import TABLES, output_of
from tests.outputs import FILES
from tests.postgres import Server
from workerpool.batch.columns import Column, Columns, Kind
from workerpool.batch.sinks import durable_sink_for, sink_for
from workerpool.batch.sinks.jsonl import encode_row

VALUES: dict[Kind, list[Any]] = {
    Kind.TEXT: ["text", 'quo"ted,\nü', "\\", "null", "5"],
    Kind.SHORT: [0, -(2**31), 2**31 - 1],
    Kind.LONG: [0, -(2**63), 2**63 - 1],
    Kind.REAL: [0.0, -1.5, 1e300, 5e-324, 0.1],
    Kind.DECIMAL: ["0.00", "-1.50", "123456789012345678901234567890.12", "0.01"],
    Kind.BOOLEAN: [True, False],
    Kind.TIME: ["2026-01-02T03:04:05.678901Z", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"],
    Kind.MAP: [{}, {"X-Thing": 'ü,"'}],
    Kind.JSON: [{}, [], "", "5", 5, 1.5, True, False, {"a": [None, {"b": 'ü\n"'}], "c": 2**70}],
}
"""Values of each kind, as they stand in a row."""

ALL = Columns(
    tuple(Column(name=f"a_{kind.value}", kind=kind, scale=2 if kind is Kind.DECIMAL else 6) for kind in Kind), True
)
"""A column of each kind."""


WORDS = Columns(
    (
        Column(name="id", kind=Kind.LONG),
        Column(name="order", kind=Kind.TEXT),
        *(replace(column, name=column.kind.value) for column in ALL.columns if column.kind is not Kind.TEXT),
    ),
    is_typed=True,
)
"""A column of each kind, named by words that SQL has a meaning for, beside an `id` that is a user's."""


def test_there_are_values_of_every_kind() -> None:
    assert set(VALUES) == set(Kind)


@pytest.mark.parametrize("output", [*FILES, *TABLES])
def test_values_are_read_back_as_they_were(output: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = output_of(output, tmp_path, request).name
    of_kinds = [[*VALUES[kind], None] for kind in WORDS.kinds[1:]]
    expected = [(number, *values) for number, values in enumerate(zip_longest(*of_kinds))]
    sink = durable_sink_for(name, typed=WORDS)
    sink.begin()
    sink.write([encode_row(dict(zip(WORDS.names, row, strict=True))) for row in expected])
    position = sink.write([encode_row(dict.fromkeys(WORDS.names) | {"id": -1})])
    expected.append((-1, *[None] * len(of_kinds)))
    sink.close()
    sink = durable_sink_for(name, typed=WORDS)
    for found in (sink.entries(position, WORDS.names), _finished(sink, position).entries(None, WORDS.names)):
        rows = list(found)
        if ".csv" in name:  # where an empty cell of text may be either
            rows = [(number, text or None, *rest) for number, text, *rest in rows]
        assert rows == expected
        assert [[type(value) for value in row] for row in rows] == [[type(value) for value in row] for row in expected]


def _finished(sink: Any, position: str) -> Any:
    sink.resume(position)
    sink.finish()
    sink.close()
    return sink


@pytest.mark.parametrize("output", [*FILES, *TABLES])
def test_a_run_without_a_job_writes_them_alike(output: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = output_of(output, tmp_path, request).name
    row = {column.name: VALUES[column.kind][1] for column in ALL.columns}
    sink = sink_for(name, typed=ALL)
    sink.open()
    sink.write(row)
    sink.close()
    assert list(durable_sink_for(name, typed=ALL).entries(None, ALL.names)) == [tuple(row.values())]


@pytest.mark.parametrize("output", [*FILES, *TABLES])
def test_a_column_may_be_called_as_a_field_of_records(
    output: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    columns = Columns((Column(name="body", kind=Kind.LONG), Column(name="headers", kind=Kind.TEXT)), is_typed=True)
    name = output_of(output, tmp_path, request).name
    for position in range(2):
        sink = sink_for(name, typed=columns, overwrite=position > 0)
        sink.open()
        sink.write({"body": position, "headers": "text"})
        sink.close()
    assert list(durable_sink_for(name, typed=columns).entries(None, columns.names)) == [(1, "text")]


def test_a_schema_may_have_as_many_columns_as_a_record(tmp_path: Path) -> None:
    columns = Columns(tuple(Column(name=f"c{number}", kind=Kind.LONG) for number in range(11)), is_typed=True)
    sink = sink_for(str(tmp_path / "out.jsonl"), typed=columns)
    sink.open()
    sink.write(dict.fromkeys(columns.names, 1))
    sink.close()
    assert json.loads((tmp_path / "out.jsonl").read_bytes()) == dict.fromkeys(columns.names, 1)


def _write(name: str) -> dict[str, Any]:
    row = {column.name: VALUES[column.kind][1] for column in ALL.columns}
    sink = durable_sink_for(name, typed=ALL)
    sink.begin()
    sink.write([encode_row(row)])
    sink.finish()
    sink.close()
    return row


def test_parquet_has_types_for_decimals_and_microseconds(tmp_path: Path) -> None:
    row = _write(str(tmp_path / "out.parquet"))
    table = parquet.read_table(tmp_path / "out.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["a_decimal"], types["a_time"]) == ("decimal128(38, 2)", "timestamp[us, tz=UTC]")
    (found,) = table.to_pylist()
    assert found["a_decimal"] == Decimal(row["a_decimal"])
    assert found["a_time"] == datetime(1, 1, 1, tzinfo=UTC)


def test_sqlite_keeps_every_digit_of_a_decimal_as_text(tmp_path: Path) -> None:
    row = _write(str(tmp_path / "out.sqlite"))
    with closing(sqlite3.connect(tmp_path / "out.sqlite")) as database:
        found = database.execute("SELECT _row, a_decimal, typeof(a_decimal), a_json FROM results").fetchall()
    assert found == [(1, row["a_decimal"], "text", "[]")]


def test_a_table_has_numeric_and_jsonb_columns(postgres: Server) -> None:
    row = _write(postgres.url("of_kinds"))
    with postgres.connect() as connection:
        types = dict(
            connection.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = 'of_kinds'::regclass AND attnum > 0"
            ).fetchall()
        )
        assert (types["a_decimal"], types["a_json"], types["_row"]) == ("numeric(38,2)", "jsonb", "bigint")
        assert connection.execute("SELECT a_decimal FROM of_kinds").fetchone() == (Decimal(row["a_decimal"]),)


def test_json_that_postgresql_cannot_hold_is_written_with_marks_in_its_place(postgres: Server) -> None:
    name = postgres.url("odd_json")
    columns = Columns((Column(name="data", kind=Kind.JSON),), is_typed=True)
    sink = durable_sink_for(name, typed=columns)
    sink.begin()
    sink.write([encode_row({"data": {"a\0": ["\ud800", "\0"]}})])
    sink.finish()
    sink.close()
    ((found,),) = list(durable_sink_for(name, typed=columns).entries(None, ("data",)))
    assert found == {"a\ufffd": ["\\ud800", "\ufffd"]}

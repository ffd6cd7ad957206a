"""What rows that are merged by SQLAlchemy owe besides: a table's own idea of a key, and once wherever it all ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

from tests.conftest import IN_FULL
from tests.contract.test_sink_upserts import COLUMNS, Table, duckdb_table, lines, mariadb_table
from tests.mariadb import Server
from workerpool.batch.columns import Column, Columns, Kind
from workerpool.batch.sinks import DurableSink, durable_sink_for
from workerpool.batch.sinks.jsonl import encode_row
from workerpool.errors import OptionError, SinkError

ROOT = Path(__file__).resolve().parent.parent.parent
TIMES = Columns(
    (Column(name="id", is_required=True), Column(name="at", kind=Kind.TIME, scale=6)), is_typed=True, key=("id",)
)
CREATE = 'CREATE TABLE {} (id bigint, "order" varchar(9), price numeric(9, 2), UNIQUE (id, "order"))'


class Ended(BaseException):
    """The process was killed."""


@pytest.fixture
def table(mariadb: Server) -> Table:
    return mariadb_table(mariadb)


@pytest.fixture(params=["mariadb", "duckdb"])
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    return duckdb_table(tmp_path) if request.param == "duckdb" else request.getfixturevalue("table")  # type: ignore[no-any-return]


def merge(table: Table, columns: Columns, *rows: dict[str, Any]) -> None:
    sink = table.sink(columns)
    sink.begin()
    sink.write([encode_row(row) for row in rows])
    sink.finish()
    sink.settle()
    sink.close()


def test_two_texts_are_one_key_if_the_table_takes_them_for_one(table: Table) -> None:
    table.run(CREATE.format(table.table) + " COLLATE utf8mb4_general_ci")
    table.merge((1, "a", "1.00"))
    table.merge((1, "A", "2.00"), (1, "Ä", "3.00"), (1, "b", "4.00"))
    assert [row[2] for row in table.rows()] == ["3.00", "4.00"]


def test_two_texts_are_two_keys_in_a_table_of_ours_if_they_differ_at_all(table: Table) -> None:
    table.merge((1, "a", "1.00"), (1, "A", "2.00"), (1, "ä", "3.00"))
    assert len(table.rows()) == 3


def test_a_key_that_is_too_long_for_the_table_is_refused_as_it_comes(table: Table) -> None:
    table.run(CREATE.format(table.table))
    sink = table.sink()
    sink.begin()
    with pytest.raises(SinkError, match="Data too long for column 'order'"):
        sink.write(lines((1, "x" * 10, "1.00")))
    sink.close()


def test_a_row_that_meets_another_unique_one_changes_nothing(each: Table) -> None:
    each.run(CREATE.format(each.table)[:-1] + ", UNIQUE (price))")
    each.merge((1, "a", "1.00"), (2, "a", "2.00"))
    sink = each.sink()
    sink.begin()
    sink.write(lines((2, "a", "3.00"), (3, "a", "1.00")))
    with pytest.raises(SinkError, match=r"(?i)duplicate.*; the 2 records before are whole, in the table"):
        sink.finish()
    sink.close()
    assert each.rows() == [(1, "a", "1.00"), (2, "a", "2.00")]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ('id bigint, "order" text, price numeric, UNIQUE (id, "order"(9))', "no constraint, PRIMARY KEY or UNIQUE"),
        ('id bigint, "order" varchar(9), price numeric, UNIQUE (id)', "one row for each id, order"),
        ('id bigint, "order" varchar(9), price numeric, UNIQUE (id, "order", price)', "one row for each id, order"),
        ('id bigint, "order" varchar(9), price numeric, UNIQUE (id, "order")) ENGINE=MyISAM', "no transactions"),
    ],
)
def test_a_table_whose_keys_are_others_is_refused_before_anything_is_sent(
    table: Table, definition: str, words: str
) -> None:
    table.run(f"CREATE TABLE {table.table} ({definition}" + ("" if "ENGINE" in definition else ")"))
    sink = table.sink()
    with pytest.raises(OptionError, match=words):
        sink.begin()
    sink.close()
    assert table.sink().leftover() is None


def test_who_may_not_change_the_table_hears_it_before_anything_is_sent(table: Table, mariadb: Server) -> None:
    table.run(CREATE.format(table.table))
    with mariadb.connect("root", "") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'hunter3-Xyzzy'")
        cursor.execute(f"GRANT SELECT ON jobs.{table.table} TO reader@'127.0.0.1'")
        cursor.execute(f"GRANT ALL ON jobs.{table.table}_partial TO reader@'127.0.0.1'")
    sink = durable_sink_for(mariadb.url(table.table, user="reader", password="hunter3-Xyzzy"), typed=COLUMNS)
    with pytest.raises(OptionError, match=r"does not take these rows: .*denied"):
        sink.begin()
    sink.close()


def test_a_time_stays_what_it_is_in_a_column_without_a_zone_wherever_the_server_is(
    mariadb: Server, table: Table
) -> None:
    table.run(f"CREATE TABLE {table.table} (id varchar(9) PRIMARY KEY, at timestamp NULL)")
    with mariadb.connect("root", "") as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL time_zone = '+09:00'")
        try:
            merge(table, TIMES, {"id": "a", "at": "2026-01-02T03:04:05.000000Z"})
        finally:
            cursor.execute("SET GLOBAL time_zone = SYSTEM")
    assert table.run(f"SELECT unix_timestamp(at) FROM {table.table}") == [(1767323045,)]


def test_a_time_stays_what_it_is_in_a_column_without_a_zone_wherever_the_process_is(tmp_path: Path) -> None:
    table = duckdb_table(tmp_path)
    table.run(f'CREATE TABLE {table.table} (id varchar PRIMARY KEY, "at" timestamp)')
    script = (
        "import sys\nfrom tests.contract.test_sink_sql_upserts import TIMES, merge\n"
        "from tests.contract.test_sink_upserts import duckdb_table\nfrom pathlib import Path\n"
        "merge(duckdb_table(Path(sys.argv[1])), TIMES, {'id': 'a', 'at': '2026-01-02T03:04:05.000000Z'})\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert table.run(f'SELECT "at" FROM {table.table}') == [(datetime(2026, 1, 2, 3, 4, 5),)]


@pytest.mark.slow
@pytest.mark.timeout(900 if IN_FULL else 120)
def test_rows_are_merged_once_wherever_the_process_ended(each: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call to the database was the last one, and whether it was answered or not."""
    each.run(CREATE.format(each.table))
    counted = each.name.startswith("mysql")
    if counted:
        each.run(f"ALTER TABLE {each.table} ADD changes int DEFAULT 0")
        each.run(
            f"CREATE TRIGGER {each.table}_changed BEFORE UPDATE ON {each.table} "
            "FOR EACH ROW SET NEW.changes = OLD.changes + 1"
        )
    for first, mode in (1, "before"), (2, "after"):
        for at in count(1) if IN_FULL else count(first, 12):
            each.run(f"DELETE FROM {each.table}")
            each.run(f"INSERT INTO {each.table} (id, \"order\", price) VALUES (1, 'a', 7), (9, 'a', 9)")
            sink = each.sink()
            ledger: dict[str, Any] = {}
            with monkeypatch.context() as patch:
                _end_at(at, mode, patch)
                try:
                    _move(sink, ledger)
                except Ended:
                    pass
                else:
                    break
                finally:
                    sink.close()
            sink = each.sink()
            _move(sink, ledger)
            sink.close()
            assert each.rows() == [(1, "a", "3.00"), (2, "a", "2.00"), (9, "a", "9.00")], (at, mode)
            if counted:
                assert each.run(f"SELECT changes FROM {each.table} ORDER BY id") == [(1,), (0,), (0,)], (at, mode)
            with pytest.raises(Exception, match=r"(?i)exist"):
                each.run(f"SELECT 1 FROM {each.table}_partial")
        assert at > 20


def _move(sink: DurableSink, ledger: dict[str, Any]) -> None:
    """Do what a job does, from wherever it was."""
    batches = [lines((1, "a", "1.00")), lines((2, "a", "2.00"), (1, "a", "3.00"))]
    if "position" not in ledger:
        ledger |= {"position": sink.begin(), "done": 0}
    elif "finished" not in ledger:
        sink.resume(ledger["position"])
    else:
        sink.resume(ledger["position"]) if sink.leftover() else None
    while ledger["done"] < len(batches):
        position = sink.write(batches[ledger["done"]])
        ledger |= {"position": position, "done": ledger["done"] + 1}
    if "finished" not in ledger:
        sink.finish()
        ledger["finished"] = True
    sink.settle()


def _end_at(at: int, mode: str, patch: pytest.MonkeyPatch) -> None:
    """Have the process end at one call to the database."""
    calls = count(1)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            is_last = next(calls) == at
            if is_last and mode == "before":
                raise Ended
            try:
                return function(*args, **kwargs)
            finally:
                if is_last:  # also where the answer is an error, such as that of a table that is not there
                    raise Ended

        return called

    for name in ("do_execute", "do_executemany", "do_commit"):
        patch.setattr(DefaultDialect, name, wrap(getattr(DefaultDialect, name)))


def test_a_database_that_merges_no_rows_by_sqlalchemy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="upsert=True: sqlite is none of the databases by SQLAlchemy"):
        durable_sink_for(f"sqlite:///{tmp_path}/out.db?table=items", typed=TIMES)

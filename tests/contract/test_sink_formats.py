"""What is in each kind of output: its columns, their types, and values that other programs read as they were meant."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyarrow import parquet

from tests.contract.test_sinks import Output, row, rows
from tests.outputs import keys_in
from tests.postgres import PASSWORD, Server
from workerpool.batch.record import FIELDS, JOB_FIELDS
from workerpool.batch.sinks import durable_sink_for, parts, sink_for
from workerpool.batch.sinks.database_url import database_of
from workerpool.errors import OptionError, SinkError

COLUMNS = (*FIELDS, "headers", "body", "body_base64", *JOB_FIELDS)
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
FULL = row("full", headers={"X-Thing": "ü"}, body="text", skipped=True, error="no", bytes=2**40, final_url="http://b/")
BARE = row("bare", status=None, ok=False, started_at=None, body_base64="/wA=", headers=None)


def test_csv_for_jobs_has_a_line_of_names_and_cells_for_both_marks(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "out.csv"))
    output.finished([FULL], [BARE])
    full, bare = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(), newline=""))
    assert tuple(full) == COLUMNS
    assert (full["ok"], full["skipped"], full["unchanged"], full["bytes"]) == ("true", "true", "false", str(2**40))
    assert json.loads(full["headers"]) == {"X-Thing": "ü"}
    assert (bare["status"], bare["ok"], bare["body"], bare["body_base64"]) == ("", "false", "", "/wA=")


def test_json_lines_are_the_very_bytes_that_were_given(tmp_path: Path) -> None:
    Output(str(tmp_path / "out.jsonl")).finished([FULL, BARE], rows(1))
    assert (tmp_path / "out.jsonl").read_bytes() == FULL + BARE + rows(1)[0]


def test_what_is_packed_is_a_gzip_file_to_others(tmp_path: Path) -> None:
    Output(str(tmp_path / "out.jsonl.gz")).finished([FULL], [BARE])
    packed = (tmp_path / "out.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == FULL + BARE
    said = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, timeout=10, check=True)
    assert said.stdout == FULL + BARE


def unpacked(path: Path) -> bytes:
    """What others find in a gzip file."""
    return subprocess.run(["gzip", "-dc", str(path)], capture_output=True, timeout=10, check=True).stdout


def test_a_packed_output_without_records_is_a_gzip_file_to_others(tmp_path: Path) -> None:
    for name in ("out.jsonl.gz", "out.csv.gz", "alone.jsonl.gz"):
        if name == "alone.jsonl.gz":
            alone = sink_for(str(tmp_path / name))
            alone.open()
            alone.close()
        else:
            Output(str(tmp_path / name)).finished()
        assert len(unpacked(tmp_path / name).splitlines()) == (1 if ".csv" in name else 0)


def test_a_packed_output_without_records_is_found_finished_and_opened_again(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "out.jsonl.gz"))
    (position,) = output.finished()
    sink = output.sink()
    sink.resume(position)
    sink.finish()
    sink.close()
    sink = output.sink()
    assert sink.reopen(position) == position
    sink.finish()
    sink.close()
    assert unpacked(tmp_path / "out.jsonl.gz") == b""
    sink = output.sink()
    sink.reopen(position)
    sink.write(rows(1))
    sink.finish()
    sink.close()
    assert (tmp_path / "out.jsonl.gz").read_bytes() == gzip.compress(rows(1)[0], 6, mtime=0)


def test_sqlite_has_numbered_rows_with_integers_reals_and_text(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "out.sqlite"))
    output.finished([FULL], [BARE])
    database = sqlite3.connect(output.name)
    database.row_factory = sqlite3.Row
    full, bare = database.execute("SELECT * FROM results ORDER BY id")
    assert tuple(full.keys()) == ("id", *COLUMNS)
    assert (full["id"], bare["id"]) == (1, 2)
    assert (full["ok"], full["skipped"], full["unchanged"], full["elapsed"]) == (1, 1, 0, 0.5)
    assert (full["bytes"], full["started_at"], json.loads(full["headers"])) == (
        2**40,
        "2026-01-02T03:04:05.678Z",
        {"X-Thing": "ü"},
    )
    assert (bare["status"], bare["started_at"], bare["headers"], bare["body_base64"]) == (None, None, None, "/wA=")
    types = {name: kind for _, name, kind, *_ in database.execute("PRAGMA table_info(results)")}
    assert types["id"] == types["status"] == types["ok"] == "INTEGER"
    assert (types["elapsed"], types["key"]) == ("REAL", "TEXT")
    database.close()


def test_what_an_older_database_left_beside_it_does_not_touch_the_new_one(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "out.sqlite"))
    output.finished(rows(1))
    for ending in ("-journal", "-wal", "-shm"):
        (tmp_path / f"out.sqlite{ending}").write_bytes(b"stale")
    output.finished(rows(2))
    assert [path.name for path in tmp_path.iterdir()] == ["out.sqlite"]


def test_a_partial_output_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "out.sqlite.partial").write_bytes(b"no database at all" * 1000)
    sink = Output(str(tmp_path / "out.sqlite")).sink()
    with pytest.raises(SinkError, match=r"out.sqlite.partial cannot be used: file is not a database"):
        sink.resume('{"rows": 1}')
    sink.begin()  # which may remove it
    sink.close()


def test_sqlite_syncs_everything_that_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            statements.append(sql)
            return super().execute(sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Connection, **options))
    sink = Output(str(tmp_path / "out.sqlite")).sink()
    sink.begin()
    sink.close()
    assert "PRAGMA synchronous = EXTRA" in statements


PARQUET = """key: string
url: string
method: string
status: int32
ok: bool
error: string
attempts: int32
elapsed: double
bytes: int64
final_url: string
started_at: timestamp[ms, tz=UTC]
headers: map<string, string ('headers')>
body: string
body_base64: string
unchanged: bool
skipped: bool"""


def test_parquet_has_the_same_types_whatever_the_values_are(tmp_path: Path) -> None:
    for batches in ([], [[BARE]], [[FULL], [BARE]]):
        output = Output(str(tmp_path / "out.parquet"))
        output.finished(*batches)
        schema = parquet.read_schema(output.name)
        assert [f"{field.name}: {field.type}" for field in schema] == PARQUET.splitlines()
    full, bare = parquet.read_table(output.name).to_pylist()
    assert (full["started_at"], full["bytes"], full["headers"]) == (WHEN, 2**40, [("X-Thing", "ü")])
    assert (full["skipped"], full["unchanged"], full["status"]) == (True, False, 200)
    assert (bare["status"], bare["ok"], bare["started_at"], bare["body_base64"]) == (None, False, None, "/wA=")


def test_parts_become_one_file_of_few_row_groups_packed_with_zstd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_ROWS", 10)
    output = Output(str(tmp_path / "out.parquet"))
    output.finished(*(rows(*range(first, first + 3)) for first in range(0, 30, 3)))
    metadata = parquet.read_metadata(output.name)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [12, 12, 6]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert keys_in(output.name) == [json.loads(line)["key"] for line in rows(*range(30))]


@pytest.mark.parametrize(
    ("output", "library", "extra"),
    [("out.parquet", "pyarrow", "parquet"), ("postgresql://u:hunter2@h/d", "psycopg", "postgres")],
)
def test_a_missing_library_is_said_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, output: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(OptionError, match=rf"needs {library}.*pip install 'workerpool-http\[{extra}\]'") as caught:
        durable_sink_for(output)
    assert "hunter2" not in str(caught.value)


def test_heavy_libraries_are_imported_only_when_they_are_used() -> None:
    script = (
        "import sys; from workerpool.batch import sinks, tables; sinks.durable_sink_for('x.sqlite');"
        "print(sorted({'pyarrow', 'psycopg', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_standard_output_gets_a_batch_twice_rather_than_never() -> None:
    script = (
        "import sys; from workerpool.batch.sinks import durable_sink_for\n"
        "sink = durable_sink_for('-', format=sys.argv[1]); start = sink.begin()\n"
        "sink.write([sys.argv[2].encode() + b'\\n']); sink.close()\n"
        "sink = durable_sink_for('-', format=sys.argv[1]); sink.resume(start)\n"
        "sink.write([sys.argv[2].encode() + b'\\n']); sink.finish(); sink.close()\n"
        "print(sink.is_exactly_once, file=sys.stderr)\n"
    )
    for format in ("jsonl", "csv"):
        command = [sys.executable, "-c", script, format, FULL.decode().strip()]
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
        assert done.stderr == b"False\n"
        lines = done.stdout.splitlines()
        assert lines == (2 * [FULL.strip()] if format == "jsonl" else 2 * lines[:2])
    with pytest.raises(SinkError, match="cannot be read back"):
        durable_sink_for("-").entries(None)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


def test_a_table_has_types_and_values_as_they_were_meant(postgres: Server) -> None:
    output = Output(postgres.url("typed"))
    output.finished([FULL], [BARE])
    with postgres.connect() as connection:
        found = connection.execute("SELECT * FROM typed ORDER BY id")
        assert found.description is not None
        names = [column.name for column in found.description]
        full, bare = (dict(zip(names, values, strict=True)) for values in found)
    assert names == ["id", *COLUMNS]
    assert (full["id"], full["started_at"], full["bytes"], full["headers"]) == (1, WHEN, 2**40, {"X-Thing": "ü"})
    assert (full["skipped"], full["unchanged"], full["status"], full["ok"]) == (True, False, 200, True)
    assert (bare["id"], bare["status"], bare["started_at"], bare["body_base64"]) == (2, None, None, "/wA=")


def test_a_body_with_a_nul_is_kept_whole_in_base64(postgres: Server) -> None:
    output = Output(postgres.url("with_nul"))
    output.finished([row("a\0b", body="c\0d")])
    with postgres.connect() as connection:
        found = connection.execute("SELECT key, body, body_base64 FROM with_nul").fetchone()
    assert found == ("a\ufffdb", None, "YwBk")


def test_an_older_table_keeps_its_grants_and_more_columns(postgres: Server) -> None:
    output = Output(postgres.url("granted"))
    output.finished(rows(1))
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE reader")
        connection.execute("GRANT SELECT ON granted TO reader")
        connection.execute("ALTER TABLE granted ADD COLUMN note text DEFAULT 'new'")
        output.finished(rows(2, 3))
        found = connection.execute("SELECT id, note, has_table_privilege('reader', 'granted', 'SELECT') FROM granted")
        assert found.fetchall() == [(1, "new", True), (2, "new", True)]


def test_a_table_of_another_make_is_refused_before_anything_is_fetched(postgres: Server) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE TABLE foreign_make (id bigint, key text)")
    sink = Output(postgres.url("foreign_make")).sink()
    with pytest.raises(OptionError, match="has no column url: drop the table"):
        sink.begin(overwrite=True)
    sink.close()


def test_a_table_may_be_in_a_schema(postgres: Server) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE SCHEMA other")
        output = Output(postgres.url("other.results"))
        output.finished(rows(1))
        output.finished(rows(2))
        assert connection.execute("SELECT count(*) FROM other.results").fetchone() == (1,)


def say(url: str) -> str:
    sink = durable_sink_for(url)
    with pytest.raises(SinkError) as caught:
        sink.begin()
    sink.close()
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_what_keeps_it_from_connecting_is_said_without_the_password(postgres: Server) -> None:
    assert 'password authentication failed for user "tester"' in say(postgres.url("t", password="wrong-Xyzzy"))
    assert 'database "nowhere" does not exist' in say(postgres.url("t", database="nowhere"))
    assert "onnection refused" in say(f"postgresql://me:{PASSWORD}@127.0.0.1:1/db")
    assert 'schema "nowhere" does not exist' in say(postgres.url("nowhere.results"))


def test_a_user_who_may_not_make_or_fill_a_table_is_told_so(postgres: Server) -> None:
    with postgres.connect() as connection:
        connection.execute(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("CREATE SCHEMA closed")
        assert "permission denied for schema closed" in say(postgres.url("closed.results", user="guest"))
        connection.execute("GRANT USAGE, CREATE ON SCHEMA closed TO guest")
        Output(postgres.url("closed.results")).finished(rows(1))
    sink = durable_sink_for(postgres.url("closed.results", user="guest"))
    with pytest.raises(OptionError, match="is not this user's to fill: grant INSERT and DELETE"):
        sink.begin(overwrite=True)
    sink.close()


def test_a_connection_that_breaks_loses_nothing_that_was_confirmed(postgres: Server) -> None:
    output = Output(postgres.url("broken"))
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    with postgres.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'workerpool'"
        )
    with pytest.raises(SinkError, match=r"terminat.*; the 2 records before are whole, in the table broken_partial"):
        sink.write(rows(3))
    with pytest.raises(SinkError):
        sink.finish()
    sink.close()
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(3))
    sink.finish()
    sink.close()
    assert output.read() == [json.loads(line)["key"] for line in rows(1, 2, 3)]


def test_a_batch_that_the_server_refuses_is_taken_back_whole(postgres: Server) -> None:
    output = Output(postgres.url("refused"))
    sink = output.sink()
    sink.begin()
    sink.write(rows(1))
    with pytest.raises(SinkError, match="the 1 record before is whole"):
        sink.write([*rows(2), row("x", attempts=2**40)])
    sink.close()
    with postgres.connect() as connection:
        assert connection.execute("SELECT count(*) FROM refused_partial").fetchone() == (1,)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:hunter2%zz@h/d", "is no URL"),
        ("postgresql://u:hunter2@h/d?nonsense=1", "is no URL"),
        ("postgresql://u:hunter2@h/d?table=a;drop", "is no name"),
        ("postgresql://u:hunter2@h/d?table=a.b.c", "is no name"),
        ("postgresql://u:hunter2@h/d?table=" + "x" * 60, "too long a name"),
        ("nosuch://u:hunter2@h/d", "no database that is known here"),
    ],
)
def test_a_url_that_cannot_work_is_refused_and_not_shown(url: str, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        durable_sink_for(url)
    assert "hunter2" not in str(caught.value)


def test_the_table_is_taken_out_of_the_url_and_the_rest_left_to_the_library() -> None:
    url = database_of("postgres://u:p%40ss@h:5433/d?sslmode=require&table=My_Table&options=-c%20a%3Db")
    assert url.table == ("My_Table",)
    assert url.partial == ("My_Table_partial",)
    settings = psycopg.conninfo.conninfo_to_dict(url.conninfo)
    assert (settings["password"], settings["port"], settings["options"]) == ("p@ss", "5433", "-c a=b")
    assert settings["sslmode"] == "require"
    assert (url.name, "p@ss" in repr(url)) == ("the table My_Table of postgresql://h/d", False)
    assert psycopg.conninfo.conninfo_to_dict(database_of("postgresql:///d").conninfo)["dbname"] == "d"

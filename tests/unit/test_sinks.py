"""Sinks: records arrive whole, in time, and a place that cannot take them says so with what is safe."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests import Response

from workerpool.batch.record import FIELDS, record_of
from workerpool.batch.sinks import check_apart, durable_sink_for, format_of, sink_for
from workerpool.batch.sinks.jsonl import encode
from workerpool.errors import InvalidRequest, OptionError, SinkError, StatusError
from workerpool.model import Attempt, Outcome, Request


def response(status: int = 200, body: bytes = b"hello", url: str = "http://a/end") -> Response:
    made = Response()
    made.status_code, made._content, made.url = status, body, url
    made.headers["X-Thing"] = "ü"
    return made


def outcome(number: int = 1, **changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "request": Request(f"http://a/{number}", key=f"k{number}"),
        "response": response(),
        "attempts": (Attempt(started_at=1_700_000_000.25, elapsed=0.5, status=200),),
        "elapsed": 0.5,
    }
    return Outcome(**{**fields, **changes})


def test_a_record_has_exactly_the_fields_of_the_contract() -> None:
    record = record_of(outcome())
    assert tuple(record) == FIELDS
    assert record == {
        "key": "k1", "url": "http://a/1", "method": "GET", "status": 200, "ok": True, "error": None, "attempts": 1,
        "elapsed": 0.5, "bytes": 5, "final_url": "http://a/end", "started_at": "2023-11-14T22:13:20.250Z",
    }  # fmt: skip


def test_what_was_never_sent_has_a_record_too() -> None:
    record = record_of(Outcome(Request("nonsense", problem="x"), error=InvalidRequest("u.txt, line 1: no URL")))
    assert (record["status"], record["ok"], record["attempts"], record["bytes"]) == (None, False, 0, 0)
    assert (record["started_at"], record["final_url"], record["error"]) == (None, None, "u.txt, line 1: no URL")


def test_body_and_headers_are_there_if_asked_for_and_bytes_that_are_no_text_in_base64() -> None:
    assert record_of(outcome(), {"body"})["body"] == "hello"
    assert record_of(outcome(), {"headers"})["headers"] == {"X-Thing": "ü"}
    binary = record_of(outcome(response=response(body=b"\xff\x00")), {"body"})
    assert binary["body_base64"] == "/wA="
    assert "body" not in binary
    failed = Outcome(Request("http://a"), error=StatusError("x", status=500))
    assert record_of(failed, {"body", "headers"})["body"] is None


def test_json_lines_are_written_one_record_a_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = sink_for(str(path), include={"headers"})
    sink.open()
    for number in range(3):
        sink.write(record_of(outcome(number), {"headers"}))
    sink.write(record_of(outcome(request=Request("http://a", key="\ud800\n"))))
    sink.close()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["key"] for record in records] == ["k0", "k1", "k2", "\ud800\n"]
    assert records[0]["headers"] == {"X-Thing": "ü"}
    assert sink.written == 4


TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates, too


@given(
    st.fixed_dictionaries(
        {
            "key": TEXT | st.integers(),
            "url": TEXT,
            "method": TEXT,
            "status": st.none() | st.integers(0, 999) | st.sampled_from(HTTPStatus),
            "ok": st.booleans(),
            "error": st.none() | TEXT,
            "attempts": st.integers(0, 100),
            "elapsed": st.floats(0, 1e9).map(lambda seconds: round(seconds, 6)) | st.just(0),
            "bytes": st.integers(0),
            "final_url": st.none() | TEXT,
            "started_at": st.none() | TEXT,
        },
        optional={"headers": st.dictionaries(TEXT, TEXT), "body": TEXT},
    )
)
def test_a_json_line_is_what_json_makes_of_the_record(record: dict[str, Any]) -> None:
    record = {field: record[field] for field in FIELDS} | record
    text = json.dumps(record, ensure_ascii=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(record)
    assert encode(record) == f"{text}\n".encode()


@given(st.floats(0, 4e9, allow_nan=False))
@example(1_700_000_000.9999996)
@example(1_700_000_000.0009999)
def test_a_record_says_when_it_was_begun_as_datetime_would(seconds: float) -> None:
    began = record_of(outcome(attempts=(Attempt(started_at=seconds, elapsed=0.5),)))["started_at"]
    assert began == datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_csv_has_a_line_of_names_and_cells_that_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    sink = sink_for(str(path), include={"headers", "body"})
    sink.open()
    nasty = 'a,"b"\r\nc\rd'
    sink.write(record_of(outcome(response=response(body=nasty.encode())), {"headers", "body"}))
    sink.write(record_of(Outcome(Request("http://b"), error=InvalidRequest("no")), {"headers", "body"}))
    sink.close()
    first, second = csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))
    assert tuple(first) == (*FIELDS, "headers", "body", "body_base64")
    assert (first["ok"], first["body"], json.loads(first["headers"])) == ("true", nasty, {"X-Thing": "ü"})
    assert (second["ok"], second["status"], second["body"]) == ("false", "", "")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\r"])
def test_a_csv_cell_with_an_end_of_line_in_it_is_one_cell_to_every_reader(tmp_path: Path, end: str) -> None:
    path, keys = tmp_path / "out.csv", [f"one{end}two", f"{end}first", f"last{end}", "plain"]
    bodies = [key.encode() for key in keys]
    sink = sink_for(str(path), include={"body"})
    sink.open()
    for key, body in zip(keys, bodies, strict=True):
        answer = outcome(request=Request("http://a/", key=key), response=response(body=body))
        sink.write(record_of(answer, {"body"}))
    sink.close()
    with path.open(newline="") as file:
        assert [(row["key"], row["body"].encode()) for row in csv.DictReader(file)] == [*zip(keys, bodies, strict=True)]
    entries = durable_sink_for(str(path), include={"body"}).entries(None, ("key", "body"))
    assert [*entries] == [(key, key) for key in keys]
    assert path.read_bytes().endswith(b",plain,\n")


def test_what_was_flushed_can_be_read_while_the_sink_is_open(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = sink_for(str(path))
    sink.open()
    sink.write(record_of(outcome()))
    sink.flush()
    assert json.loads(path.read_text())["key"] == "k1"
    sink.close()
    sink.close()


def test_an_output_that_is_there_is_kept_unless_overwrite_is_said(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("precious")
    with pytest.raises(OptionError, match="overwrite=True"):
        sink_for(str(path)).open()
    assert path.read_text() == "precious"
    sink = sink_for(str(path), overwrite=True)
    sink.open()
    sink.close()
    assert path.read_text() == ""


def test_a_source_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "both.jsonl"
    path.write_text("{}")
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    with pytest.raises(OptionError, match="one of the sources"):
        check_apart(str(link), ["-", str(path)])


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("x.parquet.gz", "leave out .gz"),
        ("x.sqlite.gz", "leave out .gz"),
        ("nosuch://user:hunter2@db/x", "write postgresql://"),
        ("x.txt", "format="),
        ("x.gz", "format="),
        ("x", "format="),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_with_what_would_do(output: str, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        sink_for(output)
    assert "hunter2" not in str(caught.value)


def test_the_format_is_the_name_s_ending_unless_given() -> None:
    def name_of(output: str, format: str | None = None) -> str:
        return format_of(output, format).name

    assert name_of("a.csv") == "csv"
    assert name_of("a.CSV", "jsonl") == "jsonl"
    assert name_of("-") == "jsonl"
    assert [name_of(f"a.{ending}") for ending in ("parquet", "sqlite", "sqlite3", "DB")] == ["parquet"] + 3 * ["sqlite"]
    assert name_of("a.csv.gz") == name_of("a.gz", "csv") == "csv"
    assert name_of("postgres://h/d") == "postgres"
    with pytest.raises(OptionError, match="cannot go to standard output"):
        format_of("-", "sqlite")
    with pytest.raises(OptionError, match="format='csv' says nothing"):
        format_of("postgresql://u:hunter2@h/d", "csv")
    with pytest.raises(OptionError, match="unknown"):
        format_of("-", "xml")


def test_a_missing_directory_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="does not exist: make it first"):
        sink_for(str(tmp_path / "no" / "out.jsonl")).open()
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(SinkError, match="it is a directory"):
        sink_for(str(tmp_path / "d.jsonl"), overwrite=True).open()


def test_a_full_device_fails_with_a_sentence() -> None:
    sink = sink_for("/dev/full", format="jsonl")
    sink.open()
    sink.write(record_of(outcome()))
    with pytest.raises(SinkError, match=r"/dev/full cannot be written: no space left on device; no record"):
        sink.flush()
    with pytest.raises(SinkError):
        sink.write(record_of(outcome()))
    sink.abort()
    with pytest.raises(SinkError):
        sink.close()


def test_a_csv_header_that_does_not_fit_is_said_at_the_start() -> None:
    with pytest.raises(SinkError, match="no space left"):
        sink_for("/dev/full", format="csv").open()


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_file_that_ran_full_ends_with_its_last_whole_record(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    limit = 3_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = sink_for(str(path))
    sink.open()
    error: SinkError | None = None
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        for number in range(100):
            sink.write(record_of(outcome(number)))
        sink.flush()
    except SinkError as caught:
        error = caught
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert error is not None
    lines = path.read_text().splitlines(keepends=True)
    whole = len(lines) - (ending == "csv")
    assert lines[-1].endswith("\n")
    assert f"k{whole - 1}" in lines[-1]
    assert (error.records, sink.written) == (whole, whole)
    assert limit - 400 < path.stat().st_size <= limit
    assert f"the {whole} records before are whole" in str(error)


def test_a_file_whose_torn_record_cannot_be_taken_back_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = sink_for(str(tmp_path / "out.jsonl"))
    sink.open()
    sink.write(record_of(outcome(1)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fails)
        patch.setattr(os, "ftruncate", fails)
        with pytest.raises(SinkError, match="no space left"):
            sink.flush()
    with pytest.raises(SinkError, match="no space left"):
        sink.write(record_of(outcome(2)))
    with pytest.raises(SinkError, match="no space left"):
        sink.close()
    assert (tmp_path / "out.jsonl").read_text() == ""


def test_a_pipe_whose_reader_has_gone_is_a_sink_error_and_no_traceback() -> None:
    code = (
        "import os, sys\n"
        "from workerpool.batch.sinks import sink_for\n"
        "from workerpool.errors import SinkError\n"
        "sink = sink_for('-'); sink.open(); sys.stdin.readline()\n"
        "try:\n    sink.write({'a': 1}); sink.close()\n"
        "except SinkError as error:\n    print(error, error.records, file=sys.stderr)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate("go\n", timeout=30)
    assert errors == "standard output cannot be written: its reader has gone; no record was written 0\n"
    assert process.returncode == 0


def test_abort_writes_what_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = sink_for(str(path))
    sink.open()
    sink.write(record_of(outcome()))
    sink.abort()
    assert path.read_text().count("\n") == 1
    assert os.path.getsize(path) > 100
    sink.close()

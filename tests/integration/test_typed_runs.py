"""Runs and jobs with a schema: what they say and where, their exit codes, and what goes together with what."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_here
from tests.outputs import rows_in
from workerpool import Job, Save, Schema
from workerpool.batch.job.reconcile import reconcile
from workerpool.batch.job.status import look_at
from workerpool.errors import OptionError
from workerpool.testing import Origin

SCHEMA = """
key = "id"
[columns]
id = { type = "int", coerce = true, required = true }
name = "string"
source = { from = "request.key" }
"""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: Origin) -> Path:
    """A directory with a schema and a source: two rows, a bad value, an answer that is no JSON, and a failure."""
    monkeypatch.chdir(tmp_path)
    paths = ["/cookies/set?id=1&name=a", "/cookies/set?id=2&name=b", "/cookies/set?id=x", "/bytes/9", "/status/404"]
    lines = [json.dumps({"url": origin.url(path), "key": f"k{number}"}) for number, path in enumerate(paths)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    (tmp_path / "s.toml").write_text(SCHEMA)
    return tmp_path


def run(said: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    done = run_here(["run", "in.jsonl", "--no-progress", "--retries", "0", *words], said)
    return done.returncode, done.stdout, done.stderr


ROWS = [{"id": 1, "name": "a", "source": "k0"}, {"id": 2, "name": "b", "source": "k1"}]


def rejected(path: str) -> set[tuple[str, Any]]:
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return {(line["key"], line["column"]) for line in lines}


def test_rows_go_to_the_output_and_rejects_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, "-o", "out.jsonl", "--schema", "s.toml", "--ordered")
    assert code == 1
    assert rows_in("out.jsonl") == ROWS
    assert rejected("out.jsonl.rejects.jsonl") == {("k2", "id"), ("k3", None), ("k4", None)}
    assert "rows           2 written; 3 rejected, with their reasons in" in said
    assert "out.jsonl.rejects.jsonl" in said
    assert run(capsys, "-o", "out.csv", "--schema", "s.toml", "--rejects", "out.jsonl.rejects.jsonl")[0] == 2
    assert not Path("out.csv").exists()  # or the next run would be refused for it


@pytest.mark.parametrize("job", [(), ("--job", "j")], ids=["run", "job"])
@pytest.mark.parametrize(
    ("rejects", "part"),
    [
        ("./in.jsonl", "--rejects"),
        ("out.jsonl", "where the output goes"),
        ("out.jsonl.partial", "where the output goes"),
        ("link.jsonl", "which is one of the sources"),
        ("folder", "is no file"),
        ("pipe", "is no file"),
        ("precious.jsonl", "is there already"),
    ],
)
def test_rejects_take_away_neither_a_source_nor_the_output_nor_what_others_have(
    capsys: pytest.CaptureFixture[str], place: Path, job: tuple[str, ...], rejects: str, part: str
) -> None:
    before = (place / "in.jsonl").read_bytes()
    (place / "out.jsonl").write_text("of yesterday\n")
    (place / "precious.jsonl").write_text("precious\n")
    (place / "folder").mkdir()
    os.link("in.jsonl", "link.jsonl")
    os.mkfifo("pipe")
    may = () if rejects == "precious.jsonl" else ("--overwrite",)
    output = "new.jsonl" if rejects == "precious.jsonl" else "out.jsonl"
    code, _, said = run(capsys, "-o", output, "--schema", "s.toml", "--rejects", rejects, *may, *job)
    assert code == 2, said
    assert part in said
    assert (place / "in.jsonl").read_bytes() == (place / "link.jsonl").read_bytes() == before
    assert (place / "out.jsonl").read_text() == "of yesterday\n"
    assert (place / "precious.jsonl").read_text() == "precious\n"
    assert (place / "pipe").is_fifo()
    assert not (place / "new.jsonl").exists()


def test_rejects_are_a_source_whose_own_rejects_need_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("-o", "shop.db", "--schema", "s.toml", "--upsert")
    assert run(capsys, *words)[0] == 1
    done = run_here(["run", "shop.db.rejects.jsonl", *words], capsys)
    assert done.returncode == 2
    assert "shop.db.rejects.jsonl, which is one of the sources: name another file by --rejects" in done.stderr
    again = ["run", "shop.db.rejects.jsonl", *words, "--retries", "0", "--no-progress"]
    assert run_here([*again, "--rejects", "again.jsonl"], capsys).returncode == 1
    assert rejected("again.jsonl") == rejected("shop.db.rejects.jsonl")


def test_a_jobs_next_run_replaces_the_rejects_of_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run(capsys, "-o", "out.jsonl", "--schema", "s.toml", "--job", "j")[0] == 1
        assert len(rejected("out.jsonl.rejects.jsonl")) == 3


def test_a_run_without_rejects_makes_no_file_and_is_well(capfd: pytest.CaptureFixture[str], place: Path) -> None:
    (place / "in.jsonl").write_text((place / "in.jsonl").read_text().splitlines()[0])
    code, out, said = run(capfd, "-o", "-", "--schema", "s.toml", "--rejects", "bad.jsonl")
    assert (code, json.loads(out)) == (0, ROWS[0])
    assert "rows           1 written\n" in said
    assert not (place / "bad.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-o", "-", "--schema", "s.toml"), "give --rejects="),
        (("-o", "x.jsonl", "--schema", "s.toml", "--rejects", "no/r.jsonl"), "there is no directory no: make it"),
        (("-o", "x.jsonl", "--job", "j", "--schema", "s.toml", "--rejects", "no/r.jsonl"), "there is no directory no"),
        (("-o", "x.csv", "--upsert"), "--upsert needs --schema"),
        (("-o", "x.csv", "--schema", "s.toml", "--upsert"), "csv has no rows that could be replaced by their key"),
        (("-o", "x.csv", "--schema", "none.toml"), "the schema none.toml: it cannot be read"),
        (("-o", "x.csv", "--schema", "s.toml", "--include", "body"), "--schema with --include"),
        (("-o", "x.csv", "--schema", "s.toml", "--job", "j", "--conditional"), "its rows would be missing"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str], origin: Origin, words: tuple[str, ...], sentence: str
) -> None:
    code, _, said = run(capsys, *words)
    assert code == 2
    assert sentence in " ".join(said.split())
    assert origin.requests == 0


def test_an_upsert_is_run_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--job", "j")):
        for _ in range(2):
            assert run(capsys, "-o", "out.sqlite", "--schema", "s.toml", "--upsert", *words)[0] == 1
            with closing(sqlite3.connect("out.sqlite")) as database:
                database.row_factory = sqlite3.Row
                assert [dict(row) for row in database.execute("SELECT * FROM results ORDER BY id")] == ROWS
    assert reconcile("j").is_proven


def test_a_job_counts_rows_and_rejects_wherever_it_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, "-o", "out.parquet", "--schema", "s.toml", "--job", "j")
    assert code == 1
    assert "run 1 finished: 5 inputs, 4 ok, 1 failed, 3 rejected (exit 1)" in said
    status = look_at("j")
    assert (status.rows, status.rejects) == (2, 3)
    found = reconcile("j")
    assert (found.rows, found.rejects, found.records, found.is_proven) == (2, 3, 2, True)
    assert "2 made of the answers, 3 rejected" in run_here(["status", "j"], capsys).stdout
    assert "2 made of the answers, 3 rejected" in run_here(["reconcile", "j"], capsys).stdout
    assert "tell no timings" in run_here(["plan", "--from", "j"], capsys).stderr


def test_what_is_missing_of_rows_or_rejects_is_found(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    run(capsys, "-o", "out.jsonl", "--schema", "s.toml", "--job", "j")
    (place / "out.jsonl").write_text((place / "out.jsonl").read_text().splitlines()[0] + "\n")
    (place / "out.jsonl.rejects.jsonl").unlink()
    wrong = " ".join(reconcile("j").wrong)
    assert "2 rows should be there, and 1 are" in wrong
    assert "3 rejects should be in" in wrong


def test_a_run_goes_on_only_with_the_schema_that_it_was_begun_with(place: Path) -> None:
    def job(schema: Any) -> Job:
        return Job("j", ["in.jsonl"], "out.jsonl", schema=schema)

    job("s.toml").open().close()  # a run has begun, and nobody has carried it out
    other = Schema.from_dict({"columns": {"id": "int"}})
    with pytest.raises(Exception, match=r"unfinished run, begun .*, with --schema \w+, not \w+"):
        job(other).open()


def test_inputs_that_ask_for_the_same_have_rows_and_rejects_of_their_own(
    capsys: pytest.CaptureFixture[str], place: Path, origin: Origin
) -> None:
    lines = (place / "in.jsonl").read_text()
    (place / "in.jsonl").write_text(lines + "\n" + lines.replace('": "k', '": "again'))
    for words in ((), ("--job", "j")):
        before = origin.requests
        run(capsys, "-o", f"out{len(words)}.jsonl", "--schema", "s.toml", "--dedupe", *words)
        assert origin.requests - before == 5
        found = {(row["id"], row["source"]) for row in rows_in(f"out{len(words)}.jsonl") or []}
        assert found == {(1, "k0"), (1, "again0"), (2, "k1"), (2, "again1")}
        assert len(rejected(f"out{len(words)}.jsonl.rejects.jsonl")) == 6


def test_what_has_not_changed_keeps_its_rows_in_an_upsert(
    capsys: pytest.CaptureFixture[str], place: Path, origin: Origin
) -> None:
    (place / "s.toml").write_text('[columns]\nid = { from = "request.key" }\n')
    (place / "in.jsonl").write_text(json.dumps({"url": origin.url("/cookies/set?id=1"), "key": "k"}))
    (place / "s.toml").write_text('key = "id"\n' + (place / "s.toml").read_text())
    for number in range(2):
        words = ("-o", "out.sqlite", "--schema", "s.toml", "--upsert", "--job", "j", "--skip-recent", "1h")
        assert run(capsys, *words)[0] == 0
        assert origin.requests == 1, number
        with closing(sqlite3.connect("out.sqlite")) as database:
            assert database.execute("SELECT id FROM results").fetchall() == [("k",)]


def test_a_function_is_given_rows(place: Path) -> None:
    got: list[Any] = []
    job = Job("j", ["in.jsonl"], got.extend, schema="s.toml", at_least_once=True)
    result = job.run()
    assert sorted(row["id"] for row in got) == [1, 2]
    assert (result.rejected, result.has_failed) == (3, True)
    assert rejected("j/rejects.jsonl") == {("k2", "id"), ("k3", None), ("k4", None)}


def test_a_drafted_schema_is_taken_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "-o", "sample.jsonl", "--include", "body")[0] == 1
    assert run_here(["infer", "sample.jsonl", "-o", "draft.toml"], capsys).returncode == 0
    assert run(capsys, "-o", "out.jsonl", "--schema", "draft.toml")[0] == 1
    assert {row["id"] for row in rows_in("out.jsonl") or []} == {"1", "2", "x"}
    again = run_here(["infer", "sample.jsonl", "-o", "draft.toml"], capsys)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    shown = run_here(["infer", "-"], capsys, stdin=b'[{"a": 1}]')
    assert (shown.returncode, 'explode = "@"' in shown.stdout) == (0, True)
    assert run_here(["infer", "none.json"], capsys).returncode == 2
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdin", None)  # as Python has it where it was closed
        closed = run_here(["infer", "-"], capsys)
    assert (closed.returncode, "standard input is closed" in closed.stderr) == (2, True)


def test_options_of_a_job_are_checked_together() -> None:
    with pytest.raises(OptionError, match=r"upsert=True needs a key"):
        Job("j", ["in.jsonl"], "x.sqlite", schema=Schema.from_dict({"columns": {"a": "int"}}), upsert=True)


def test_bodies_that_go_to_files_make_no_rows() -> None:
    with pytest.raises(OptionError, match=r"schema= with save="):
        Job("j", ["in.jsonl"], "x.jsonl", schema="s.toml", save=Save("bodies"))

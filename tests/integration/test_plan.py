"""Plans from what runs have left: jobs of every kind, whole or not, and how near they come to what a run takes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.plan_accuracy import measure
from tests.conftest import IN_FULL
from tests.forked import ForkedCommand
from tests.outputs import FILES
from tests.waiting import eventually
from workerpool.cli import main
from workerpool.plan import Records
from workerpool.testing import Origin

REQUESTS = 40


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a source, in which commands are run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "urls.txt").write_text("".join(origin.url(f"/delay/0.02?n={n}\n") for n in range(REQUESTS)))
    return tmp_path


def run(*words: str, output: str = "out.jsonl") -> int:
    return main(["run", "urls.txt", "-o", output, "--quiet", "--no-progress", *words])


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    code = main(["plan", "--json", *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    return dict(json.loads(said.out))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["plan", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.mark.parametrize("output", FILES)
def test_a_jobs_records_are_read_whatever_its_output_is(
    place: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    assert run("--job", "job", output=output) == 0
    found = planned(capsys, "--from", "job", "--workers", "1")
    assert (found["requests"], found["records"], found["no_requests"]) == (REQUESTS, REQUESTS, 0)
    (plan,) = found["settings"]
    assert plan["binds"] == "workers"
    assert plan["seconds"] >= REQUESTS * 0.02
    assert found["took_before"] > REQUESTS * 0.02 / 6
    assert planned(capsys, "urls.txt", "--from", output)["records"] == REQUESTS


def test_a_run_without_a_job_leaves_records_that_do_as_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    found = planned(capsys, "urls.txt", "--from", "out.jsonl", "--workers", "1")
    assert found["settings"][0]["seconds"] >= REQUESTS * 0.02
    assert "no sources that can be read again" in refused(capsys, "--from", "out.jsonl")


def test_several_settings_are_simulated_and_the_plan_is_the_same_each_time(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--job", "job") == 0
    words = ("--from", "job", "--workers", "1", "--compare", "--workers 4", "--compare", "--host-rate 10/s")
    found = planned(capsys, *words)
    one, four, paced = found["settings"]
    assert 2 < one["seconds"] / four["seconds"] <= 4.001
    assert paced["seconds"] == pytest.approx((REQUESTS - 1) / 10, rel=0.05)
    assert (paced["setting"], paced["binds"]) == ("--host-rate 10/s", "host-rate")
    assert found == planned(capsys, *words)


def test_a_job_that_was_interrupted_tells_what_it_has(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--job", "job", "--rate", "20/s", "--deadline", "1s") == 4
    found = planned(capsys, "--from", "job")
    assert 5 <= found["records"] < REQUESTS
    assert found["requests"] == REQUESTS
    assert found["took_before"] is None
    assert run("--job", "job") == 0
    found = planned(capsys, "--from", "job")
    assert (found["records"], found["took_before"]) == (REQUESTS, None), "its time has a break in it"


def test_records_are_those_of_the_moment_in_which_they_are_read(place: Path) -> None:
    assert run("--job", "job", "--rate", "20/s", "--deadline", "1s") == 4
    records = Records("job")
    assert run("--job", "job") == 0
    assert len([*records]) == len([*records]) == REQUESTS


def test_a_job_that_is_running_is_only_looked_at(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "urls.txt", "-o", "out.jsonl", "--job", "job", "--quiet", "--rate", "20/s"]
    with ForkedCommand(*words) as process:
        assert eventually(lambda: os.path.exists("out.jsonl.partial") and os.stat("out.jsonl.partial").st_size > 0)
        before = set(os.listdir("job"))
        assert planned(capsys, "--from", "job")["records"] >= 1
        assert set(os.listdir("job")) == before
        assert process.wait(30) == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == REQUESTS


def test_what_holds_no_timings_is_refused_in_a_sentence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "neither a job's directory nor a file of records" in refused(capsys, "urls.txt", "--from", "nowhere")
    Path("empty.jsonl").write_text("")
    assert "no record of a request that was sent" in refused(capsys, "urls.txt", "--from", "empty.jsonl")
    Path("other.jsonl").write_text('{"name": 1}\nnothing\n')
    assert "cannot be read back" in refused(capsys, "urls.txt", "--from", "other.jsonl")
    assert "urls.txt is no file of records" in refused(capsys, "urls.txt", "--from", "urls.txt")
    assert run("--job", "job", "--at-least-once", output="-") == 0
    assert "went to standard output" in refused(capsys, "--from", "job")


def test_a_job_of_another_version_or_without_its_output_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--job", "job") == 0
    os.rename("out.jsonl", "moved.jsonl")
    assert "cannot be read back" in refused(capsys, "--from", "job")
    shutil.rmtree("job")
    assert run("--job", "job") == 0
    with closing(sqlite3.connect("job/ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    assert "not a ledger that this version of workerpool reads" in refused(capsys, "--from", "job")


def test_retries_and_failures_of_the_records_are_in_the_plan(
    place: Path, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("urls.txt").write_text("".join(origin.url(f"/status/{(200, 503)[n % 4 == 0]}?n={n}\n") for n in range(20)))
    assert run("--job", "job", "--retries", "1") == 1
    plan = planned(capsys, "--from", "job", "--retries", "1")["settings"][0]
    assert (plan["sends"], plan["failed"]) == (25, 5)
    plan = planned(capsys, "--from", "job", "--retries", "3")["settings"][0]
    assert (plan["sends"], plan["failed"]) == (35, 5)


def test_inputs_that_were_never_sent_have_no_timings(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("urls.txt").open("a") as source:
        source.write("nothing\n")
    assert run("--job", "job") == 1
    found = planned(capsys, "--from", "job")
    assert (found["records"], found["requests"], found["no_requests"]) == (REQUESTS, REQUESTS, 1)


def test_a_job_over_standard_input_has_timings_and_no_sources(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("urls.txt").open() as source:
        monkeypatch.setattr(sys, "stdin", source)
        assert main(["run", "-", "-o", "out.jsonl", "--job", "job", "--quiet"]) == 0
    assert "no sources that can be read again" in refused(capsys, "--from", "job")
    assert planned(capsys, "urls.txt", "--from", "job")["records"] == REQUESTS


@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_a_plan_comes_near_to_what_runs_take() -> None:
    """Loosely, as this machine may have other work; `benchmarks/plan_accuracy.py` prints how near."""
    began = time.monotonic()
    rows = measure(120, ["--workers", "4"], [("--workers", "8"), ("--workers", "8", "--host-rate", "30/s")])
    assert time.monotonic() - began < 60
    first, wider, paced = (row.ratio for row in rows)
    assert 0.6 < first < 1.1
    assert 0.4 < wider < 1.2
    assert 0.7 < paced < 1.1
    assert rows[2].binds == "host-rate"

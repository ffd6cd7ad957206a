"""What a job does beyond going on: unique keys, conditions, what is recent, idempotency keys, rounds, slow sinks."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from workerpool import Job, Outcome, Request
from workerpool.cli import main
from workerpool.testing import Arrival, Origin, Reply

Row = dict[str, Any]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


class Enough(Exception):
    """What ends a run before its time in these tests."""


class Place:
    """A directory with sources, a job and an output; commands run in this process."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.output = directory / "out.jsonl"
        self._capsys = capsys
        self.said = ""

    def write(self, *lines: str, name: str = "urls.txt") -> None:
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))

    def run(self, *words: str, source: str = "urls.txt", output: str = "out.jsonl") -> int:
        """Run the command; its exit code. What it says is in `said`."""
        argv = ["run", source, "-o", output, "--job", "a.job", "--no-progress", "--quiet", *words]
        return self.command(*argv)

    def command(self, *argv: str) -> int:
        code = main([*argv])
        self.said = self._capsys.readouterr().err
        return code

    def proven(self) -> bool:
        code = main(["reconcile", "a.job"])
        self.said = self._capsys.readouterr().out
        return code == 0

    def records(self) -> list[Row]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def by_url(self) -> dict[str, Row]:
        return {record["url"]: record for record in self.records()}

    def edit(self, statement: str, *values: Any) -> None:
        """Change the ledger behind everybody's back."""
        with closing(sqlite3.connect(self.directory / "a.job" / "ledger.sqlite")) as database, database:
            database.execute(statement, values)


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def paths_of(origin: Origin) -> list[str]:
    return [arrival.path for arrival in origin.arrivals]


# -- unique keys ------------------------------------------------------------------------------------------------------


def test_an_input_whose_key_was_given_before_is_refused_unsent_with_both_places(place: Place, origin: Origin) -> None:
    rows = [("a", "/bytes/1"), ("b", "/bytes/2"), ("a", "/bytes/3"), ("", "/bytes/4"), ("", "/bytes/4")]
    place.write("key,url", *(f"{key},{origin.url(path)}" for key, path in rows), name="urls.csv")
    assert place.run("--unique-keys", source="urls.csv") == 1
    assert sorted(paths_of(origin)) == ["/bytes/1", "/bytes/2", "/bytes/4"]
    url = origin.url("/bytes/4")
    assert {(record["key"], record["error"], record["attempts"]) for record in place.records()} == {
        ("a", None, 1),
        ("b", None, 1),
        (url, None, 1),
        ("a", "urls.csv, line 4: the key 'a' was given before, at urls.csv, line 2: "
         "with --unique-keys each input has a key of its own", 0),
        (url, f"urls.csv, line 6: the key {url!r} was given before, at urls.csv, line 5: "
         "with --unique-keys each input has a key of its own", 0),
    }  # fmt: skip
    assert place.proven(), place.said
    assert place.run("--unique-keys", source="urls.csv") == 1  # keys are those of a run
    assert Counter(record["ok"] for record in place.records()) == {True: 3, False: 2}


def test_without_the_option_keys_may_repeat(place: Place, origin: Origin) -> None:
    place.write(*[origin.url("/bytes/1")] * 3)
    assert place.run() == 0
    assert [record["ok"] for record in place.records()] == [True] * 3


def test_unique_keys_need_a_job_and_stay_as_they_were_when_a_run_goes_on(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/delay/0.2?n={n}") for n in range(8)))
    assert place.command("run", "urls.txt", "-o", "out.jsonl", "--unique-keys") == 2
    assert "--unique-keys needs --job DIR" in place.said
    assert place.run("--unique-keys", "--workers", "1", "--deadline", "0.3s") == 4
    assert place.run() == 2
    assert "with --unique-keys" in place.said
    assert place.run("--unique-keys") == 0


def test_an_input_that_is_read_again_is_not_its_own_duplicate(tmp_path: Path, origin: Origin) -> None:
    """Ended at many points, and failed and fetched again, each of 300 keys is fetched once and refused twice."""
    fails = True

    def answer(arrival: Arrival) -> Reply:
        return Reply(status=503 if fails and arrival.path.endswith("7") else 200)

    for n in range(300):
        origin.script(f"/k/{n}", answer)
    requests = [Request(origin.url(f"/k/{n % 300}"), key=f"key {n % 300}") for n in range(900)]

    def run(after: int, **options: Any) -> None:
        seen = 0

        def observe(outcome: Outcome) -> None:
            nonlocal seen
            seen += 1
            if seen > after:
                raise Enough

        job = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "o.jsonl", unique_keys=True, **options)
        job.run(observe=observe, retry=1)

    for after in (1, 30, 100, 300):
        with pytest.raises(Enough):
            run(after)
    run(10_000)
    fails = False
    with pytest.raises(Enough):
        run(200, retry_failed=True)
    run(10_000, retry_failed=True)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert Counter((record["key"], record["ok"]) for record in records) == Counter(
        {(f"key {n}", ok): times for n in range(300) for ok, times in ((True, 1), (False, 2))}
    )
    assert sum("number 7 of the requests" in str(record["error"]) for record in records) == 2


def test_a_key_is_kept_by_an_input_that_ended_without_an_answer(place: Place, origin: Origin) -> None:
    posted = json.dumps({"url": origin.url("/reset?after=0"), "method": "POST", "key": "k"})
    place.write(posted, "no JSON", "no JSON", json.dumps({"url": origin.url("/bytes/1"), "key": "k"}), name="a.jsonl")
    assert place.run("--unique-keys", source="a.jsonl") == 1
    errors = sorted(record["error"] for record in place.records())
    assert sum("was given before, at a.jsonl, line 1" in error for error in errors) == 1
    assert sum("is no JSON" in error for error in errors) == 2


def test_a_secret_in_a_key_is_not_told(place: Place) -> None:
    place.write(*["http://user:hush@127.0.0.1:1/"] * 2)
    place.run("--unique-keys", "--retries", "0")
    assert not [record for record in place.records() if "hush" in record["error"]]

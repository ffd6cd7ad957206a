"""A job with a schema that is killed goes on, and ends with each row and each reject once, in every kind of output."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_FULL, some
from tests.integration.test_kills import strike
from tests.jobs.trial import Batch, Doomed, Trial
from tests.mariadb import Server as MariaDB
from tests.outputs import rows_in
from tests.postgres import Server as PostgreSQL
from workerpool.testing import Origin

INPUTS = 2000 if IN_FULL else 100
KILLS = 20 if IN_FULL else 2
CALLS = 40 if IN_FULL else 1

SCHEMA = """
explode = "[@, @]"
key = ["url", "number"]
[columns]
id = { type = "int", coerce = true }
url = { from = "request.url" }
number = { from = "request.index" }
price = { type = "decimal", precision = 10, scale = 2, coerce = true }
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if IN_FULL else 180)]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=1_000_000) as made:
        yield made


class Typed:
    """A trial with a schema: two rows an answer, and some answers and elements that are rejected."""

    def __init__(self, directory: Path, origin: Origin, doomed: Doomed, count: int, output: str, *options: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "schema.toml").write_text(SCHEMA)
        self.rejects = directory / "rejects.jsonl"
        batch = Batch()
        self.rows: Counter[tuple[str, int]] = Counter()
        self.bad: Counter[tuple[str, Any]] = Counter()
        for number in range(count):
            self._add(batch, origin, number)
        said = ("--schema", str(directory / "schema.toml"), "--rejects", str(self.rejects), *options)
        self.trial = Trial(directory, origin, doomed, batch, output, *said)

    def _add(self, batch: Batch, origin: Origin, number: int) -> None:
        kind = number % 10
        path = f"/cookies/set?id={number}&price={number}.25"
        if kind == 3:
            path = f"/cookies/set?id=x{number}"
        elif kind == 5:
            path = f"/status/{404 if number % 20 == 5 else 500}?i={number}"
        elif kind == 7:
            path = f"/bytes/20?i={number}"
        url = origin.url(path)
        batch.urls.append(url)
        batch.of_urls.append((url, url))
        batch.sends += 2 if "/500" in path else 1
        if kind == 3:
            self.bad.update([(url, 0), (url, 1)])
        elif kind in (5, 7):
            self.bad[url, None] += 1
        else:
            self.rows.update([(url, 0), (url, 1)])

    def finish(self, code: int | None = None) -> None:
        """Let it go on to its end, unless it is there, and look at what it has made."""
        trial = self.trial
        if code is None or code < 0:
            code = 1 if trial.is_finished() else trial.run()
        assert code == 1, trial.doomed.said
        assert Counter((row["url"], int(row["number"])) for row in rows_in(trial.output) or []) == self.rows
        lines = [json.loads(line) for line in self.rejects.read_text().splitlines()]
        assert Counter((line["url"], line["index"]) for line in lines) == self.bad
        place = ["-o", trial.output] if "://" in trial.output else []
        assert trial.doomed.run(["reconcile", str(trial.directory / "job"), *place]) == 0, trial.doomed.said
        assert sorted(trial.left()) == ["rejects.jsonl", "schema.toml"]


def kill(trial: Trial, dice: random.Random) -> int | None:
    code = None
    for _ in range(KILLS):
        code = trial.kill_after(arrivals=dice.randrange(1, max(2, trial.batch.sends * 2 // KILLS)))
        if code >= 0 or trial.is_finished():
            break
    return code


@pytest.mark.parametrize("options", some([("--ordered", "--retry-rounds", "1"), (), ("--dedupe",)], 2), ids=" ".join)
def test_rows_and_rejects_are_there_once_after_kills_at_random_moments(
    tmp_path: Path, origin: Origin, doomed: Doomed, options: tuple[str, ...]
) -> None:
    dice = random.Random(str(options))
    typed = Typed(tmp_path, origin, doomed, INPUTS, "out.parquet", *options)
    typed.finish(kill(typed.trial, dice))


@pytest.mark.parametrize("upsert", [(), ("--upsert",)], ids=["new", "upsert"])
def test_rows_and_rejects_are_in_postgresql_once_after_kills(
    tmp_path: Path, origin: Origin, doomed: Doomed, postgres: PostgreSQL, upsert: tuple[str, ...]
) -> None:
    table = "typed_upsert" if upsert else "typed_new"
    typed = Typed(tmp_path, origin, doomed, INPUTS, postgres.url(table), *upsert)
    code = kill(typed.trial, random.Random(1))
    if not upsert:
        typed.finish(code)
        return
    end_of(typed.trial, code)
    with postgres.connect() as connection:
        found = connection.execute("SELECT url, number FROM typed_upsert").fetchall()
        assert connection.execute("SELECT to_regclass('typed_upsert_partial')").fetchone() == (None,)
    assert Counter(found) == typed.rows


def end_of(trial: Trial, code: int | None) -> None:
    """Let it go on to its end, unless it is there."""
    if code is None or code < 0:
        code = 1 if trial.is_finished() else trial.run()
    assert code == 1, trial.doomed.said


def test_rows_are_merged_into_mariadb_once_after_kills(
    tmp_path: Path, origin: Origin, doomed: Doomed, mariadb: MariaDB
) -> None:
    typed = Typed(tmp_path, origin, doomed, INPUTS, mariadb.url("typed"), "--upsert")
    end_of(typed.trial, kill(typed.trial, random.Random(2)))
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT url, number FROM jobs.typed")
        assert Counter(cursor.fetchall()) == typed.rows
        cursor.execute("SHOW TABLES FROM jobs LIKE 'typed%'")
        assert cursor.fetchall() == (("typed",),)


def test_rows_are_merged_into_duckdb_once_after_kills(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "out.db"
    typed = Typed(tmp_path, origin, doomed, INPUTS, f"duckdb:///{path}", "--upsert")
    end_of(typed.trial, kill(typed.trial, random.Random(3)))
    with duckdb.connect(str(path)) as database:
        assert Counter(database.execute("SELECT url, number FROM results").fetchall()) == typed.rows
        assert database.execute("SHOW TABLES").fetchall() == [("results",)]


@pytest.mark.parametrize("output", ["out.jsonl", "out.sqlite"])
def test_rows_and_rejects_are_there_once_after_kills_at_calls(tmp_path: Path, doomed: Doomed, output: str) -> None:
    dice = random.Random(output)
    counts: dict[str, int] = {}
    for number in range(CALLS + 1):
        with Origin() as origin:
            typed = Typed(tmp_path / str(number), origin, doomed, 400 if IN_FULL else 40, output)
            if not counts:
                typed.finish()
                counts = doomed.calls
                continue
            code = strike(typed.trial, counts, dice)
            for _ in range(dice.randint(0, 2)):
                if code < 0 and not typed.trial.is_finished():
                    code = strike(typed.trial, {kind: min(12, count) for kind, count in counts.items()}, dice)
            typed.finish(code)


def test_the_very_last_steps_may_be_cut_at_any_call(tmp_path: Path, doomed: Doomed) -> None:
    with Origin() as origin:
        typed = Typed(tmp_path / "whole", origin, doomed, 20, "out.jsonl")
        typed.finish()
        calls = doomed.calls
    for kind in ("replace", "unlink"):
        for at in range(1, calls.get(kind, 0) + 1):
            for mode in ("before", "after"):
                with Origin() as origin:
                    typed = Typed(tmp_path / f"{kind}{at}{mode}", origin, doomed, 20, "out.jsonl")
                    typed.finish(typed.trial.run(kind=kind, at=at, mode=mode))


def test_failures_that_are_fetched_again_leave_no_reject_behind(tmp_path: Path, doomed: Doomed) -> None:
    with Origin() as origin:
        url = origin.url("/flaky/2?status=500&i=1")
        (tmp_path / "s.toml").write_text('[columns]\nid = "string"\n')
        (tmp_path / "u.txt").write_text(f"{url}\n")
        argv = [
            *("run", str(tmp_path / "u.txt"), "-o", str(tmp_path / "out.jsonl"), "--job", str(tmp_path / "job")),
            *("--schema", str(tmp_path / "s.toml"), "--retries", "0", "--no-progress"),
        ]
        rejects = tmp_path / "out.jsonl.rejects.jsonl"
        assert doomed.run(argv) == 1
        assert "HTTP 500" in rejects.read_text()
        assert doomed.run([*argv, "--retry-failed"]) == 1
        assert len(rejects.read_text().splitlines()) == 1
        assert doomed.run([*argv, "--retry-failed"]) == 1  # it is answered now, by what is no JSON
        assert "the answer is no JSON" in rejects.read_text()
        assert len(rejects.read_text().splitlines()) == 1
        assert doomed.run(["reconcile", str(tmp_path / "job")]) == 0, doomed.said

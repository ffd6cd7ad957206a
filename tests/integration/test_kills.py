"""A job that is killed at any moment, or at any of its calls, goes on, and ends with one record for each input."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_FULL, some
from tests.jobs.trial import Batch, Doomed, Trial, batch_of
from tests.postgres import Server
from workerpool.testing import Origin

INPUTS = 4000 if IN_FULL else 100
KILLS = 30 if IN_FULL else 2
CALLS = 60 if IN_FULL else 1
OUTPUTS = ("out.jsonl", "out.sqlite", "out.parquet", *(("out.csv", "out.jsonl.gz") if IN_FULL else ()))
"""One for each way to be written; contract/test_sinks_killed.py kills the writers of all kinds."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if IN_FULL else 120)]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=1_000_000) as made:
        yield made


def finish(trial: Trial, code: int | None = None, **expected: Any) -> None:
    """Let a run go on to its end, unless it is there, and look at what it has made."""
    if code is None or code < 0:
        code = 1 if trial.is_finished() else trial.run()
    assert code == 1, trial.doomed.said  # as some inputs fail, for good
    assert trial.left() == [], "something was left beside the output"
    trial.check(**expected)
    place = ["-o", trial.output] if "://" in trial.output else []  # its password is kept nowhere
    assert trial.doomed.run(["reconcile", str(trial.directory / "job"), *place]) == 0, trial.doomed.said


def kill_at_random(trial: Trial, kills: int, dice: random.Random) -> int | None:
    """Kill it so often, after some time or some arrivals; returns its exit code if it came to its end before."""
    code = None
    for number in range(kills):
        if number % 4 == 0:
            code = trial.kill_after(seconds=dice.uniform(0.0, 0.3))
        else:
            code = trial.kill_after(arrivals=dice.randrange(1, max(2, trial.batch.sends * 2 // kills)))
        if code >= 0 or trial.is_finished():
            break
    return code


@pytest.mark.parametrize("output", OUTPUTS if IN_FULL else OUTPUTS[1:2])
def test_a_run_killed_at_random_moments_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, doomed: Doomed, output: str
) -> None:
    dice = random.Random(output)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, INPUTS, dice), output)
    finish(trial, kill_at_random(trial, KILLS, dice))
    print(f"{output}: {trial.kills} kills, {trial.repeats()} repeats")


def test_a_run_into_postgresql_killed_at_random_moments_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, doomed: Doomed, postgres: Server
) -> None:
    dice = random.Random(3)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, INPUTS, dice), postgres.url("killed_runs"))
    finish(trial, kill_at_random(trial, KILLS, dice))
    print(f"postgresql: {trial.kills} kills, {trial.repeats()} repeats")


def test_a_run_of_thousands_killed_at_random_moments_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    dice = random.Random(1)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, 4000 if IN_FULL else 250, dice), "out.jsonl")
    finish(trial, kill_at_random(trial, 200 if IN_FULL else 4, dice))
    print(f"{trial.kills} kills, {trial.repeats()} repeats")


def test_a_run_of_two_processes_killed_at_random_moments_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    dice = random.Random(4)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, 2 * INPUTS, dice), "out.jsonl", "--processes", "2")
    finish(trial, kill_at_random(trial, KILLS if IN_FULL else 2, dice))


def test_an_ordered_run_killed_at_random_moments_ends_in_the_order_of_its_inputs(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    dice = random.Random(2)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, INPUTS, dice), "out.jsonl", "--ordered")
    finish(trial, kill_at_random(trial, KILLS, dice), ordered=True)


@pytest.mark.parametrize("options", some([("--ordered",), ("--dedupe",), ()], 2), ids=" ".join)
def test_a_round_of_retries_is_not_begun_again_after_a_kill(
    tmp_path: Path, origin: Origin, doomed: Doomed, options: tuple[str, ...]
) -> None:
    lines = [origin.url(f"/status/500?i={number}") for number in range(40)]
    batch = Batch(urls=lines, of_urls=[(line, line) for line in lines], sends=4 * len(lines))
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", "--retry-rounds", "1", *options)
    for _ in range(4):  # the first two of them in the first pass, the others in the round
        if trial.kill_after(arrivals=35) >= 0 or trial.is_finished():
            break  # on a busy machine a kill may come late, and the same command would begin anew
    finish(trial, ordered="--ordered" in options)


def test_a_round_of_retries_does_not_send_again_what_must_not_be_repeated(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    url = origin.url("/status/500?i=1")
    batch = Batch(posts=[json.dumps({"url": url, "method": "POST"})], of_posts=[(url, url)], sends=1)
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", "--retry-rounds", "2")
    assert trial.run() == 1
    assert [arrival.method for arrival in origin.arrivals] == ["POST"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_killed_at_one_of_its_calls_ends_with_one_record_for_each_input(
    tmp_path: Path, doomed: Doomed, output: str
) -> None:
    dice = random.Random(output)
    counts: dict[str, int] = {}
    kills = repeats = 0
    for number in range(CALLS + 1):
        with Origin() as origin:
            batch = batch_of(origin, 1000 if IN_FULL else 40, random.Random(5))
            trial = Trial(make(tmp_path / str(number)), origin, doomed, batch, output)
            if not counts:
                finish(trial)
                counts = doomed.calls
                continue
            code = strike(trial, counts, dice)
            for _ in range(dice.randint(0, 2)):  # and once or twice more, wherever it goes on
                if code < 0 and not trial.is_finished():
                    code = strike(trial, {kind: min(12, count) for kind, count in counts.items()}, dice)
            finish(trial, code)
            kills, repeats = kills + trial.kills, repeats + trial.repeats()
    print(f"{output}: {kills} kills at {counts}, {repeats} repeats")


def strike(trial: Trial, counts: dict[str, int], dice: random.Random) -> int:
    """Have a run kill itself at a call, drawn so that rare kinds of calls and the first and last ones come up, too."""
    kind = dice.choice(sorted(counts))
    last = counts[kind]
    at = dice.choice([dice.randint(1, last), dice.randint(1, min(20, last)), dice.randint(max(1, last - 12), last)])
    return trial.run(kind=kind, at=at, mode=dice.choice(["before", "after", "torn"][: 3 if kind == "write" else 2]))


def make(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_an_output_that_was_made_ready_for_a_run_that_had_not_begun_is_its_own(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, 20, random.Random(1)), "out.jsonl")
    assert trial.run(kind="ftruncate", at=2, mode="after") < 0
    assert (tmp_path / "out.jsonl.partial").exists()
    finish(trial)


def test_the_exit_code_counts_failures_of_executions_before(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, 60, random.Random(1)), "out.jsonl")
    assert trial.run(kind="replace", at=1, mode="before") < 0
    sent = origin.requests
    assert trial.run() == 1
    assert origin.requests == sent
    trial.check()

"""A job that is killed at any moment, or at any of its calls, goes on, and ends with one record for each input."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.trial import Doomed, Trial, batch_of, doomed_in
from workerpool.testing import Origin

FULL = bool(os.environ.get("WORKERPOOL_ALL_KILLS"))
"""Whether to kill as often as ``make kills`` does, which takes some quarter of an hour."""

INPUTS = 4000 if FULL else 400
KILLS = 30 if FULL else 6
CALLS = 60 if FULL else 14
OUTPUTS = ("out.jsonl", "out.csv", "out.jsonl.gz", "out.sqlite", "out.parquet")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if FULL else 120)]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=1_000_000) as made:
        yield made


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Doomed]:
    with doomed_in(tmp_path) as made:
        yield made


def finish(trial: Trial, code: int | None, **expected: object) -> None:
    if code is None:
        code = trial.run()
    assert code == 1, trial.doomed.said  # as some inputs fail, for good
    assert trial.left() == [], "something was left beside the output"
    trial.check(**expected)  # type: ignore[arg-type]


def kill_at_random(trial: Trial, kills: int, dice: random.Random) -> int | None:
    """Kill it so often, after some time or some arrivals; returns its exit code if it came to its end before."""
    for number in range(kills):
        if number % 4 == 0:
            code = trial.kill_after(seconds=dice.uniform(0.0, 0.3))
        else:
            code = trial.kill_after(arrivals=dice.randrange(1, max(2, trial.batch.sends * 2 // kills)))
        if code >= 0:
            return code
    return None


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_killed_at_random_moments_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, doomed: Doomed, output: str
) -> None:
    dice = random.Random(output)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, INPUTS, dice), output)
    finish(trial, kill_at_random(trial, KILLS, dice))
    print(f"{output}: {trial.kills} kills, {trial.repeats()} repeats")


def test_a_run_of_thousands_killed_at_random_moments_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    dice = random.Random(1)
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, 4000, dice), "out.jsonl")
    finish(trial, kill_at_random(trial, 200 if FULL else 10, dice))
    print(f"{trial.kills} kills, {trial.repeats()} repeats")

"""A job whose disk fails, whose files are damaged, whose power is cut: a sentence, an exit code, and nothing lost."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_FULL, some
from tests.jobs.trial import Batch, Doomed, Trial, batch_of
from tests.waiting import eventually
from workerpool.testing import Origin

KILLS = 3 if IN_FULL else 2
USAGE, NOT_WRITTEN, AT_DEADLINE = 2, 5, 4

pytestmark = pytest.mark.slow


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def trial(tmp_path: Path, origin: Origin, doomed: Doomed) -> Trial:
    return Trial(tmp_path, origin, doomed, batch_of(origin, 80, random.Random(4)), "out.jsonl")


def goes_on(trial: Trial, executions: int = 1) -> None:
    """Check that the same command finishes with one record for each input, after `executions` that were broken off."""
    assert trial.run() == 1, trial.doomed.said
    trial.kills += executions  # what was in flight then is as unknown as after a kill
    trial.check()


# -- errors of the disk -----------------------------------------------------------------------------------------------


DISK_ERRORS = [
    ("write", 2, errno.ENOSPC, "no space left on device", False),
    ("fsync", 4, errno.EIO, "input/output error", True),
    ("fsync", 7, errno.EIO, "input/output error", False),
    ("fsync", 12, errno.EIO, "input/output error", True),
    ("replace", 1, errno.EIO, "input/output error", False),
    ("sql", 4, errno.ENOSPC, "database or disk is full", True),
    ("sql", 17, errno.ENOSPC, "database or disk is full", False),
    ("sql", 25, errno.EIO, "disk I/O error", False),
    ("sql", 40, errno.ENOSPC, "database or disk is full", True),
]
"""Calls that fail, how, what is said of it, and whether all that follow fail, too."""


@pytest.mark.parametrize(
    ("kind", "at", "number", "words", "lasts"),
    [*some(DISK_ERRORS, 2), *([(*error, not lasts) for *error, lasts in DISK_ERRORS] if IN_FULL else ())],
)
def test_an_error_of_the_disk_ends_the_run_with_a_sentence_and_loses_nothing(
    trial: Trial, kind: str, at: int, number: int, words: str, lasts: bool
) -> None:
    assert trial.run(kind=kind, at=at, fails=number, lasts=lasts) == NOT_WRITTEN, trial.doomed.said
    assert words in trial.doomed.said
    assert "cannot be written" in trial.doomed.said or "could not be written" in trial.doomed.said
    goes_on(trial)


@pytest.mark.parametrize("limit", [40_000, 100_000])
def test_a_disk_that_is_full_loses_nothing(trial: Trial, limit: int) -> None:
    assert trial.run(limit=limit) == NOT_WRITTEN, trial.doomed.said
    goes_on(trial)


def test_an_output_directory_that_is_removed_ends_the_run_and_is_filled_again(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    trial = slow(tmp_path, origin, doomed, output="made/out.jsonl", make="made")
    doomed.start(trial.argv)
    origin.wait_for(30)
    shutil.rmtree(tmp_path / "made")
    assert doomed.wait() == NOT_WRITTEN, doomed.said
    (tmp_path / "made").mkdir()
    assert trial.run() == NOT_WRITTEN
    assert "is gone" in doomed.said or "is not the file" in doomed.said, doomed.said
    assert trial.run("--restart") == 0, doomed.said
    trial.check(extra=10_000)


def slow(
    directory: Path, origin: Origin, doomed: Doomed, *, output: str = "out.jsonl", make: str = "", inputs: int = 150
) -> Trial:
    """A trial of requests that takes a second for about 270 of them."""
    if make:
        (directory / make).mkdir()
    urls = [origin.url(f"/delay/0.03?i={number}") for number in range(inputs)]
    batch = Batch(urls=urls, of_urls=[(url, url) for url in urls], sends=inputs)
    return Trial(directory, origin, doomed, batch, output)


# -- files that were changed between two executions -------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def edit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [Path.unlink, cut, edit])
def test_an_unfinished_output_that_is_not_what_it_was_is_refused(trial: Trial, tmp_path: Path, damage: Any) -> None:
    assert trial.run(kind="replace", at=1) < 0
    partial = tmp_path / "out.jsonl.partial"
    kept = partial.read_bytes()
    damage(partial)
    assert trial.run() == NOT_WRITTEN
    assert "out.jsonl.partial" in trial.doomed.said
    assert "put it back as it was" in trial.doomed.said
    partial.write_bytes(kept)
    goes_on(trial)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("hello\n" * 2000)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize("damage", [empty, text, directory, newer])
def test_a_ledger_that_is_none_is_told_and_left_alone(trial: Trial, tmp_path: Path, damage: Any) -> None:
    assert trial.run(kind="replace", at=1) < 0
    ledger = tmp_path / "job" / "ledger.sqlite"
    with sqlite3.connect(ledger) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    kept, sent = ledger.read_bytes(), trial.origin.requests
    damage(ledger)
    assert trial.run() in (USAGE, NOT_WRITTEN), trial.doomed.said
    assert "ledger.sqlite" in trial.doomed.said or "out.jsonl.partial" in trial.doomed.said
    assert trial.origin.requests == sent
    if ledger.is_dir():
        ledger.rmdir()
    ledger.write_bytes(kept)
    goes_on(trial)


@pytest.mark.parametrize("seed", range(6 if IN_FULL else 2))
def test_a_ledger_with_random_bytes_in_it_is_told_to_be_damaged_or_goes_on(
    trial: Trial, tmp_path: Path, seed: int
) -> None:
    assert trial.run(kind="sql", at=25) < 0
    dice = random.Random(seed)
    files = [path for path in (tmp_path / "job").glob("ledger.sqlite*") if path.suffix != ".sqlite-shm"]
    kept = {path: path.read_bytes() for path in files}
    for path, data in kept.items():
        damaged = bytearray(data)
        for _ in range(200 if data else 0):
            damaged[dice.randrange(len(data))] = dice.randrange(256)
        path.write_bytes(damaged)
    assert trial.run() in (USAGE, NOT_WRITTEN, 1), trial.doomed.said


def test_a_clock_that_was_set_back_does_no_harm(trial: Trial) -> None:
    assert trial.run(kind="sql", at=25) < 0
    assert trial.run(kind="sql", at=25, clock=-86400 * 30) < 0
    assert trial.run(clock=-86400 * 4000) == 1, trial.doomed.said
    trial.check()


# -- a power cut: what was not synced may be anything -----------------------------------------------------------------


@pytest.mark.parametrize("tail", some(["cut", "zeros", "noise"], 2))
def test_a_power_cut_costs_what_was_not_synced(tmp_path: Path, origin: Origin, doomed: Doomed, tail: str) -> None:
    trial = slow(tmp_path, origin, doomed)
    dice = random.Random(tail)
    for _ in range(KILLS):
        pid_dies(trial, 60)
        log = tmp_path / "job" / "ledger.sqlite-wal"
        if log.exists() and log.stat().st_size > 20_000:
            damage_tail(log, dice.randrange(1, 12_000), tail, dice)
        partial = tmp_path / "out.jsonl.partial"
        with open(partial, "ab") as file:
            file.write(dice.randbytes(dice.randrange(3000)))
    assert trial.run() == 0, doomed.said
    trial.check(extra=KILLS * (60 + 8))


def pid_dies(trial: Trial, arrivals: int) -> None:
    assert trial.kill_after(arrivals=arrivals) < 0


def damage_tail(path: Path, size: int, how: str, dice: random.Random) -> None:
    whole = path.stat().st_size
    size = min(size, whole - 8192)
    with open(path, "r+b") as file:
        file.truncate(whole - size)
        if how != "cut":
            file.seek(0, os.SEEK_END)
            file.write(bytes(size) if how == "zeros" else dice.randbytes(size))


# -- signals and deadlines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "ordered"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ("--ordered",)), (signal.SIGHUP, ())],
    ids=["INT", "TERM, ordered", "HUP"],
)
def test_a_signal_drains_the_run_and_the_same_command_repeats_nothing(
    tmp_path: Path, origin: Origin, doomed: Doomed, number: int, ordered: tuple[str, ...]
) -> None:
    trial = slow(tmp_path, origin, doomed)
    trial.argv += ordered
    doomed.start(trial.argv)
    origin.wait_for(40)
    os.kill(doomed.pid, number)
    assert doomed.wait() == 128 + number
    assert "run it again, and it goes on" in doomed.said
    assert trial.run() == 0, doomed.said
    trial.check(extra=0, ordered=bool(ordered))


def test_two_signals_end_the_run_at_once_and_it_goes_on(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = slow(tmp_path, origin, doomed)
    doomed.start(trial.argv)
    origin.wait_for(40)
    os.kill(doomed.pid, signal.SIGINT)
    assert eventually(lambda: "once more stops at once" in (doomed.directory / "said").read_text())
    os.kill(doomed.pid, signal.SIGINT)
    assert doomed.wait() in (130, 0)
    trial.kills += 1
    if not trial.is_finished():
        assert trial.run() == 0, doomed.said
    trial.check()


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8] if IN_FULL else [0.0, 0.2])
def test_a_run_that_is_told_to_end_in_any_phase_goes_on(
    tmp_path: Path, origin: Origin, doomed: Doomed, seconds: float
) -> None:
    batch = batch_of(origin, 200, random.Random(4))
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", "--retry-rounds", "1", "--ordered")
    for _ in range(3):
        doomed.start(trial.argv)
        doomed.has_ended(seconds)
        os.kill(doomed.pid, signal.SIGTERM)
        code = doomed.wait()
        if trial.is_finished():
            break
        assert code in (143, -signal.SIGTERM), doomed.said
    if not trial.is_finished():
        assert trial.run() == 1, doomed.said
    rounds = sum("/status/500" in url for _, url in batch.inputs)
    trial.check(extra=2 * rounds + 4 * rounds, ordered=True)


def test_a_deadline_leaves_the_rest_for_the_next_time(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = slow(tmp_path, origin, doomed, inputs=250)
    for _ in range(2):
        assert trial.run("--deadline", "0.3s") == AT_DEADLINE, doomed.said
    assert trial.run() == 0, doomed.said
    trial.check(extra=0)

"""A job's output holds each record once, in order, wherever the process that writes it was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import IN_FULL
from tests.jobs.trial import WITHOUT_THREADS
from tests.mariadb import Server as MariaDB
from tests.outputs import FILES
from tests.postgres import Server

ROOT = Path(__file__).resolve().parent.parent.parent
MOST = {"out.jsonl": 90, "out.csv.gz": 10, "out.sqlite": 60}
"""Scenarios for an output where not 30, of several hundred; a test tries a fifteenth unless all are to run in full."""


def kill_again_and_again(output: str, directory: Path, most: int) -> None:
    tried = most if IN_FULL else max(1, most // 15)
    command = [sys.executable, str(ROOT / "tests" / "contract" / "killing.py"), output, str(directory), str(tried)]
    environment = {"PYTHONPATH": str(ROOT), **WITHOUT_THREADS}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" calls, ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES if IN_FULL else ("out.sqlite", "out.parquet"))
def test_a_file_has_every_record_once_wherever_its_writer_was_killed(tmp_path: Path, name: str) -> None:
    kill_again_and_again(str(tmp_path / "job" / name), tmp_path / "job", MOST.get(name, 30))


@pytest.mark.slow
def test_a_table_has_every_record_once_wherever_its_writer_was_killed(tmp_path: Path, postgres: Server) -> None:
    kill_again_and_again(postgres.url("killed"), tmp_path / "job", 25)


@pytest.mark.slow
@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_a_table_of_mariadb_has_every_record_once_wherever_its_writer_was_killed(
    tmp_path: Path, mariadb: MariaDB
) -> None:
    kill_again_and_again(mariadb.url("killed"), tmp_path / "job", 25)


@pytest.mark.slow
@pytest.mark.skipif(not IN_FULL, reason="make long")
@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_database_by_sqlalchemy_has_every_record_once_wherever_its_writer_was_killed(
    tmp_path: Path, kind: str
) -> None:
    kill_again_and_again(f"{kind}:///{tmp_path}/job/out.{kind}?table=killed", tmp_path / "job", 20)

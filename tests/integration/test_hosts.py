"""Examples for hosts of tasks run in them: a task that was killed or interrupted goes on, and its host's log has it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.conftest import IN_FULL, require
from workerpool.testing import Arrival, Origin, Reply

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = ROOT / ".venv-hosts" / "bin"
DATABASE = ROOT / ".venv-hosts" / "airflow" / "airflow.db"
"""Airflow's, made with the environment, and empty."""

DAY = "2026-11-01"
ORDERS, WORKERS = 300, 4
ENOUGH = 100
"""Requests after which a task is ended."""

PATIENCE = 400.0
"""Seconds for a host to run a task: it imports for ten, on a machine with nothing else to do."""

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


class Task:
    """A task in a process of its own, with the API that it fetches from."""

    def __init__(self, origin: Origin, folder: Path, *words: str | Path, **environment: str) -> None:
        self._origin = origin
        self._words = [str(word) for word in words]
        self._end: Callable[[], None] | None = None
        self._said = folder / "said.txt"
        self._environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "ORDERS_FOLDER": str(folder),
            "ORDERS_URL": origin.url("/orders/{id}"), **environment,
        }  # fmt: skip
        for number in range(1, ORDERS + 1):
            origin.script(f"/orders/{number}", self._answer)

    def _answer(self, arrival: Arrival) -> Reply:
        if self._end is not None and self._origin.requests >= ENOUGH:
            end, self._end = self._end, None
            end()
        return Reply(body=b"{}", delay=0.02)

    def run(self, end_by: signal.Signals | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end, or until a signal ends it half way. It speaks to a file: its children may keep that."""
        with open(self._said, "w+") as said:
            process = subprocess.Popen(
                self._words, env=self._environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
            if end_by is not None:
                self._end = lambda: os.kill(process.pid, end_by)
            try:
                process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                pytest.fail(f"it did not end: {self._said.read_text()[-4000:]}")
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and what it has left behind, if it was killed
                process.wait()
        return subprocess.CompletedProcess(self._words, process.returncode, self._said.read_text())


@pytest.fixture
def origin() -> Iterator[Origin]:
    require(DATABASE.exists() and (BIN / "dagster").exists(), "Airflow and Dagster: make hosts")
    with Origin() as made:
        yield made


def keys_of(path: Path) -> Counter[str]:
    return Counter(parquet.read_table(path)["key"].to_pylist())


def test_a_task_of_airflow_goes_on_in_the_next_try_if_it_was_killed(tmp_path: Path, origin: Origin) -> None:
    home = tmp_path / "airflow"
    (home / "dags").mkdir(parents=True)
    dag = shutil.copy(ROOT / "examples" / "10_airflow_dag.py", home / "dags")
    airflow = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    shutil.copy(DATABASE, home)
    task = Task(origin, tmp_path, BIN / "python", dag, DAY, **airflow)

    if IN_FULL:  # Airflow is busy with itself for ten seconds a try
        killed = task.run(end_by=signal.SIGKILL)
        assert killed.returncode == -signal.SIGKILL, killed.stdout[-4000:]
        assert ENOUGH <= origin.requests < ORDERS
        assert not (tmp_path / f"{DAY}.parquet").exists()

    done = task.run()
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{DAY}.parquet: 300 orders" in done.stdout, done.stdout[-4000:]  # says the task after it, of its result
    assert keys_of(tmp_path / f"{DAY}.parquet") == Counter(str(number) for number in range(1, ORDERS + 1))
    assert origin.requests <= ORDERS + WORKERS
    for event in ("run.continued job=" if IN_FULL else "run.started sources=", "run.finished inputs="):
        assert event in done.stdout


def test_an_asset_of_dagster_that_is_interrupted_goes_on_and_nothing_is_fetched_twice(
    tmp_path: Path, origin: Origin
) -> None:
    """An interrupt is one more failure for its retry policy, so the same process tries again."""
    task = Task(origin, tmp_path, BIN / "python", ROOT / "examples" / "11_dagster_asset.py", DAY)
    done = task.run(end_by=signal.SIGINT)
    assert done.returncode == 0, done.stdout[-4000:]
    assert keys_of(tmp_path / f"{DAY}.parquet") == Counter(str(number) for number in range(1, ORDERS + 1))
    assert origin.requests == ORDERS
    told = re.findall(r" - orders - (run\.\w+(?: reason=\w+)?)", done.stdout)  # in the words of Dagster's own log
    assert [event for event in told if event not in ("run.progress", "run.cancelled")] == [
        "run.started", "run.draining reason=DagsterExecutionInterruptedError", "run.finished",
        "run.continued", "run.started", "run.finished",
    ]  # fmt: skip

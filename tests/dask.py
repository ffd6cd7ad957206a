"""What tests of clusters share: schedulers and workers of Dask, in processes of their own that can be killed by id."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import environment
from tests.conftest import require
from tests.forked import CONTEXT
from tests.waiting import until_accepting


def distributed() -> Any:
    """The library, or the test is skipped."""
    try:
        import distributed
    except ImportError:
        require(None, "distributed")
    return distributed


@pytest.fixture(scope="module")
def forked_workers() -> Iterator[None]:
    """Have the workers that are started from here be forked from one process that has imported what they need."""
    distributed()
    import dask
    from distributed import utils

    utils._forkserver_preload_set = True  # it would import pandas there, too
    CONTEXT.set_forkserver_preload(["distributed", "workerpool.cluster.holder"])
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


@contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """A client of a cluster of so many processes."""
    library = distributed()
    made = library.LocalCluster(
        n_workers=workers, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0",
        memory_limit=0, silence_logs=50,
    )  # fmt: skip
    try:
        with library.Client(made, set_as_default=False) as client:
            yield client
    finally:
        made.close()


def pids_of(client: Any) -> list[int]:
    """The ids of a cluster's workers."""
    return [*client.run(os.getpid).values()]


class Processes:
    """A scheduler on a port of its own, and workers; whatever is left of them is killed in the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._all: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start one, and wait until it listens."""
        words = ("--host", "127.0.0.1", "--port", str(self._port), "--dashboard-address", "127.0.0.1:0", "--no-show")
        process = self._start("scheduler", *words)
        until_accepting("the scheduler", "127.0.0.1", self._port, process, self._directory / "scheduler")
        return process

    def start_worker(self) -> subprocess.Popen[bytes]:
        words = (
            self.address,
            "--no-nanny",
            "--dashboard-address",
            "127.0.0.1:0",
            "--nthreads",
            "2",
            "--memory-limit",
            "0",
        )
        return self._start("worker", *words)

    def _start(self, what: str, *words: str) -> subprocess.Popen[bytes]:
        with open(self._directory / what, "ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *words],
                stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=environment(), cwd=self._directory,
            )  # fmt: skip
        self._all.append(process)
        return process

    def end(self) -> None:
        for process in self._all:
            process.kill()
            process.wait(30)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    distributed()
    directory = tmp_path / "dask"
    directory.mkdir()
    made = Processes(directory)
    try:
        yield made
    finally:
        made.end()

"""What tests of `ShardedPool` share: four hosts, processes that are there soon, and looks at them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import pytest

from tests.forked import CONTEXT
from tests.waiting import LONG, eventually
from workerpool.processes import child, process
from workerpool.testing import Origin

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
WORKERS = 4


def origin_of_four() -> Origin:
    return Origin(addresses=ADDRESSES, record_limit=100_000)


def urls(origin: Origin, count: int, path: str = "/bytes/10") -> list[str]:
    """So many URLs, of all the origin's hosts in turn."""
    return [origin.url(f"{path}?i={n}", address=ADDRESSES[n % 4]) for n in range(count)]


@pytest.fixture
def real_start() -> None:
    """For a test whose processes are to be started as they are for users."""


@pytest.fixture
def forked_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork each process of a pool from one that has imported what it needs, but for tests with `real_start`."""
    if "real_start" not in request.fixturenames:
        monkeypatch.setattr(process, "_start", _Forked)


class _Forked:
    """As much of `subprocess.Popen` as pools use."""

    def __init__(self, descriptor: int) -> None:
        self._process = CONTEXT.Process(target=_serve, args=(DupFd(descriptor), dict(os.environ)))
        self._process.start()
        self.kill = self._process.kill

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, {"returncode": "exitcode"}.get(name, name))

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a process", timeout or 0.0)


def _serve(line: Any, variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    child.main(line.detach(), os.getppid())


def is_there(pid: int) -> bool:
    """Whether a process is there and not just waiting to be waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it goes between being opened and being read
        return False


def none_is_left(pids: list[int], seconds: float = LONG) -> bool:
    return eventually(lambda: not any(map(is_there, pids)), seconds)


def is_still(count: Callable[[], int]) -> bool:
    """Whether a count stays what it is for a moment."""
    before = count()
    return not eventually(lambda: count() != before, 0.3)

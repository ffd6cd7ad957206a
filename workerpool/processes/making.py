"""The pool that a number of processes asks for."""

from __future__ import annotations

from typing import Any

from workerpool.checks import check_count
from workerpool.pool import WorkerPool
from workerpool.processes.pool import ShardedPool


def make_pool(processes: int = 1, **options: Any) -> WorkerPool:
    """Return a pool of so many processes; with one, a `WorkerPool` in this process. `options` are `WorkerPool`'s."""
    if check_count("processes", processes) == 1:
        return WorkerPool(**options)
    return ShardedPool(processes, **options)

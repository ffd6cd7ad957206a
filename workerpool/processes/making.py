"""The pool that a number of processes asks for, and `fetch`, which needs no more than one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from workerpool.checks import check_count
from workerpool.model import Outcome, Request
from workerpool.pool import WorkerPool
from workerpool.processes.pool import ShardedPool


def make_pool(processes: int = 1, **options: Any) -> WorkerPool:
    """Return a pool of so many processes; with one, a `WorkerPool` in this process. `options` are `WorkerPool`'s."""
    if check_count("processes", processes) == 1:
        return WorkerPool(**options)
    return ShardedPool(processes, **options)


def fetch(urls: Iterable[str | Request], **options: Any) -> Iterator[Outcome]:
    """Fetch `urls` with a pool of their own, and yield the outcomes as they complete.

    `options` are those of `WorkerPool`, `ordered`, `window` and `pages` of `WorkerPool.stream`, and `processes`: on how
    many, see `ShardedPool`; 1 is this one. Leaving the loop ends the pool.
    """
    of_stream: dict[str, Any] = {name: options.pop(name) for name in ("ordered", "window", "pages") if name in options}
    return _fetch(make_pool(**options), urls, of_stream)


def _fetch(pool: WorkerPool, urls: Iterable[str | Request], options: dict[str, Any]) -> Iterator[Outcome]:
    with pool:
        yield from pool.stream(urls, **options)

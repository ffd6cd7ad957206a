"""The pool that somebody asks for: in this process, on several of this machine, or on a cluster; and `fetch`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from workerpool.checks import check_count
from workerpool.errors import OptionError
from workerpool.model import Outcome, Request
from workerpool.pool import WorkerPool


def make_pool(processes: int = 1, *, cluster: Any = None, bodies: bool = True, **options: Any) -> WorkerPool:
    """Return a pool on so many processes, or on a cluster; else a `WorkerPool` in this process.

    `bodies`: whether outcomes are to have them, which a cluster can do without. `options` are `WorkerPool`'s.
    """
    # A batch in one process can do without the others.
    if cluster is not None:
        from workerpool.cluster.pool import ClusterPool

        check_alone(processes)
        return ClusterPool(cluster, bodies=bodies, **options)
    if check_count("processes", processes) == 1:
        return WorkerPool(**options)
    from workerpool.processes import ShardedPool

    return ShardedPool(processes, **options)


def check_alone(processes: int) -> None:
    """Raise `OptionError` if several processes are asked for, beside a cluster."""
    if check_count("processes", processes) != 1:
        raise OptionError(f"processes={processes} with cluster=: a cluster has processes of its own, so leave that out")


def check_saving(cluster: object, saves: bool) -> None:
    """Raise `OptionError` where bodies are to go to files, and the workers have a disk of their own."""
    if not saves or cluster is None:
        return
    from workerpool.cluster.line import local_workers

    if local_workers(cluster) is None:
        raise OptionError(
            "save= with cluster=: bodies go to files of the worker that fetches them, which is another machine; write "
            "them to records by include=['body'], or use cluster='local[4]'"
        )


def fetch(urls: Iterable[str | Request], **options: Any) -> Iterator[Outcome]:
    """Fetch `urls` with a pool of their own, and yield the outcomes as they complete.

    `options` are those of `WorkerPool`, `ordered`, `window` and `pages` of `WorkerPool.stream`, and `processes` or
    `cluster`: on how many of this machine, see `ShardedPool`, or on which cluster, see `ClusterPool`. Leaving the loop
    ends the pool.
    """
    of_stream: dict[str, Any] = {name: options.pop(name) for name in ("ordered", "window", "pages") if name in options}
    return _fetch(make_pool(**options), urls, of_stream)


def _fetch(pool: WorkerPool, urls: Iterable[str | Request], options: dict[str, Any]) -> Iterator[Outcome]:
    with pool:
        yield from pool.stream(urls, **options)

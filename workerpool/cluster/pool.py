"""`ClusterPool`: a `WorkerPool` whose workers are those of a cluster, on this machine or on many.

This process reads the source, and keeps what is done with outcomes; the cluster's send. Any thread may call a pool's
methods.
"""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NoReturn

from workerpool import events
from workerpool.checks import check_flag
from workerpool.cluster.coordinator import Coordinator
from workerpool.cluster.line import local_workers, open_line
from workerpool.cluster.options import check_cluster, options_of_workers, window_of
from workerpool.errors import ClusterLost, OptionError, WrongThread
from workerpool.limits.file import budget_path
from workerpool.model import Idle, Request
from workerpool.pool import WorkerPool, options_of
from workerpool.processes.scratch import Scratch
from workerpool.retry import Retries
from workerpool.statistics import PoolStatistics
from workerpool.stream import Stream
from workerpool.tracing import Tracing, Untraced


class ClusterPool(WorkerPool):
    """A `WorkerPool` on the workers of a Dask cluster, each of which sends to hosts of its own.

    For batches that one machine cannot send fast enough. The requests of one host go to one worker as long as any is
    under way; rates, sockets and pauses hold over all of them. Streams, lists, `get` and its like, `drain`,
    `statistics` and `shutdown` are as those of `WorkerPool`; callables cannot be submitted.

    `cluster`: ``"local[4]"``, a cluster of four processes of this machine, which begins and ends with the pool; the
    address of a Dask scheduler, as ``"tcp://10.0.0.5:8786"``; or a `distributed.Client`. All workers need the same
    version of this library. `max_workers`: threads of each worker. Other numbers are for all workers together: those of
    ``local[4]`` keep them by a file, those of several machines by `redis`.
    `bodies`: False leaves them where they were read, so that outcomes say how long they are, and responses have none.
    `options` are those of `WorkerPool`. Functions and classes among them have to be found in modules, not in the
    program's main one; there is no `clock`, and cookies are not ``"shared"``.

    A worker that is lost costs nothing but time: what it had without an outcome is sent again by others, so a request
    that may not be repeated fails as `InvalidRequest`, unsent. A lost scheduler is waited for.

    Needs the extra `[cluster]`. Raises `OptionError` (a `ValueError`) for a value that cannot work, `ClusterLost` if no
    cluster is there.
    """

    def __init__(self, cluster: Any, max_workers: int | None = 16, *, bodies: bool = True, **options: Any) -> None:
        self._cluster = cluster
        check_flag("bodies", bodies)
        self._keeps_bodies = bodies
        # What the workers share is theirs to join: this process sends nothing.
        self._shared = {name: options.pop(name) for name in ("budget", "redis") if options.get(name) is not None}
        if "redis" in self._shared:
            self._shared.setdefault("budget", f"workerpool-{uuid.uuid4().hex}")
        options_of(**options, **self._shared)
        self._given = {name: value for name, value in options.items() if name != "trace"}  # spans are this process's
        self._closing_since: float | None = None
        super().__init__(max_workers, **options)

    def _start(self) -> None:
        """Connect to the cluster, or start it."""
        workers = local_workers(self._cluster)
        check_cluster({**self._given, **self._shared}, self._options, is_local=workers is not None)
        self._retries = Retries(self._options.retry)
        self._scratch: Scratch | None = None
        shared = self._shared if "redis" in self._shared or workers is None else {"budget": self._budget_file()}
        options = options_of_workers(self._given, self._options, workers, shared)
        self._line = open_line(self._cluster)
        self._coordinator = Coordinator(
            self._line,
            options,
            self._options.workers,
            may_split=bool(shared),
            keeps_bodies=self._keeps_bodies,
            may_repeat=self._retries.may_repeat,
        )
        self._crew: Any = self._coordinator
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._on_dropped: Any = weakref.finalize(self, _abandon, self._coordinator)
        self._on_dropped.atexit = False

    def _budget_file(self) -> Path:
        """Where the budget is that the workers of a cluster on this machine share."""
        if "budget" in self._shared:
            return Path(budget_path(self._shared["budget"], os.environ))
        self._scratch = Scratch()
        return self._scratch.budget

    def start_anew(self) -> None:
        """In a forked child there is no way to the cluster: the connection is the parent's."""
        self._on_dropped.detach()
        self._coordinator.failure = ClusterLost("a forked process has no way to the cluster of its parent: make a pool")

    def _stream(
        self,
        name: str,
        requests: Iterable[str | Request | Idle],
        window: int | None,
        tracing: Tracing | Untraced,
        *,
        ordered: bool,
        **kind: Any,
    ) -> Stream:
        if not self._keeps_bodies and kind.get("chains") is not None:
            raise OptionError(
                "pages= with bodies=False: what follows a page stands in its body, so leave one of them out"
            )
        if window is None:
            window = window_of(self._line.count_workers())
        return super()._stream(name, requests, window, tracing, ordered=ordered, **kind)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more requests, and end when those that were taken have ended; with `wait`, return only then.

        `cancel_futures` cancels requests that are not being sent right now. A cluster that was started by the pool ends
        with it.
        """
        is_first, self._closing_since = self._closing_since is None, self._closing_since or self._clock.now()
        self._coordinator.close(cancel=cancel_futures)
        if not wait:
            return
        self._coordinator.join()
        self._on_dropped.detach()
        if self._scratch is not None:
            self._scratch.remove()
        if is_first:
            figures, elapsed = self._coordinator.look(), self._clock.now() - self._closing_since
            events.emit("pool.stopped", requests=figures.requests, sent=figures.sent, elapsed=elapsed)

    def statistics(self) -> PoolStatistics:
        """Return a frozen picture of all workers together, as they stood when they told last: about a second ago."""
        return self._coordinator.look()

    @property
    def cpu(self) -> float:
        """Seconds that the workers' processes had had the CPU when they told last."""
        return self._coordinator.cpu

    @property
    def size(self) -> int:
        """How many workers of the cluster have taken part."""
        return max(1, self._coordinator.workers)

    @property
    def _broken(self) -> bool:
        """Whether the cluster is lost."""
        return self._coordinator.failure is not None

    @property
    def session(self) -> NoReturn:
        """There is none, as no worker is in this process."""
        raise WrongThread("pool.session is a worker's own, and a ClusterPool has its workers in other processes")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Refused: it would run in another process."""
        raise WrongThread("a ClusterPool runs no callables, as its workers are in other processes: use a WorkerPool")

    def warm(self, urls: Iterable[str]) -> int:
        """Open no sockets, and return 0: which worker sends to a host is decided with its first request."""
        return 0

    def _refuse_inside(self, what: str) -> None:
        """No worker is in this process."""


def _abandon(coordinator: Coordinator) -> None:
    """End what belongs to a pool that was dropped without shutdown."""
    coordinator.close(cancel=True)

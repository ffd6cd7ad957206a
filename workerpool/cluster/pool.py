"""`ClusterPool`: a `WorkerPool` whose workers are those of a cluster, on this machine or on many.

Any thread may call a pool's methods.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workerpool.checks import check_flag
from workerpool.cluster.coordinator import Coordinator
from workerpool.cluster.line import local_workers, open_line
from workerpool.cluster.options import check_cluster, options_of_workers, window_of
from workerpool.errors import OptionError
from workerpool.limits.file import budget_path
from workerpool.model import Idle, Request
from workerpool.pool import options_of
from workerpool.processes.elsewhere import PoolElsewhere
from workerpool.processes.scratch import Scratch
from workerpool.stream import Stream
from workerpool.tracing import Tracing, Untraced


class ClusterPool(PoolElsewhere):
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
        super().__init__(max_workers, **options)

    def _make_crew(self) -> Coordinator:
        """Connect to the cluster, or start it."""
        workers = local_workers(self._cluster)
        self._scratch: Scratch | None = None
        check_cluster({**self._given, **self._shared}, self._options, is_local=workers is not None)
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
        self._coordinator.scratch = self._scratch
        return self._coordinator

    def _budget_file(self) -> Path:
        """Where the budget is that the workers of a cluster on this machine share."""
        if "budget" in self._shared:
            return Path(budget_path(self._shared["budget"], os.environ))
        self._scratch = Scratch()
        return self._scratch.budget

    def start_anew(self) -> None:
        """In a forked child there is no way to the cluster: the connection is the parent's."""
        self._on_dropped.detach()
        self._coordinator.disown()

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

    @property
    def size(self) -> int:
        """How many workers of the cluster have taken part."""
        return max(1, self._coordinator.workers)

"""`ShardedPool`: a `WorkerPool` whose workers are in processes of their own, which have a core each.

Any thread may call a pool's methods.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workerpool.limits.file import budget_path
from workerpool.options.checking import check_redis
from workerpool.processes.elsewhere import PoolElsewhere
from workerpool.processes.fleet import Fleet
from workerpool.processes.options import check_processes, packed_options, shares
from workerpool.processes.scratch import Scratch
from workerpool.processes.supervisor import Orders


class ShardedPool(PoolElsewhere):
    """A `WorkerPool` on several processes of this machine, each of which sends to hosts of its own.

    For batches of many hosts that one process cannot send fast enough: Python uses one core in each. The requests of
    one host go through one process at a time; rates, sockets and pauses hold over all of them. Streams, lists,
    receipts, `get` and its like, `drain`, `statistics` and `shutdown` are as those of `WorkerPool`; callables cannot be
    submitted, as they would run in another process.

    `processes`: how many. `max_workers`: threads of all of them together, at least one each; other numbers are for all
    of them together as well. `options` are those of `WorkerPool`. Functions and classes among them have to be found in
    modules, not in the program's main one; there is no `clock`, and cookies are not ``"shared"``.

    A process that is killed is replaced, and the requests that it had without an outcome are done again, with the
    attempts that were known of them; one that may not be repeated ends as `OutcomeUnknown` if it may have been sent.
    Processes end with the one that made them, however that ends. They ignore SIGINT, SIGTERM and SIGHUP, which are this
    process's to act on.

    What differs in an outcome: a response came over no `connection`, one that requests' own code had fetched has no
    `raw`, and a request with ``stream=True`` fails as `InvalidRequest`.

    Raises `OptionError` (a `ValueError`) for a value that cannot work, `ProcessesLost` if no process can be started.
    """

    def __init__(self, processes: int, max_workers: int | None = 16, **options: Any) -> None:
        self._processes = processes
        self._shared: str | os.PathLike[str] | None = options.pop("budget", None)
        self._redis: str | None = options.pop("redis", None)
        check_redis(self._shared, self._redis)
        super().__init__(max_workers, **options)  # without a budget to share: this process sends nothing
        self._fleet.supervisor.start()

    def _make_crew(self) -> Fleet:
        """Make the fleet; its processes start with the first request, or when `__init__` says so."""
        processes = check_processes(self._processes, self._options.workers)
        workers = shares(self._options.workers, processes)
        self._fleet = Fleet(workers, self._options_of_processes, self._retries.may_repeat)
        return self._fleet

    def _options_of_processes(self) -> Orders:
        if self._shared is None:
            self._fleet.scratch = Scratch()
        packed = packed_options(self._given, self._options, self._processes, self._budget_of_processes())
        return packed, None if self._fleet.scratch is None else self._fleet.scratch.directory

    def _budget_of_processes(self) -> dict[str, Any]:
        """What tells the processes where the budget is that they share."""
        if self._fleet.scratch is not None:
            return {"budget": self._fleet.scratch.budget}
        assert self._shared is not None
        if self._redis is not None:
            return {"budget": self._shared, "redis": self._redis}
        return {"budget": Path(budget_path(self._shared, os.environ))}

    def start_anew(self) -> None:
        """In a forked child: begin with processes of its own, and nothing queued."""
        was_closed = self._fleet.supervisor.is_closing
        self._on_dropped.detach()
        self._fleet.supervisor.disown()
        self._start()
        if was_closed:
            self._fleet.close(cancel=True)

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that there are now."""
        return self._fleet.supervisor.pids

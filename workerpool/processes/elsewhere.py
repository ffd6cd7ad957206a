"""`PoolElsewhere`: what pools have in common whose workers are in other processes, be it on this machine or on others.

This process reads the source, and keeps what is done with outcomes; the others send. `ShardedPool` and
`cluster.ClusterPool` are of this kind. Any thread may call a pool's methods.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NoReturn, Protocol

from workerpool import events
from workerpool.errors import WorkerPoolError, WrongThread
from workerpool.pool import WorkerPool
from workerpool.processes.scratch import Scratch
from workerpool.retry import Retries
from workerpool.statistics import PoolStatistics
from workerpool.stream import Stream


class CrewElsewhere(Protocol):
    """The workers as their pool sees to them; streams use them as a `crew.Crew`.

    `scratch`: where their budget is, if they were told of none; kept until they have ended, also without their pool.
    """

    scratch: Scratch | None

    @property
    def failure(self) -> WorkerPoolError | None:
        """Why there are none any more."""

    @property
    def cpu(self) -> float:
        """Seconds that their processes had had the CPU when they told last."""

    def look(self) -> PoolStatistics:
        """The figures of all together."""

    def close(self, *, cancel: bool) -> None:
        """Take no more requests, and end when all have ended; with `cancel`, without sending any more."""

    def join(self) -> None:
        """Wait, after `close`, until they have ended."""

    def abandon(self) -> None:
        """End them: the pool was dropped without shutdown."""


class PoolElsewhere(WorkerPool):
    """A pool whose workers are those that `_make_crew` makes."""

    def __init__(self, max_workers: int | None, **options: Any) -> None:
        self._given = {name: value for name, value in options.items() if name != "trace"}  # spans are this process's
        self._closing_since: float | None = None
        self._is_shut_down = False
        super().__init__(max_workers, **options)

    def _start(self) -> None:
        self._retries = Retries(self._options.retry)
        crew = self._make_crew()
        self._elsewhere, self._crew = crew, crew  # type: ignore[assignment]  # as much of a `Crew` as streams use
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._on_dropped: Any = weakref.finalize(self, crew.abandon)
        self._on_dropped.atexit = False

    @abstractmethod
    def _make_crew(self) -> CrewElsewhere:
        """Make the workers, or what will make them."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more requests, and end when those that were taken have ended; with `wait`, return only then.

        `cancel_futures` cancels requests that are not being sent right now. What the pool has started ends with it.
        """
        if self._closing_since is None:
            self._closing_since = self._clock.now()
        self._elsewhere.close(cancel=cancel_futures)
        self._on_dropped.detach()  # from here on they end by themselves
        if not wait:
            return
        self._elsewhere.join()
        if self._elsewhere.scratch is not None:
            self._elsewhere.scratch.remove()
        if not self._is_shut_down:
            self._is_shut_down = True
            figures, elapsed = self._elsewhere.look(), self._clock.now() - self._closing_since
            events.emit("pool.stopped", requests=figures.requests, sent=figures.sent, elapsed=elapsed)

    def statistics(self) -> PoolStatistics:
        """Return a frozen picture of all workers together.

        Processes of this machine are asked, in about a millisecond; those of a cluster tell each second.
        """
        return self._elsewhere.look()

    @property
    def cpu(self) -> float:
        """Seconds that the workers' processes had had the CPU when they told last."""
        return self._elsewhere.cpu

    @property
    def _broken(self) -> bool:
        """Whether there are no workers any more, as none could be started, or all are lost."""
        return self._elsewhere.failure is not None

    @property
    def session(self) -> NoReturn:
        """There is none, as no worker is in this process."""
        raise WrongThread(
            f"pool.session is a worker's own, and a {type(self).__name__} has its workers in other processes"
        )

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Refused: it would run in another process."""
        raise WrongThread(
            f"a {type(self).__name__} runs no callables, as its workers are in other processes: use a WorkerPool"
        )

    def warm(self, urls: Iterable[str]) -> int:
        """Open no sockets, and return 0: which worker sends to a host is decided with its first request."""
        return 0

    def _refuse_inside(self, what: str) -> None:
        """No worker is in this process."""

"""The connection to a cluster of Dask's: tasks to its workers, by their address, and what comes of them.

The only user of distributed. What may take its time, as asking the scheduler, or fetching a result, is done by a few
threads of this module's; who asked hears of it there. Whatever Dask raises is told as an error, never raised.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeAlias

from workerpool.checks import check_count
from workerpool.cluster import holder
from workerpool.errors import ClusterLost, OptionError
from workerpool.extras import load

Told: TypeAlias = Callable[[Any], None]
"""Is told a result, or the exception that came instead."""

THREADS = 4
"""Threads that fetch results, and ask the scheduler."""

RESULT_WAIT = 60.0
"""Seconds that are waited for a result that is there."""

CONNECT_WAIT = 10.0
"""Seconds that are waited for the scheduler at the start."""

RECONNECT_WAIT = 60.0
"""Seconds that are waited for a scheduler that was there."""

ASK_WAIT = 5.0
"""Seconds that are waited for an answer of the scheduler's."""

_LOCAL = re.compile(r"local\[(.*)\]")


class Line(Protocol):
    """What the coordinator needs of a cluster."""

    is_local: bool
    name: str

    @property
    def is_up(self) -> bool: ...

    @property
    def is_closed(self) -> bool: ...

    def ask_workers(self, told: Told) -> None: ...
    def greet(self, address: str, told: Told) -> None: ...
    def submit(self, address: str, key: str, data: bytes, told: Told) -> Callable[[], None]: ...
    def stop(self, addresses: Sequence[str], job: str, owner: int) -> None: ...
    def close(self, addresses: Sequence[str], job: str) -> None: ...


def local_workers(cluster: object) -> int | None:
    """How many workers ``local[N]`` asks for; None for another cluster. Raises `OptionError`."""
    found = _LOCAL.fullmatch(cluster) if isinstance(cluster, str) else None
    if found is None:
        return None
    text = found[1]
    if not (text.isascii() and text.isdigit()):
        raise OptionError(f"cluster={cluster!r} has no number of workers: write local[4]")
    return check_count("cluster", int(text))


def open_line(cluster: Any) -> DaskLine:
    """Connect to a cluster, or start one on this machine.

    `cluster`: ``local[N]``, a scheduler's address, or a `distributed.Client`. Raises `OptionError` where that is none
    of these or distributed is missing, and `ClusterLost` where no scheduler answers.
    """
    distributed = load("distributed", "cluster", "cluster=")
    if (workers := local_workers(cluster)) is not None:
        return _open_local(distributed, workers)
    if isinstance(cluster, distributed.Client):
        if cluster.asynchronous:
            raise OptionError("cluster= is an asynchronous Client: give one that is not, or the scheduler's address")
        return DaskLine(cluster, ())
    if not isinstance(cluster, str) or not cluster:
        raise OptionError(
            f"cluster={cluster!r} is no cluster: give local[4], the address of a scheduler as tcp://10.0.0.5:8786, or "
            "a distributed.Client"
        )
    return _open_remote(distributed, cluster)


def _open_local(distributed: Any, workers: int) -> DaskLine:
    load("cryptography", "cluster", "cluster='local[N]'")
    made = None
    try:
        made = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=2,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # of its own, as the usual one may be taken
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            security=True,  # TLS, with certificates made for this: else every user of the machine could run code in it
        )
        client = distributed.Client(made, set_as_default=False)
    except Exception as error:
        if made is not None:
            made.close()
        raise ClusterLost(f"no cluster of {workers} workers could be started here: {error}") from error
    return DaskLine(client, (client, made), is_local=True)


def _open_remote(distributed: Any, address: str) -> DaskLine:
    try:
        # A client waits as long for a lost scheduler as for one that never was: the first of two only asks.
        distributed.Client(address, timeout=CONNECT_WAIT, set_as_default=False).close()
        client = distributed.Client(address, timeout=RECONNECT_WAIT, set_as_default=False)
    except Exception as error:
        raise ClusterLost(
            f"no scheduler answers at {address} ({type(error).__name__}: {error}): is that its address, as "
            "tcp://10.0.0.5:8786, and has this machine a way to it?"
        ) from error
    return DaskLine(client, (client,))


class DaskLine:
    """A line over a client. `owned`: what is to be closed with it."""

    def __init__(self, client: Any, owned: Sequence[Any], *, is_local: bool = False) -> None:
        self._client = client
        self._owned = owned
        self._helpers = ThreadPoolExecutor(THREADS, "workerpool-dask")
        self._is_closing = threading.Event()
        self.is_local = is_local
        self.name = "the cluster on this machine" if is_local else str(client.scheduler.addr)

    @property
    def is_up(self) -> bool:
        """Whether the scheduler is there, as far as is known."""
        return bool(self._client.status == "running")

    @property
    def is_closed(self) -> bool:
        """Whether Dask has given up on its scheduler."""
        return self._client.status in ("closed", "closing")

    def count_workers(self) -> int:
        """How many there are; 0 if the scheduler does not say. Waits for it."""
        with suppress(Exception):
            return len(self._ncores())
        return 0

    def ask_workers(self, told: Told) -> None:
        """Tell the addresses of all workers, each with the number of its threads."""
        self._do(told, self._ncores)

    def _ncores(self) -> dict[str, int]:
        return dict(self._client.sync(self._client.scheduler.ncores, callback_timeout=ASK_WAIT))

    def greet(self, address: str, told: Told) -> None:
        """Tell what a new worker says of itself."""
        self._do(told, lambda: self._greet(address))

    def _greet(self, address: str) -> Any:
        said = self._client.run(holder.hello, self.is_local, workers=[address])
        if address not in said:
            raise OSError("it has gone meanwhile")
        return said[address]

    def submit(self, address: str, key: str, data: bytes, told: Told) -> Callable[[], None]:
        """Have a worker carry out a chunk; returns what forgets it.

        On that worker and no other: its host's queues are there. Should it die, this task waits for ever, and whoever
        has submitted it notices, and gives its requests to others.
        """
        future = self._client.submit(
            holder.fetch_chunk, data, key=key, workers=[address], allow_other_workers=False, pure=False, retries=0
        )
        future.add_done_callback(lambda done: self._do(told, partial(done.result, timeout=RESULT_WAIT)))
        return partial(self._forget, future)

    def stop(self, addresses: Sequence[str], job: str, owner: int) -> None:
        """Let workers send nothing more of a stream."""
        self._do(_ignore, lambda: self._client.run(holder.stop, job, owner, workers=[*addresses], on_error="ignore"))

    def close(self, addresses: Sequence[str], job: str) -> None:
        """Let workers end their pools, and close what was opened. Waits."""
        if self._is_closing.is_set():
            return
        self._is_closing.set()
        if self.is_up and not self.is_local:  # one that was made for this batch ends with it
            with suppress(Exception):
                self._client.sync(
                    self._client._run, holder.close, job, workers=[*addresses], on_error="ignore",
                    callback_timeout=ASK_WAIT,
                )  # fmt: skip
        self._helpers.shutdown(wait=False, cancel_futures=True)
        for one in self._owned:
            with suppress(Exception):
                one.close(timeout=CONNECT_WAIT)

    def _forget(self, future: Any) -> None:
        if self.is_up:
            self._do(_ignore, lambda: future.cancel(force=True))

    def _do(self, told: Told, ask: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # the line was closed
            self._helpers.submit(_tell, told, ask)


def _tell(told: Told, ask: Callable[[], Any]) -> None:
    try:
        answer = ask()
    except BaseException as error:  # CancelledError is one
        told(error)
    else:
        told(answer)


def _ignore(answer: object) -> None:
    """Nobody needs to know."""

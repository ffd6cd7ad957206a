"""Pools whose transport tells which thread did what, and streams of one request."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.waiting import LONG, eventually
from workerpool import Outcome, Timeout, WorkerPool
from workerpool.transport import RequestsTransport


class Recorded(RequestsTransport):
    """Notes which thread did what: `begin` for what was begun, `none` for what could not be."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[tuple[str, str]] = []

    def _note(self, what: str) -> None:
        self.calls.append((what, threading.current_thread().name))

    def send(self, session: Any, exchange: Any, timeout: Timeout) -> Any:
        self._note("send")
        return super().send(session, exchange, timeout)

    def begin(self, session: Any, exchange: Any, timeout: Timeout, *, connects: bool) -> Any:
        carried = super().begin(session, exchange, timeout, connects=connects)
        self._note("none" if carried is None else "begin")
        return carried

    def go_on(self, session: Any, exchange: Any, carried: Any, *, is_late: bool) -> Any:
        self._note("late" if is_late else "go_on")
        return super().go_on(session, exchange, carried, is_late=is_late)

    def finish(self, session: Any, exchange: Any, carried: Any) -> Any:
        self._note("finish")
        return super().finish(session, exchange, carried)

    def count(self, what: str) -> int:
        return sum(name == what for name, _ in self.calls)

    def changes(self, *what: str) -> int:
        """How often another thread did one of these than had done the one before."""
        threads = [thread for name, thread in self.calls if name in what]
        return sum(one != other for one, other in itertools.pairwise(threads))

    def threads(self, *what: str) -> set[str]:
        return {thread for name, thread in self.calls if name in what}


def looking(looked: threading.Semaphore) -> type[Recorded]:
    """A kind that releases `looked` after each look at what has come of an answer."""

    class Looking(Recorded):
        def go_on(self, session: Any, exchange: Any, carried: Any, *, is_late: bool) -> Any:
            try:
                return super().go_on(session, exchange, carried, is_late=is_late)
            finally:
                looked.release()

    return Looking


@contextmanager
def pool_of(workers: int = 4, kind: type[Recorded] = Recorded, **options: Any) -> Iterator[tuple[WorkerPool, Any]]:
    made: list[Recorded] = []

    def make(settings: Any, governor: Any) -> Recorded:
        made.append(kind(settings, governor))
        return made[0]

    with WorkerPool(workers, transport=make, **{"retry": None, **options}) as pool:
        yield pool, made[0]


def warm(pool: WorkerPool, url: str, sockets: int = 1) -> None:
    """Leave so many idle sockets to the site of `url`, and a pool that has come to rest."""
    for _ in range(sockets):
        assert pool.submit(lambda: pool._transport.warm(pool.session, url, url.rpartition("/")[0])).result(LONG)
    assert only(pool.stream([url])).ok
    assert eventually(lambda: pool.statistics().active == 0)
    assert pool.statistics().sockets_idle >= sockets


def narrow(transport: Any) -> None:
    """Let idle sockets take little at once."""
    for connection in transport._connections._idle:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)


def only(outcomes: Iterator[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def content(outcome: Outcome) -> bytes | None:
    return None if outcome.response is None else outcome.response.content

"""What a pool's process and its processes say to each other, and the connection between two of them.

Both sides send lists of messages: all that wait, pickled at once. A `number` is a request's, in its process of origin;
an `owner` is the number of the stream that it belongs to, 0 for none.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeAlias

from workerpool.processes.parcels import AttemptParcel, OutcomeParcel, RequestParcel
from workerpool.statistics import PoolStatistics, Wait

# -- to a child --------------------------------------------------------------------------------------------------------


class Begin(NamedTuple):
    """Make a pool of these options, each of them pickled. `held_bytes`: of bodies that wait to be told, at most."""

    options: dict[str, bytes]
    held_bytes: int
    log_levels: tuple[int, int]  # of the root logger, and of ours
    scratch: str | None  # a directory to be removed if the parent is gone


class Open(NamedTuple):
    """Requests of this owner will come. `room`: how many may be sent without a receipt, None if it needs none."""

    owner: int
    room: int | None


class Task(NamedTuple):
    """One request. `kind` is one of the three below: what has to be done before it is sent."""

    number: int
    owner: int
    kind: int
    host: str
    request: RequestParcel


LIGHT, TOLD, ASKED = 0, 1, 2
"""A request that may be repeated; one that is told of before it is sent; one that waits for leave to be sent."""


class Work(NamedTuple):
    """Fetch these."""

    tasks: list[Task]


class Receipt(NamedTuple):
    """So many sends of this owner have been receipted."""

    owner: int
    places: int


class Hold(NamedTuple):
    """Send nothing of this owner for now (its consumer has enough to read), or send again."""

    owner: int
    is_full: bool


class Urge(NamedTuple):
    """Send this request even so: its owner waits for it."""

    number: int


class GiveUp(NamedTuple):
    """End what is not being sent of this owner as cancelled outcomes."""

    owner: int


class Forget(NamedTuple):
    """Nobody takes the outcomes of this owner any more."""

    owner: int


class Leave(NamedTuple):
    """A request that waits for leave may be sent; or may not, with the error and its causes, packed."""

    number: int
    error: list[bytes] | None


class Doing(NamedTuple):
    """What the streams' consumers are at; told to a process that has nothing to do."""

    wait: Wait


class Look(NamedTuple):
    """Say how it stands."""

    number: int


class Close(NamedTuple):
    """Take no more, end when all has ended, with `cancel` without sending anything that is not being sent."""

    cancel: bool


# -- from a child ------------------------------------------------------------------------------------------------------


class Refused(NamedTuple):
    """This process cannot work."""

    error: list[bytes]


News: TypeAlias = tuple[int, bool, OutcomeParcel | None, list[AttemptParcel] | None]
"""Of a request, by its number: its outcome; or that it was sent and goes on later, after these attempts in all.

The second part says whether that is to be receipted. A plain tuple, as there is one for each request.
"""


class Told(NamedTuple):
    """What has ended or goes on later, in its order."""

    news: list[News]


class Sending(NamedTuple):
    """A request that may not be repeated is about to be sent. If it is of the kind `ASKED`, it waits for a `Leave`."""

    number: int


class Seen(NamedTuple):
    """How it stands. `needs_more_hosts`: whether requests to further hosts could be sent. `cpu`: seconds it has had."""

    number: int
    figures: PoolStatistics
    cpu: float
    needs_more_hosts: bool


class Logged(NamedTuple):
    """Something was logged: the record's attributes, pickled by themselves, as nobody knows what they hold."""

    record: bytes


class Done(NamedTuple):
    """All has ended."""

    figures: PoolStatistics
    cpu: float


class Line:
    """One end of the connection between two processes. One thread may read it, and any thread write to it."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # guards writing

    def send(self, messages: Sequence[Any]) -> None:
        """Send messages; raises OSError if the other end has gone."""
        data = pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._connection.send_bytes(data)

    def receive(self) -> list[Any]:
        """Wait for messages; raises EOFError or OSError if the other end has gone."""
        messages: list[Any] = pickle.loads(self._connection.recv_bytes())
        return messages

    def has_more(self, seconds: float) -> bool:
        """Whether something is to be read, or the other end has gone, within so many seconds."""
        return self._connection.poll(seconds)

    def end(self) -> None:
        """Let the other end read that nothing more will come."""
        with socket.socket(fileno=os.dup(self._connection.fileno())) as end:
            end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._connection.close()


def log_levels() -> tuple[int, int]:
    """The levels from which on this process logs: its root logger, and the one of ours."""
    return logging.getLogger().getEffectiveLevel(), logging.getLogger("workerpool").getEffectiveLevel()

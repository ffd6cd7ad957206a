"""Idle connections of one origin whose requests are counted by different keys."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from workerpool.transport.connections import Connections
from workerpool.transport.pools import CountedPoolManager


class Connection:
    """One that counts against `host_key`, and is alive."""

    sockets = ExitStack()

    def __init__(self, connections: Connections, host_key: str) -> None:
        self.sock: Any = self.sockets.enter_context(socket.socket())
        self.ticket = 0
        self.host_key = host_key
        self.site = "here:80"
        self.times_used = 1
        self.idle_since = 0.0
        self.has_leftover = False
        self._connections = connections

    def is_dead(self) -> bool:
        return False

    def settle(self) -> None:
        self.idle_since = time.monotonic()

    def close(self) -> None:
        self.sock.close()
        self.sock = None
        self._connections.closed(self.ticket)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connections]:
    """Two places for each host; none is ever made by closing another connection."""
    connections = Connections(10, 2, None)  # type: ignore[arg-type]  # nothing is dialled
    monkeypatch.setattr(connections, "_see_off", lambda *victims: pytest.fail("this would wait"))
    with ExitStack() as sockets:
        monkeypatch.setattr(Connection, "sockets", sockets)
        yield connections
        connections.close()


def idle(connections: Connections, key: str, *hosts: str) -> list[Any]:
    made: list[Any] = [Connection(connections, host) for host in hosts]
    for connection in made:
        assert connections.open_place(connection, wait=0)
        connections.checkin(key, connection)
    return made


def test_an_idle_connection_counts_for_another_host_where_that_has_room(connections: Connections) -> None:
    older, younger = idle(connections, "origin", "one", "one")
    assert connections.checkout("origin", "two") is younger
    assert younger.host_key == "two"
    assert connections.checkout("origin", "one") is older


def test_a_host_without_room_takes_one_of_its_own_and_else_none(connections: Connections) -> None:
    own, _ = idle(connections, "origin", "two", "one")
    idle(connections, "elsewhere", "two")
    assert connections.checkout("origin", "two") is own
    assert connections.checkout("origin", "two") is None
    assert connections.counts().open == 3


def test_the_own_one_of_a_host_without_room_must_not_have_been_idle_for_too_long(connections: Connections) -> None:
    own, _ = idle(connections, "origin", "two", "one")
    idle(connections, "elsewhere", "two")
    own.idle_since -= 1.5
    connections.traces.current.idle_max = 1.0
    assert connections.checkout("origin", "two") is None
    connections.traces.current.idle_max = 2.0
    assert connections.checkout("origin", "two") is own


def test_one_that_was_looked_at_is_as_young_as_before(connections: Connections) -> None:
    older, younger = idle(connections, "origin", "one", "one")
    for connection in (younger, older):
        connections._examine(connection, time.monotonic())
        assert [*connections._idle] == [older, younger]
    assert connections.checkout("origin", "one") is younger


def test_a_recipe_for_connections_has_no_queue_of_its_own(connections: Connections) -> None:
    """Not with urllib3 2.6 either, which has no `_new_pool_queue`."""
    for url in ("http://a.test", "https://a.test"):
        made = CountedPoolManager(connections, maxsize=4).connection_from_url(url)
        assert type(made).QueueCls is type(made.pool)
        with pytest.raises(queue.Empty):
            made.pool.get(block=False)  # type: ignore[union-attr]

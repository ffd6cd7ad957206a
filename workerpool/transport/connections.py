"""Owns every socket: how many may be open, which idle one is used next, which one goes when the budget is full.

urllib3's connection pools are kept for what they do well (connecting, TLS, proxies, HTTP), but their queues of idle
connections are not used: `Connections` keeps all idle connections of all hosts in one place, under one lock, since a
budget over all hosts cannot be held by pools that do not know each other. Entered by every worker and by any thread
that reads a streamed response.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import is_connection_dropped

PLACE_WAIT = 30.0
"""Seconds that a new connection waits for a place when every open socket is in use outside the pool's own sends."""


@dataclass(frozen=True, slots=True)
class SocketCounts:
    """Sockets now (`open`, of which `idle`) and over the pool's life (`opened`; `reused`: sends over a used one)."""

    open: int = 0
    idle: int = 0
    opened: int = 0
    reused: int = 0


class Connections:
    """The budget of open sockets and the idle connections, most recently used first."""

    def __init__(self, max_connections: int, host_connections: int) -> None:
        self._max = max_connections
        self._host_max = host_connections
        self._changed = threading.Condition()  # guards every field below
        self._open: dict[Any, str] = {}  # connection: its host, from the moment before it connects
        self._per_host: dict[str, int] = {}
        self._idle: OrderedDict[Any, Any] = OrderedDict()  # connection: its pool's key, longest idle first
        self._idle_by_key: dict[Any, list[Any]] = {}
        self._opened = 0
        self._reused = 0
        self._closed = False
        self.local = threading.local()  # .reused: whether this thread's last checkout had been used before

    def counts(self) -> SocketCounts:
        with self._changed:
            return SocketCounts(len(self._open), len(self._idle), self._opened, self._reused)

    # -- idle connections ---------------------------------------------------------------------------------------------

    def checkout(self, key: Any) -> Any | None:
        """Take the most recently used idle connection of a pool that is still alive; None if there is none."""
        while True:
            with self._changed:
                stack = self._idle_by_key.get(key)
                if not stack:
                    self.local.reused = False
                    return None
                connection = stack.pop()
                if not stack:
                    del self._idle_by_key[key]
                del self._idle[connection]
            # Looking at the socket is a system call, so not under the lock; nobody else has this connection now.
            if is_connection_dropped(connection):
                connection.close()
                continue
            with self._changed:
                self._reused += connection.times_used > 0
            self.local.reused = connection.times_used > 0
            return connection

    def checkin(self, key: Any, connection: Any) -> None:
        """Keep a connection for the next request; a closed one is dropped."""
        if connection.sock is None:
            return
        with self._changed:
            if not self._closed:
                self._idle[connection] = key
                self._idle_by_key.setdefault(key, []).append(connection)
                self._changed.notify()  # an idle socket can make room for another host's
                return
        connection.close()

    # -- the budget ---------------------------------------------------------------------------------------------------

    def open_place(self, connection: Any, host: str, *, evict: bool = True, wait: float = PLACE_WAIT) -> bool:
        """Count `connection` as open before it connects, closing an idle socket where the budget is full.

        The scheduler lets no more requests fly than there are places, so waiting happens only while sockets are held
        by responses that somebody streams. Returns False when no place came within `wait` seconds.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._changed:
                if connection in self._open:
                    return True
                victim = None
                host_is_full = self._per_host.get(host, 0) >= self._host_max
                if not host_is_full and len(self._open) < self._max:
                    self._open[connection] = host
                    self._per_host[host] = self._per_host.get(host, 0) + 1
                    self._opened += 1
                    return True
                if evict:
                    victim = self._pick_victim(host if host_is_full else None)
                if victim is None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    self._changed.wait(left)
                    continue
            victim.close()  # calls `closed`, which makes the place

    def closed(self, connection: Any) -> None:
        """Give back the place of a connection that closed. Safe to call again."""
        with self._changed:
            host = self._open.pop(connection, None)
            if host is None:
                return
            left = self._per_host[host] - 1
            if left:
                self._per_host[host] = left
            else:
                del self._per_host[host]
            self._changed.notify()

    def warm(self, pool: Any) -> bool:
        """Connect one more socket for `pool` and keep it idle, if there is a place without closing another."""
        connection = pool._new_conn()
        if not self.open_place(connection, connection.host_key, evict=False, wait=0):
            return False
        try:
            pool._validate_conn(connection)
            if connection.sock is None:
                connection.connect()
        except BaseException:
            connection.close()
            raise
        self.checkin(pool.idle_key, connection)
        return True

    def close(self) -> None:
        """Close what is idle now, and whatever comes back later."""
        with self._changed:
            self._closed = True
            idle = [*self._idle]
            self._idle.clear()
            self._idle_by_key.clear()
        for connection in idle:
            connection.close()

    def _pick_victim(self, host: str | None) -> Any | None:
        """Take the longest-idle connection out, of `host` if one is named. Called under the lock."""
        for connection, key in self._idle.items():
            if host is None or self._open.get(connection) == host:
                del self._idle[connection]
                stack = self._idle_by_key[key]
                stack.remove(connection)
                if not stack:
                    del self._idle_by_key[key]
                return connection
        return None


class _CountedConnection:
    """What our connections add to urllib3's: a place in the budget while open, and a count of uses.

    Mixed in before urllib3's class; `connections` and `host_key` are set by the pool that makes the connection.
    """

    connections: Connections
    host_key: str
    times_used = 0

    def connect(self) -> None:
        if not self.connections.open_place(self, self.host_key):
            raise NewConnectionError(
                self,  # type: ignore[arg-type]
                f"no free socket within {PLACE_WAIT:g} s: every one is held by a response being streamed",
            )
        try:
            super().connect()  # type: ignore[misc]
        except BaseException:
            self.close()
            raise

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.times_used += 1
        super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        self.connections.closed(self)


class _CountedHTTPConnection(_CountedConnection, HTTPConnection):
    pass


class _CountedHTTPSConnection(_CountedConnection, HTTPSConnection):
    pass


class _SharedIdle:
    """What our connection pools change of urllib3's: idle connections live in `Connections`, not in the pool.

    So a pool is only a recipe for connections, and may be dropped and made anew at any time: nothing closes with it.
    """

    connections: Connections  # set on a subclass for each `Connections`, see `_pool_classes`
    idle_key: Any  # set by the manager
    pool: Any
    host: str
    port: int | None
    scheme: str

    def _new_pool_queue(self, maxsize: int) -> Any:
        return _NoQueue()

    def _get_conn(self, timeout: float | None = None) -> Any:
        return self.connections.checkout(self.idle_key) or self._new_conn()

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            self.connections.checkin(self.idle_key, connection)

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()  # type: ignore[misc]
        connection.connections = self.connections
        connection.host_key = f"{self.scheme}://{self.host}:{self.port}"
        return connection

    def close(self) -> None:
        """Nothing to close: see the class."""


class _NoQueue:
    """Stands where urllib3 expects its queue of idle connections, and holds none."""

    def put(self, *args: Any, **kwargs: Any) -> None:
        pass

    def get(self, *args: Any, **kwargs: Any) -> None:
        raise queue.Empty


class _KeyedPools:
    """Mixed into a pool manager: its pools are counted, and know their key, so that a pool made anew finds the idle
    connections of the one before."""

    pool_classes_by_scheme: Any

    def count_in(self, connections: Connections) -> None:
        self.pool_classes_by_scheme = _pool_classes(connections)

    def connection_from_pool_key(self, pool_key: Any, request_context: dict[str, Any]) -> Any:
        pool: Any = super().connection_from_pool_key(pool_key, request_context)  # type: ignore[misc]
        pool.idle_key = pool_key
        return pool


class CountedPoolManager(_KeyedPools, urllib3.PoolManager):
    """urllib3's PoolManager over `Connections`; call `count_in` before its first use."""


class CountedProxyManager(_KeyedPools, urllib3.ProxyManager):
    """urllib3's ProxyManager over `Connections`; call `count_in` before its first use."""


def _pool_classes(connections: Connections) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3 pool classes, by scheme, whose sockets are counted in `connections`."""
    http = type(
        "CountedHTTPConnectionPool",
        (_SharedIdle, HTTPConnectionPool),
        {"connections": connections, "ConnectionCls": _CountedHTTPConnection},
    )
    https = type(
        "CountedHTTPSConnectionPool",
        (_SharedIdle, HTTPSConnectionPool),
        {"connections": connections, "ConnectionCls": _CountedHTTPSConnection},
    )
    return {"http": http, "https": https}

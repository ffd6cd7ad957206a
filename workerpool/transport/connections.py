"""Owns every socket: how many may be open, which idle one is used next, which one goes when the budget is full.

urllib3's connection pools are kept for what they do well (connecting, TLS, proxies, HTTP), but their queues of idle
connections are not used: `Connections` keeps all idle connections of all hosts in one place, under one lock, since a
budget over all hosts cannot be held by pools that do not know each other. Entered by every worker and by any thread
that reads a streamed response.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
import weakref
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


class Label(threading.local):
    """What the current thread sends on behalf of, and what came of it.

    `host`: the per-host budget that its socket counts against, "" for the connection's own origin. `reused`: whether
    the socket of its last send had been used before.
    """

    host = ""
    reused: bool | None = None


class Connections:
    """The budget of open sockets, and the idle connections of all hosts, the most recently used first.

    A socket counts against the budget of the host that it was last used for, from the moment before it connects until
    it is closed and its response has let go of it.
    """

    def __init__(self, max_connections: int, host_connections: int) -> None:
        self._max = max_connections
        self._host_max = host_connections
        # Guards every field below. Its lock is re-entrant: the garbage collector may end a connection, and so call
        # `closed`, in the middle of any line here; nothing below relies on counts staying as they were a line before.
        self._changed = threading.Condition(threading.RLock())
        self._open: dict[int, str] = {}  # a connection's ticket: the host that it counts against
        self._per_host: dict[str, int] = {}
        self._idle: OrderedDict[CountedConnection, Any] = OrderedDict()  # its pool's key, longest idle first
        self._idle_by_key: dict[Any, list[CountedConnection]] = {}
        self._tickets = itertools.count(1)
        self._opened = 0
        self._reused = 0
        self._closed = False
        self.label = Label()

    def counts(self) -> SocketCounts:
        with self._changed:
            return SocketCounts(len(self._open), len(self._idle), self._opened, self._reused)

    # -- idle connections ---------------------------------------------------------------------------------------------

    def checkout(self, key: Any, host: str) -> CountedConnection | None:
        """Take the most recently used idle connection of a pool that is still alive; None if there is none."""
        self.label.reused = False
        while True:
            with self._changed:
                stack = self._idle_by_key.get(key)
                if not stack:
                    return None
                connection = stack[-1]
                self._remove_idle(connection)
            # Looking at the socket is a system call, so not under the lock; nobody else has this connection now.
            if is_connection_dropped(connection) or not self._move(connection, host):
                connection.close()
                continue
            self.label.reused = connection.times_used > 0
            with self._changed:
                self._reused += self.label.reused
            return connection

    def checkin(self, key: Any, connection: CountedConnection) -> None:
        """Keep a connection for the next request; one without a socket is done with."""
        if connection.sock is None:
            self.closed(connection.ticket)
            return
        with self._changed:
            if not self._closed:
                self._idle[connection] = key
                self._idle_by_key.setdefault(key, []).append(connection)
                self._changed.notify_all()  # an idle socket can make room for another host's
                return
        connection.close()

    # -- the budget ---------------------------------------------------------------------------------------------------

    def open_place(self, connection: CountedConnection, *, evict: bool = True, wait: float = PLACE_WAIT) -> bool:
        """Count `connection` as open before it connects, closing an idle socket where the budget is full.

        The scheduler lets no more requests fly than there are places, so waiting happens only while sockets are held
        by responses that somebody streams. Returns False when no place came within `wait` seconds.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._changed:
                if connection.ticket in self._open:
                    return True
                host_is_full = self._per_host.get(connection.host_key, 0) >= self._host_max
                if not host_is_full and len(self._open) < self._max:
                    connection.ticket = next(self._tickets)
                    self._count(connection.ticket, connection.host_key)
                    break
                victim = self._pick_victim(connection.host_key if host_is_full else None) if evict else None
                if victim is None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    self._changed.wait(left)
                    continue
            victim.close()  # calls `closed`, which makes the place
        # A connection that is dropped unclosed, with a response that nobody read, gives its place back as it goes.
        weakref.finalize(connection, self.closed, connection.ticket).atexit = False
        return True

    def opened(self) -> None:
        """Count a connection that was made."""
        with self._changed:
            self._opened += 1

    def closed(self, ticket: int) -> None:
        """Give back the place of a connection that closed. Safe to call again."""
        with self._changed:
            host = self._open.pop(ticket, None)
            if host is not None:
                self._uncount(host)
                self._changed.notify_all()

    def warm(self, pool: Any) -> bool:
        """Connect one more socket for `pool` and keep it idle, if there is a place without closing another."""
        connection: CountedConnection = pool._new_conn()
        if not self.open_place(connection, evict=False, wait=0):
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

    # -- small things under the lock --------------------------------------------------------------------------------

    def _move(self, connection: CountedConnection, host: str) -> bool:
        """Count a connection against `host` from now on; False if that host's budget has no room for it.

        Only where one origin's requests are counted by different keys does this do anything.
        """
        if connection.host_key == host:
            return True
        with self._changed:
            victim = None
            if self._per_host.get(host, 0) >= self._host_max:
                victim = self._pick_victim(host)
                if victim is None:
                    return False
        if victim is not None:
            victim.close()
        with self._changed:
            if self._open.pop(connection.ticket, None) is not None:
                self._uncount(connection.host_key)
                self._count(connection.ticket, host)
            connection.host_key = host
        return True

    def _count(self, ticket: int, host: str) -> None:
        self._open[ticket] = host
        self._per_host[host] = self._per_host.get(host, 0) + 1

    def _uncount(self, host: str) -> None:
        left = self._per_host[host] - 1
        if left:
            self._per_host[host] = left
        else:
            del self._per_host[host]

    def _remove_idle(self, connection: CountedConnection) -> None:
        key = self._idle.pop(connection)
        stack = self._idle_by_key[key]
        stack.remove(connection)
        if not stack:
            del self._idle_by_key[key]

    def _pick_victim(self, host: str | None) -> CountedConnection | None:
        """Take the longest-idle connection out, of `host` if one is named."""
        for connection in self._idle:
            if host is None or connection.host_key == host:
                self._remove_idle(connection)
                return connection
        return None


class CountedConnection(HTTPConnection):
    """What our connections add to urllib3's: a place in the budget while open, and a count of uses.

    `connections` and `host_key` are set by the pool that makes the connection.
    """

    connections: Connections
    host_key: str
    ticket = 0
    times_used = 0
    _awaits_response = False

    def connect(self) -> None:
        if not self.connections.open_place(self):
            raise NewConnectionError(
                self, f"no free socket within {PLACE_WAIT:g} s: every one is held by a response being streamed"
            )
        try:
            super().connect()
        except BaseException:
            self.close()
            raise
        self.connections.opened()

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.times_used += 1
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        self._awaits_response = True
        try:
            return super().getresponse()
        finally:
            self._awaits_response = False

    def close(self) -> None:
        super().close()
        # http.client closes inside getresponse() when the server said ``Connection: close``. The response still holds
        # the socket then; the place is given back when it lets go, in `checkin`.
        if not self._awaits_response:
            self.connections.closed(self.ticket)


class _CountedHTTPSConnection(CountedConnection, HTTPSConnection):
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
        return self.connections.checkout(self.idle_key, self._host_key()) or self._new_conn()

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            self.connections.checkin(self.idle_key, connection)

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()  # type: ignore[misc]
        connection.connections = self.connections
        connection.host_key = self._host_key()
        return connection

    def _host_key(self) -> str:
        return self.connections.label.host or f"{self.scheme}://{self.host}:{self.port}"

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
        {"connections": connections, "ConnectionCls": CountedConnection},
    )
    https = type(
        "CountedHTTPSConnectionPool",
        (_SharedIdle, HTTPSConnectionPool),
        {"connections": connections, "ConnectionCls": _CountedHTTPSConnection},
    )
    return {"http": http, "https": https}

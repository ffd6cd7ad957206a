"""urllib3's pools of connections and their managers, over `Connections`: recipes for connections, which hold none."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from typing import Any, ClassVar

import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.proxy import connection_requires_http_tunnel

from workerpool.transport.connection import CountedConnection, CountedHTTPSConnection
from workerpool.transport.connections import Connections


class _NoQueue:
    """Stands where urllib3 expects its queue of idle connections, and holds none."""

    def __init__(self, maxsize: int) -> None:
        pass

    def put(self, *args: Any, **kwargs: Any) -> None:
        pass

    def get(self, *args: Any, **kwargs: Any) -> None:
        raise queue.Empty


class _SharedIdle:
    """What our connection pools change of urllib3's: idle connections live in `Connections`, not in the pool.

    So a pool is only a recipe for connections, and may be dropped and made anew at any time: nothing closes with it.
    """

    QueueCls: Any = _NoQueue
    connections: Connections  # set by the manager, as is the next
    idle_key: Any
    pool: Any
    host: str
    port: int | None
    scheme: Any
    proxy: Any
    proxy_config: Any
    proxy_headers: Mapping[str, str]

    def _get_conn(self, timeout: float | None = None) -> Any:
        trace = self.connections.traces.current
        if trace.handed is not None:
            connection, trace.handed = trace.handed, None
            return connection
        return self.connections.checkout(self.idle_key, self.host_key()) or self._new_conn()

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            self.connections.checkin(self.idle_key, connection)

    def new_connection(self) -> Any:
        return self._new_conn()

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()  # type: ignore[misc]
        connection.connections = self.connections
        connection.host_key = self.host_key()
        connection.site = f"{connection.host}:{connection.port}"
        if self._has_tunnel:
            connection.site += f" to {self.host}:{self.port}"  # the tunnel ends there, and so does idleness
        return connection

    def host_key(self) -> str:
        return self.connections.traces.current.host or f"{self.scheme}://{self.host}:{self.port}"

    def warm(self, connect_timeout: float | None) -> bool:
        """Connect one more socket and keep it idle, if there is a place for it without closing another."""
        connection = self._new_conn()
        if not self.connections.open_place(connection, evict=False, wait=0):
            return False
        self.connect(connection, connect_timeout)
        self.connections.checkin(self.idle_key, connection)
        return True

    def connect(self, connection: Any, timeout: float | None) -> None:
        """Connect one of its connections, through the proxy's tunnel where there is one."""
        connection.timeout = timeout
        try:
            if self._has_tunnel:
                self._prepare_proxy(connection)  # type: ignore[attr-defined]
            self._validate_conn(connection)  # type: ignore[attr-defined]
            if connection.sock is None:
                connection.connect()
        except BaseException:
            connection.close()
            raise

    @property
    def forwards(self) -> bool:
        """Whether a proxy passes each request on itself."""
        return self.proxy is not None and not self._has_tunnel

    @property
    def forward_headers(self) -> Mapping[str, str]:
        """What such a proxy wants to see of each request."""
        return self.proxy_headers if self.forwards else {}

    @property
    def _has_tunnel(self) -> bool:
        return self.proxy is not None and connection_requires_http_tunnel(self.proxy, self.proxy_config, self.scheme)

    def close(self) -> None:
        """Nothing to close: see the class."""


class CountedHTTPConnectionPool(_SharedIdle, HTTPConnectionPool):
    """Connections to one origin."""

    ConnectionCls: Any = CountedConnection


class CountedHTTPSConnectionPool(_SharedIdle, HTTPSConnectionPool):
    """The same under TLS."""

    ConnectionCls: Any = CountedHTTPSConnection


class CountedPools:
    """Mixed into a manager of pools: they are counted in `connections`, and know their key, so that a pool made anew
    finds the idle connections of the one before."""

    pool_classes_by_scheme: Any
    counted: ClassVar[Mapping[str, Any]] = {"http": CountedHTTPConnectionPool, "https": CountedHTTPSConnectionPool}

    def __init__(self, connections: Connections, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = self.counted
        self._connections = connections

    def _new_pool(self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None) -> Any:
        pool: Any = super()._new_pool(scheme, host, port, request_context)  # type: ignore[misc]
        pool.connections = self._connections
        return pool

    def connection_from_pool_key(self, pool_key: Any, request_context: dict[str, Any]) -> Any:
        pool: Any = super().connection_from_pool_key(pool_key, request_context)  # type: ignore[misc]
        pool.idle_key = pool_key
        return pool


class CountedPoolManager(CountedPools, urllib3.PoolManager):
    """urllib3's PoolManager over `Connections`."""


class CountedProxyManager(CountedPools, urllib3.ProxyManager):
    """urllib3's ProxyManager over `Connections`."""

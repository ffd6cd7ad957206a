"""Connections through a SOCKS proxy: counted like all others. Needs PySocks (the extra ``[socks]``).

Imported when the first SOCKS proxy is used, and not before.
"""

from __future__ import annotations

import time
from typing import Any

import socks  # type: ignore[import-untyped]
from urllib3.contrib.socks import SOCKSProxyManager

from workerpool.transport.connections import Connections
from workerpool.transport.dial import Dialed
from workerpool.transport.pools import CountedConnection, CountedHTTPSConnection, KeyedPools, pool_classes


class CountedSocksConnection(CountedConnection):
    """A counted connection whose TCP connection a SOCKS proxy makes."""

    def __init__(self, _socks_options: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self._socks_options = _socks_options
        super().__init__(*args, **kwargs)

    def _dial(self, timeout: float | None) -> Dialed:
        """Resolve here what PySocks would resolve without a limit of time: the proxy, and for ``socks5://`` the target.

        ``socks5h://`` leaves the target's name to the proxy. The guard has let the proxy pass, or trusts it.
        """
        said = self._socks_options
        resolver = self.connections.dialer.resolver
        started = time.perf_counter()
        target = self._dns_host if said["rdns"] else resolver.resolve(self._dns_host, timeout)[0].ip
        proxy = resolver.resolve(said["proxy_host"], timeout)[0].ip
        resolved = time.perf_counter()
        try:
            sock = socks.create_connection(
                (target, self.port),
                proxy_type=said["socks_version"],
                proxy_addr=proxy,
                proxy_port=int(said["proxy_port"] or 1080),
                proxy_username=said["username"],
                proxy_password=said["password"],
                proxy_rdns=said["rdns"],
                timeout=timeout,
                source_address=self.source_address,
                socket_options=self.socket_options,
            )
        except socks.ProxyError as error:
            # PySocks hides what happened to the socket in here; its own text has the proxy's address in it, no more.
            raise error.socket_err or OSError(error.msg) from error
        return Dialed(sock, resolved - started, time.perf_counter() - resolved)


class CountedSocksHTTPSConnection(CountedSocksConnection, CountedHTTPSConnection):
    """The same under TLS."""


class CountedSocksManager(KeyedPools, SOCKSProxyManager):
    """urllib3's SOCKSProxyManager over `Connections`."""

    def __init__(self, connections: Connections, proxy: str, **kwargs: Any) -> None:
        super().__init__(proxy, **kwargs)
        self.pool_classes_by_scheme = pool_classes(connections, CountedSocksConnection, CountedSocksHTTPSConnection)

"""Connections through a SOCKS proxy: counted like all others. Needs PySocks (the extra ``[socks]``).

Imported when the first SOCKS proxy is used, and not before.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any, ClassVar

import socks  # type: ignore[import-untyped]
from urllib3.contrib.socks import SOCKSProxyManager

from workerpool.clock import LEAST
from workerpool.transport.connection import CountedConnection, CountedHTTPSConnection
from workerpool.transport.dial import Dialed
from workerpool.transport.pools import CountedHTTPConnectionPool, CountedHTTPSConnectionPool, CountedPools


class CountedSocksConnection(CountedConnection):
    """A counted connection whose TCP connection a SOCKS proxy makes."""

    def __init__(self, _socks_options: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self._socks_options = _socks_options
        super().__init__(*args, **kwargs)

    def _proxy_name(self) -> str:
        return f"{self._socks_options['proxy_host']}:{self._socks_options['proxy_port'] or 1080}"

    def _proxy_key(self) -> Any:
        return tuple(self._socks_options.values())

    def _dial(self, timeout: float | None) -> Dialed:
        """Resolve here what PySocks would resolve without a limit of time: the proxy, and for ``socks5://`` the target.

        ``socks5h://`` leaves the target's name to the proxy. The guard has let the proxy pass, or trusts it.
        """
        said = self._socks_options
        resolver = self.connections.dialer.resolver
        started = time.monotonic()

        def left() -> float | None:
            return None if timeout is None else max(LEAST, started + timeout - time.monotonic())

        target = self._dns_host if said["rdns"] else resolver.resolve(self._dns_host, timeout)[0].ip
        proxy = resolver.resolve(said["proxy_host"], left())[0]
        resolved = time.monotonic()
        sock = socks.socksocket(proxy.family, socket.SOCK_STREAM)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(left())
            sock.set_proxy(
                said["socks_version"],
                proxy.ip,
                int(said["proxy_port"] or 1080),
                said["rdns"],
                said["username"],
                said["password"],
            )
            if self.source_address:
                sock.bind(self.source_address)
            self.connections.watchdog.watch.attach(sock)  # a proxy may drip its answers, too
            sock.connect((target, self.port))
        except socks.ProxyError as error:
            sock.close()
            raise _reason(error) from error
        except BaseException:
            sock.close()
            raise
        return Dialed(sock, resolved - started, time.monotonic() - resolved)


def _reason(error: Any) -> OSError:
    """What happened: PySocks hides that inside of its own errors, whose texts say no more than the proxy's address."""
    while isinstance(error, socks.ProxyError) and error.socket_err is not None:
        error = error.socket_err
    return OSError(errno.EPROTO, error.msg) if isinstance(error, socks.ProxyError) else error


class CountedSocksHTTPSConnection(CountedSocksConnection, CountedHTTPSConnection):
    """The same under TLS."""


class CountedSocksHTTPConnectionPool(CountedHTTPConnectionPool):
    """Connections to one origin through the proxy."""

    ConnectionCls = CountedSocksConnection


class CountedSocksHTTPSConnectionPool(CountedHTTPSConnectionPool):
    """The same under TLS."""

    ConnectionCls = CountedSocksHTTPSConnection


class CountedSocksManager(CountedPools, SOCKSProxyManager):
    """urllib3's SOCKSProxyManager over `Connections`."""

    counted: ClassVar = {"http": CountedSocksHTTPConnectionPool, "https": CountedSocksHTTPSConnectionPool}

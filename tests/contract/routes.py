"""The ways from a pool to an origin: directly or through each kind of proxy, plain or under TLS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workerpool import Outcome, RetryPolicy, WorkerPool
from workerpool.testing import Origin

ADDRESSES = ("127.0.0.1", "127.0.0.2")
NO_WAIT = RetryPolicy(attempts=3, backoff=0)
LOGIN = ("socksuser", "sockspass77")

KINDS = (
    ("http", "https"),
    ("http-proxy", "http-proxy-login"),
    ("connect", "connect-login"),
    ("socks5-http", "socks5-https", "socks5-login-http", "socks5-login-https", "socks5h-http", "socks5h-https"),
)
NAMES = tuple(name for kind in KINDS for name in kind)


@dataclass(frozen=True)
class Route:
    """An origin, and how a pool reaches it.

    `proxies`, `verify`: the pool's options. `asked`: how many requests, tunnels or connections the proxy was asked for
    so far; None without one. `keeps_sockets`: False where a proxy closes after each request.
    """

    name: str
    origin: Origin
    proxies: dict[str, str] | None
    verify: bool | str
    asked: Callable[[], int] | None
    keeps_sockets: bool

    def url(self, path: str = "/", address: str = ADDRESSES[0]) -> str:
        return self.origin.url(path, address)

    def pool(self, max_workers: int = 4, **options: Any) -> WorkerPool:
        """A pool that goes this way, with short retries unless told otherwise."""
        return open_pool(max_workers, proxies=self.proxies, verify=self.verify, **{"retry": NO_WAIT, **options})


def open_pool(max_workers: int = 4, **options: Any) -> WorkerPool:
    """The one place where the suite makes a pool."""
    return WorkerPool(max_workers, **{"timeout": 10, **options})


def fetch_one(pool: WorkerPool, request: Any) -> Outcome:
    (outcome,) = pool.stream([request])
    return outcome

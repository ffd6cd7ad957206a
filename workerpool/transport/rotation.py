"""Proxies that take turns: whose turn it is, and which of them are set aside as they fail.

A failure to reach a proxy, or a login that it refuses, is the proxy's. A tunnel that it does not open, or a connection
that dies in it, may be the server's as well: then the request goes by another proxy, and only if that one has an answer
is the first set aside. So a server that is down takes no proxy with it.

Decides and waits for nothing. Any thread.
"""

from __future__ import annotations

import errno
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from workerpool import events
from workerpool.errors import ConnectFailed, ConnectionLost, RequestError, TimedOut
from workerpool.proxies import ProxyList, shown

PERHAPS_MOST = 2
"""How many more proxies an attempt tries while it may be the server that fails: all of them, at each attempt, would be
a load that no request is worth."""

REFUSED = 407
"""A proxy wants a login, or another one (RFC 9110, section 15.5.8)."""

TOLD = 3
"""Proxies that a sentence names at most."""

REFUSES = "it refuses the login (407)"

_TUNNEL_FAILED = re.compile(r"Tunnel connection failed: (\d+)")
"""http.client's words for an answer to CONNECT."""


class Proxy:
    """One proxy. `name`: without its login. `mapping`: as requests takes it. Below: guarded by the rotation's lock."""

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self.mapping = {"http": url, "https": url}
        self.is_aside = False
        self.since = 0.0  # when it was last set aside
        self.until = 0.0  # when it is to be tried
        self.times = 0  # in a row that it has failed
        self.why = ""


@dataclass(slots=True)
class Route:
    """The proxies of one attempt. `proxy`: that of the send that is under way, chosen at `picked_at`; `tried`: those
    that have failed; `suspects`: of these, those whose fault it may not be, each with when it was picked, and why."""

    proxy: Proxy | None = None
    picked_at: float = 0.0
    tried: list[Proxy] = field(default_factory=list)
    suspects: list[tuple[Proxy, float, str]] = field(default_factory=list)


class Blame(Enum):
    """Whose a failure is."""

    PROXY = 1
    PERHAPS = 2
    NOT = 3


class Rotation:
    """The proxies of one pool. `now`: seconds, as `time.monotonic` has them."""

    def __init__(self, proxies: ProxyList, now: Callable[[], float] = time.monotonic) -> None:
        self._rules = proxies
        self._proxies = [Proxy(url) for url in proxies.urls]
        self._urls = frozenset(proxies.urls)
        self._now = now
        self._lock = threading.Lock()  # guards all of the proxies, and whose turn it is
        self._turn = 0

    def has(self, proxies: Mapping[str, str] | None) -> bool:
        """Whether these, as requests takes them, are one of its own."""
        return proxies is not None and proxies.get("http") in self._urls

    def mapping(self) -> Mapping[str, str]:
        """One of them, for who only needs to know that there is one: it is picked anew when it is used."""
        return self._proxies[0].mapping

    def pick(self, route: Route) -> Proxy:
        """Choose the proxy of the next send, unless that is done; raises `ConnectFailed` if there is none."""
        if route.proxy is None:
            now = self._now()
            with self._lock:
                proxy = self._next(route.tried, now)
            if proxy is None:
                raise self._none_left(now)
            route.proxy, route.picked_at = proxy, now
        return route.proxy

    def answered(self, route: Route) -> None:
        """Note that an answer has come by the proxy of a send: it is good, and those that failed before it are not."""
        proxy, route.proxy = route.proxy, None
        if proxy is not None and proxy.is_aside and route.picked_at >= proxy.since:
            with self._lock:
                proxy.is_aside, proxy.times = False, 0
            events.emit("proxy.back", proxy=proxy.name)
        suspects, route.suspects = route.suspects, []
        for suspect, picked_at, why in suspects:
            self._set_aside(suspect, picked_at, why)
        route.tried.clear()

    def failed(self, route: Route, blame: Blame, why: str) -> bool:
        """Note that a send has failed; whether it is to go by another proxy."""
        proxy, route.proxy = route.proxy, None
        if proxy is None or blame is Blame.NOT:
            return False
        route.tried.append(proxy)
        if blame is Blame.PROXY:
            self._set_aside(proxy, route.picked_at, why)
        else:
            route.suspects.append((proxy, route.picked_at, why))
            if len(route.suspects) > PERHAPS_MOST:
                return False
        with self._lock:
            return any(self._is_ready(other, self._now()) for other in self._proxies if other not in route.tried)

    def _next(self, tried: Iterable[Proxy], now: float) -> Proxy | None:
        count = len(self._proxies)
        for step in range(count):
            proxy = self._proxies[(self._turn + step) % count]
            if proxy in tried or not self._is_ready(proxy, now):
                continue
            self._turn = (self._turn + step + 1) % count
            if proxy.is_aside:  # one request tries it; if nothing is heard of that, another one does
                proxy.until = now + self._rest(proxy)
            return proxy
        return None

    def _is_ready(self, proxy: Proxy, now: float) -> bool:
        return not proxy.is_aside or now >= proxy.until

    def _rest(self, proxy: Proxy) -> float:
        rules = self._rules
        return float(min(rules.longest, rules.rest * 2.0 ** min(max(0, proxy.times - 1), 20)))

    def _set_aside(self, proxy: Proxy, picked_at: float, why: str) -> None:
        now = self._now()
        with self._lock:
            if proxy.is_aside and picked_at < proxy.since:
                return  # it was picked before that was known
            proxy.times += 1
            proxy.is_aside, proxy.since, proxy.why = True, now, why
            wait = self._rest(proxy)
            proxy.until = now + wait
        events.emit("proxy.aside", proxy=proxy.name, wait=wait, reason=why)

    def _none_left(self, now: float) -> ConnectFailed:
        with self._lock:
            aside = [proxy for proxy in self._proxies if proxy.is_aside]
            told = [f"{proxy.name}: {proxy.why}" for proxy in aside[:TOLD]]
            wait = min((proxy.until - now for proxy in aside), default=0.0)
        if len(aside) > TOLD:
            told.append(f"and {len(aside) - TOLD} more")
        what = "the only proxy is" if len(self._proxies) == 1 else f"all {len(self._proxies)} proxies are"
        error = ConnectFailed(f"{what} set aside for a while after failures ({'; '.join(told)})")
        error.rest = max(0.0, wait)
        return error


def blame_for(ours: RequestError, causes: Iterable[BaseException], proxy: Proxy) -> Blame:
    """Whose failure it is that a send by `proxy` has ended in `ours`, of these causes."""
    found = [*causes]
    for cause in found:
        answer = _TUNNEL_FAILED.search(str(cause)) if isinstance(cause, OSError) else None
        if answer is not None:
            return Blame.PROXY if int(answer[1]) == REFUSED else Blame.PERHAPS
    if any(getattr(cause, "through", None) for cause in found):
        return _of_dialling(found, proxy)
    if isinstance(ours, ConnectionLost):
        return Blame.NOT if ours.stale else Blame.PERHAPS
    if isinstance(ours, ConnectFailed):
        return Blame.PERHAPS
    return Blame.PERHAPS if isinstance(ours, TimedOut) and _is_before_sending(ours) else Blame.NOT


def why(ours: RequestError) -> str:
    """What has happened, without where: the last clause of a sentence."""
    return str(ours).rpartition(": ")[2]


def _of_dialling(causes: list[BaseException], proxy: Proxy) -> Blame:
    """No connection to a proxy; but one that speaks SOCKS makes the connection to the server meanwhile, too."""
    if not proxy.name.startswith("socks"):
        return Blame.PROXY
    is_about_server = any(
        isinstance(cause, socket.gaierror) or getattr(cause, "errno", None) == errno.EPROTO for cause in causes
    )
    return Blame.PERHAPS if is_about_server else Blame.PROXY


def _is_before_sending(ours: RequestError) -> bool:
    return str(ours).startswith("no connection")

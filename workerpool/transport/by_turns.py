"""What a send has to do with proxies that take turns: which one it goes by, and what came of it says of that one.

Each send's worker calls it; who is set aside is decided in `rotation`, under its lock.
"""

from __future__ import annotations

from collections.abc import Mapping

from requests import Response

from workerpool.config import RetryPolicy
from workerpool.errors import ConnectFailed, RequestError, TransportError
from workerpool.transport.failures import causes_of
from workerpool.transport.rotation import REFUSED, REFUSES, Blame, Rotation, Route, blame_for, why
from workerpool.transport.wire import Exchange


class ByTurns:
    """`rotation` is None where proxies take no turns: there is nothing to do then. `retry`: what may be repeated."""

    def __init__(self, rotation: Rotation | None, retry: RetryPolicy) -> None:
        self._rotation = rotation
        self._retry = retry

    def proxies(self, exchange: Exchange) -> Mapping[str, str] | None:
        """The proxy whose turn it is; None if they take no turns, or the request has its own."""
        if self._rotation is None or exchange.request.proxies:
            return None
        if exchange.route is None:
            exchange.route = Route()
        return self._rotation.pick(exchange.route).mapping

    def heard(self, exchange: Exchange, response: Response) -> None:
        """Take note of what an answer says of its proxy; raises `ConnectFailed` if another one is to try."""
        route = exchange.route
        if self._rotation is None or route is None:
            return
        if response.status_code != REFUSED:
            self._rotation.answered(route)
            return
        name = route.proxy.name if route.proxy is not None else "?"
        if self._rotation.failed(route, Blame.PROXY, REFUSES):
            response.close()
            error = ConnectFailed(f"the proxy {name} refuses the login (407)")
            error.elsewhere = True
            raise error

    def blame(self, ours: RequestError, error: BaseException | None, exchange: Exchange) -> None:
        """Take note of what a failure says of the proxy that it came by, and whether it goes by another one."""
        route, rotation = exchange.route, self._rotation
        if rotation is None or route is None or route.proxy is None or not isinstance(ours, TransportError):
            return
        causes = [*causes_of(error)] if error is not None else []
        goes_on = rotation.failed(route, blame_for(ours, causes, route.proxy), why(ours))
        # What may have reached the server goes again only if it may be repeated.
        was_sent = exchange.trace.sent_at is not None
        ours.elsewhere = goes_on and not (was_sent and not exchange.may_repeat(self._retry))

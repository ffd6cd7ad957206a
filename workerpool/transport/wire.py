"""The wire: one small protocol, and requests' own path behind it.

A transport sends one thing at a time on the calling worker's thread, over that worker's session, and returns a
response or raises one of workerpool's errors. A redirect is not followed here: `follow` says where the request goes
on, and the scheduler decides when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from workerpool import events
from workerpool.config import Options, Timeout
from workerpool.errors import RequestError, UnexpectedError
from workerpool.model import Request
from workerpool.transport.adapter import Driven, GovernedAdapter, Governor, SharedAdapter
from workerpool.transport.bodies import is_repeatable, read_whole, rewind
from workerpool.transport.connections import Connections, SocketCounts
from workerpool.transport.failures import translate
from workerpool.transport.session import CookiePolicy, Environment, Session, mount


@dataclass(slots=True)
class Exchange:
    """One attempt at a request on the wire: what is sent next, and what came so far.

    `url`: where the next send goes, `host`: whose budget it counts against. `prepared`: the transport's own form of
    it, kept between attempts so that a body can be sent again. `history`: the redirects followed. `first_byte`, `body`
    (seconds), `reused`: of the last send.
    """

    request: Request
    url: str
    host: str = ""
    prepared: Any = None
    first: Any = None
    history: list[Response] = field(default_factory=list)
    first_byte: float = 0.0
    body: float = 0.0
    reused: bool | None = None

    def restart(self) -> None:
        """Go back to the request itself, for another attempt."""
        self.url = self.request.url
        self.prepared = self.first
        self.history = []


class Transport(Protocol):
    """What a worker sends through. Every method may be called by many threads, `send` and `follow` by workers only."""

    def open_session(self) -> Any:
        """Make the calling worker's session, before its first request."""

    def settle_session(self, session: Any) -> None:
        """Take note that the session is set up: the user's initializer has run."""

    def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        """Send `exchange` once and read the response; raises a `RequestError` whose cause is the library's error."""

    def follow(self, session: Any, exchange: Exchange, response: Response) -> bool:
        """Point `exchange` at where `response` redirects to; False if it does not, or should not be followed."""

    def can_repeat(self, exchange: Exchange) -> bool:
        """Whether the request's body can be sent again."""

    def warm(self, session: Any, url: str, host: str) -> bool:
        """Open a socket for `url` and keep it idle; False if the budget, of `host` or in all, has no place for it."""

    def counts(self) -> SocketCounts:
        """Count the sockets."""

    def close(self) -> None:
        """Close every idle socket, and each other one when it is done."""


class RequestsTransport:
    """requests' own path: a Session per worker over one shared adapter."""

    def __init__(self, options: Options, governor: Governor, session_factory: Callable[[], Any] | None = None) -> None:
        budgets = options.budgets
        self._connections = Connections(budgets.max_connections, budgets.host_connections)
        self._driven = Driven()
        self._governor = governor
        self._adapter = SharedAdapter(options.workers, self._connections, self._driven, governor)
        self._cookies = CookiePolicy(options.cookies)
        self._foreign: set[tuple[str, str]] = set()
        environment = Environment()
        self._session_factory = session_factory or (lambda: Session(environment))

    def open_session(self) -> Any:
        session = self._session_factory()
        mount(session, self._adapter, self._govern)
        return session

    def settle_session(self, session: Any) -> None:
        mount(session, self._adapter, self._govern)  # again: the initializer may have mounted adapters
        self._cookies.adopt(session)

    def _govern(self, prefix: str, adapter: BaseAdapter) -> GovernedAdapter:
        kind = (prefix, type(adapter).__name__)
        if kind not in self._foreign:  # two workers may both find it missing, and log it twice: no harm
            self._foreign.add(kind)
            events.emit("adapter.foreign", prefix=prefix, adapter=kind[1])
        return GovernedAdapter(adapter, self._driven, self._governor)

    def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        try:
            with self._cookies.applied(session):
                prepared = self._prepared(session, exchange)
                return self._send(session, exchange, prepared, timeout)
        except RequestError:
            raise
        except Exception as error:
            raise translate(error, exchange.url) from error

    def follow(self, session: Any, exchange: Exchange, response: Response) -> bool:
        following = response.next
        if following is None or not exchange.request.follows_redirects:
            return False
        exchange.history.append(response)
        limit = getattr(session, "max_redirects", 30)
        if len(exchange.history) > limit:
            error = requests.TooManyRedirects(f"more than {limit} redirects", response=response)
            raise translate(error, exchange.url)
        if not is_repeatable(following):
            raise UnexpectedError(
                f"status {response.status_code} asks for the body again, but it is an iterator that can be read once: "
                "give bytes or a file"
            )
        exchange.prepared = following
        exchange.url = following.url or exchange.url
        return True

    def can_repeat(self, exchange: Exchange) -> bool:
        return exchange.first is None or is_repeatable(exchange.first)

    def warm(self, session: Any, url: str, host: str) -> bool:
        self._connections.label.host = host
        settings = session.merge_environment_settings(url, {}, False, None, None)
        prepared = session.prepare_request(requests.Request("HEAD", url))
        pool = self._adapter.get_connection_with_tls_context(
            prepared, settings["verify"], proxies=settings["proxies"], cert=settings["cert"]
        )
        return self._connections.warm(pool)

    def counts(self) -> SocketCounts:
        return self._connections.counts()

    def close(self) -> None:
        self._adapter.close_sockets()

    def _prepared(self, session: Any, exchange: Exchange) -> PreparedRequest:
        prepared: PreparedRequest = exchange.prepared
        if prepared is None:
            prepared = exchange.prepared = exchange.first = session.prepare_request(_as_requests(exchange.request))
        else:
            rewind(prepared)
        return prepared

    def _send(self, session: Any, exchange: Exchange, prepared: PreparedRequest, timeout: Timeout) -> Response:
        request = exchange.request
        settings = session.merge_environment_settings(
            prepared.url, dict(request.proxies or {}), True, request.verify, request.cert
        )
        started = time.perf_counter()
        self._connections.label.host = exchange.host
        self._connections.label.reused = None
        with self._driven:
            response: Response = session.send(
                prepared, timeout=(timeout.connect, timeout.read), allow_redirects=False, **settings
            )
        headers_read = time.perf_counter()
        exchange.first_byte = headers_read - started
        exchange.reused = self._connections.label.reused
        if exchange.history:
            response.history = [*exchange.history]
        if not request.stream:
            read_whole(response)
            exchange.body = time.perf_counter() - headers_read
        return response


def _as_requests(request: Request) -> requests.Request:
    return requests.Request(
        method=request.method.upper(),
        url=request.url,
        headers=request.headers,
        files=request.files,
        data=request.data or {},
        json=request.json,
        params=request.params or {},
        auth=request.auth,
        cookies=request.cookies,
        hooks=request.hooks,
    )

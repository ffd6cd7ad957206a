"""The one adapter that all workers' Sessions mount: requests' own, over counted connections, sized to the workers.

A `requests.Session` is not thread-safe, but an adapter is, and a shared one lets a request use whatever socket is
idle, whichever worker used it before: 16 workers at 100 requests a second open 5 sockets, not 16. Only the pool may
close it, so `close` (which any Session's own `close` calls) does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from workerpool.transport.bodies import read_whole
from workerpool.transport.connections import Connections, CountedPoolManager, CountedProxyManager, Label

POOLS_KEPT = 4096
"""Recipes for connections, one for each origin and TLS setting, kept by urllib3. A dropped one is made anew."""


class Governor(Protocol):
    """Sends what the scheduler did not hand out: waits for leave, sends, and retries by the policy, on this thread."""

    def __call__(self, request: PreparedRequest, send: Callable[[str], Response], *, has_place: bool) -> Response:
        """Call `send` with the host whose budget it counts against.

        `has_place`: this thread is inside a send of the pool's (an auth that answers a challenge, say), so it has its
        place already, and only a slot is to be waited for.
        """


class Driven(threading.local):
    """Whether this thread is inside a send that the scheduler handed out, and whether its one slot is used up."""

    active = False
    used = False
    response: Response | None = None

    def __enter__(self) -> None:
        self.active = True
        self.used = False

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self.active = False
        response, self.response = self.response, None
        if kind is not None and response is not None:
            response.close()  # a hook raised, and nobody else has this response

    def send(
        self,
        request: PreparedRequest,
        send: Callable[[], Response],
        governor: Governor,
        *,
        stream: bool,
        label: Label | None = None,
    ) -> Response:
        """Call `send` at once if the scheduler gave leave for it, or else when `governor` does."""
        if self.active and not self.used:
            self.used = True
            self.response = send()
            return self.response

        def send_and_read(host: str) -> Response:
            if label is not None:
                label.host = host
            response = send()
            if not stream:
                read_whole(response)  # while the place is still held, so that the socket is counted until it is free
            return response

        return governor(request, send_and_read, has_place=self.active)


class SharedAdapter(HTTPAdapter):
    """requests' `HTTPAdapter` for every worker of one pool at once. Any thread."""

    def __init__(self, workers: int, connections: Connections, driven: Driven, governor: Governor) -> None:
        self._connections = connections
        self._driven = driven
        self._governor = governor
        self._recipes: dict[tuple[str, bool], Any] = {}  # whole-value writes: no lock needed under the GIL
        self._proxies_lock = threading.Lock()  # guards proxy_manager: requests checks and sets it without one
        # max_retries=0: urllib3's Retry sleeps while holding a socket. pool_block=False: it waits without a limit.
        super().__init__(pool_connections=POOLS_KEPT, pool_maxsize=workers, max_retries=0, pool_block=False)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self._pool_connections = connections
        self._pool_maxsize = maxsize
        self._pool_block = block
        manager = CountedPoolManager(num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs)
        manager.count_in(self._connections)
        self.poolmanager = manager

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """As requests' own, which takes the URL apart and puts a key together every time, remembered by site."""
        if proxies or cert is not None or not isinstance(verify, bool):
            return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        site = "/".join((request.url or "").split("/", 3)[:3])
        recipe = self._recipes.get((site, verify))
        if recipe is None:
            recipe = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            if len(self._recipes) >= POOLS_KEPT:
                self._recipes.clear()
            self._recipes[site, verify] = recipe
        return recipe

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """As requests' own, which takes the URL apart twice to find that there is no proxy."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, request: PreparedRequest, raw: Any) -> Response:
        """As requests' own, which works on cookies also where none came."""
        if "set-cookie" in raw.headers:
            return super().build_response(request, raw)
        response: Any = Response()
        response.status_code = raw.status
        response.headers = CaseInsensitiveDict(raw.headers)
        response.encoding = get_encoding_from_headers(response.headers)
        response.raw = raw
        response.reason = raw.reason
        response.url = request.url
        response.request = request
        response.connection = self
        return cast(Response, response)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        with self._proxies_lock:
            if proxy in self.proxy_manager or proxy.lower().startswith("socks"):
                return super().proxy_manager_for(proxy, **proxy_kwargs)
            manager = CountedProxyManager(
                proxy,
                proxy_headers=self.proxy_headers(proxy),
                num_pools=self._pool_connections,
                maxsize=self._pool_maxsize,
                block=self._pool_block,
                **proxy_kwargs,
            )
            manager.count_in(self._connections)
            self.proxy_manager[proxy] = manager
            return manager

    def send(self, request: PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        """Send at once what the scheduler handed out, and anything else when the governor gives leave."""
        send = super().send
        return self._driven.send(
            request,
            lambda: send(request, stream, *args, **kwargs),
            self._governor,
            stream=stream,
            label=self._connections.label,
        )

    def close(self) -> None:
        """Nothing: a Session that closes must not close the sockets of every other. The pool calls `close_sockets`."""

    def close_sockets(self) -> None:
        """Close every idle socket, and each other one when its response has been read."""
        self._connections.close()


class GovernedAdapter(BaseAdapter):
    """Puts an adapter that a user mounted under the pool's budgets; its sockets stay its own, and uncounted."""

    def __init__(self, inner: BaseAdapter, driven: Driven, governor: Governor) -> None:
        super().__init__()
        self.inner = inner
        self._driven = driven
        self._governor = governor

    def send(self, request: PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        send = self.inner.send
        return self._driven.send(request, lambda: send(request, stream, *args, **kwargs), self._governor, stream=stream)

    def close(self) -> None:
        self.inner.close()

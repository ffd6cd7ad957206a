"""The one adapter that all workers' Sessions mount: requests' own, over counted connections.

A `requests.Session` is not thread-safe, but an adapter is, and a shared one lets a request use whatever socket is
idle, whichever worker used it before: 16 workers at 100 requests a second open 5 sockets, not 16. Only the pool may
close it, so `close` (which any Session's own `close` calls) does nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import requests
import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers, select_proxy
from urllib3.exceptions import LocationParseError

from workerpool.clock import LEAST
from workerpool.config import Options, Timeout
from workerpool.errors import InvalidRequest
from workerpool.transport.bodies import read_redirect, read_whole
from workerpool.transport.connections import Connections
from workerpool.transport.deadline import shortest
from workerpool.transport.failures import causes_of, out_of_time, translate
from workerpool.transport.fast import FastPath
from workerpool.transport.governed import Driven, Governor, Send
from workerpool.transport.guard import Guard
from workerpool.transport.messages import message_of
from workerpool.transport.pending import Pending
from workerpool.transport.pools import CountedPoolManager, CountedProxyManager
from workerpool.transport.redirects import TIME_LEFT
from workerpool.transport.rotation import REFUSED, REFUSES, Blame, Rotation, Route, blame_for, why
from workerpool.transport.trace import Trace, idle_max, mark
from workerpool.transport.way import Way

POOLS_KEPT = 4096
"""Recipes for connections, one for each origin and TLS setting, kept by urllib3. A dropped one is made anew."""


class SharedAdapter(HTTPAdapter):
    """requests' `HTTPAdapter` for every worker of one pool at once. Any thread."""

    def __init__(
        self,
        options: Options,
        connections: Connections,
        guard: Guard,
        driven: Driven,
        governor: Governor,
        rotation: Rotation | None = None,
    ) -> None:
        self._options = options
        self._connections = connections
        self._guard = guard
        self._driven = driven
        self._governor = governor
        self._rotation = rotation
        self.fast = FastPath(connections, options.max_body, self) if options.fast_path else None
        self._recipes: dict[tuple[Any, ...], Any] = {}  # whole-value writes: no lock needed under the GIL
        self._proxies_lock = threading.Lock()  # guards proxy_manager: requests checks and sets it without one
        # max_retries=0: urllib3's Retry sleeps while holding a socket. pool_block=False: it waits without a limit.
        super().__init__(pool_connections=POOLS_KEPT, pool_maxsize=options.workers, max_retries=0, pool_block=False)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self.poolmanager = CountedPoolManager(
            self._connections, num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs
        )

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """As requests' own, which takes the URL apart and puts a key together every time, remembered by site."""
        url = request.url or ""
        key = ("/".join(url.split("/", 3)[:3]), verify, cert, select_proxy(url, proxies) if proxies else None)
        recipe = self._recipes.get(key)
        if recipe is None:
            try:
                recipe = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            except (LocationParseError, requests.exceptions.InvalidProxyURL) as error:
                if not key[-1]:
                    raise
                raise _bad_proxy() from error
            if len(self._recipes) >= POOLS_KEPT:
                self._recipes.clear()
            self._recipes[key] = recipe
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
        kwargs = {"num_pools": POOLS_KEPT, "maxsize": self._options.workers, "block": False, **proxy_kwargs}
        with self._proxies_lock:
            manager = self.proxy_manager.get(proxy)
            if manager is None:
                if proxy.lower().startswith("socks"):
                    manager = _socks_manager(self._connections, proxy, kwargs)
                else:
                    manager = CountedProxyManager(
                        self._connections, proxy, proxy_headers=self.proxy_headers(proxy), **kwargs
                    )
                if len(self.proxy_manager) >= POOLS_KEPT:  # there may be a login for each request; idle sockets stay
                    del self.proxy_manager[next(iter(self.proxy_manager))]
                self.proxy_manager[proxy] = manager
            return manager

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send at once what the scheduler handed out, and anything else when the governor gives leave."""
        self.check_url(request.url or "", proxies)
        way = Way.of(verify=verify, cert=cert, proxies=proxies)
        if self._driven.may_send:
            streams = self._connections.traces.current.streams
            return self._driven.keep(self._transmit(request, timeout, way, streams=streams))
        send_once = self._governed(request, stream, timeout, way)
        if self._driven.active:  # waiting for a slot is no part of the outer send's time
            self._connections.watchdog.watch.suspend()
        return self._governor(request, send_once, has_place=self._driven.active)

    def _transmit(self, request: PreparedRequest, timeout: Any, way: Way, *, streams: bool) -> Response:
        """Send once: by the fast path what is plain, and anything else as requests does; `streams`: whether the caller
        reads the body."""
        message = pool = None
        fast = self.fast if isinstance(timeout, tuple) and not is_wrapped() else None
        if fast is not None and not (streams or request.hooks.get("response")):
            pool = self.pool_or_none(request, way)
            message = pool and message_of(request, self.request_url(request, way.proxies), pool)
        trace = self._connections.traces.current
        if fast is not None and message:
            response = fast.send(pool, message, timeout, way)
        else:
            response = super().send(request, True, timeout, **way._asdict())
            self._read_ahead(request, response, streams=streams)
        mark(response, trace)
        return response

    def finish_by_requests(self, pending: Pending) -> Response:
        """Go on, by requests' own path, with what the fast path has begun: see `Pending`."""
        request = pending.message.make_request()
        timeout: Any = pending.timeout
        response = super().send(request, True, timeout, **pending.way._asdict())
        self._read_ahead(request, response, streams=False)
        return response

    def pool_for(self, request: PreparedRequest, way: Way) -> Any:
        """The connections for a request. Raises what requests raises where there can be none."""
        verify, cert, proxies = way
        pool = self.get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        self.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        return pool

    def pool_or_none(self, request: PreparedRequest, way: Way) -> Any:
        """The same; None where requests is to say why there are none."""
        try:
            return self.pool_for(request, way)
        except Exception:
            return None

    def _read_ahead(self, request: PreparedRequest, response: Response, *, streams: bool) -> None:
        """Read, within the limit, what requests or a hook would read without one; and errors, which may be retried."""
        if response.is_redirect:
            self._connections.traces.current.unreadable = read_redirect(response, self._options.max_body)
        elif response.status_code >= 400 or (request.hooks.get("response") and not streams):
            read_whole(response, self._options.max_body)

    def _governed(self, request: PreparedRequest, stream: bool, timeout: Any, way: Way) -> Send:
        """What sends `request` once, with a trace and a deadline, when the governor calls it."""
        of_attempt = self._options.timeout
        if timeout is not None:
            of_attempt = _timeout(timeout, of_attempt.total)
        pair: Any = (of_attempt.connect, of_attempt.read)
        total = shortest(of_attempt.total, getattr(request, TIME_LEFT, None))  # a chain of redirects shares the time
        repeats = self._options.retry.may_repeat(request.method or "GET", request.headers)
        watch = self._connections.watchdog.watch

        def send_once(host: str, fresh: bool, left: float | None) -> Response:
            trace = Trace()

            def begin() -> None:
                nonlocal trace
                oldest = idle_max(fresh=fresh, repeats=repeats)
                trace = self._connections.traces.begin(Trace(host=host, idle_max=oldest, streams=stream))

            watch.resume()
            is_inner = watch.is_set  # inside a send of the pool's, whose deadline holds for all of it
            if not is_inner:
                watch.begin(shortest(total, left))
            began = time.monotonic()
            try:
                response = self._by_turns(request, pair, way, begin, streams=stream)
                if not stream:  # while the place is still held, so that the socket is counted until it is free
                    read_whole(response, self._options.max_body)
            except Exception as error:
                if not is_inner and watch.end():
                    raise out_of_time(trace) from error
                raise
            finally:
                has_expired = not is_inner and watch.end()  # to end it twice does no harm
            if has_expired:
                response.close()
                raise out_of_time(trace)
            if total is not None and response.is_redirect:
                setattr(response, TIME_LEFT, max(LEAST, total - (time.monotonic() - began)))
            return response

        return send_once

    def _by_turns(
        self, request: PreparedRequest, timeout: Any, way: Way, begin: Callable[[], None], *, streams: bool
    ) -> Response:
        """Send once, where proxies take turns by one of these: by the next, if it has not got further than that.

        `begin` begins a trace, one for each.
        """
        begin()
        rotation = self._rotation
        if rotation is None or not rotation.has(way.proxies):
            return self._transmit(request, timeout, way, streams=streams)
        route = Route()
        while True:
            trace = self._connections.traces.current
            proxy = rotation.pick(route)
            try:
                response = self._transmit(request, timeout, way._replace(proxies=proxy.mapping), streams=streams)
            except Exception as error:
                ours = translate(error, request.url or "", was_sent=trace.sent_at is not None)
                goes_on = rotation.failed(route, blame_for(ours, causes_of(error), proxy), why(ours))
                if not goes_on or trace.sent_at is not None:
                    raise
            else:
                if response.status_code != REFUSED or not rotation.failed(route, Blame.PROXY, REFUSES):
                    rotation.answered(route)
                    return response
                response.close()
            begin()

    def check_url(self, url: str, proxies: Any) -> None:
        """Raise `Denied` for what the guard does not let pass."""
        if self._guard.is_open:
            return
        self._guard.check_url(url)
        proxy = select_proxy(url, proxies)
        if proxy:
            self._guard.check_proxy(url, proxy)

    def __getstate__(self) -> Any:
        raise TypeError("a session of a pool's worker uses the pool's own sockets, so it cannot be pickled or copied")

    def close(self) -> None:
        """Nothing: a Session that closes must not close the sockets of every other. The pool closes them."""


def _bad_proxy() -> Exception:
    """requests' error without the URL: where that does not parse, nobody can tell its password from the rest."""
    return requests.exceptions.InvalidProxyURL(
        "the URL of the proxy, from the environment or as given, does not parse: write http://user:password@host:port, "
        "with special characters percent-encoded"
    )


_SEND = HTTPAdapter.send


def is_wrapped() -> bool:
    """Whether somebody has put something of theirs in place of requests' own sending, as libraries for tests do: then
    everything is to go that way."""
    return HTTPAdapter.send is not _SEND


def _timeout(value: Any, total: float | None) -> Timeout:
    """Read what requests takes for a timeout, urllib3's own kind included."""
    if isinstance(value, urllib3.Timeout):
        return Timeout(value.connect_timeout, value.read_timeout, value.total or total)  # type: ignore[arg-type]
    return Timeout.of(value, total=total)


def _socks_manager(connections: Connections, proxy: str, kwargs: dict[str, Any]) -> Any:
    try:
        from workerpool.transport.socks import CountedSocksManager
    except ImportError as error:
        raise InvalidRequest(
            "a SOCKS proxy needs PySocks: install it with pip install 'workerpool-http[socks]'"
        ) from error
    return CountedSocksManager(connections, proxy, **kwargs)

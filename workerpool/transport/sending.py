"""The real transport: plain requests by the fast path, all others by requests' own, over the same sockets.

Here is what an attempt's exchange is on its way: its deadline, its redirects, its session's settings, and in our words
what went wrong. Worker threads only. It is longer than modules should be: the two ways of a send are read side by side.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import requests
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from requests.utils import default_user_agent

from workerpool import events
from workerpool.clock import LEAST
from workerpool.config import Options, Timeout
from workerpool.credentials import TokenSource, as_it_is
from workerpool.errors import (
    ConnectionLost,
    Denied,
    OutcomeUnknown,
    RequestError,
    TimedOut,
    UnexpectedError,
)
from workerpool.model import DEFAULT_PORTS, Request, origin, problem_of
from workerpool.proxies import ProxyList
from workerpool.redact import printable, redact
from workerpool.saving import Board, Offer
from workerpool.transport.adapter import SharedAdapter
from workerpool.transport.bodies import is_repeatable, read_whole, rewind
from workerpool.transport.by_turns import ByTurns
from workerpool.transport.connections import Connections, SocketCounts
from workerpool.transport.cookies import CookiePolicy
from workerpool.transport.deadline import NEVER
from workerpool.transport.dial import Dialer
from workerpool.transport.dns import Resolver
from workerpool.transport.failures import out_of_time, translate
from workerpool.transport.governed import Driven, GovernedAdapter, Governor
from workerpool.transport.guard import Guard
from workerpool.transport.lazy import LazyResponse
from workerpool.transport.messages import Message
from workerpool.transport.pending import Pending
from workerpool.transport.places import Leases
from workerpool.transport.plans import Plan, Plans, Tables
from workerpool.transport.receiving import Receiver, check_sha256, wanted_sha256
from workerpool.transport.redirects import confine, step_of
from workerpool.transport.rotation import Rotation
from workerpool.transport.session import LEADS_NOWHERE, Environment, Session, mount
from workerpool.transport.trace import Trace, idle_max, taken_off
from workerpool.transport.way import Way
from workerpool.transport.wire import CarryingTransport, Exchange

T = TypeVar("T")


class RequestsTransport(CarryingTransport):
    """A Session per worker over one shared adapter. `leases`: see `Connections`."""

    def __init__(
        self,
        options: Options,
        governor: Governor,
        session_factory: Callable[[], Any] | None = None,
        leases: Leases | None = None,
    ) -> None:
        self._options = options
        self._guard = Guard(options.guard)
        budgets = options.budgets
        self._connections = Connections(
            budgets.max_connections, budgets.host_connections, Dialer(Resolver(), self._guard), leases
        )
        self._driven = Driven()
        self._rotation = Rotation(options.proxies) if isinstance(options.proxies, ProxyList) else None
        self._by_turns = ByTurns(self._rotation, options.retry)
        self._governor = governor
        self._adapter = SharedAdapter(options, self._connections, self._guard, self._driven, governor, self._rotation)
        self._fast: Any = self._adapter.fast  # None if that is off: no session has plans then
        self._cookies = CookiePolicy(options.cookies)
        self._receiver = Receiver()
        self._foreign: set[tuple[str, str]] = set()
        self._environment = Environment()
        self._plans: Tables = {}
        self._session_factory = session_factory or self._new_session

    def open_session(self) -> Any:
        session = self._session_factory()
        agent, headers = self._options.user_agent, getattr(session, "headers", {})
        if agent is not None and headers.get("User-Agent") == default_user_agent():  # else it has one of its own
            headers["User-Agent"] = agent
        mount(session, self._adapter, self._govern)
        return session

    def settle_session(self, session: Any) -> None:
        mount(session, self._adapter, self._govern)  # again: the initializer may have mounted adapters
        self._cookies.adopt(session)
        if self._options.fast_path and type(session) is Session:
            session.plans = Plans(session, self._adapter, self._plans)

    def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        exchange.trace = self._connections.traces.begin(self._trace(exchange))
        return self._watched(exchange, timeout.total, lambda: self._send_anyhow(session, exchange, timeout))

    def begin(self, session: Any, exchange: Exchange, timeout: Timeout, *, connects: bool) -> Pending | None:
        exchange.trace = self._connections.traces.begin(self._trace(exchange))
        if connects:
            return self._watched(
                exchange, timeout.total, lambda: self._begin(session, exchange, timeout, connects=True)
            )
        began = time.perf_counter()
        try:
            return self._begin(session, exchange, timeout, connects=False)
        except Exception as error:
            failed = error
        try:
            raise self._explained(failed, exchange, began)
        finally:
            del failed

    def go_on(self, session: Any, exchange: Exchange, carried: Pending, *, is_late: bool) -> Response | None:
        self._connections.traces.begin(carried.trace)
        failed: Exception | None = None
        has_expired = is_late and time.monotonic() >= carried.deadline
        if not has_expired:
            carried.is_silent = is_late
            try:
                response = self._fast.go_on(carried)
                if response is not None:
                    return self._accepted(session, exchange, response, carried.way, carried.began)
                # Asked also when something has come: a drip always has, and would never be late.
                has_expired = time.monotonic() >= carried.deadline
                if not has_expired:
                    return None
            except Exception as error:
                failed = error
        if has_expired:
            carried.close()
        try:
            raise self._explained(failed, exchange, carried.began, has_expired=has_expired)
        finally:
            del failed

    def finish(self, session: Any, exchange: Exchange, carried: Pending) -> Response:
        self._connections.traces.begin(carried.trace)

        def go_on() -> Response:
            self._connections.watchdog.watch.attach(carried.sock)
            response = self._fast.finish(carried)
            return self._accepted(session, exchange, response, carried.way, carried.began)

        left = None if carried.deadline == NEVER else max(LEAST, carried.deadline - time.monotonic())
        return self._watched(exchange, left, go_on)

    def _begin(self, session: Any, exchange: Exchange, timeout: Timeout, *, connects: bool) -> Pending | None:
        planned = self._planned(session, exchange)
        if planned is None:
            return None
        plan, message = planned
        expires_at = None if timeout.total is None else time.monotonic() + timeout.total
        pair = (timeout.connect, timeout.read)
        pending: Pending | None = self._fast.begin(plan.pool, message, pair, plan.way, over_new=connects)
        if pending is not None:
            pending.allow(expires_at)
        return pending

    def _watched(self, exchange: Exchange, total: float | None, send: Callable[[], T]) -> T:
        """Call `send`, whose deadline is `total` seconds from now; its errors are explained."""
        watch = self._connections.watchdog.watch
        response: T | None = None
        is_done = False
        failed: Exception | None = None
        began = time.perf_counter()
        watch.begin(total)
        try:
            response = send()
            is_done = True
        except Exception as error:
            failed = error
        finally:
            has_expired = watch.end()
        if is_done and not has_expired:
            return cast(T, response)
        if isinstance(response, (Response, Pending)):  # what seems to be the body's end may be our own doing
            response.close()
        try:
            raise self._explained(failed, exchange, began, has_expired=has_expired)
        finally:
            del failed, response  # their tracebacks hold this frame

    def _explained(
        self, error: Exception | None, exchange: Exchange, began: float, *, has_expired: bool = False
    ) -> RequestError:
        """What to raise for `error`, or for a deadline that has passed; the time since `began` is charged."""
        trace = exchange.trace = self._connections.traces.current
        trace.charge(began)
        return self._failure(error, exchange, has_expired=has_expired)

    def follow(self, session: Any, exchange: Exchange, response: Response) -> bool:
        following = response.next
        if not exchange.request.follows_redirects:
            return False
        if following is None:
            if (fault := vars(response).get(LEADS_NOWHERE)) is not None:
                raise Denied(f"a redirect leads nowhere: {printable(redact(fault))}")
            return False
        if not exchange.history:
            exchange.steps.add(step_of(response.request))
        exchange.history.append(response)
        limit = min(self._options.max_redirects, getattr(session, "max_redirects", self._options.max_redirects))
        if len(exchange.history) > limit:
            raise self._endless(f"more than {limit} redirects", exchange, response)
        self._check_target(following.url or "")
        confine(session, following, response)
        step = step_of(following)
        if step in exchange.steps:
            raise self._endless(f"the redirects lead in a circle, back to {redact(step[1])}", exchange, response)
        exchange.steps.add(step)
        if not is_repeatable(following):
            raise UnexpectedError(
                f"status {response.status_code} asks for the body again, but it is an iterator that can be read once: "
                "give bytes or a file"
            )
        state: Any = response
        state._next = None  # followed, as in requests
        exchange.prepared = following
        exchange.url = following.url or exchange.url
        exchange.fresh = False
        return True

    def can_repeat(self, exchange: Exchange) -> bool:
        return exchange.first is None or is_repeatable(exchange.first)

    def warm(self, session: Any, url: str, host: str) -> bool:
        exchange = Exchange(Request(url, "HEAD"), url, host, trace=self._connections.traces.begin(Trace(host=host)))
        way = Way.of(**session.merge_environment_settings(url, {}, False, None, None))
        prepared = session.prepare_request(requests.Request("HEAD", url))
        self._adapter.check_url(prepared.url or "", way.proxies)
        timeout = self._options.timeout

        def connect() -> bool:
            return cast(bool, self._adapter.pool_for(prepared, way).warm(timeout.connect))

        return self._watched(exchange, timeout.total, connect)

    def counts(self) -> SocketCounts:
        return self._connections.counts()

    @property
    def board(self) -> Board:
        """How far the bodies are that are being received for files."""
        return self._receiver.board

    def close(self) -> None:
        self._connections.close()

    def abandon(self) -> None:
        self._connections.abandon()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _new_session(self) -> Session:
        session = Session(self._environment)
        options = self._options
        session.max_redirects = options.max_redirects
        session.rotation = self._rotation
        if not isinstance(options.proxies, ProxyList):
            session.proxies.update(options.proxies or {})
        session.verify = options.verify
        session.cert = options.cert
        session.auth = options.auth
        return session

    def _govern(self, prefix: str, adapter: BaseAdapter) -> BaseAdapter:
        kind = (prefix, type(adapter).__name__)
        if kind not in self._foreign:
            self._foreign.add(kind)
            events.emit("adapter.foreign", adapter=kind[1], prefix=prefix)
        traces, max_body = self._connections.traces, self._options.max_body
        return GovernedAdapter(adapter, self._guard, self._driven, self._governor, traces, max_body)

    def _trace(self, exchange: Exchange) -> Trace:
        oldest = idle_max(fresh=exchange.fresh, repeats=exchange.may_repeat(self._options.retry))
        streams = exchange.request.stream or exchange.request.save is not None
        return Trace(host=exchange.host, idle_max=oldest, streams=streams, fast_path=False)

    def _failure(self, error: Exception | None, exchange: Exchange, *, has_expired: bool) -> RequestError:
        """Say in our words what happened to a send; the library's error becomes the cause."""
        trace = exchange.trace
        if (has_expired or error is None) and not isinstance(error, TimedOut):  # which says it better
            error = out_of_time(trace, error)
        ours = _as_ours(error, exchange)
        if isinstance(ours, TimedOut) and not isinstance(error, (RequestError, _timeout_of(trace))):
            # A handshake that stalls, a silent proxy: whether the socket's own timeout or the deadline comes first is
            # chance, and the library has other names for the former.
            error = out_of_time(trace, error)
            ours = _as_ours(error, exchange)
        if isinstance(ours, Denied) and exchange.history:
            ours = Denied(f"{ours} (a redirect from {redact(exchange.history[-1].url)} leads there)")
        is_unanswered = trace.sent_at is not None and not trace.answered
        repeats = exchange.may_repeat(self._options.retry)
        if is_unanswered and isinstance(ours, (ConnectionLost, TimedOut)) and not repeats:
            ours = OutcomeUnknown(f"{ours}; whether the server acted on the {exchange.method.upper()} is unknown")
        if ours is not error:
            ours.__cause__ = error
            self._by_turns.blame(ours, error, exchange)
        return ours

    def _endless(self, what: str, exchange: Exchange, response: Response) -> RequestError:
        return translate(requests.TooManyRedirects(what, response=response), exchange.url)

    def _check_target(self, url: str) -> None:
        if origin(url).partition(":")[0] not in DEFAULT_PORTS:
            raise Denied(f"a redirect leads to {redact(url)}: only http and https are followed")
        if (problem := problem_of(url)) is not None:
            raise Denied(f"a redirect leads nowhere: {printable(redact(url))}: {problem}")

    def _prepared(self, session: Any, exchange: Exchange) -> PreparedRequest:
        prepared: PreparedRequest = exchange.prepared
        if prepared is None:
            prepared = exchange.prepared = exchange.first = session.prepare_request(_as_requests(exchange.request))
        else:
            rewind(prepared)
        return prepared

    def _send_anyhow(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        """Send a plain request by the session's plan for its site, and anything else as requests does."""
        planned = self._planned(session, exchange)
        if planned is None:
            with self._cookies.applied(session):
                return self._send(session, exchange, self._prepared(session, exchange), timeout)
        plan, message = planned
        began = time.perf_counter()
        response: Response = self._fast.send(plan.pool, message, (timeout.connect, timeout.read), plan.way)
        return self._accepted(session, exchange, response, plan.way, began)

    def _planned(self, session: Any, exchange: Exchange) -> tuple[Plan, Message] | None:
        """The session's plan for a plain request's site, and what is to be sent; None if there is none for it."""
        plans = getattr(session, "plans", None)
        if plans is None or exchange.prepared is not None or self._cookies.has_any(session):
            return None
        found = plans.find(exchange.request, exchange.url, self._by_turns.proxies(exchange))
        if found is None:
            return None
        plan, target = found
        if exchange.login is not None and plan.has_login:  # netrc's, say: requests' own path has one take its place
            return None
        self._adapter.check_url(exchange.url, plan.way.proxies)
        return plan, plan.message(exchange.url, target, exchange.login)

    def _accepted(self, session: Any, exchange: Exchange, response: Response, way: Way, began: float) -> Response:
        """Do what a session does with a response that came by one of its plans."""
        if exchange.route is not None:
            self._by_turns.heard(exchange, response)
        if isinstance(response, LazyResponse) and not response.concerns_session:
            return response
        with self._cookies.applied(session):
            session.conclude(response, began, timeout=None, **way._asdict())
        return self._finished(exchange, response)

    def _send(self, session: Any, exchange: Exchange, prepared: PreparedRequest, timeout: Timeout) -> Response:
        request = exchange.request
        offer = None if request.save is None else self._receiver.ask(request, prepared)
        proxies = dict(request.proxies or self._by_turns.proxies(exchange) or {})
        settings = session.merge_environment_settings(prepared.url, proxies, True, request.verify, request.cert)
        if exchange.login is not None:
            prepared.headers["Authorization"] = exchange.login
        started = time.perf_counter()
        with self._driven:
            response: Response = session.send(
                prepared, timeout=(timeout.connect, timeout.read), allow_redirects=False, **settings
            )
        trace = exchange.trace = taken_off(response) or exchange.trace
        if trace.sent_at is None:  # it came over a socket that is not ours
            trace.sent_at, trace.first_byte = started, time.perf_counter() - started
        if exchange.route is not None:
            self._by_turns.heard(exchange, response)
        return self._finished(exchange, response, offer)

    def _finished(self, exchange: Exchange, response: Response, offer: Offer | None = None) -> Response:
        """Read the body, unless the caller is to do that or it has been read. `offer`: what was there of it before."""
        trace, request = exchange.trace, exchange.request
        if trace.unreadable is not None and not (request.follows_redirects and response.next):
            raise trace.unreadable
        if exchange.history:
            response.history = [*exchange.history]
        if request.save is not None and self._receiver.takes(response, offer):
            self._receiver.receive(request, response, offer, self._connections.watchdog.watch)
        # An error's body is read even so: should the request be sent again, its socket must not be held.
        elif not request.stream or response.status_code >= 400:
            read_whole(response, self._options.max_body)
            self._check(request, response)
        trace.note_body()
        return response

    def _check(self, request: Request, response: Response) -> None:
        """Check a body in memory by what its request says of it."""
        if request.sha256 is not None and 200 <= response.status_code < 300:
            wanted = wanted_sha256(request)
            check_sha256(wanted, hashlib.sha256(response.content).hexdigest(), redact(origin(response.url)))


def _as_ours(error: Exception, exchange: Exchange) -> RequestError:
    if isinstance(error, RequestError):
        return error
    return translate(error, exchange.url, was_sent=exchange.trace.sent_at is not None)


def _timeout_of(trace: Trace) -> type[requests.Timeout]:
    """What a send is told as that ran out of time: which it is before it has a connection, or any."""
    return requests.ConnectTimeout if trace.sent_at is None else requests.Timeout


def _as_requests(request: Request) -> requests.Request:
    return requests.Request(
        method=request.method.upper(),
        url=request.url,
        headers=request.headers,
        files=request.files,
        data=request.data or {},
        json=request.json,
        params=request.params or {},
        # A token is added when it is sent; the session's own auth is not to be in its place meanwhile.
        auth=as_it_is if isinstance(request.auth, TokenSource) else request.auth,
        cookies=request.cookies,
        hooks=request.hooks,
    )

"""`WorkerPool`: wiring and shutdown. What a pool does is in the modules that it puts together here; `requesting` has
what it can be asked for.

Any thread may call a pool's methods; inside one of its own workers, those that wait for the pool raise `WrongThread`.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from workerpool import events
from workerpool.clock import Clock, SystemClock
from workerpool.config import Breaker, Budgets, CookieMode, Options, RetryPolicy, Timeout
from workerpool.credentials import Logins
from workerpool.crew import Crew, Turns
from workerpool.errors import WrongThread
from workerpool.forking import tell_of_forks
from workerpool.gate import Gate
from workerpool.governor import CrewGovernor
from workerpool.model import Request
from workerpool.options.checking import checked
from workerpool.proxies import ProxyList
from workerpool.rate import Rate
from workerpool.requesting import Requesting
from workerpool.retry import Retries
from workerpool.robots import Robots
from workerpool.scheduler import Scheduler
from workerpool.statistics import PoolStatistics
from workerpool.stream import Stream
from workerpool.tracing import tracing_of
from workerpool.transport import Governor, RequestsTransport, Transport
from workerpool.worker import Worker

if TYPE_CHECKING:
    from workerpool.limits.file import FileBudget
    from workerpool.limits.redis import RedisBudget

T = TypeVar("T")


class WorkerPool(Requesting):
    """A pool of threads that fetches HTTP requests inside a connection budget and a rate budget.

    It is a `concurrent.futures.Executor` like `ThreadPoolExecutor`, whose first four arguments it shares.

    `max_workers`: threads, each with a `requests.Session` of its own. None is what `ThreadPoolExecutor` takes.
    `thread_name_prefix`: of the threads' names.
    `initializer`: called in each worker before its first work; `pool.session` is there already.
    `initargs`: what `initializer` is called with.
    `rate`: sends a second in all, retries and redirects included: `"50/s"`, `"100/min"`, `"10/s and 1000/h"`, a number,
        a `Rate`. `"auto"` finds out what each host takes, up to `host_rate`: from its refusals (429, 503), and ahead of
        them from its rate-limit headers.
    `burst`: sends at once after a rest. At 1 they are evenly spaced.
    `host_rate`: the same for each host by itself. `"auto"` is that of `rate`, without an upper end.
    `key_rate`: the same for each key of `limit_by`, over all hosts.
    `limit_by`: what `key_rate` counts by: a function of a `Request` that returns its key, or None for a request that is
        not to count, such as `registered_domain`; or the name of a header whose value is the key.
    `slow_start`: begin with one request at a time at each host. It sends one more at a time after each round of them.
    `max_connections`: sockets open at once, idle ones included; the default is at most half of the files that the
        process may open. `"auto"` is None, with that of `host_connections`; a number there, other than the default, is
        then the most that is found out.
    `host_connections`: sockets open at once to one host; 6, as browsers do, is polite. `"auto"` finds out how many make
        each host faster, from its latency and its refusals; at most as many as there are workers.
    `budget`: the name of a budget that is shared with every other pool of yours on this machine that names it, whatever
        process it is in: together they keep to `rate`, `host_rate`, `burst`, `max_connections` and `host_connections`,
        of each to the strictest that any of them was told, and to each host's pauses. Or the `Path` of its file. Needs
        Linux.
    `redis`: the URL of a Redis or Valkey that keeps the budget of that name, for pools on any machine that give both:
        redis://, rediss:// or unix://. `env:NAME`, `file:PATH` and `keyring:SERVICE/USER` name where the URL, or the
        password in it, is. Needs `budget` and the extra `[redis]`.
    `retry`: a `RetryPolicy`, or a number of attempts in all.
    `breaker`: a `Breaker`, or a number of failures in a row after which a host is left alone for a while.
    `timeout`: seconds that an attempt may take in all, redirects included, waits for its turn excluded; or a pair as in
        requests, for connecting and for each wait for data, without a total; or a `Timeout`, which has all three.
    `cookies`: `"none"` keeps none between requests, so that an outcome does not hang on which worker ran it (a chain of
        redirects keeps its own); `"worker"` keeps them in each worker's session, `"shared"` in one jar for the pool.
    `max_body`: bytes of an answer, decompressed, beyond which it fails as `TooLarge`; None is no limit. Responses that
        you stream yourself are not bounded.
    `max_redirects`: hops that a request may take; a circle ends at once.
    `allow_hosts`: the only hosts that requests, redirects included, may go to: `"example.com"`, `"*.example.com"` (not
        `example.com` itself), `"example.com:8443"`.
    `deny_private`: refuse private, loopback and other addresses that are not public. Whatever name leads there, they
        are not connected to.
    `trust_proxy`: with `deny_private`: leave that to the proxy that is gone through. Else a proxy is an error.
    `auth`: how requests without an auth of their own say who sends them: as in requests, a pair `(user, password)` or
        an auth object; or a source of tokens, a `BearerToken` or `ClientCredentials`.
    `proxies`: as in requests, for every request without its own; or a `ProxyList`, which take turns.
    `verify`: as in requests, for every request without its own; goes before `REQUESTS_CA_BUNDLE`.
    `cert`: as in requests, for every request without its own.
    `fast_path`: send plain requests by the fast path. What needs requests' own code goes there: streamed responses,
        response hooks, auth that answers a challenge, bodies that are files or iterators, adapters that you mount;
        `Attempt.fast_path` tells. False sends everything by it, which takes several times as long.
    `robots`: obey each site's robots.txt and its Crawl-delay; needs `contact`. What it does not allow ends as
        `RobotsDisallowed`, unsent. Needs the extra `[crawl]`.
    `contact`: a page or a mail address for the `User-Agent`, so that a site's owner can ask you. It goes into that of
        requests that bring none: `workerpool/0.1 (+ADDRESS)`.
    `trace`: make spans of OpenTelemetry for requests and their attempts, and send the trace's context along: True for
        the program's own tracer provider, or another one. Needs the extra `[otel]`.
    `session_factory`: makes a worker's session: anything compatible with `requests.Session`. It has `proxies`, `verify`
        and `cert` of its own, so those given to the pool are an error.
    `host_key`: maps a URL to what per-host budgets are counted by.
    `clock`: another implementation of time, for tests and simulations.
    `transport`: another implementation of sending, for tests and simulations.

    Raises `OptionError` (a `ValueError`) for a value that cannot work, `BudgetError` for a shared budget whose file
    cannot be used.
    """

    _crew: Crew

    def __init__(
        self,
        max_workers: int | None = 16,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        rate: Rate | str | float | None = None,
        burst: int = 1,
        host_rate: Rate | str | float | None = None,
        key_rate: Rate | str | float | None = None,
        limit_by: Callable[[Request], str | None] | str | None = None,
        slow_start: bool = False,
        max_connections: int | Literal["auto"] | None = None,
        host_connections: int | Literal["auto"] = 6,
        budget: str | os.PathLike[str] | None = None,
        redis: str | None = None,
        retry: RetryPolicy | int | None = RetryPolicy(attempts=4),  # noqa: B008  frozen, and the contract's own text
        breaker: Breaker | int | None = None,
        timeout: float | tuple[float | None, float | None] | Timeout | None = 30.0,
        cookies: CookieMode = "none",
        max_body: int | None = 1024**3,
        max_redirects: int = 30,
        allow_hosts: Iterable[str] | None = None,
        deny_private: bool = False,
        trust_proxy: bool = False,
        auth: Any = None,
        proxies: Mapping[str, str] | ProxyList | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        fast_path: bool = True,
        robots: bool = False,
        contact: str | None = None,
        trace: Any = None,
        session_factory: Callable[[], Any] | None = None,
        host_key: Callable[[str], str] | None = None,
        clock: Clock | None = None,
        transport: Callable[[Options, Governor], Transport] | None = None,
    ) -> None:
        events.prepare()
        self._options = options = checked(locals())  # all arguments, by their names
        self._tracing = tracing_of(trace)
        self._clock = clock or SystemClock()
        self._thread_name_prefix = thread_name_prefix
        self._initializer = (initializer, initargs)
        shared = _shared(budget, redis, options.budgets, self._clock, serves_sockets=transport is None)
        self._budget = shared
        self._make_transport = transport or (
            lambda options, governor: RequestsTransport(options, governor, session_factory, shared)
        )
        try:
            self._start()
        except BaseException:
            if self._budget is not None:
                self._budget.leave()  # nobody else will
            raise
        tell_of_forks(self)
        self._tell_start()

    def _start(self) -> None:
        options, clock = self._options, self._clock
        budgets, policy = options.budgets, options.retry
        self._retries = retries = Retries(policy, learns=budgets.learns_rate)
        governor = CrewGovernor(clock, retries, options)
        gate = Gate(Robots(), clock, options.host_of) if options.robots else None
        self._transport = self._make_transport(options, governor)
        self._worker = Worker(self._transport, clock, retries, options, gate)
        # The executor's threads hold what they are given here for life: nothing in it may lead back to the pool, or
        # a pool that is dropped without shutdown would never end its threads.
        executor = ThreadPoolExecutor(
            options.workers, self._thread_name_prefix, self._worker.start_thread, self._initializer
        )
        scheduler = Scheduler(
            budgets,
            retries=policy.budget,
            floor=policy.budget_floor,
            breaker=options.breaker,
            places=options.workers,
            shared=self._budget,
        )
        close = partial(_close, self._transport, self._budget)
        logins = Logins(options.auth, options.host_of)
        turns = Turns(executor, options.workers, scheduler, self._worker, clock, close, gate, logins)
        self._crew = Crew(turns)
        governor.serve(turns)
        self._on_dropped = weakref.finalize(turns, close)  # for a pool dropped without shutdown
        self._on_dropped.atexit = False
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def _tell_start(self) -> None:
        budgets = self._options.budgets
        events.emit(
            "pool.started",
            workers=self._options.workers,
            rate=str(budgets.rate),
            host_rate=str(budgets.host_rate),
            max_connections=budgets.max_connections,
            host_connections=budgets.host_connections,
        )

    def start_anew(self) -> None:
        """In a forked child: begin with threads, sockets and budgets of its own, and nothing queued.

        What was given to the pool before the fork is the parent's, and ends there; its futures never end in the child.
        """
        was_closed = self._crew.is_closing
        self._on_dropped.detach()  # it would take a lock that a thread of the parent may have held
        self._transport.abandon()
        self._start()
        if was_closed:
            self._crew.close(cancel=True, is_told=False)

    # -- the executor's contract --------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn` on a worker, where `pool.session` is that worker's session; returns the future of its result.

        Callables and requests share the threads evenly. Raises `RuntimeError` after shutdown.
        """
        return self._crew.submit(self._tracing.carried(fn), args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work, and end when what was taken has ended; with `wait`, return only then.

        `cancel_futures` cancels what is not running: callables, and requests that are not being sent right now.
        """
        if wait and self._worker.session is not None:
            wait = False  # a worker that waited for its own end would wait forever
        # 1. stop the intake, and 2. let what is left end, or cancel it; 3. the last worker closes the sockets.
        self._crew.close(cancel=cancel_futures)
        if wait:
            self._crew.join()

    @property
    def session(self) -> Any:
        """Inside a worker: this worker's session, under the pool's budgets and retries. Raises `WrongThread` elsewhere.

        Its sends wait for their slots on the calling thread, which the callable owns.
        """
        session = self._worker.session
        if session is None:
            raise WrongThread(
                "pool.session is a worker's own: use it inside a callable given to pool.submit(), or call pool.get()"
            )
        return session

    # -- sockets and figures ------------------------------------------------------------------------------------------

    def warm(self, urls: Iterable[str]) -> int:
        """Open sockets to the hosts of `urls` ahead of their requests; returns how many were opened.

        As many for each host as its budget and the workers can use, while the pool's budget has room; no request is
        sent, so no slot is spent. A host that cannot be reached is logged, and skipped.
        """
        self._refuse_inside("warm")
        per_host = min(self._options.budgets.host_connections, self._options.workers)
        sites = {self._options.host_of(url): url for url in urls}
        opening = [self.submit(self._warm, host, url) for host, url in sites.items() for _ in range(per_host)]
        return sum(future.result() for future in opening)

    def statistics(self) -> PoolStatistics:
        """Return a frozen picture of the pool now; cheap enough to ask every second."""
        sockets, board = self._transport.counts(), getattr(self._transport, "board", None)
        return PoolStatistics(
            workers=self._options.workers,
            sockets_open=sockets.open,
            sockets_idle=sockets.idle,
            sockets_opened=sockets.opened,
            sent_fast=sockets.sent_fast,
            sockets_reused=sockets.reused,
            sockets_retired=sockets.retired,
            sockets_lost=sockets.lost,
            tls_handshakes=sockets.handshakes,
            tls_resumed=sockets.resumed,
            bytes_saved=0 if board is None else board.bytes,
            budget_away=0.0 if self._budget is None else self._budget.away,
            downloads=() if board is None else board.downloads(),
            **self._crew.snapshot(),
        )

    @property
    def rate(self) -> float | None:
        """Requests a second that its budget lets be sent in the long run, None without one."""
        rate = self._options.budgets.rate
        return None if rate is None else rate.sustained

    def __repr__(self) -> str:
        kind, now = type(self).__name__, self.statistics()
        return (
            f"<{kind} workers={now.workers} active={now.active} queued={now.queued + now.callables_queued} "
            f"parked={now.parked} sockets={now.sockets_open}>"
        )

    @property
    def _broken(self) -> bool:
        """As `ThreadPoolExecutor` has it: whether an initializer or a session factory failed."""
        return self._crew.broken is not None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _refuse_inside(self, what: str) -> None:
        if self._worker.session is not None:
            raise WrongThread(
                f"pool.{what} inside one of the pool's workers would wait for itself: use pool.session there"
            )

    def _warm(self, host: str, url: str) -> bool:
        try:
            return self._transport.warm(self.session, url, host)
        except Exception as error:
            events.emit("warm.failed", host=host, error=str(error))
            return False


def options_of(**given: Any) -> Options:
    """What a `WorkerPool` of these arguments makes of them; raises `OptionError` as it does. Opens nothing."""
    bound = inspect.signature(WorkerPool).bind(**given)
    bound.apply_defaults()
    return checked(bound.arguments)


def _shared(
    budget: str | os.PathLike[str] | None, redis: str | None, budgets: Budgets, clock: Clock, *, serves_sockets: bool
) -> FileBudget | RedisBudget | None:
    """The budget of that name, or in that file, for all processes; on that server, for those of all machines."""
    if budget is None:
        return None
    # Most pools share nothing, and can do without these.
    if redis is not None:
        from workerpool.limits.redis import Link, RedisBudget, check_name

        name = check_name(budget)
        return RedisBudget(Link(redis, name), name, budgets, clock, serves_sockets=serves_sockets)
    from workerpool.limits.file import FileBudget, budget_path

    return FileBudget(budget_path(budget, os.environ), budgets, clock, serves_sockets=serves_sockets)


def _close(transport: Transport, budget: FileBudget | RedisBudget | None) -> None:
    """Close what a pool has opened."""
    transport.close()
    if budget is not None and not budget.serves_sockets:
        budget.leave()  # or else it is the transport that leaves, when its last socket is closed

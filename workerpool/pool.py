"""`WorkerPool`: wiring, futures, shutdown. What a pool does is in the modules that it puts together here.

Any thread may call a pool's methods; inside one of its own workers, those that wait for the pool raise `WrongThread`.
"""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from workerpool import events
from workerpool.checks import check_count
from workerpool.clock import Clock, SystemClock
from workerpool.config import Breaker, Budgets, CookieMode, Options, Rate, RetryPolicy, Timeout
from workerpool.crew import Crew, Turns
from workerpool.errors import Cancelled, InvalidRequest, OptionError, WrongThread
from workerpool.forking import tell_of_forks
from workerpool.gate import Gate
from workerpool.governor import CrewGovernor
from workerpool.limits.file import FileBudget, budget_path
from workerpool.model import Idle, Outcome, Request, Underway, new_request
from workerpool.options.checking import checked
from workerpool.retry import Retries
from workerpool.robots import Robots
from workerpool.scheduler import Scheduler
from workerpool.statistics import PoolStatistics
from workerpool.stream import Stream
from workerpool.tickets import Ticket
from workerpool.transport import Governor, RequestsTransport, Transport
from workerpool.window import window_of
from workerpool.worker import Worker

if TYPE_CHECKING:
    from requests import Response

T = TypeVar("T")


class WorkerPool(Executor):
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
    `max_connections`: sockets open at once, idle ones included; at most half of the files that the process may open.
        `"auto"` is None, with that of `host_connections`; a number there, other than the default, is then the most that
        is found out.
    `host_connections`: sockets open at once to one host; 6, as browsers do, is polite. `"auto"` finds out how many make
        each host faster, from its latency and its refusals; at most as many as there are workers.
    `budget`: the name of a budget that is shared with every other pool of yours on this machine that names it, whatever
        process it is in: together they keep to `rate`, `host_rate`, `burst`, `max_connections` and `host_connections`,
        of each to the strictest that any of them was told, and to each host's pauses. Or the `Path` of its file. Needs
        Linux.
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
    `proxies`: as in requests, for every request without its own.
    `verify`: as in requests, for every request without its own; goes before `REQUESTS_CA_BUNDLE`.
    `cert`: as in requests, for every request without its own.
    `fast_path`: send plain requests by the fast path. What needs requests' own code goes there: streamed responses,
        response hooks, auth that answers a challenge, bodies that are files or iterators, adapters that you mount;
        `Attempt.fast_path` tells. False sends everything by it, which takes several times as long.
    `robots`: obey each site's robots.txt and its Crawl-delay; needs `contact`. What it does not allow ends as
        `RobotsDisallowed`, unsent. Needs the extra `[crawl]`.
    `contact`: a page or a mail address for the `User-Agent`, so that a site's owner can ask you. It goes into that of
        requests that bring none: `workerpool/0.1 (+ADDRESS)`.
    `session_factory`: makes a worker's session: anything compatible with `requests.Session`. It has `proxies`, `verify`
        and `cert` of its own, so those given to the pool are an error.
    `host_key`: maps a URL to what per-host budgets are counted by.
    `clock`: another implementation of time, for tests and simulations.
    `transport`: another implementation of sending, for tests and simulations.

    Raises `OptionError` (a `ValueError`) for a value that cannot work, `BudgetError` for a shared budget whose file
    cannot be used.
    """

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
        retry: RetryPolicy | int | None = RetryPolicy(attempts=4),  # noqa: B008  frozen, and the contract's own text
        breaker: Breaker | int | None = None,
        timeout: float | tuple[float | None, float | None] | Timeout | None = 30.0,
        cookies: CookieMode = "none",
        max_body: int | None = 1024**3,
        max_redirects: int = 30,
        allow_hosts: Iterable[str] | None = None,
        deny_private: bool = False,
        trust_proxy: bool = False,
        proxies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        fast_path: bool = True,
        robots: bool = False,
        contact: str | None = None,
        session_factory: Callable[[], Any] | None = None,
        host_key: Callable[[str], str] | None = None,
        clock: Clock | None = None,
        transport: Callable[[Options, Governor], Transport] | None = None,
    ) -> None:
        events.prepare()
        self._options = options = checked(locals())  # all arguments, by their names
        self._clock = clock or SystemClock()
        self._thread_name_prefix = thread_name_prefix
        self._initializer = (initializer, initargs)
        self._budget = shared = (
            None if budget is None else _shared(budget, options.budgets, self._clock, serves_sockets=transport is None)
        )
        self._make_transport = transport or (
            lambda options, governor: RequestsTransport(options, governor, session_factory, shared)
        )
        self._is_shut_down = False
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
        turns = Turns(executor, options.workers, scheduler, self._worker, clock, close, gate)
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
            self._crew.close(cancel=True)

    # -- the executor's contract --------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn` on a worker, where `pool.session` is that worker's session; returns the future of its result.

        Callables and requests share the threads evenly. Raises `RuntimeError` after shutdown.
        """
        return self._crew.submit(fn, args, kwargs)

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
        if wait and not self._is_shut_down:
            self._is_shut_down = True
            figures = self.statistics()
            events.emit("pool.stopped", requests=figures.requests, sent=figures.sent)

    # -- requests -----------------------------------------------------------------------------------------------------

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

    def request(self, method: str, url: str, **kwargs: Any) -> Future[Response]:
        """Send a request; takes what `requests.request` takes.

        The future's result is the last `requests.Response`, also a failing one whose retries are spent; its
        exception is requests' own (or `HostPaused`, `Cancelled`, where requests has no word for it).
        """
        self._refuse_inside("request")
        request = new_request(url, method, **_checked(kwargs))
        if request.weight != 1:
            self._check_weight(request.weight)
        future: Future[Response] = Future()
        key = None if self._options.key_of is None else self._options.key_of(request)
        self._crew.add([_Promise(request, self._options.host_of(url), future, key)])
        return future

    def get(self, url: str, params: Any = None, **kwargs: Any) -> Future[Response]:
        """GET; as `requests.get`, a future of its response. See `request`."""
        return self.request("GET", url, params=params, **kwargs)

    def options(self, url: str, **kwargs: Any) -> Future[Response]:
        """OPTIONS; as `requests.options`, a future of its response. See `request`."""
        return self.request("OPTIONS", url, **kwargs)

    def head(self, url: str, **kwargs: Any) -> Future[Response]:
        """HEAD; as `requests.head`, which follows no redirects, a future of its response. See `request`."""
        return self.request("HEAD", url, **kwargs)

    def post(self, url: str, data: Any = None, json: Any = None, **kwargs: Any) -> Future[Response]:
        """POST; as `requests.post`, a future of its response. Not retried unless ``idempotent=True``. See `request`."""
        return self.request("POST", url, data=data, json=json, **kwargs)

    def put(self, url: str, data: Any = None, **kwargs: Any) -> Future[Response]:
        """PUT; as `requests.put`, a future of its response. See `request`."""
        return self.request("PUT", url, data=data, **kwargs)

    def patch(self, url: str, data: Any = None, **kwargs: Any) -> Future[Response]:
        """PATCH; as `requests.patch`, a future of its response. Not retried unless ``idempotent=True``."""
        return self.request("PATCH", url, data=data, **kwargs)

    def delete(self, url: str, **kwargs: Any) -> Future[Response]:
        """DELETE; as `requests.delete`, a future of its response. See `request`."""
        return self.request("DELETE", url, **kwargs)

    def stream(
        self, requests: Iterable[str | Request | Idle], *, ordered: bool = False, window: int | None = None
    ) -> Generator[Outcome, None, None]:
        """Fetch every request and yield its `Outcome`, as they complete, or `ordered` as given.

        `requests`: URLs or `Request`s, read lazily, on the thread that iterates; a source that waits for something
        may yield `workerpool.model.IDLE` instead, so that outcomes do not wait with it. `window`: requests in memory
        at once, ended ones that were not yielded yet included; None is 1,000. Nothing raises for a single item: what
        is no request is an outcome too. An error of the iterable itself comes out of this generator, after what was
        read before it. Leaving the loop, or closing the generator, cancels what is not being sent.
        """
        return self._stream("stream", requests, window, ordered=ordered).outcomes()

    def batches(
        self,
        requests: Iterable[str | Request | Idle],
        *,
        ordered: bool = False,
        window: int | None = None,
        receipts: bool = False,
        before_send: Callable[[Request], object] | None = None,
    ) -> Generator[list[Outcome | Underway], None, None]:
        """Fetch every request as `stream` does, and yield lists of outcomes: all that wait now, at least one.

        `receipts`: for consumers that keep a journal. What was sent counts as being sent until the list that follows
        the one in which it is told is asked for, which is the receipt, so never more requests are sent and not
        journalled than there are workers. Then lists also hold an `Underway` for each request that was sent and goes on
        later; its `Outcome` follows, perhaps in the same list. A consumer that stops asking stops its own requests,
        nobody else's: other requests and callables of the pool go on. Shutdown ends such a stream as `drain` does,
        rather than wait for receipts that may never come. Cannot be `ordered`.
        `before_send`: called with each request that may not be repeated (see `RetryPolicy`), before its first send, on
        a worker's thread, several at once. It may wait for a disk; that keeps one worker. If it raises, the request is
        not sent, and ends as `Cancelled`.

        Raises `OptionError` for options that cannot work.
        """
        if receipts and ordered:
            raise OptionError(
                "receipts=True cannot be ordered=True: outcomes that wait for their turn would hold every worker; put "
                "them into order after they have been journalled"
            )
        if before_send is not None and not callable(before_send):
            raise OptionError(f"before_send={before_send!r} must be a callable that takes a request, or None")
        return self._stream(
            "batches", requests, window, ordered=ordered, receipts=receipts, before_send=before_send
        ).batches()

    def drain(self) -> None:
        """Let every stream end soon: what is being sent ends as it does, the rest as `Cancelled` outcomes.

        Returns at once; may be called in a signal handler.
        """
        while True:
            try:
                streams = [*self._streams]
                break
            except RuntimeError:
                pass  # another thread began a stream meanwhile; a lock could be held by whom a signal interrupts
        for stream in streams:
            stream.drain()

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
        sockets = self._transport.counts()
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
            **self._crew.snapshot(),
        )

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<WorkerPool workers={now.workers} active={now.active} queued={now.queued + now.callables_queued} "
            f"parked={now.parked} sockets={now.sockets_open}>"
        )

    @property
    def _broken(self) -> bool:
        """As `ThreadPoolExecutor` has it: whether an initializer or a session factory failed."""
        return self._crew.broken is not None

    # -- inside -------------------------------------------------------------------------------------------------------

    def _stream(
        self, name: str, requests: Iterable[str | Request | Idle], window: int | None, *, ordered: bool, **kind: Any
    ) -> Stream:
        self._refuse_inside(name)
        if isinstance(requests, (str, bytes)):  # whose letters would be fetched
            raise OptionError(f"requests is a {type(requests).__name__}: give a list of URLs and Requests")
        workers, budgets = self._options.workers, self._options.budgets
        window, share = window_of(workers, budgets, window)
        stream = Stream(
            self._crew,
            iter(requests),
            as_request=self._as_request,
            refuse_inside=lambda: self._refuse_inside(name),
            host_of=self._options.host_of,
            key_of=self._options.key_of,
            may_repeat=self._retries.may_repeat,
            ordered=ordered,
            workers=workers,
            window=window,
            share=share,
            **kind,
        )
        self._streams.add(stream)
        return stream

    def _as_request(self, item: object) -> Request:
        """Take what a stream was given for a request; raises for what is none."""
        if isinstance(item, str):
            return new_request(item)
        if not isinstance(item, Request) or not isinstance(item.url, str):
            raise InvalidRequest(f"{item!r} is neither a URL nor a Request with one")
        if item.weight != 1:
            self._check_weight(item.weight)
        return item

    def _check_weight(self, weight: int) -> None:
        check_count("weight", weight)
        budgets = self._options.budgets
        rates = [rate for rate in (budgets.rate, budgets.host_rate, budgets.key_rate) if rate is not None]
        if rates and weight > budgets.burst:
            raise OptionError(f"weight={weight} is more than burst={budgets.burst} allows: raise the burst to {weight}")
        for quota in (quota for rate in rates for quota in rate.quotas):
            if weight > quota.count:
                raise OptionError(f"weight={weight} is more than the quota of {quota} ever allows: give it less weight")

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


def _shared(budget: str | os.PathLike[str], budgets: Budgets, clock: Clock, *, serves_sockets: bool) -> FileBudget:
    """The budget of that name, or in that file, for all processes."""
    return FileBudget(budget_path(budget, os.environ), budgets, clock, serves_sockets=serves_sockets)


def _close(transport: Transport, budget: FileBudget | None) -> None:
    """Close what a pool has opened."""
    transport.close()
    if budget is not None and not budget.serves_sockets:
        budget.leave()  # or else it is the transport that leaves, when its last socket is closed


_REQUEST_OPTIONS = frozenset(Request.__dataclass_fields__) - {
    "url",
    "method",
    "source",
    "ordinal",
    "problem",
    "earlier",
}


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in _REQUEST_OPTIONS:
            raise TypeError(
                f"request() got an unexpected keyword argument {name!r}; it takes {sorted(_REQUEST_OPTIONS)}"
            )
    return options


class _Promise(Ticket):
    """A request whose outcome a future of its response waits for."""

    __slots__ = ("_future",)

    def __init__(self, request: Request, host: str, future: Future[Response], key: str | None) -> None:
        super().__init__(request, host, key=key)
        self._future = future

    def claim(self) -> bool:
        return self._future.set_running_or_notify_cancel()

    def is_cancelled(self) -> bool:
        return self._future.cancelled()

    def deliver(self, outcome: Outcome) -> None:
        """Give the future its result: the response if one came, requests' own exception if not."""
        future, error = self._future, outcome.error
        del self._future  # the exception's traceback leads to the ticket: both would wait for the garbage collector
        if not self.started:
            if isinstance(error, Cancelled):
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
        if outcome.response is not None and not isinstance(error, Cancelled):
            future.set_result(outcome.response)
        else:
            assert error is not None
            future.set_exception(error.__cause__ if error.__cause__ is not None else error)

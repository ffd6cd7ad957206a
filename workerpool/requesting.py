"""What users ask of a pool, whoever carries it out: futures of responses, and streams of outcomes.

Any thread may ask; inside a worker, what would wait for the pool raises `WrongThread`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from workerpool.checks import check_count
from workerpool.config import Options
from workerpool.errors import Cancelled, InvalidRequest, OptionError
from workerpool.model import Idle, Outcome, Request, Underway, new_request
from workerpool.paging import Chains, Pages
from workerpool.retry import Retries
from workerpool.stream import Stream
from workerpool.streamed import Maker
from workerpool.tickets import Ticket
from workerpool.tracing import Tracing, Untraced
from workerpool.window import window_of

if TYPE_CHECKING:
    from requests import Response


class Requesting(Executor):
    """An executor that fetches. Who makes a pool gives it its options, and a crew that does the requests."""

    _options: Options
    _retries: Retries
    _tracing: Tracing | Untraced
    _crew: Any  # a `stream.Crew`
    _streams: weakref.WeakSet[Stream]

    def _refuse_inside(self, what: str) -> None:
        """Raise `WrongThread` if called inside a worker, which would wait for itself."""
        raise NotImplementedError

    # -- futures ------------------------------------------------------------------------------------------------------

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
        request, end = self._tracing.begin(request)
        self._crew.add([_Promise(request, self._options.host_of(url), future, key, end)])
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

    # -- streams ------------------------------------------------------------------------------------------------------

    def stream(
        self,
        requests: Iterable[str | Request | Idle],
        *,
        ordered: bool = False,
        window: int | None = None,
        pages: Pages | None = None,
    ) -> Generator[Outcome, None, None]:
        """Fetch every request and yield its `Outcome`, as they complete, or `ordered` as given.

        `requests`: URLs or `Request`s, read lazily, on the thread that iterates; a source that waits for something
        may yield `workerpool.model.IDLE` instead, so that outcomes do not wait with it. `window`: requests in memory
        at once, ended ones that were not yielded yet included; None is 1,000. Nothing raises for a single item: what
        is no request is an outcome too. An error of the iterable itself comes out of this generator, after what was
        read before it. Leaving the loop, or closing the generator, cancels what is not being sent.
        `pages`: each request is the first of a chain of pages, which are outcomes, too; one of the policies of
        `workerpool.paging` says how they follow each other. The pages of one request come in their order, each asked
        for when the one before has come; `ordered` puts those of the next request after them. In the window they go
        before requests that have not begun.
        """
        chains, tracing = None if pages is None else Chains(pages), self._tracing.fresh()
        stream = self._stream("stream", requests, window, tracing, ordered=ordered, chains=chains)
        return tracing.ended(stream.outcomes())

    def batches(
        self,
        requests: Iterable[str | Request | Idle],
        *,
        ordered: bool = False,
        window: int | None = None,
        receipts: bool = False,
        before_send: Callable[[Request], object] | None = None,
        pages: Pages | Chains | None = None,
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
        `pages`: as for `stream`. With receipts a page is asked for after the receipt for the one before. `Chains` of
        the caller's own have a journal.

        Raises `OptionError` for options that cannot work.
        """
        if receipts and ordered:
            raise OptionError(
                "receipts=True cannot be ordered=True: outcomes that wait for their turn would hold every worker; put "
                "them into order after they have been journalled"
            )
        if before_send is not None and not callable(before_send):
            raise OptionError(f"before_send={before_send!r} must be a callable that takes a request, or None")
        chains = pages if pages is None or isinstance(pages, Chains) else Chains(pages)
        tracing = self._tracing.fresh()
        kind = {"receipts": receipts, "before_send": before_send, "chains": chains}
        return tracing.ended(self._stream("batches", requests, window, tracing, ordered=ordered, **kind).batches())

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

    # -- inside -------------------------------------------------------------------------------------------------------

    def _stream(
        self,
        name: str,
        requests: Iterable[str | Request | Idle],
        window: int | None,
        tracing: Tracing | Untraced,
        *,
        ordered: bool,
        **kind: Any,
    ) -> Stream:
        self._refuse_inside(name)
        if isinstance(requests, (str, bytes)):  # whose letters would be fetched
            raise OptionError(f"requests is a {type(requests).__name__}: give a list of URLs and Requests")
        workers, budgets = self._options.workers, self._options.budgets
        window, share = window_of(workers, budgets, window)
        stream = Stream(
            self._crew,
            iter(tracing.begun(requests)),
            Maker(self._as_request, self._options.host_of, self._options.key_of, self._retries.may_repeat),
            refuse_inside=lambda: self._refuse_inside(name),
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


_REQUEST_OPTIONS = frozenset(Request.__dataclass_fields__) - {
    "url",
    "method",
    "source",
    "ordinal",
    "page",
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

    __slots__ = ("_end", "_future")

    def __init__(
        self,
        request: Request,
        host: str,
        future: Future[Response],
        key: str | None,
        end: Callable[[Outcome], None] | None,
    ) -> None:
        super().__init__(request, host, key=key)
        self._future = future
        self._end = end

    def claim(self) -> bool:
        return self._future.set_running_or_notify_cancel()

    def is_cancelled(self) -> bool:
        return self._future.cancelled()

    def deliver(self, outcome: Outcome) -> None:
        """Give the future its result: the response if one came, requests' own exception if not."""
        future, error = self._future, outcome.error
        if self._end is not None:
            self._end(outcome)
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

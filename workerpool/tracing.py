"""Spans of OpenTelemetry for requests and their attempts, and the trace's context in what is sent. Any thread.

A request's span begins where it is asked for, as a child of the span that is current there, and ends with its outcome,
so the waits for its turn are in it. Its context goes into its headers, once for all attempts. Each attempt is a child
of it with the times that the attempt had: an HTTP client's span by the semantic conventions. The only user of
opentelemetry.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from workerpool.endings import in_short
from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.model import Attempt, Outcome, Request
from workerpool.redact import redact

T = TypeVar("T")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""What an attribute may name; others are ``_OTHER``, as the conventions have it."""


class Untraced:
    """What asks for spans where there are none: everything stays as it is."""

    def begin(self, request: Request) -> tuple[Request, Callable[[Outcome], None] | None]:
        return request, None

    def fresh(self) -> Untraced:
        return self

    def begun(self, items: Iterable[T]) -> Iterable[T]:
        return items

    def ended(self, outcomes: Generator[T, None, None]) -> Generator[T, None, None]:
        return outcomes

    def carried(self, fn: Callable[..., T]) -> Callable[..., T]:
        return fn


class Tracing(Untraced):
    """Makes the spans of a pool, by the tracer of `provider`, or by the program's own if that is True.

    For one stream `begun` and `ended` belong together, so each has a `Tracing` of its own: see `fresh`.
    """

    def __init__(self, provider: Any) -> None:
        self._api: Any = load("opentelemetry.trace", "otel", "trace=")
        self._inject: Callable[..., None] = load("opentelemetry.propagate", "otel", "trace=").inject
        self._provider = provider
        own = None if provider is True else provider
        self._tracer = self._api.get_tracer("workerpool", tracer_provider=own)
        self._spans: dict[Any, Any] = {}  # of requests that have not ended, by `_key`
        self._names: tuple[str, ...] = ()  # of the headers that carry the context

    def fresh(self) -> Tracing:
        """Another one for one stream."""
        return Tracing(self._provider)

    # -- a stream: all on the consumer's thread -----------------------------------------------------------------------

    def begun(self, items: Iterable[Any]) -> Iterator[Any]:
        """Begin a span for each request of a source, as it is read."""
        for item in items:
            request = Request(item) if isinstance(item, str) else item
            if isinstance(request, Request) and request.problem is None and isinstance(request.url, str):
                request, span = self._begin(request)
                self._spans[self._key(request)] = span
            yield request

    def ended(self, outcomes: Generator[Any, None, None]) -> Generator[Any, None, None]:
        """End the spans of what has ended, one outcome or a list of them at a time, and at the end the others."""
        try:
            for given in outcomes:
                for outcome in given if isinstance(given, list) else (given,):
                    if isinstance(outcome, Outcome):
                        # One that followed from another, as a page does, was not read from the source.
                        span = self._spans.pop(self._key(outcome.request), None)
                        self._end(outcome, self._late(outcome) if span is None else span)
                yield given
        finally:
            outcomes.close()
            for span in self._spans.values():
                self._fail(span, "cancelled", "its stream was left")
                span.end()
            self._spans.clear()

    # -- one request, and one callable --------------------------------------------------------------------------------

    def begin(self, request: Request) -> tuple[Request, Callable[[Outcome], None]]:
        """Begin a request's span; returns the request to send, and what ends the span."""
        request, span = self._begin(request)
        return request, lambda outcome: self._end(outcome, span)

    def carried(self, fn: Callable[..., T]) -> Callable[..., T]:
        """Have `fn` run in the context of who calls this, also on another thread."""
        context = contextvars.copy_context()
        return lambda *args, **kwargs: context.run(fn, *args, **kwargs)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, request: Request) -> tuple[Request, Any]:
        span = self._tracer.start_span(f"request {_method(request)}", attributes=_of_request(request))
        carrier: dict[str, str] = {}
        self._inject(carrier, context=self._api.set_span_in_context(span))
        if carrier and isinstance(request.headers, Mapping | None):
            self._names = tuple(carrier)
            request = replace(request, headers={**(request.headers or {}), **carrier})
        return request, span

    def _key(self, request: Request) -> Any:
        """What tells a request of a stream: the context that it carries, or else the object itself."""
        headers = request.headers if isinstance(request.headers, Mapping) else {}
        return tuple(headers[name] for name in self._names if name in headers) or id(request)

    def _late(self, outcome: Outcome) -> Any:
        """A span for what has been sent already."""
        attempts = _own(outcome)
        at = attempts[0].started_at if attempts else time.time()
        attributes = _of_request(outcome.request)
        return self._tracer.start_span(f"request {_method(outcome.request)}", attributes=attributes, start_time=_ns(at))

    def _end(self, outcome: Outcome, span: Any) -> None:
        if span.is_recording():
            attempts, earlier = _own(outcome), len(outcome.request.earlier)
            for number, attempt in enumerate(attempts, earlier):
                self._attempt(outcome, attempt, number, span)
            span.set_attribute("workerpool.attempts", len(outcome.attempts))
            if outcome.status is not None:
                span.set_attribute("http.response.status_code", outcome.status)
            if outcome.error is not None:
                self._fail(span, in_short(outcome.error), redact(str(outcome.error)))
        span.end()

    def _attempt(self, outcome: Outcome, attempt: Attempt, number: int, parent: Any) -> None:
        attributes: dict[str, Any] = _of_request(outcome.request)
        if number:
            attributes["http.request.resend_count"] = number
        if attempt.hops:
            attributes["workerpool.redirects"] = attempt.hops
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        span = self._tracer.start_span(
            _method(outcome.request),
            context=self._api.set_span_in_context(parent),
            kind=self._api.SpanKind.CLIENT,
            attributes=attributes,
            start_time=_ns(attempt.started_at),
        )
        if attempt.status is not None and attempt.status >= 400:
            self._fail(span, str(attempt.status), f"HTTP {attempt.status}")
        elif attempt.error is not None:
            last = outcome.error if attempt is outcome.attempts[-1] else None
            self._fail(span, "_OTHER" if last is None else in_short(last), redact(attempt.error))
        span.end(end_time=_ns(attempt.started_at + attempt.elapsed))

    def _fail(self, span: Any, kind: str, why: str) -> None:
        span.set_attribute("error.type", kind)
        span.set_status(self._api.Status(self._api.StatusCode.ERROR, why))


def tracing_of(trace: Any) -> Tracing | Untraced:
    """What makes the spans of a pool that was given `trace`. Raises `OptionError` for what cannot make them."""
    if trace is None or trace is False:
        return Untraced()
    if trace is not True and not callable(getattr(trace, "get_tracer", None)):
        raise OptionError(f"trace={trace!r} must be True, or a TracerProvider of OpenTelemetry's")
    return Tracing(trace)


def _own(outcome: Outcome) -> tuple[Attempt, ...]:
    """The attempts of this run."""
    return outcome.attempts[len(outcome.request.earlier) :]


def _method(request: Request) -> str:
    method = str(request.method).upper()
    return method if method in METHODS else "HTTP"


def _of_request(request: Request) -> dict[str, Any]:
    """A request's attributes, by the semantic conventions for HTTP clients. No secret of its URL is in them."""
    method = str(request.method).upper()
    found: dict[str, Any] = {"url.full": redact(request.url)}
    if method in METHODS:
        found["http.request.method"] = method
    else:
        found |= {"http.request.method": "_OTHER", "http.request.method_original": str(request.method)}
    try:
        parts = urlsplit(request.url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # it will end as an outcome that says so
        return found
    if parts.hostname:
        found["server.address"] = parts.hostname
    if port is not None:
        found["server.port"] = port
    if request.key is not None:
        found["workerpool.key"] = redact(request.key)
    return found


def _ns(seconds: float) -> int:
    """Nanoseconds since the epoch, as spans count."""
    return int(seconds * 1e9)

"""Spans: one for each request, and in it one for each attempt, by the conventions; and their context goes along."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from workerpool import OptionError, Request, RetryPolicy, ShardedPool, WorkerPool
from workerpool.paging import LinkHeader
from workerpool.testing import Origin, Reply


class Told:
    """A provider, and what it was told of."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        """Spans of that name in the order of their beginning."""
        found = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


def pool_of(told: Told, **options: Any) -> WorkerPool:
    return WorkerPool(2, trace=told.provider, **options)


def of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_has_a_span_and_its_attempts_are_children_of_it(told: Told, origin: Origin) -> None:
    url = origin.url("/flaky/1?token=hunter2")
    with pool_of(told, retry=RetryPolicy(attempts=2, backoff=0.0)) as pool:
        (outcome,) = pool.stream([Request(url, key="mine")])
    assert outcome.ok
    (whole,) = told.named("request GET")
    first, second = told.named("GET")
    assert [span.parent.span_id for span in (first, second) if span.parent] == [whole.context.span_id] * 2
    port = int(url.split(":")[2].partition("/")[0])
    common = {
        "http.request.method": "GET", "url.full": url.replace("hunter2", "***"), "server.address": "127.0.0.1",
        "server.port": port, "workerpool.key": "mine",
    }  # fmt: skip
    assert of(whole) == {**common, "workerpool.attempts": 2, "http.response.status_code": 200}
    assert of(first) == {**common, "http.response.status_code": 503, "error.type": "503"}
    assert of(second) == {**common, "http.response.status_code": 200, "http.request.resend_count": 1}
    assert (first.kind, first.status.is_ok, second.status.is_ok, whole.status.is_ok) == (
        trace.SpanKind.CLIENT, False, True, True,
    )  # fmt: skip
    starts = [span.start_time or 0 for span in (whole, first, second)]
    assert starts == sorted(starts)
    assert (second.end_time or 0) - starts[2] == pytest.approx(outcome.attempts[1].elapsed * 1e9, abs=1e3)


def test_the_context_of_the_caller_is_the_parent_and_goes_along(told: Told, origin: Origin) -> None:
    tracer = told.provider.get_tracer("test")
    with pool_of(told) as pool, tracer.start_as_current_span("job") as job:
        both = [origin.url("/bytes/1"), Request(origin.url("/bytes/2"))]
        assert all(outcome.ok for outcome in pool.stream(both))
        assert pool.get(origin.url("/bytes/3"), headers={"X-Mine": "1"}).result().ok
        assert pool.submit(lambda: trace.get_current_span().get_span_context().span_id).result() == job.context.span_id
    spans = told.named("request GET")
    assert {span.parent.span_id for span in spans if span.parent} == {job.context.span_id}
    sent = [arrival.headers["traceparent"] for arrival in origin.arrivals]
    assert sorted(sent) == sorted(
        f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"
        for span in spans
        if span.context
    )
    assert origin.arrivals[-1].headers["X-Mine"] == "1"


def test_what_fails_is_an_error_that_says_why(told: Told, origin: Origin) -> None:
    origin.script("/cut", Reply(reset=True))
    with pool_of(told, retry=None) as pool:
        outcomes = [*pool.stream([origin.url("/status/404"), origin.url("/cut"), 5], ordered=True)]  # type: ignore[list-item]
    missing, cut, junk = told.named("request GET")
    assert [span.status.is_ok for span in (missing, cut, junk)] == [False] * 3
    assert of(missing)["error.type"] == "404 Not Found"
    assert of(cut)["error.type"] == outcomes[1].error.reason  # type: ignore[union-attr]
    assert "error.type" in of(junk)
    assert "http.response.status_code" not in of(cut)
    assert len(told.named("GET")) == 2  # the third was never sent


def test_what_is_no_request_ends_as_it_does_without_spans(told: Told, origin: Origin) -> None:
    given: list[Any] = [origin.url("/"), Request(None), Request(7), "no URL", origin.url("/")]  # type: ignore[arg-type]
    with pool_of(told) as pool:
        outcomes = [*pool.stream(given, ordered=True)]
    assert [outcome.ok for outcome in outcomes] == [True, False, False, False, True]


def test_a_method_that_nobody_knows_is_named_as_the_conventions_have_it(told: Told, origin: Origin) -> None:
    with pool_of(told) as pool:
        [*pool.stream([Request(origin.url("/bytes/1"), "PURGE")])]
    (whole,) = told.named("request HTTP")
    assert (of(whole)["http.request.method"], of(whole)["http.request.method_original"]) == ("_OTHER", "PURGE")


def test_spans_of_a_stream_that_is_left_end(told: Told, origin: Origin) -> None:
    urls = [origin.url(f"/delay/0.01?n={number}") for number in range(50)]
    with pool_of(told) as pool:
        stream = pool.stream(urls)
        next(stream)
        stream.close()
    spans = told.named("request GET")
    assert len(spans) == len(urls)
    assert {of(span).get("error.type") for span in spans} == {None, "cancelled"}


def test_pages_that_follow_have_spans_too(told: Told, origin: Origin) -> None:
    origin.script("/p1", Reply(headers={"Link": f'<{origin.url("/p2")}>; rel="next"'}))
    origin.script("/p2", Reply())
    with pool_of(told) as pool:
        assert len([*pool.stream([origin.url("/p1")], pages=LinkHeader())]) == 2
    assert sorted(of(span)["url.full"] for span in told.named("request GET")) == [origin.url("/p1"), origin.url("/p2")]
    assert len(told.named("GET")) == 2


def test_batches_and_other_processes_are_traced_as_well(told: Told, origin: Origin) -> None:
    with pool_of(told) as pool:
        [*pool.batches([origin.url("/bytes/1")], receipts=True)]
    with ShardedPool(1, 1, trace=told.provider) as pool:
        [*pool.stream([origin.url("/bytes/2")])]
    assert [of(span)["http.response.status_code"] for span in told.named("request GET")] == [200, 200]
    assert len(told.named("GET")) == 2
    assert all("traceparent" in arrival.headers for arrival in origin.arrivals)


def test_what_is_not_sampled_makes_no_span_and_still_goes_along(told: Told, origin: Origin) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with WorkerPool(1, trace=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)) as pool:
        [*pool.stream([origin.url("/bytes/1")])]
    (arrival,) = origin.arrivals
    assert not int(arrival.headers["traceparent"][-2:], 16) & 1  # "sampled"


def test_without_it_nothing_is_added(origin: Origin) -> None:
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")
    mine.set(1)
    with WorkerPool(1) as pool:
        [*pool.stream([origin.url("/bytes/1")])]
        assert pool.submit(mine.get, 0).result() == 0
    assert "traceparent" not in origin.arrivals[0].headers


@pytest.mark.parametrize("trace", ["yes", 5, object()])
def test_what_is_no_provider_is_refused(trace: Any) -> None:
    with pytest.raises(OptionError, match=r"trace=.* must be True, or a TracerProvider"):
        WorkerPool(trace=trace)


def test_without_the_library_it_is_said_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(OptionError, match=r"workerpool-http\[otel\]"):
        WorkerPool(trace=True)

"""The metrics: their names, what they mean, and how they come from a pool's statistics. Any thread.

Names follow Prometheus's conventions: a prefix, the unit in its basic form, ``_total`` at the end of what only grows.
Every set of labels is bounded: by what this program knows, never by hosts or URLs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from workerpool.batch.progress import Moment
from workerpool.metrics.durations import Durations
from workerpool.statistics import PoolStatistics, Waits

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "workerpool_"

COUNTERS: Mapping[str, tuple[str, str]] = {
    "sends": ("sent", "Requests sent: first attempts, retries and redirects."),
    "retries": ("retries", "Retries sent."),
    "redirects": ("redirects", "Redirects followed."),
    "resends": ("resent", "Sends repeated because their socket had died idle, or their token had ended."),
    "sockets_opened": ("sockets_opened", "Sockets opened."),
    "sockets_reused": ("sockets_reused", "Sends over a socket that had been used before."),
    "sockets_retired": ("sockets_retired", "Idle sockets closed before their server would have closed them."),
    "sockets_lost": ("sockets_lost", "Idle sockets closed by their server."),
    "saved_bytes": ("bytes_saved", "Bytes of bodies received for files."),
    "budget_away_seconds": ("budget_away", "Seconds for which a shared budget's server could not be asked."),
}
"""By name, without what all names have: the field of the statistics, and what it is."""

GAUGES: Mapping[str, tuple[str, str]] = {
    "workers": ("workers", "Threads at most."),
    "workers_active": ("active", "Threads that send, or run a callable."),
    "requests_queued": ("queued", "Requests that wait for their turn."),
    "requests_parked": ("parked", "Requests that wait for a time, or for something that is fetched."),
    "requests_in_flight": ("in_flight", "Requests that are being sent."),
    "sockets_open": ("sockets_open", "Sockets open now."),
    "sockets_idle": ("sockets_idle", "Open sockets that nothing is sent over now."),
}


def of_pool(pool: PoolStatistics) -> Iterator[Metric]:
    """What a pool's statistics say."""
    ended = _counter("requests", "Requests that have ended, by whether that was well.", ["result"])
    ended.add_metric(["ok"], pool.ok)
    ended.add_metric(["failed"], pool.requests - pool.ok)
    yield ended
    for name, (field, help) in COUNTERS.items():
        yield _counter(name, help, value=getattr(pool, field))
    for name, (field, help) in GAUGES.items():
        yield _gauge(name, help, value=getattr(pool, field))
    handshakes = _counter("tls_handshakes", "TLS handshakes, by whether a session was resumed.", ["resumed"])
    handshakes.add_metric(["true"], pool.tls_resumed)
    handshakes.add_metric(["false"], pool.tls_handshakes - pool.tls_resumed)
    yield handshakes
    hosts = _gauge("hosts", "Hosts that there is something to do for, by how they are.", ["state"])
    for state, count in pool.by_state.counts.items():
        hosts.add_metric([state], count)
    yield hosts
    waits = _counter("waited_seconds", "Seconds by what kept the pool from sending one request more.", ["for"])
    for one in fields(Waits):
        if one.name != "hosts":
            waits.add_metric([one.name], getattr(pool.waits, one.name))
    yield waits


def of_run(moment: Moment, began: float, ended: float | None, code: int | None) -> Iterator[Metric]:
    """What a moment of a run says; `began` and `ended`: seconds since the epoch, None before the end."""
    done = _counter("run_requests", "Requests of this execution that have ended, by how.", ["result"])
    for result in ("ok", "failed", "cancelled"):
        done.add_metric([result], getattr(moment, result))
    yield done
    if moment.total is not None:
        yield _gauge("run_requests_expected", "Requests that this execution has to do.", value=moment.total)
    if moment.allowed is not None:
        yield _gauge("budget_requests_per_second", "Requests a second that the budget allows.", value=moment.allowed)
    yield _gauge("run_start_timestamp_seconds", "When this execution began.", value=began)
    if ended is not None:
        yield _gauge("run_end_timestamp_seconds", "When this execution ended.", value=ended)
    if code is not None:
        yield _gauge("run_exit_code", "What it exited with; 0 is all well.", value=code)


def of_outcomes(reasons: Mapping[str, int], durations: Durations, first_bytes: Durations) -> Iterator[Metric]:
    """What was counted of outcomes: `reasons`, by how they ended."""
    outcomes = _counter("outcomes", "Outcomes by how the request ended: ok, or why it failed, in short.", ["reason"])
    for reason, count in reasons.items():
        outcomes.add_metric([reason], count)
    yield outcomes
    for name, help, counted in (
        ("request_duration_seconds", "Seconds from a request's first send to its outcome.", durations),
        ("first_byte_seconds", "Seconds from an answered send to the first byte of its answer.", first_bytes),
    ):
        histogram = HistogramMetricFamily(PREFIX + name, help)
        histogram.add_metric([], counted.buckets(), counted.sum)
        yield histogram


def _counter(name: str, help: str, labels: list[str] | None = None, value: float | None = None) -> Any:
    return CounterMetricFamily(PREFIX + name, help, value=value, labels=labels)


def _gauge(name: str, help: str, labels: list[str] | None = None, value: float | None = None) -> Any:
    return GaugeMetricFamily(PREFIX + name, help, value=value, labels=labels)

"""Folds outcomes into totals, in memory that does not grow with their number.

One thread adds, any thread takes a snapshot. Latencies go into a histogram with logarithmic buckets, so every
percentile is right within 1 %; hosts are counted one by one up to `HOSTS`, and the later ones together.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workerpool.endings import OK, in_short
from workerpool.errors import Cancelled
from workerpool.history.histogram import Histogram
from workerpool.model import Outcome, Timings, origin
from workerpool.redact import redact
from workerpool.wording import shown_host

HOSTS = 10_000
"""Hosts that get figures of their own: some 3 MB."""

OTHERS = "others"
"""The name under which the hosts past `HOSTS` are counted."""

SECONDS = 3_600
"""Seconds whose sends are counted apart, to find the busiest one: attempts come out of order, as they end."""

EXAMPLES = 5
"""Failures that are kept to be shown: the first one of each of so many reasons."""

EXAMPLE_URL = 200
"""Characters shown of a failure's URL."""

CANCELLED = Cancelled.reason


@dataclass(slots=True)
class _Host:
    requests: int = 0
    failed: int = 0
    attempts: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTotals:
    """One host's figures: `mean` and `longest` are seconds of an attempt."""

    host: str
    requests: int
    failed: int
    attempts: int
    mean: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a batch came to. `reasons` counts outcomes by how they ended, "ok" included, most frequent first.

    `sends` are attempts and the redirect hops in them. `p50`, `p95` and `p99` are seconds of an attempt, from its send
    to its last byte or its error. `sending_for`: seconds from the first attempt's send to the last one's; `busiest`:
    the most attempts that began in one second of the clock, None for a run of less than two. `spent`: what sends took
    in all (`dns`, `connect`, `tls`, `first_byte`, `body`). `examples`: a reason, and a sentence about one failure.
    """

    requests: int
    ok: int
    reasons: Mapping[str, int]
    attempts: int
    sends: int
    bytes: int
    p50: float
    p95: float
    p99: float
    sending_for: float
    busiest: int | None
    spent: Timings
    hosts: int
    slowest: Sequence[HostTotals]
    examples: Sequence[tuple[str, str]]


@dataclass(slots=True)
class _Sums:
    sends: int = 0
    bytes: int = 0
    first: float = math.inf
    last: float = -math.inf
    busiest: int = 0
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    body: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


class Tally:
    """Takes outcomes, gives `Totals`."""

    def __init__(self, hosts: int = HOSTS) -> None:
        self._most_hosts = hosts
        self._lock = threading.Lock()  # guards everything below
        self._sums = _Sums()
        self._latency = Histogram()
        self._seconds: Counter[int] = Counter()
        self._hosts: dict[str, _Host] = {}
        self._fronts: dict[str, _Host] = {}  # by the part of a URL up to its path: cheaper than taking it apart
        self._examples: dict[str, str] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one outcome; it is not kept."""
        error = outcome.error
        reason = OK if error is None else in_short(error)
        with self._lock:
            self._sums.reasons[reason] += 1
            self._sums.bytes += outcome.size
            if error is not None and reason not in self._examples and len(self._examples) < EXAMPLES:
                self._examples[reason] = _example(outcome)
            if outcome.attempts:
                self._add_attempts(outcome)

    def totals(self, slowest: int = 5) -> Totals:
        """Return the totals so far, with that many of the slowest hosts."""
        with self._lock:
            sums = self._sums
            return Totals(
                requests=sums.reasons.total(),
                ok=sums.reasons[OK],
                reasons=dict(sums.reasons.most_common()),
                attempts=self._latency.count,
                sends=sums.sends,
                bytes=sums.bytes,
                p50=self._latency.quantile(0.50),
                p95=self._latency.quantile(0.95),
                p99=self._latency.quantile(0.99),
                sending_for=max(0.0, sums.last - sums.first),
                busiest=max(sums.busiest, *self._seconds.values()) if sums.last - sums.first >= 2 else None,
                spent=Timings(
                    dns=sums.dns,
                    connect=sums.connect,
                    tls=sums.tls,
                    first_byte=sums.first_byte,
                    body=sums.body,
                ),
                hosts=len(self._hosts),
                slowest=self._slowest(slowest),
                examples=tuple(self._examples.items()),
            )

    def _add_attempts(self, outcome: Outcome) -> None:
        sums, host = self._sums, self._host(outcome.request.url)
        host.requests += 1
        if outcome.error is not None and not isinstance(outcome.error, Cancelled):
            host.failed += 1
        spent = outcome.timings
        sums.first_byte += spent.first_byte
        sums.body += spent.body
        if spent.connect or spent.dns or spent.tls:
            sums.dns += spent.dns
            sums.connect += spent.connect
            sums.tls += spent.tls
        for attempt in outcome.attempts:
            began, elapsed = attempt.started_at, attempt.elapsed
            self._latency.add(elapsed)
            self._seconds[int(began)] += 1
            sums.sends += 1 + attempt.hops
            host.attempts += 1
            host.seconds += elapsed
            # Comparisons: calls of min() and max(), 0.1 µs each, took as long as all that is above.
            if began < sums.first:
                sums.first = began
            if began > sums.last:
                sums.last = began
            if elapsed > host.longest:
                host.longest = elapsed
        if len(self._seconds) > SECONDS:
            self._forget_seconds()

    def _forget_seconds(self) -> None:
        """Keep the later half of the seconds, and of the earlier one only its busiest."""
        for second in sorted(self._seconds)[: SECONDS // 2]:
            self._sums.busiest = max(self._sums.busiest, self._seconds.pop(second))

    def _host(self, url: str) -> _Host:
        path = url.find("/", 8)
        front = url if path < 0 else url[:path]
        host = self._fronts.get(front)
        if host is None:
            if len(self._fronts) >= 2 * self._most_hosts:
                self._fronts.clear()
            name = shown_host(origin(url))
            if name not in self._hosts and len(self._hosts) >= self._most_hosts:
                name = OTHERS
            host = self._fronts[front] = self._hosts.setdefault(name, _Host())
        return host

    def _slowest(self, number: int) -> tuple[HostTotals, ...]:
        each = [
            HostTotals(
                host=name,
                requests=host.requests,
                failed=host.failed,
                attempts=host.attempts,
                mean=host.seconds / host.attempts,
                longest=host.longest,
            )
            for name, host in self._hosts.items()
        ]
        return tuple(sorted(each, key=lambda host: -host.mean)[:number])


def _example(outcome: Outcome) -> str:
    text = redact(str(outcome.error))
    url = redact(outcome.request.url[:EXAMPLE_URL])
    return text if outcome.request.problem or url in text else f"{url} · {text}"

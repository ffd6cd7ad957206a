"""The closing summary of a batch as text for a terminal of 80 columns. Pure functions, any thread."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from workerpool.config import Budgets
from workerpool.report.totals import CANCELLED, HostTotals, Totals
from workerpool.report.why import Allowed, Course, advise, describe, split
from workerpool.statistics import Waits

WIDTH = 80
_LABEL = 15
_REASONS = 12

SOON = 0.5
"""Seconds of sending below which a rate would say more about the first few milliseconds than about the run."""

WORDS = {
    "body": "body not readable",
    "cancelled": "cancelled before its end",
    "circuit": "host kept failing, left alone",
    "connect": "could not connect",
    "connection": "connection lost",
    "invalid": "not a request",
    "paused": "host asked for too long a wait",
    "redirects": "too many redirects",
    "robots": "not allowed by robots.txt",
    "timeout": "timed out",
    "tls": "TLS failed",
    "unexpected": "unexpected error",
}
"""What an error's `reason` is called here; others are shown as they are."""


class PoolFigures(Protocol):
    """What the summary reads of `WorkerPool.statistics()`."""

    @property
    def sent(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def redirects(self) -> int: ...
    @property
    def sockets_opened(self) -> int: ...
    @property
    def sockets_reused(self) -> int: ...
    @property
    def waits(self) -> Waits: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What a run took: `elapsed` seconds, and `cpu` seconds on all of the machine's `cores` together."""

    elapsed: float
    cpu: float = 0.0
    cores: int = 1


def summarize(totals: Totals, figures: PoolFigures, allowed: Allowed, took: Took) -> str:
    """Render the summary: outcomes by reason, rate against budget, latencies, sockets, what the time went to, slowest
    hosts, failures."""
    return "\n".join(line.rstrip() for line in _lines(totals, figures, allowed, took))


def _lines(totals: Totals, figures: PoolFigures, allowed: Allowed, took: Took) -> Iterator[str]:
    elapsed = took.elapsed
    cancelled = totals.reasons.get(CANCELLED, 0)
    failed = totals.requests - totals.ok - cancelled
    yield (
        f"{plural(totals.requests, 'request')} in {duration(elapsed)}: {totals.ok:,} ok"
        + (f", {failed:,} failed" if failed else "")
        + (f", {cancelled:,} cancelled" if cancelled else "")
    )
    if failed or cancelled:
        yield from _reasons(totals)
    if figures.sent:
        yield _row("rate", _reached(totals))
        yield _row("rate allowed", _limits(allowed.budgets))
        yield _row("sent", _sent(figures))
        yield _row("response time", _latencies(totals))
        yield _row("sockets", f"{figures.sockets_opened:,} opened, reused for {plural(figures.sockets_reused, 'send')}")
        yield _row("received", size(totals.bytes))
        yield from _why(totals, figures, allowed, took)
    if totals.slowest:
        yield from _hosts(totals)
    yield from _examples(totals.examples)


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _why(totals: Totals, figures: PoolFigures, allowed: Allowed, took: Took) -> Iterator[str]:
    course = Course(
        elapsed=took.elapsed,
        cpu=took.cpu,
        cores=took.cores,
        waits=figures.waits,
        spent=totals.spent,
        sends=figures.sent,
        opened=figures.sockets_opened,
        hosts=totals.hosts,
        reached=_mean_rate(totals),
        pools=allowed.processes or 1,
    )
    yield from _wrapped("waited for", describe(split(course)))
    if took.elapsed >= SOON:
        yield from _wrapped("what binds", advise(course, allowed))


def _wrapped(label: str, text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, WIDTH - _LABEL - 2, break_on_hyphens=False):
        yield _row(label, line)
        label = ""


def _reasons(totals: Totals) -> Iterator[str]:
    shown = list(totals.reasons.items())[:_REASONS]
    for reason, count in shown:
        yield f"    {count:>9,}  {count / totals.requests:>6.1%}  {WORDS.get(reason, reason)}"
    if rest := totals.requests - sum(count for _, count in shown):
        yield f"    {rest:>9,}  {rest / totals.requests:>6.1%}  other reasons"


def _limits(budgets: Budgets) -> str:
    limits = [f"{budgets.rate} in all"] if budgets.rate else []
    if budgets.host_rate:
        limits.append(f"{'at most ' if budgets.learns_rate else ''}{budgets.host_rate} per host")
    if budgets.learns_rate:
        limits.append("what each host takes")
    return ", ".join(limits) or "no limit was set"


def _mean_rate(totals: Totals) -> float | None:
    """Sends per second, None if they were over too soon to tell.

    From the first send to the last: how long the last answer took has nothing to do with it. What was still in flight
    when the run was stopped is not in here, nor is its time.
    """
    if totals.sends < 2 or totals.sending_for < SOON:
        return None
    return (totals.sends - 1) / totals.sending_for


def _reached(totals: Totals) -> str:
    """Say the mean rate, and the busiest second's: waits for late retries pull the mean down, and break no budget."""
    mean = _mean_rate(totals)
    if mean is None:
        return "over too soon to tell"
    text = f"{number(mean)}/s on average"
    is_telling = totals.busiest is not None and totals.busiest > mean
    return f"{text}, {totals.busiest:,} in the busiest second" if is_telling else text


def _sent(figures: PoolFigures) -> str:
    parts = [plural(figures.sent, "send")]
    if figures.retries:
        parts.append(plural(figures.retries, "retry", "retries"))
    if figures.redirects:
        parts.append(plural(figures.redirects, "redirect"))
    return f"{parts[0]}, {' and '.join(parts[1:])} among them" if parts[1:] else parts[0]


def _latencies(totals: Totals) -> str:
    if not totals.attempts:
        return "nothing was answered"
    return f"p50 {duration(totals.p50)} · p95 {duration(totals.p95)} · p99 {duration(totals.p99)}"


def _hosts(totals: Totals) -> Iterator[str]:
    label = f"slowest of {totals.hosts:,} hosts" if totals.hosts > 1 else "host"
    yield f"  {label:<40}{'mean':>9}{'longest':>9}{'requests':>10}{'failed':>8}"
    for host in totals.slowest:
        yield _host(host)


def _host(host: HostTotals) -> str:
    figures = f"{duration(host.mean):>9}{duration(host.longest):>9}{host.requests:>10,}{host.failed or '':>8}"
    return f"    {_cut(host.host, 37):<38}{figures}"


def _examples(examples: Sequence[tuple[str, str]]) -> Iterator[str]:
    shown = [text for reason, text in examples if reason != CANCELLED]
    if shown:
        yield "  for example"
    for text in shown:
        lines = textwrap.wrap(text, WIDTH - 6, break_on_hyphens=False, max_lines=3, placeholder=" …")
        yield f"    {lines[0]}" if lines else "    (no text)"
        yield from (f"      {line}" for line in lines[1:])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def number(value: float) -> str:
    """Write a number with three digits that mean something: 0.25, 4.2, 198.6, 4,300."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Write seconds for people: 850 µs, 12 ms, 3.2 s, 4 min 05 s, 2 h 10 min."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def size(count: int) -> str:
    """Write bytes for people, in powers of 1,000."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1_000:
            break
        value, unit = value / 1_000, larger
    return f"{count:,} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"

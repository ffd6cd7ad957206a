"""The closing summary of a batch as text for a terminal of 80 columns. Pure functions, any thread."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workerpool.config import Budgets
from workerpool.report.totals import CANCELLED, HostTotals, Totals
from workerpool.report.why import Allowed, Course, advise, describe, split
from workerpool.statistics import PoolStatistics
from workerpool.wording import WIDTH, cut, duration, number, plural, row, size

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
    "token": "no token to be had",
    "timeout": "timed out",
    "tls": "TLS failed",
    "unexpected": "unexpected error",
}
"""What an error's `reason` is called here; others are shown as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What a run took: `elapsed` seconds, and `cpu` seconds on all of the machine's `cores` together."""

    elapsed: float
    cpu: float = 0.0
    cores: int = 1


def summarize(totals: Totals, figures: PoolStatistics, allowed: Allowed, took: Took) -> str:
    """Render the summary: outcomes by reason, rate against budget, latencies, sockets, what the time went to, slowest
    hosts, failures."""
    return "\n".join(line.rstrip() for line in _lines(totals, figures, allowed, took))


def _lines(totals: Totals, figures: PoolStatistics, allowed: Allowed, took: Took) -> Iterator[str]:
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
        yield from row("rate", _reached(totals))
        yield from row("rate allowed", _limits(allowed.budgets))
        if figures.budget_away:
            away = duration(figures.budget_away)
            yield from row("budget", f"its server was away for {away}: meanwhile each pool kept to its fair share")
        yield from row("sent", _sent(figures))
        yield from row("response time", _latencies(totals))
        yield from row(
            "sockets", f"{figures.sockets_opened:,} opened, reused for {plural(figures.sockets_reused, 'send')}"
        )
        yield from row("received", size(totals.bytes))
        yield from _why(totals, figures, allowed, took)
    if totals.slowest:
        yield from _hosts(totals)
    yield from _examples(totals.examples)


def _why(totals: Totals, figures: PoolStatistics, allowed: Allowed, took: Took) -> Iterator[str]:
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
    yield from row("waited for", describe(split(course)))
    if took.elapsed >= SOON:
        yield from row("what binds", advise(course, allowed))


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


def _sent(figures: PoolStatistics) -> str:
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
    return f"    {cut(host.host, 37):<38}{figures}"


def _examples(examples: Sequence[tuple[str, str]]) -> Iterator[str]:
    shown = [text for reason, text in examples if reason != CANCELLED]
    if shown:
        yield "  for example"
    for text in shown:
        lines = textwrap.wrap(text, WIDTH - 6, break_on_hyphens=False, max_lines=3, placeholder=" …")
        yield f"    {lines[0]}" if lines else "    (no text)"
        yield from (f"      {line}" for line in lines[1:])

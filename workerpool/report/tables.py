"""A report's tables, which all of its writers share, and the words in them. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from workerpool.history import Limits
from workerpool.report.report import Failures, Figures, HostReport, Report, Spread, words_of
from workerpool.report.summary import WORDS
from workerpool.wording import duration, number, plural, size

PHASE_WORDS = {
    "queued": ("turn", "waiting for its turn, a worker and a socket"),
    "slot": ("slot", "waiting for the rate, or for the end of its host's pause"),
    "parked": ("backoff", "put off between attempts"),
    "dns": ("DNS", "finding the address"),
    "connect": ("connect", "the TCP handshake"),
    "tls": ("TLS", "the TLS handshake"),
    "first_byte": ("first byte", "from the request to the end of the answer's headers"),
    "body": ("body", "reading the answer's body"),
}
"""What the phases of a request are called, and what they are."""

_SOCKETS = {
    "sockets_opened": "opened",
    "sockets_reused": "sends over one that had been used",
    "sockets_retired": "closed before their server would have",
    "sockets_lost": "closed by their server while idle",
    "tls_handshakes": "TLS handshakes",
    "tls_resumed": "of these, resumed",
}

NUMBERS = 24
"""Rows, at most, of the table that says what the charts over time show."""


@dataclass(frozen=True, slots=True)
class Row:
    """`keys`: what it is about, by which it can be filtered. `shares`: of a bar behind a cell, by the cell's place."""

    cells: tuple[str, ...]
    keys: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Titles of columns of numbers end with "#", which is not shown. The first cell of a row names it."""

    caption: str
    titles: tuple[str, ...]
    rows: tuple[Row, ...]


def reason_words(reason: str) -> str:
    return WORDS.get(reason, reason)


def moment(seconds: float | None) -> str:
    """A time for people, in the machine's zone."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def outcomes(report: Report) -> Table:
    total = report.figures.requests or 1
    rows = [
        Row((reason_words(reason), f"{count:,}", f"{count / total:.1%}"), {"reason": reason}, {2: count / total})
        for reason, count in report.reasons.items()
    ]
    return Table("How requests ended", ("outcome", "requests#", "share#"), tuple(rows))


def answers(report: Report) -> Table:
    total = sum(report.answers.values()) or 1
    rows = [Row((status, f"{count:,}", f"{count / total:.1%}")) for status, count in report.answers.items()]
    is_all = bool(report.executions)  # a record tells how the last attempt ended
    what = (
        ("What attempts were answered, by status", "attempts#") if is_all else ("Last answers, by status", "requests#")
    )
    return Table(what[0], ("status", what[1], "share#"), tuple(rows))


def phases(report: Report) -> Table:
    """What attempts and waits took: percentiles of those that had the phase at all."""
    # Thousands wait for their turn at once, so that share would say nothing.
    total = sum(each.total for name, each in report.phases.items() if name != "queued") or 1.0
    rows = [_spread("attempt", report.latency)] if report.latency.count else []
    for name, each in report.phases.items():
        rows.append(_spread(PHASE_WORDS[name][0], each, None if name == "queued" else total))
    if report.whole.count:
        rows.append(_spread("request in all", report.whole))
    titles = ("phase", "count#", "in all#", "share#", "p50#", "p90#", "p95#", "p99#", "longest#")
    return Table("Seconds by phase", titles, tuple(rows))


def _spread(name: str, each: Spread, total: float | None = None) -> Row:
    share = None if total is None else each.total / total
    times = (each.p50, each.p90, each.p95, each.p99, each.longest)
    cells = (name, f"{each.count:,}", duration(each.total), "" if share is None else f"{share:.0%}")
    return Row((*cells, *map(duration, times)), {}, {} if share is None else {3: share})


def hosts(report: Report, most: int) -> Table:
    shown = report.hosts[:most]
    more = f", {len(shown):,} of {report.host_count:,}" if report.host_count > len(shown) else ""
    titles = ("host", "requests#", "failed#", "attempts#", "mean#", "p50#", "p95#", "p99#", "longest#", "paused#")
    return Table(f"Hosts{more}", titles, tuple(map(_host, shown)))


def _host(host: HostReport) -> Row:
    spread = host.latency
    percentiles = ("", "", "") if spread is None else tuple(map(duration, (spread.p50, spread.p95, spread.p99)))
    mean = (duration(host.mean),) if host.attempts else ("",)
    longest = duration(host.longest) if host.attempts else ""
    counts = (f"{host.requests:,}", f"{host.failed:,}" if host.failed else "", f"{host.attempts:,}")
    return Row(
        (host.host, *counts, *mean, *percentiles, longest, duration(host.paused) if host.pauses else ""),
        {"host": host.host, "reason": "\n".join(host.reasons)},
        {2: host.failed / host.requests} if host.failed else {},
    )


def failures(group: Failures, most: int) -> Table:
    """A sample of what failed for one reason."""
    samples = group.samples[:: max(1, -(-len(group.samples) // most))]
    of = "all" if len(samples) == group.count else f"{len(samples):,} of {group.count:,}"
    rows = [
        Row(
            (one.url, one.error, str(one.attempts), duration(one.elapsed) if one.attempts else "", one.input),
            {"host": one.host, "reason": group.reason},
        )
        for one in samples
    ]
    caption = f"{reason_words(group.reason)}: {of}"
    return Table(caption, ("URL", "error", "attempts#", "took#", "input"), tuple(rows))


def sockets(report: Report) -> Table:
    rows = [
        Row((words, f"{int(report.sockets[name]):,}"))
        for name, words in _SOCKETS.items()
        if name in report.sockets and (report.sockets[name] or name in ("sockets_opened", "sockets_reused"))
    ]
    return Table("Sockets", ("sockets", "count#"), tuple(rows))


def waits(report: Report) -> Table:
    rows = [
        Row((words_of(name), f"{share:.1%}"), {}, {1: share}) for name, share in report.waits.items() if share >= 0.0005
    ]
    return Table("What kept it from sending more", ("waited for", "share of the time#"), tuple(rows))


def pauses(report: Report) -> Table:
    paused = sorted((host for host in report.hosts if host.pauses), key=lambda host: -host.paused)
    rows = [Row((host.host, f"{host.pauses:,}", duration(host.paused)), {"host": host.host}) for host in paused]
    return Table("Hosts that were left alone for a while", ("host", "pauses#", "in all#"), tuple(rows))


def limits(report: Report) -> Table:
    found = report.limits
    rows = [] if found is None else [Row(cells) for cells in _limits(found) if cells[1]]
    return Table("What it had to keep to", ("budget", "allowed"), tuple(rows))


def _limits(found: Limits) -> Iterator[tuple[str, str]]:
    budgets = found.budgets
    yield "requests in all", str(budgets.rate or "no limit")
    of_host = str(budgets.host_rate or ("" if budgets.learns_rate else "no limit"))
    yield (
        "requests to a host",
        f"{'learned, at most ' if budgets.learns_rate else ''}{of_host}".removesuffix(", at most "),
    )
    yield "requests of a key", str(budgets.key_rate or "")
    yield "at once after a rest", f"{budgets.burst:,}" if budgets.burst > 1 else ""
    yield "sockets in all", f"{budgets.max_connections:,}"
    yield (
        "sockets to a host",
        f"{'learned, at most ' if budgets.learns_connections else ''}{budgets.host_connections:,}",
    )
    yield "workers", f"{found.workers:,}"
    yield "attempts of a request", f"{found.attempts:,}"
    yield "processes", f"{found.processes:,}" if (found.processes or 1) > 1 else ""


def executions(report: Report) -> Table:
    rows = [
        Row(
            (
                moment(one.began),
                duration(one.seconds),
                f"{int(one.figures.get('sent', 0)):,}",
                _cpu(one.cpu, one.seconds),
            )
        )
        for one in report.executions
    ]
    return Table("Executions", ("began", "took#", "sent#", "CPU#"), tuple(rows))


def _cpu(cpu: float, seconds: float) -> str:
    return f"{cpu / seconds:.0%}" if seconds else ""


# -- compared with another run ----------------------------------------------------------------------------------------

_Value = Callable[[Figures], float | None]

_COMPARED: tuple[tuple[str, _Value, Callable[[float], str], int], ...] = (
    ("requests", lambda run: run.requests, lambda value: f"{value:,.0f}", 0),
    ("ok", lambda run: run.ok / run.requests if run.requests else None, lambda value: f"{value:.2%}", 1),
    ("failed", lambda run: run.failed, lambda value: f"{value:,.0f}", -1),
    ("took", lambda run: run.seconds, duration, -1),
    ("sends a second", lambda run: run.rate, number, 1),
    ("retries", lambda run: run.retries, lambda value: f"{value:,.0f}", -1),
    ("attempt, p50", lambda run: run.p50, duration, -1),
    ("attempt, p95", lambda run: run.p95, duration, -1),
    ("attempt, p99", lambda run: run.p99, duration, -1),
    ("received", lambda run: run.bytes, lambda value: size(int(value)), 0),
    ("sockets opened", lambda run: run.opened, lambda value: f"{value:,.0f}", -1),
)
"""What is compared, how it is written, and whether more of it is better (1), worse (-1) or neither."""

_SAME = 0.05
"""A change below which nothing is said to be better or worse."""


def compared(report: Report) -> Table:
    """The figures of this run beside those of the one before."""
    before = report.before
    rows = []
    for words, value, written, more in _COMPARED if before is not None else ():
        assert before is not None
        now, then = value(report.figures), value(before)
        if now is not None and then is not None:
            change, verdict = _change(now, then, more)
            rows.append(Row((words, written(now), written(then), change), {"verdict": verdict} if verdict else {}))
    titles = ("", "this run#", f"{report.before_name or 'before'}#", "change#")
    return Table(f"Compared with {report.before_name or 'the run before'}", titles, tuple(rows))


def _change(now: float, then: float, more: int) -> tuple[str, str]:
    if not then or now == then:
        return ("" if now == then else "new"), ""
    change = now / then - 1
    verdict = "" if abs(change) < _SAME or not more else "better" if change * more > 0 else "worse"
    return f"{change:+.0%}" if change < 9 else f"× {now / then:,.0f}", verdict


# -- over time --------------------------------------------------------------------------------------------------------


def course(report: Report) -> Table:
    """What the charts over time show, in a few rows."""
    line = report.timeline
    step = max(1, -(-len(line.at) // NUMBERS))
    titles = ("from", "sent/s#", "ok/s#", "failed/s#", "retries/s#", "in flight#", "sockets#", "waited for most")
    rows = [Row(_stretch(report, start, min(start + step, len(line.at)))) for start in range(0, len(line.at), step)]
    return Table(f"Over time, each {duration(step * line.width)}", titles, tuple(rows))


def _stretch(report: Report, start: int, end: int) -> tuple[str, ...]:
    line = report.timeline
    seconds = (end - start) * line.width

    def part(name: str) -> list[float]:
        return list(line.columns.get(name, ())[start:end])

    rates = [number(sum(part(name)) / seconds) if name in line.columns else "" for name in _RATES]
    peaks = [f"{max(part(name)):,.0f}" if name in line.columns else "" for name in ("in_flight", "open")]
    waited = {name: sum(part(name)) for name in report.waits}
    most = max(waited, key=lambda name: waited[name], default="")
    return clock(line.at[start]), *rates, *peaks, words_of(most) if most and waited[most] else ""


_RATES = ("sent", "ok", "failed", "retried")


def clock(seconds: float) -> str:
    """Seconds since the beginning, as a clock shows them: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# -- sentences --------------------------------------------------------------------------------------------------------


def headline(report: Report) -> str:
    """What it came to, in a sentence."""
    figures = report.figures
    failed = f", {figures.failed:,} failed" if figures.failed else ""
    return f"{plural(figures.requests, 'request')} in {duration(figures.seconds)}: {figures.ok:,} ok{failed}"


def took(report: Report) -> str:
    return duration(report.figures.seconds)


def facts(report: Report) -> list[tuple[str, str]]:
    """What stands above all else: a label, and what it says."""
    figures = report.figures
    run = "" if report.run is None else str(report.run) + (f", {report.state}" if report.state else "")
    found = [("run", run), ("began", moment(report.began))]
    found.append(("ended", moment(report.ended) if report.state in (None, "finished") else ""))
    if report.inputs:
        found.append(("inputs", ", ".join(f"{count:,} {name}" for name, count in report.inputs.items())))
    found.append(("received", size(figures.bytes)))
    return [(label, text) for label, text in found if text]

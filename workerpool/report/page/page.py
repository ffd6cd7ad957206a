"""A report as one self-contained HTML page. Pure functions, any thread; its files are read when one is made.

The tables are HTML, made here, and can be read without scripts. The numbers of the charts are one JSON block, in which
no character is left that could end its element. A Content-Security-Policy names the page's own style and scripts by
their hashes, and allows nothing else: whatever a URL or an error has in it, nothing of it runs, nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from workerpool.agent import version
from workerpool.report import tables
from workerpool.report.page.parts import card, chart, failures, section, table, tiles
from workerpool.report.report import BAR, HostReport, Report, Spread, words_of
from workerpool.report.tables import Table
from workerpool.report.timeline import Timeline
from workerpool.wording import duration, plural

MOST = 300_000
"""Bytes of a page, at most."""

_SIZES = ((50, 120), (50, 60), (25, 60), (12, 40), (6, 25), (3, 15), (1, 10))
"""Failures of each reason, and hosts, of which as many are shown as the page has room for."""

_LANES = 8
"""Hosts whose pauses are drawn."""


def as_html(report: Report) -> str:
    """Write it, with as many failures and hosts as there is room for."""
    for samples, hosts in _SIZES:
        page = _page(report, samples, hosts)
        if len(page.encode(errors="replace")) <= MOST:
            break
    return page


def _page(report: Report, samples: int, hosts: int) -> str:
    style = _file("vendor/uPlot.min.css") + _file("page.css")
    library, script = _file("vendor/uPlot.iife.min.js"), _file("page.js")
    return Template(_file("page.html")).substitute(
        policy=_policy([style], [library, script]),
        style=style,
        library=library,
        script=script,
        licence=escape(_file("vendor/uPlot.LICENSE")),
        title=escape(report.name),
        headline=escape(tables.headline(report)),
        facts="".join(f"<div><dt>{escape(a)}</dt><dd>{escape(b)}</dd></div>" for a, b in tables.facts(report)),
        why=_why(report),
        tiles=tiles(report),
        body="\n".join(_sections(report, samples, hosts)),
        version=version(),
        made=escape(tables.moment(datetime.now().timestamp())),
        data=_harmless(json.dumps(_data(report, hosts), separators=(",", ":"))),
    )


def _file(name: str) -> str:
    return (files("workerpool.report.page") / name).read_text(encoding="utf-8")


def _policy(styles: list[str], scripts: list[str]) -> str:
    def hashes(texts: list[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; style-src {hashes(styles)}; script-src {hashes(scripts)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _harmless(text: str) -> str:
    """JSON without a character that could end, or begin, an element."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _why(report: Report) -> str:
    if not report.why:
        return ""
    sentences = "".join(f"<li>{escape(sentence[:1].upper() + sentence[1:])}.</li>" for sentence in report.why)
    return f'<section class="why"><h2>Why it took {escape(tables.took(report))}</h2><ul>{sentences}</ul></section>'


def _sections(report: Report, samples: int, hosts: int) -> Iterator[str]:
    if report.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
        yield section("notes", "What this does not tell", f'<ul class="notes">{notes}</ul>')
    yield _over_time(report)
    yield _filter(report, hosts)
    yield _latency(report)
    found = (tables.outcomes(report), tables.answers(report), tables.compared(report))
    yield section("outcomes", "Outcomes", _cards(found))
    yield (
        section("failures", "What failed", failures(report, samples))
        if report.failures
        else ('<section id="failures"></section>')
    )
    yield section("hosts", "Hosts", card(table(tables.hosts(report, hosts), "sortable")))
    more = (
        tables.limits(report),
        tables.waits(report),
        tables.sockets(report),
        tables.pauses(report),
        tables.executions(report),
    )
    if any(each.rows for each in more):
        yield section("more", "The run", _cards(more))


def _cards(found: Iterable[Table]) -> str:
    return f'<div class="cards narrow">{"".join(card(table(each)) for each in found if each.rows)}</div>'


def _over_time(report: Report) -> str:
    line = report.timeline
    if not line.at:
        return ""
    drawn = [chart("sent", "Requests a second", _said(report, ("sent", "ok", "failed"), "a second"))]
    if report.limits is not None:
        drawn.append(chart("sockets", "Sockets, and requests in flight", _said(report, ("open", "in_flight"), "")))
        drawn.append(chart("retries", "Retries and refusals", _said(report, ("retried", "refused"), "a second")))
    if report.waits:
        drawn.append(chart("waits", "What kept it from sending more", _most_waited(report)))
    if _lanes(report):
        hosts = plural(len({one.host for one in report.pauses}), "host")
        told = f"{plural(len(report.pauses), 'pause')} of {hosts} that had refused or kept failing."
        drawn.append(chart("pauses", "Hosts that were left alone", told))
    broken = " A dotted line shows where it was interrupted." if line.breaks else ""
    how = "Time since the beginning. Drag over a chart to look closer, double-click to go back."
    hint = f'<p class="hint">{how}{broken}</p>'
    numbers = f"<details><summary>The same in numbers</summary>{table(tables.course(report))}</details>"
    return section("time", "Over time", f'{hint}<div class="cards">{"".join(drawn)}</div>{numbers}')


_COLUMN_WORDS = {
    "sent": "sent",
    "ok": "ok",
    "failed": "failed",
    "open": "sockets open",
    "in_flight": "in flight",
    "retried": "retries",
    "refused": "answers of 429 and 503",
}


def _said(report: Report, names: tuple[str, ...], unit: str) -> str:
    """What a chart shows, in words."""
    line = report.timeline
    peaks = []
    for name in names:
        values = line.columns.get(name, (0,))
        peak = max(values) / (line.width if unit else 1)
        peaks.append(f"{_COLUMN_WORDS[name]} up to {peak:,.0f}")
    return f"{', '.join(peaks)} {unit}".strip().capitalize() + "."


def _most_waited(report: Report) -> str:
    shares = [f"{words_of(name)} {share:.0%}" for name, share in report.waits.items() if share >= 0.01]
    return f"Share of the time: {', '.join(shares)}."


def _filter(report: Report, hosts: int) -> str:
    def options(values: Mapping[str, str]) -> str:
        return "".join(f'<option value="{escape(value)}">{escape(words)}</option>' for value, words in values.items())

    named = options({"": "all hosts", **{one.host: one.host for one in report.hosts[:hosts]}})
    failed = options(
        {
            "": "all reasons",
            **{one.reason: f"{tables.reason_words(one.reason)} ({one.count:,})" for one in report.failures},
        }
    )
    return (
        '<form id="filter" class="filter" role="search" aria-label="Filter what follows" hidden>'
        f'<label>Host<select name="host">{named}</select></label>'
        f'<label>Reason<select name="reason">{failed}</select></label>'
        '<label>URL or error contains<input name="words" type="search" autocomplete="off"></label>'
        '<button type="reset">Show all</button><output aria-live="polite"></output></form>'
    )


def _latency(report: Report) -> str:
    if not report.latency.count:
        return ""
    spread = report.latency
    told = (
        f"Seconds of an attempt, on a logarithmic axis: half took {duration(spread.p50)} or less, 95% took up to "
        f"{duration(spread.p95)}, 99% up to {duration(spread.p99)}, and the longest one {duration(spread.longest)}."
    )
    shown = f"{chart('latency', 'How long attempts took', told)}{card(table(tables.phases(report)))}"
    return section("phases", "Latency", f'<div class="cards uneven">{shown}</div>')


# -- the numbers of the charts ----------------------------------------------------------------------------------------


def _data(report: Report, hosts: int) -> dict[str, Any]:
    line, limits = report.timeline, report.limits
    budgets = None if limits is None else limits.budgets
    return {
        "timeline": {
            "width": line.width,
            "at": line.at,
            "columns": {name: [round(each, 3) for each in values] for name, values in line.columns.items()},
            "breaks": line.breaks,
        },
        "sent": "sent/s" if report.executions else "first sent/s",
        "rate": budgets.rate.per_second if budgets is not None and budgets.rate is not None else None,
        "connections": None if budgets is None else budgets.max_connections,
        "waits": [[name, words_of(name), round(share, 4)] for name, share in report.waits.items()],
        "pauses": _lanes(report),
        "growth": 1.02 if not report.bars else _growth(report),
        "bars": _bars(report.bars),
        "latency": _marks(report.latency),
        "hosts": {host.host: _host(host) for host in report.hosts[:hosts]},
    }


def _growth(report: Report) -> float:
    """By how much each bar ends above the one before."""
    ends = [end for end, _ in report.bars]
    return ends[1] / ends[0] if len(ends) > 1 else 1.02**BAR


def _bars(bars: Any) -> list[list[float]]:
    return [[float(f"{end:.6g}"), count] for end, count in bars]


def _marks(spread: Spread) -> dict[str, float]:
    return {name: float(f"{getattr(spread, name):.3g}") for name in ("p50", "p95", "p99")}


def _host(host: HostReport) -> dict[str, Any]:
    return {
        "requests": host.requests,
        "failed": host.failed,
        "reasons": host.reasons,
        "bars": _bars(host.bars),
        "latency": None if host.latency is None else _marks(host.latency),
        "phases": [
            [tables.PHASE_WORDS[name][0], each.count, *(float(f"{value:.3g}") for value in _times(each))]
            for name, each in host.phases.items()
        ],
    }


def _times(each: Spread) -> tuple[float, ...]:
    return each.total, each.p50, each.p90, each.p95, each.p99, each.longest


def _lanes(report: Report) -> list[tuple[str, list[tuple[float, float]]]]:
    """The hosts with the longest pauses, and where on the axis these are."""
    by_host: dict[str, list[tuple[float, float]]] = {}
    for one in report.pauses:
        span = _on_axis(report.timeline, one.began), _on_axis(report.timeline, one.ended)
        by_host.setdefault(one.host, []).append(span)
    longest = sorted(by_host.items(), key=lambda item: -sum(to - at for at, to in item[1]))
    return longest[:_LANES]


def _on_axis(line: Timeline, moment: float) -> float:
    """Where on the axis a moment is; one in which no process ran is where that time was cut out."""
    place = bisect_right(line.times, moment) - 1
    if place < 0:
        return 0.0
    return round(line.at[place] + min(line.width, moment - line.times[place]), 3)

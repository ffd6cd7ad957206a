"""Pieces of the page: tables, cards, charts' places, and what failed. Everything that is text is escaped here."""

from __future__ import annotations

from html import escape

from workerpool.report import tables
from workerpool.report.report import Report
from workerpool.report.tables import Row, Table
from workerpool.wording import duration, number, size


def section(name: str, title: str, inside: str) -> str:
    return f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{escape(title)}</h2>{inside}</section>'


def card(inside: str) -> str:
    return f'<div class="card">{inside}</div>'


def chart(name: str, title: str, told: str) -> str:
    """The place of a chart, which a script draws. `told`: what it shows, in words, for who does not see it, too."""
    return (
        f'<figure class="card {name}" aria-labelledby="c-{name}"><h3 id="c-{name}">{escape(title)}</h3>'
        f'<div class="chart" data-chart="{name}" role="group" aria-label="{escape(f"Chart. {told}")}"></div>'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )


def table(found: Table, kind: str = "") -> str:
    """A table with its caption; every row is named by its first cell."""
    places = [title.endswith("#") for title in found.titles]
    head = "".join(
        f'<th scope="col"{_number(is_number)}>{escape(title.rstrip("#"))}</th>'
        for title, is_number in zip(found.titles, places, strict=True)
    )
    body = "".join(_row(row, places) for row in found.rows)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(found.caption)}">'
        f'<table class="{kind}"><caption>{escape(found.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Row, places: list[bool]) -> str:
    keys = "".join(f' data-{name}="{escape(value)}"' for name, value in row.keys.items())
    verdict = row.keys.get("verdict", "")
    cells = [f'<th scope="row">{escape(row.cells[0])}</th>']
    for place, (text, is_number) in enumerate(zip(row.cells[1:], places[1:], strict=True), 1):
        share = f' data-share="{100 * row.shares[place]:.3g}"' if place in row.shares else ""
        is_last = verdict and place == len(row.cells) - 1
        said = f'<span class="{verdict}">{escape(text)}</span>' if is_last else escape(text)
        cells.append(f"<td{_number(is_number)}{share}>{said}</td>")
    return f"<tr{keys}>{''.join(cells)}</tr>"


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def failures(report: Report, most: int) -> str:
    """What failed, by reason: each opens to a sample of its requests."""
    shown = []
    for group in report.failures:
        found = tables.failures(group, most)
        words = f"{escape(tables.reason_words(group.reason))} <span class='count'>{group.count:,}</span>"
        shown.append(f'<details class="reason"><summary>{words}</summary>{table(found, "urls")}</details>')
    return "".join(shown)


def tiles(report: Report) -> str:
    """The figures that most look for first."""
    now, before = report.figures, report.before
    share = now.ok / now.requests if now.requests else 0.0
    found = [
        ("requests", f"{now.requests:,}", f"{share:.2%} ok"),
        ("failed", f"{now.failed:,}", f"{before.failed:,} the run before" if before else ""),
        ("took", duration(now.seconds), f"{duration(before.seconds)} the run before" if before else ""),
        ("sends a second", number(now.rate), _allowed(report)),
        ("attempt, p50", duration(now.p50), f"p95 {duration(now.p95)}, p99 {duration(now.p99)}"),
    ]
    if now.opened is not None and now.reused is not None:
        found.append(("sockets opened", f"{now.opened:,}", f"reused for {now.reused:,} sends"))
    if now.retries is not None:
        found.append(("retries", f"{now.retries:,}", f"of {now.sent:,} sends"))
    found.append(("received", size(now.bytes), ""))
    return "".join(_tile(*each) for each in found)


def _allowed(report: Report) -> str:
    rate = None if report.limits is None else report.limits.budgets.rate
    return "" if rate is None else f"allowed: {rate}"


def _tile(label: str, value: str, more: str) -> str:
    extra = f'<span class="more">{escape(more)}</span>' if more else ""
    return f'<li><span class="label">{escape(label)}</span><span class="value">{escape(value)}</span>{extra}</li>'

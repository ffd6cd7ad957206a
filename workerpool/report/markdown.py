"""A report as Markdown, for an issue or a mail. Pure functions, any thread."""

from __future__ import annotations

import re
from collections.abc import Iterator

from workerpool.report import tables
from workerpool.report.report import Report
from workerpool.report.tables import Table

SAMPLES = 10
"""Failures that are shown of each reason."""

HOSTS = 20


def as_markdown(report: Report) -> str:
    """Write it, with a few failures of each reason."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {_plain(report.name)}"
    yield f"\n{tables.headline(report)}.\n"
    yield from (f"- {label}: {_plain(text)}" for label, text in tables.facts(report))
    if report.why:
        yield f"\n## Why it took {tables.took(report)}\n"
        yield from (f"- {_plain(sentence)}" for sentence in report.why)
    for table in (
        tables.compared(report),
        tables.outcomes(report),
        tables.answers(report),
        tables.limits(report),
        tables.waits(report),
        tables.phases(report),
        tables.hosts(report, HOSTS),
        tables.sockets(report),
        tables.pauses(report),
        tables.executions(report),
        tables.course(report),
        *(tables.failures(group, SAMPLES) for group in report.failures),
    ):
        yield from _table(table)
    if report.notes:
        yield "\n## What this does not tell\n"
        yield from (f"- {_plain(note)}" for note in report.notes)


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f"\n## {_plain(table.caption)}\n"
    yield _row([title.rstrip("#") for title in table.titles])
    yield _row(["---:" if title.endswith("#") else "---" for title in table.titles])
    yield from (_row([_cell(cell) for cell in row.cells]) for row in table.rows)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text in which nothing is markup: what a server or an input wrote ends up here."""
    return re.sub(r"([\\`*_\[\]<>#~])", r"\\\1", " ".join(text.split()))

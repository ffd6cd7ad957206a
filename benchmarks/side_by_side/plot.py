"""Results as bars, in SVG: a panel for each case, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from benchmarks.side_by_side.results import SPEED, CaseResult, Results, Row

LEFT_OUT = ("raw", "workerpool-run")
"""Clients that are no peers: in the table alone."""

COLUMNS = 2
MARGIN, GAP = 24, 36
LABEL, BAR, VALUE = 196, 190, 56
PANEL = LABEL + BAR + VALUE
WIDTH = 2 * MARGIN + COLUMNS * PANEL + (COLUMNS - 1) * GAP
HEAD, TITLE, LINE, BAR_HEIGHT, FOOT = 68, 30, 21, 13, 30
"""Pixels: of the drawing's head, a panel's title, a row, its bar, and the drawing's foot."""

BASELINE = 4
"""From the middle of a row down to where its text stands."""

STYLE = """
    .page { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .quiet { fill: #59636e }
    .ours { fill: #0969da } .ours-too { fill: #54aeff } .peer { fill: #afb8c1 }
    text { font: 12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif }
    .name { text-anchor: end }
    .title { font-size: 13px; font-weight: 600 } .head { font-size: 16px; font-weight: 600 } .bold { font-weight: 600 }
    @media (prefers-color-scheme: dark) {
        .page { fill: #0d1117; stroke: #30363d } .text { fill: #e6edf3 } .quiet { fill: #9198a1 }
        .ours { fill: #4493f8 } .ours-too { fill: #1f6feb } .peer { fill: #57606a }
    }
"""


def plot(results: Results, *, how: str) -> str:
    """Return the drawing; `how` says what a figure is, below its headline."""
    cases = [*results.cases.values()]
    grid = [cases[at : at + COLUMNS] for at in range(0, len(cases), COLUMNS)]
    heights = [TITLE + LINE * max(len(_shown(case)) for case in line) + GAP // 2 for line in grid]
    height = HEAD + sum(heights) + FOOT
    parts = [*_frame(height, how)]
    top = HEAD
    for line, line_height in zip(grid, heights, strict=True):
        for column, case in enumerate(line):
            parts += _panel(case, MARGIN + column * (PANEL + GAP), top)
        top += line_height
    machine = f"{results.machine['cores']} cores, Python {results.machine['Python']}, {results.date}"
    parts.append(_text(MARGIN, height - 16, machine, "quiet"))
    return "\n".join([*parts, "</svg>", ""])


def _shown(case: CaseResult) -> list[tuple[str, Row]]:
    """The rows of a panel, the fastest first."""
    rows = [(name, row) for name, row in case.rows.items() if name not in LEFT_OUT]
    return sorted(rows, key=lambda one: -one[1].median(SPEED))


def _frame(height: int, how: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="Requests a second of workerpool and its peers">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>'
    yield _text(MARGIN, 30, "Requests a second", "text head")
    yield _text(MARGIN, 50, how, "quiet")


def _panel(case: CaseResult, left: int, top: int) -> Iterator[str]:
    shown = _shown(case)
    most = max((row.median(SPEED) for _, row in shown), default=1.0)
    yield _text(left, top + 16, case.title, "text title")
    for number, (name, row) in enumerate(shown):
        middle = top + TITLE + number * LINE + LINE // 2
        is_ours = name.startswith("workerpool")
        kind = "peer" if not is_ours else "ours-too" if name.endswith("slow") else "ours"
        speed = row.median(SPEED)
        length = round(BAR * speed / most, 1)
        bold = " bold" if is_ours else ""
        yield _text(left + LABEL - 8, middle + BASELINE, row.label, f"text name{bold}")
        yield (
            f'<rect class="{kind}" x="{left + LABEL}" y="{middle - BAR_HEIGHT / 2}" '
            f'width="{length}" height="{BAR_HEIGHT}" rx="2"/>'
        )
        yield _text(round(left + LABEL + length + 6, 1), middle + BASELINE, f"{speed:,.0f}", f"text value{bold}")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'

"""A course as four panels, in SVG, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from benchmarks.cluster_simulated.course import CELL, Found

WIDTH, HEIGHT, HEAD, FOOT = 960, 640, 64, 16
MARGIN, GAP = 24, 40
LABELS = 52
"""Pixels for the numbers to the left of a panel."""
PANEL_WIDTH, PANEL_HEIGHT = (WIDTH - 2 * MARGIN - GAP) / 2, (HEIGHT - HEAD - FOOT) / 2
POINTS = 400
"""Of a line, at most."""

STYLE = """
    .page { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .quiet { fill: #59636e }
    .grid { stroke: #d8dee4 } .bound { stroke: #cf222e; stroke-dasharray: 5 4; fill: none }
    .line { stroke: #0969da; stroke-width: 1.6; fill: none } .other { stroke: #8c959f; stroke-width: 1.6; fill: none }
    text { font: 12px system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif }
    .end { text-anchor: end } .middle { text-anchor: middle }
    .title { font-size: 13px; font-weight: 600 } .head { font-size: 16px; font-weight: 600 }
    @media (prefers-color-scheme: dark) {
        .page { fill: #0d1117; stroke: #30363d } .text { fill: #e6edf3 } .quiet { fill: #9198a1 }
        .grid { stroke: #262c36 } .bound { stroke: #f85149 } .line { stroke: #4493f8 } .other { stroke: #6e7681 }
    }
"""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """`lines`: each its class, and its points. `tall`: where the vertical axis ends; `logs`: from 1 on by powers."""

    title: str
    across: str
    lines: list[tuple[str, Points]]
    tall: float
    wide: float
    logs: bool = False
    start: float = 0.0


def plot(found: Found) -> str:
    """Return the drawing."""
    panels = [_rate(found), _shares(found), _end(found), _tasks(found)]
    parts = [*_frame(found)]
    for number, panel in enumerate(panels):
        left = MARGIN + number % 2 * (PANEL_WIDTH + GAP)
        parts += _panel(panel, left, HEAD + number // 2 * PANEL_HEIGHT)
    return "\n".join([*parts, "</svg>", ""])


def _rate(found: Found) -> Panel:
    width = round(1 / CELL)
    sends = [(at * CELL + 0.5, sum(found.sends[at : at + width])) for at in range(0, len(found.sends), width)]
    bound = [(0.0, found.setting.rate), (found.seconds, found.setting.rate)]
    lines: list[tuple[str, Points]] = [("bound", bound), ("line", sends)]
    return Panel("Sends in each second, and the rate", "seconds", lines, 1.15 * found.setting.rate, found.seconds)


def _shares(found: Found) -> Panel:
    shares = sorted(found.shares_of_slow) + sorted(found.shares)
    mean = sum(found.shares) / len(found.shares)
    points = [(float(at), share / mean) for at, share in enumerate(shares)]
    even: Points = [(0.0, 1.0), (float(len(shares)), 1.0)]
    lines: list[tuple[str, Points]] = [("bound", even), ("line", points)]
    title = "What each worker sent, against the mean; slow ones first"
    return Panel(title, "workers", lines, 1.25, float(len(shares)))


def _end(found: Found) -> Panel:
    setting = found.setting
    left = [(float(at + 1), float(setting.urls - ended)) for at, ended in enumerate(accumulate(found.ended))]
    start = 0.9 * setting.urls / setting.rate
    at_rate = [(second, setting.urls - setting.rate * second) for second, _ in left]
    shown = [("bound", at_rate), ("line", left)]
    lines: list[tuple[str, Points]] = [
        (kind, [point for point in line if point[0] >= start and point[1] > 0]) for kind, line in shown
    ]
    title = "URLs left, and at the rate alone: the end of the batch"
    return Panel(title, "seconds", lines, 0.2 * setting.urls, found.seconds, logs=True, start=start)


def _tasks(found: Found) -> Panel:
    points = [(at + 0.5, float(tasks)) for at, tasks in enumerate(found.tasks_in)]
    most = 1 / found.setting.task
    bound: Points = [(0.0, most), (found.seconds, most)]
    lines: list[tuple[str, Points]] = [("bound", bound), ("line", points)]
    top = 1.15 * max(most, max(found.tasks_in))
    return Panel("Dask's tasks in each second, and what it can do", "seconds", lines, top, found.seconds)


def _frame(found: Found) -> Iterator[str]:
    setting = found.setting
    what = f"{setting.workers:,} workers, {setting.hosts:,} hosts, {setting.urls:,} URLs, {setting.rate:,}/s"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="A simulated cluster: {what}">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>'
    yield _text(MARGIN, 30, "A cluster, simulated", "text head")
    yield _text(MARGIN, 50, what, "quiet")


def _panel(panel: Panel, left: float, top: float) -> Iterator[str]:
    begin, end, high, low = left + LABELS, left + PANEL_WIDTH, top + 34, top + PANEL_HEIGHT - 44
    low_value = 1.0 if panel.logs else 0.0

    def height(value: float) -> float:
        return math.log10(max(value, 1.0)) if panel.logs else value

    def x(value: float) -> float:
        return begin + (end - begin) * (value - panel.start) / max(1e-9, panel.wide - panel.start)

    def y(value: float) -> float:
        part = (height(value) - height(low_value)) / max(1e-9, height(panel.tall) - height(low_value))
        return low - (low - high) * min(1.0, part)

    yield _text(left, top + 20, panel.title, "text title")
    for value in _ticks(panel.tall, panel.logs):
        yield f'<path class="grid" d="M{begin:.1f} {y(value):.1f}H{end:.1f}"/>'
        yield _text(begin - 6, y(value) + 4, _short(value), "quiet end")
    for value in _steps(panel.start, panel.wide):
        yield _text(x(value), low + 17, f"{value:,.0f}", "quiet middle")
    yield _text(end, low + 33, panel.across, "quiet end")
    for kind, points in panel.lines:
        yield _line(kind, points, x, y)


def _line(kind: str, points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    every = max(1, len(points) // POINTS)
    shown = [point for at, point in enumerate(points) if at % every == 0 or at == len(points) - 1]
    path = "L".join(f"{x(across):.1f} {y(up):.1f}" for across, up in shown)
    return f'<path class="{kind}" d="M{path}"/>'


def _ticks(tall: float, logs: bool) -> list[float]:
    if logs:
        return [10.0**power for power in range(int(math.log10(max(tall, 1.0))) + 1)]
    return _steps(0.0, tall)


def _steps(low: float, high: float) -> list[float]:
    """Four to eight round numbers from one value to another."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, int(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    for size, name in ((1e6, " M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{name}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'

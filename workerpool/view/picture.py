"""A moment of a run as a picture for a terminal: as wide as that, and no higher than it may be. rich draws it.

What is told first stays longest where room is scarce: how far it is, then the figures, the hosts that are held up, the
last failures, and the downloads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from workerpool.batch.progress import Failed, Moment
from workerpool.redact import printable
from workerpool.saving import Download
from workerpool.statistics import HostState
from workerpool.view.lines import (
    clock,
    hosts_of,
    how_far,
    last_of,
    left_of,
    rate_of,
    received_of,
    saved_of,
    sockets_of,
    sparkline,
    state_of,
    work_of,
)
from workerpool.wording import cut, duration, plural, shown_host

LABEL = 10
"""Columns of a row's label."""

MOST_BARS = 8
"""Downloads that have a bar of their own."""

SHOWN_AFTER = 1.0
"""Seconds after which one has: most bodies are in their files before."""

MOST_HOSTS, MOST_FAILURES = 5, 3
"""Rows of each where there is room for all."""

HELD_UP = ("limited", "paused", "broken")

STYLES = {"limited": "yellow", "paused": "yellow", "broken": "red", "running": "green"}


@dataclass(frozen=True)
class Picture:
    """A run at one moment. `title` names it, `note` says more; `most`: its lines at most, None: the terminal's."""

    moment: Moment
    title: str = ""
    note: str = ""
    most: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(2, min(self.most or console.height, console.height) - 1)
        width = options.max_width
        yield self._top(width)
        yield self._bar()
        lines = [*self._figures(width, is_plain=options.ascii_only)][: room - 2]
        yield from lines
        yield from self._lists(width, room - 2 - len(lines))

    # -- parts --------------------------------------------------------------------------------------------------------

    def _top(self, width: int) -> Text:
        moment = self.moment
        state = "draining" if moment.is_draining else left_of(moment)
        right = " · ".join(part for part in (self.note, clock(moment.elapsed), state) if part)
        left = cut(printable(self.title), max(10, width - len(right) - 2))
        return _line((left, "bold"), (" " * max(2, width - len(left) - len(right)), ""), (right, ""))

    def _bar(self) -> RenderableType:
        moment = self.moment
        if moment.total is None:
            return _line((how_far(moment), "bold"))
        grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        done = min(moment.done, moment.total)
        grid.add_row(ProgressBar(total=max(moment.total, 1), completed=done), Text(how_far(moment), style="bold"))
        return grid

    def _figures(self, width: int, *, is_plain: bool) -> Iterator[Text]:
        moment, pool = self.moment, self.moment.pool
        ends: list[tuple[str, str]] = [(f"{moment.ok:,} ok", "green")]
        ends += [(f" · {moment.failed:,} failed", "red" if moment.failed else "")]
        if moment.cancelled:
            ends.append((f" · {moment.cancelled:,} cancelled", ""))
        ends.append((f" · {plural(pool.retries, 'retry', 'retries')}", "yellow" if pool.retries else ""))
        yield _row("requests", *ends)
        rate = rate_of(moment)
        blocks = "" if is_plain else sparkline(moment.history, moment.allowed, width - LABEL - len(rate) - 4)
        yield _row("rate", (rate, ""), (f"  {blocks}", "cyan"))
        yield _row("work", (work_of(pool), ""))
        yield _row("sockets", (sockets_of(pool), ""))
        yield _row("hosts", (hosts_of(pool), ""))
        if pool.bytes_saved:
            yield _row("saved", (saved_of(moment), ""))
        if pool.budget_away:
            yield _row("budget", (f"its server could not be asked for {duration(pool.budget_away)}", "yellow"))

    def _lists(self, width: int, room: int) -> Iterator[RenderableType]:
        held_up = [host for host in self.moment.pool.by_state.some if host.state in HELD_UP]
        for host in held_up[: min(MOST_HOSTS, room)]:
            room -= 1
            yield _host(host, width)
        for number, failed in enumerate(self.moment.failures[: min(MOST_FAILURES, room)]):
            room -= 1
            yield _failure("failed" if number == 0 else "", failed)
        if room > 1:
            yield from _bars(self.moment.pool.downloads, time.monotonic(), room)


def _host(host: HostState, width: int) -> Text:
    name = shown_host(printable(host.host))
    room = max(12, min(40, width - LABEL - 40))
    queued = f"{host.queued:,} queued" if host.queued else ""
    state = f"{state_of(host):<20}  "
    return _row("", (f"{cut(name, room):<{room}}  ", ""), (state, STYLES[host.state]), (queued, "dim"))


def _failure(label: str, failed: Failed) -> Text:
    at = datetime.fromtimestamp(failed.at).strftime("%H:%M:%S")
    return _row(label, (f"{at}  ", "dim"), (printable(failed.reason), "red"), (f"  {printable(failed.url)}", ""))


def _row(label: str, *parts: tuple[str, str]) -> Text:
    return _line((f"{label:<{LABEL}}", "dim"), *parts)


def _line(*parts: tuple[str, str]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for text, style in parts:
        line.append(text, style=style)
    return line


def _bars(downloads: tuple[Download, ...], now: float, room: int) -> Iterator[RenderableType]:
    """A line for each of the downloads that take long, the first ones of them: what it is, a bar, and how far it is."""
    most = min(MOST_BARS, room - 1)
    shown = [one for one in downloads if now - one.began >= SHOWN_AFTER][:most]
    if not shown:
        return
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for one in shown:
        bar = ProgressBar(total=one.total or None, completed=one.received, pulse=one.total is None)
        label = Text(printable(last_of(one.label)), style="dim")
        table.add_row(label, bar, Text(received_of(one, now), style="dim"))
    yield table
    if more := len(downloads) - len(shown):
        yield Text(f"and {plural(more, 'download')} more", style="dim")

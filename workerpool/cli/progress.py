"""Progress on standard error: a live display on a terminal if rich is there, and else a line now and then.

A thread of its own looks at the run's counts and the pool's figures; nothing here slows the run. rich is imported only
when a live display begins.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from workerpool.batch.progress import Moment, Pace
from workerpool.cli.speaker import is_terminal, speak
from workerpool.redact import printable
from workerpool.saving import Download
from workerpool.wording import duration, plural, size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

FIRST_LINE = 5.0
"""Seconds until the first plain line: a short run says nothing but its summary."""

NEXT_LINE = 10.0
"""Seconds between two plain lines."""

LEAVE_WAIT = 0.5
"""Seconds in which the display is taken away by a process that ends at once."""

MOST_BARS = 8
"""Downloads that have a bar of their own."""

SHOWN_AFTER = 1.0
"""Seconds after which one has: most bodies are in their files before."""


class Progress(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def leave(self) -> None:
        """Put the terminal back in order, for a process that ends now."""


def make_progress(look: Callable[[], Moment], *, to_terminal: bool) -> Progress:
    """Return the display that fits standard error; `to_terminal` says that results go to the same terminal."""
    is_live = (
        is_terminal()
        and not to_terminal
        and os.environ.get("TERM", "") not in ("", "dumb")
        and importlib.util.find_spec("rich") is not None
    )
    return LiveProgress(look) if is_live else PlainProgress(look)


class PlainProgress:
    """A line after 5 s, and then every 10 s."""

    def __init__(
        self,
        look: Callable[[], Moment],
        write: Callable[[str], None] = speak,
        *,
        first: float = FIRST_LINE,
        then: float = NEXT_LINE,
    ) -> None:
        self._look = look
        self._write = write
        self._first = first
        self._then = then
        self._pace = Pace()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="workerpool-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def leave(self) -> None:
        """Nothing of the terminal was changed."""

    def _go_on(self) -> None:
        wait = self._first
        while not self._ended.wait(wait):
            self._write(plain_line(self._pace.look(self._look())))
            wait = self._then


class LiveProgress:
    """A bar, if the total is known, a line of figures below it, and a bar for each download that takes long.

    Drawn anew four times a second.
    """

    def __init__(self, look: Callable[[], Moment]) -> None:
        self._look = look
        self._pace = Pace()
        self._live: Live | None = None

    def start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            try:
                self._live.stop()
            except OSError:  # the terminal was closed: there is nothing to take away
                pass

    def leave(self) -> None:
        """Take the display away; a terminal that takes no text must not keep the process from ending."""
        stopper = threading.Thread(target=self.stop, name="workerpool-leave", daemon=True)
        stopper.start()
        stopper.join(LEAVE_WAIT)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        moment = self._pace.look(self._look())
        figures = Text(figures_of(moment), no_wrap=True, overflow="ellipsis", style="dim")
        head = Text(head_of(moment), no_wrap=True, overflow="ellipsis")
        downloads = bars_of(moment.downloads, time.monotonic())
        if moment.total is None:
            return Group(head, figures, *downloads)
        bar = Table.grid(expand=True, padding=(0, 2, 0, 0))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        bar.add_row(ProgressBar(total=max(moment.total, 1), completed=min(moment.done, moment.total)), head)
        return Group(bar, figures, *downloads)


def bars_of(downloads: Sequence[Download], now: float) -> list[RenderableType]:
    """A line for each of the downloads that take long, the first ones of them: what it is, a bar, and how far it is."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    shown = [one for one in downloads if now - one.began >= SHOWN_AFTER][:MOST_BARS]
    if not shown:
        return []
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    table.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for one in shown:
        bar = ProgressBar(total=one.total or None, completed=one.received, pulse=one.total is None)
        table.add_row(Text(printable(last_of(one.label)), style="dim"), bar, Text(how_far(one, now), style="dim"))
    more = len(downloads) - len(shown)
    return [table, Text(f"and {plural(more, 'download')} more", style="dim")] if more else [table]


def last_of(label: str) -> str:
    """What tells a URL from its neighbours: its last piece."""
    return label.partition("?")[0].rstrip("/").rpartition("/")[2] or label


def how_far(download: Download, now: float) -> str:
    """Say how far one is: 120.0 MB of 1.2 GB, 10.0 MB/s."""
    pace = size(int((download.received - download.there) / max(now - download.began, 1e-3)))
    of = "" if download.total is None else f" of {size(download.total)}"
    return f"{size(download.received)}{of}  {pace}/s"


def plain_line(moment: Moment) -> str:
    """Write a moment as one line."""
    return f"{clock(moment.elapsed)}  {head_of(moment)} · {figures_of(moment)}"


def head_of(moment: Moment) -> str:
    """Say how far the run is."""
    total = moment.total
    if total is None:
        return f"{moment.done:,} done"
    share = f"{min(1.0, moment.done / total) if total else 1.0:.0%}"
    text = f"{moment.done:,} of {total:,}  {share}"
    return text if moment.left is None or moment.is_draining else f"{text}  {clock(moment.left)} left"


def figures_of(moment: Moment) -> str:
    """Say how it goes."""
    parts = [f"{moment.ok:,} ok", f"{moment.failed:,} failed", f"{moment.rate:,.1f}/s", f"{moment.in_flight} in flight"]
    if moment.bytes_saved:
        parts.append(f"{size(moment.bytes_saved)}, {size(int(moment.saving_rate))}/s")
    if moment.parked:
        parts.append(f"{moment.parked:,} parked")
    if moment.cancelled:
        parts.append(f"{moment.cancelled:,} cancelled")
    if moment.budget_away:
        parts.append(f"{duration(moment.budget_away)} without the budget's server")
    if moment.is_draining:
        parts.append("draining")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """Write a duration as a clock does: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Who shows a run while it goes on: a live display on a terminal or in a notebook if rich is there, else plain lines.

A display has a thread of its own, which looks at the run; nothing here slows that. rich is imported only when one
begins.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, Protocol

from workerpool.batch.progress import Moment
from workerpool.view.lines import plain_line
from workerpool.view.speech import speak

if TYPE_CHECKING:
    from rich.live import Live as RichLive

FIRST_LINE = 5.0
"""Seconds until the first plain line: a short run says nothing but its summary."""

NEXT_LINE = 10.0
"""Seconds between two plain lines."""

LEAVE_WAIT = 0.5
"""Seconds in which the display is taken away by a process that ends at once."""

A_SECOND = 4
"""Times that a display is drawn anew."""

MOST_LINES = 16
"""Lines of a display among what else is on the terminal."""

NOTEBOOK_WIDTH = 100
"""Columns of a display in a notebook."""

Look = Callable[[], Moment]


class Progress(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def leave(self) -> None:
        """Put the terminal back in order, for a process that ends now."""


def make_progress(look: Look, *, title: str = "", to_terminal: bool = False) -> Progress:
    """Return the display that fits standard error; `to_terminal` says that results go to the same terminal."""
    if may_draw(sys.stderr) and not to_terminal:
        return LiveProgress(look, title)
    return PlainProgress(look)


def may_draw(stream: IO[str] | None) -> bool:
    """Whether a stream is a terminal that can be drawn on, and there is what draws."""
    is_terminal = stream is not None and stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return is_terminal and importlib.util.find_spec("rich") is not None


class PlainProgress:
    """A line after 5 s, and then every 10 s."""

    def __init__(
        self, look: Look, write: Callable[[str], None] = speak, *, first: float = FIRST_LINE, then: float = NEXT_LINE
    ) -> None:
        self._look = look
        self._write = write
        self._first = first
        self._then = then
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
            self._write(plain_line(self._look()))
            wait = self._then


class LiveProgress:
    """A picture of the run, drawn anew four times a second, and taken away at the end.

    `is_alone`: it has the whole screen, which is given back as it was. `note` says more beside the title.
    """

    def __init__(self, look: Look, title: str = "", *, note: Callable[[], str] = str, is_alone: bool = False) -> None:
        self._look = look
        self._title = title
        self._note = note
        self._is_alone = is_alone
        self._live: RichLive | None = None

    def start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=not self._is_alone, highlight=False)
        self._live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=A_SECOND,
            transient=True,
            screen=self._is_alone,
        )
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

    def _picture(self) -> Any:
        from workerpool.view.picture import Picture

        return Picture(self._look(), self._title, self._note(), None if self._is_alone else MOST_LINES)


class Live:
    """Shows a job that is run from Python: ``with Live() as live: job.run(progress=live, progress_every=0.5)``.

    On a terminal and in a notebook a picture that changes, by rich; elsewhere a line on standard error every 10 s.
    `title` names the run. It is called with each `Moment`, in the thread of the run's housekeeper.
    """

    def __init__(self, title: str = "") -> None:
        self._title = title
        self._moment = Moment()
        self._display: LiveProgress | None = None
        self._handle: Any = None  # IPython's, of what it shows
        self._next_line = 0.0

    def __enter__(self) -> Live:
        self._next_line = time.monotonic() + FIRST_LINE
        if _in_notebook():
            from IPython.display import display  # type: ignore[import-not-found]  # there is one in a notebook

            self._handle = display({"text/plain": ""}, raw=True, display_id=True)
        elif may_draw(sys.stderr):
            self._display = LiveProgress(lambda: self._moment, self._title)
            self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def __call__(self, moment: Moment) -> None:
        """Show a moment."""
        self._moment = moment
        if self._handle is not None:
            self._handle.update(_as_html(moment, self._title), raw=True)
        elif self._display is None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + NEXT_LINE
            speak(plain_line(moment))


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    there = None if shell is None else shell.get_ipython()
    return type(there).__name__ == "ZMQInteractiveShell" and importlib.util.find_spec("rich") is not None


def _as_html(moment: Moment, title: str) -> dict[str, str]:
    from rich.console import Console

    from workerpool.view.picture import Picture

    console = Console(record=True, width=NOTEBOOK_WIDTH, file=io.StringIO(), force_jupyter=False, highlight=False)
    console.print(Picture(moment, title, most=MOST_LINES))
    text = console.export_text(clear=False)
    return {"text/html": console.export_html(inline_styles=True, code_format="<pre>{code}</pre>"), "text/plain": text}

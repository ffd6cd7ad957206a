"""Records the terminal of a real run, as a moving picture for the README: `python -m tools.pictures`.

The command line runs against an origin on this machine, on a pseudo-terminal whose screen a terminal emulator keeps.
What was on it now and then becomes a frame of docs/terminal.svg, which shows one after the other.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import random
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from workerpool.testing import OriginProcess

TARGET = Path(__file__).resolve().parent.parent / "docs" / "terminal.svg"
COLUMNS, ROWS = 88, 27
EVERY = 0.5
"""Seconds between two frames."""
MOST = 12
"""Frames at most; of more, that many are shown, evenly spaced."""
SHOWN = 0.8
"""Seconds for which each is shown."""
LAST = 6.0
"""Seconds for which the last one stands."""
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 13))
COMMAND = ["run", "urls.txt", "-o", "results.jsonl", "--job", "crawl.job", "--rate", "200/s"]
COLORS = {"brown": "yellow", "default": None}
"""The emulator's names of colors that are not rich's."""


def write_urls(origin: OriginProcess, file: Path) -> None:
    """Write the source: twelve hosts, one of which is broken, one limits, and one knows only some of its pages."""
    lines = []
    for number in range(1_600):
        host, path = 2 + number % 10, "/status/404" if number % 97 == 0 else "/delay/0.03"
        if number % 160 == 0:
            host, path = 0, "/status/500"
        elif number % 50 == 1:
            host, path = 1, "/limit?rate=2&burst=2"
        lines.append(origin.url(f"{path}{'&' if '?' in path else '?'}page={number}", HOSTS[host]))
    random.Random(1).shuffle(lines)
    file.write_text("\n".join(lines) + "\n")


def recorded(folder: Path) -> Iterator[list[Text]]:
    """Run the command on a terminal of its own, and yield what is on the screen now and then, and at the end."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ workerpool {' '.join(COMMAND)}\r\n".encode())
    yield lines_of(screen)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    with subprocess.Popen(
        [sys.executable, "-m", "workerpool", *COMMAND],
        cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        due = time.monotonic() + EVERY
        while True:
            ready, _, _ = select.select([ours], [], [], max(0.0, due - time.monotonic()))
            if ready:
                try:
                    data = os.read(ours, 65536)
                except OSError:  # it has ended
                    break
                stream.feed(data)
            if time.monotonic() >= due:
                due += EVERY
                yield lines_of(screen)
        process.wait(60)
    os.close(ours)
    yield lines_of(screen)


def lines_of(screen: pyte.Screen) -> list[Text]:
    """What is on the screen, with its colors."""
    lines = []
    for row in range(ROWS):
        line = Text()
        for column in range(COLUMNS):
            cell = screen.buffer[row][column]
            color = COLORS.get(cell.fg, cell.fg)
            color = f"#{color}" if color and re.fullmatch(r"[0-9a-f]{6}", color) else color
            line.append(cell.data, style=" ".join(filter(None, ["bold" if cell.bold else "", color or ""])))
        lines.append(line)
    return lines


def drawn(lines: list[Text], name: str) -> str:
    """A frame as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")
    svg = console.export_svg(title="workerpool", theme=SVG_EXPORT_THEME, unique_id=name)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # of a server elsewhere: any fixed font will do
    svg = re.sub(r'<clipPath id="[\w-]+-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    return re.sub(r' clip-path="url\(#[\w-]+-line-\d+\)"|\n\s*(?=<)', "", svg)


def moving(frames: list[str]) -> str:
    """One picture that shows the frames one after the other, and stays at the last one for a while."""
    view = re.search(r'viewBox="([^"]+)"', frames[0])
    assert view is not None
    seconds = SHOWN * (len(frames) - 1) + LAST
    css = [f".frame {{ visibility: hidden; animation-duration: {seconds:.1f}s; animation-iteration-count: infinite }}"]
    parts = []
    for number, frame in enumerate(frames):
        begin, end = SHOWN * number / seconds * 100, SHOWN * (number + 1) / seconds * 100
        end = 100.0 if number == len(frames) - 1 else end
        css.append(
            f"@keyframes f{number} {{ 0% {{ visibility: {'visible' if number == 0 else 'hidden'} }} "
            f"{begin:.3f}% {{ visibility: visible }} {end:.3f}% {{ visibility: hidden }} }}"
        )
        css.append(f"#frame{number} {{ animation-name: f{number}; animation-timing-function: step-end }}")
        parts.append(f'<g class="frame" id="frame{number}">{frame}</g>')
    # Who wants nothing that moves, or cannot show it, sees the end.
    css.append(
        "@media (prefers-reduced-motion) { .frame { animation: none } .frame:last-of-type { visibility: visible } }"
    )
    style = "\n".join(css)
    return f'<svg viewBox="{view[1]}" xmlns="http://www.w3.org/2000/svg">\n<style>\n{style}\n</style>\n{"".join(parts)}\n</svg>\n'


def main() -> None:
    with tempfile.TemporaryDirectory() as name, OriginProcess(HOSTS) as origin:
        folder = Path(name)
        write_urls(origin, folder / "urls.txt")
        screens = [*recorded(folder)]
    chosen = [*range(0, len(screens) - 1, max(1, -(-(len(screens) - 1) // (MOST - 1)))), len(screens) - 1]
    frames = [drawn(screens[number], f"t{number}") for number in chosen]
    TARGET.write_text(moving(frames))
    print(f"{TARGET}: {len(frames)} frames, {TARGET.stat().st_size / 1000:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main()

"""`workerpool run` inside of this process: a file of URLs to JSON lines, with the live display on a pseudo terminal.

Against the bare `pool.stream` it tells what reading the source, making and writing records, counting and drawing cost
for each request. A run's own pool, its arguments and its summary are part of that, some 20 ms in all, so that turns
well under a second make each request look dearer than it is.
"""

from __future__ import annotations

import os
import pty
import tempfile
import termios
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workerpool.cli import main

ROWS, COLUMNS = 24, 100


@contextmanager
def displayed_run(concurrency: int, ca: str | None) -> Iterator[Callable[[list[str]], int]]:
    """Give what fetches a list of URLs, and returns how many records of successes it wrote."""
    with tempfile.TemporaryDirectory() as name, terminal() as said:
        source, output = Path(name, "urls.txt"), Path(name, "results.jsonl")
        budgets = [f"--{what}={concurrency}" for what in ("workers", "connections", "host-connections")]
        trust = [] if ca is None else [f"--ca-bundle={ca}"]
        command = ["run", str(source), "--output", str(output), "--overwrite", *budgets, *trust]

        def fetch(urls: list[str]) -> int:
            source.write_text("\n".join(urls))
            if main(command) != 0:
                raise RuntimeError(b"".join(said).decode(errors="replace"))
            with open(output, "rb") as records:
                return sum(1 for _ in records)

        yield fetch


@contextmanager
def terminal() -> Iterator[deque[bytes]]:
    """Make standard error a terminal, and give the last of what it was sent."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (ROWS, COLUMNS))
    os.environ["TERM"] = "xterm-256color"
    said: deque[bytes] = deque(maxlen=100)
    before = os.dup(2)
    os.dup2(theirs, 2)
    reader = threading.Thread(target=_read, args=(ours, said), daemon=True)
    reader.start()
    try:
        yield said
    finally:
        os.dup2(before, 2)
        for descriptor in (before, theirs):
            os.close(descriptor)
        reader.join()
        os.close(ours)


def _read(descriptor: int, said: deque[bytes]) -> None:
    """Read until the terminal is closed at its other end, which is an error here."""
    try:
        while chunk := os.read(descriptor, 65536):
            said.append(chunk)
    except OSError:
        pass

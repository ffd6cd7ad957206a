"""How far the bodies are that are being received: written by the threads that receive, read by whoever looks.

Each thread has a line of its own and sets one attribute at a time, so no lock is needed; who looks may see a body a
piece behind its neighbours.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Download:
    """A body that is being received: what it is called, the bytes that are there, and in all, None if nobody knows.

    `there`: bytes that were there when it began, at `began`, `time.monotonic` seconds.
    """

    label: str
    received: int
    there: int
    total: int | None
    began: float


class Line:
    """One thread's: the bytes of all bodies that it has received, and the one at hand."""

    __slots__ = ("bytes", "current")

    def __init__(self) -> None:
        self.bytes = 0
        self.current: Download | None = None

    def begin(self, label: str, there: int, total: int | None) -> None:
        self.current = Download(label, there, there, total, time.monotonic())

    def add(self, count: int) -> None:
        now = self.current
        assert now is not None
        self.bytes += count
        self.current = Download(now.label, now.received + count, now.there, now.total, now.began)

    def end(self) -> None:
        self.current = None


class Board:
    """All lines."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lines: list[Line] = []  # one is added by each thread, by an append

    @property
    def line(self) -> Line:
        """The calling thread's."""
        try:
            line: Line = self._local.line
        except AttributeError:
            line = self._local.line = Line()
            self._lines.append(line)
        return line

    @property
    def bytes(self) -> int:
        """Bytes of bodies that were received for files, in all."""
        return sum(line.bytes for line in [*self._lines])

    def downloads(self) -> tuple[Download, ...]:
        """What is being received now, the longest first."""
        now = [line.current for line in [*self._lines]]
        return tuple(sorted((one for one in now if one is not None), key=lambda one: one.began))

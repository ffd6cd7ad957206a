"""Turns bytes into numbered lines of text, with a bound on memory.

A line that is too long or is not UTF-8 comes out all the same, with a sentence that says so: its reader decides. Only
what ends the reading, such as a gzip file that was cut short, is a `SourceError`, raised after every line before it.
One thread reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from workerpool.batch.sources.chunks import Stopped
from workerpool.batch.sources.marks import LinePositions
from workerpool.batch.sources.packed import Broken
from workerpool.errors import SourceError

MAX_LINE = 4 * 1024 * 1024
"""The longest line in bytes: room for a request with a body, and a bound on what a file without line breaks costs."""

SHOWN = 2_000
"""Characters kept of a line that is too long."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """A line's number, from 1, its text without the line feed, and what is wrong with it, if anything."""

    number: int
    text: str
    problem: str | None


class Lines:
    """The lines of `chunks`, which begin with the line `first`; iterating goes on where it was left.

    Raises `SourceError`, naming `name` and the last good line, where they break off. A last line without its line feed
    counts, unless the data broke off in it: half a URL must not be fetched. `positions` is told where lines begin.
    """

    def __init__(
        self, chunks: Iterator[bytes], name: str, *, first: int = 1, positions: LinePositions | None = None
    ) -> None:
        self._chunks = chunks
        self._name = name
        self._first = first
        self._positions = positions
        self._lines = self._read()
        self.low: int | None = None
        """The first line that positions are still asked for, for who reads on past a row; None: the line at hand."""

    def __iter__(self) -> Iterator[Line]:
        return self._lines

    def _read(self) -> Iterator[Line]:
        number = self._first - 1
        try:
            for number, (raw, too_long) in enumerate(self._split(), self._first):
                if number == 1:
                    raw = raw.removeprefix(_BOM)
                    if raw.startswith(_UTF16):
                        raise SourceError(f"{self._name} is UTF-16: save it as UTF-8")
                yield _decode(number, raw, too_long)
        except Broken as error:
            where = f", after line {number:,}" if number else ""
            raise SourceError(f"{self._name}{where}: {error}") from error
        except Stopped:
            return

    def _split(self) -> Iterator[tuple[bytes, bool]]:
        """Yield lines, and whether each was too long, in which case only its beginning is there."""
        positions = self._positions
        tail, too_long = b"", False
        for chunk in self._chunks:
            *whole, last = chunk.split(b"\n")
            if positions is not None:
                positions.feed(chunk, len(whole), self.low)
            for piece in whole:
                line = tail + piece
                yield line, too_long or len(line) > MAX_LINE
                tail, too_long = b"", False
            if not too_long:
                tail += last
                too_long = len(tail) > MAX_LINE
        if tail:
            yield tail, too_long
        if positions is not None:
            positions.finish(has_tail=bool(tail))


def _decode(number: int, raw: bytes, too_long: bool) -> Line:
    if too_long:
        text = raw[: 4 * SHOWN].decode(errors="backslashreplace")[:SHOWN]
        return Line(number, text, f"the line is longer than {MAX_LINE // 2**20} MiB")
    try:
        return Line(number, raw.decode(), None)
    except UnicodeDecodeError as error:
        text = raw.decode(errors="backslashreplace")
        return Line(number, text, f"the line is not UTF-8 (byte {error.start + 1}): save the file as UTF-8")

"""One source that is read, and what a format knows of it. One thread; `stop` of the sources ends a wait in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

from workerpool.batch.sources.base import STDIN
from workerpool.batch.sources.chunks import Stopped, Wake, read_unpacked
from workerpool.batch.sources.lines import Lines
from workerpool.batch.sources.marks import BEGINNING, Block, LinePositions, Mark, Positions
from workerpool.batch.sources.packed import CHUNK, packing_named, packing_of
from workerpool.batch.sources.verify import first_changed
from workerpool.model import Request

if TYPE_CHECKING:
    from workerpool.batch.sources.names import Source

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # opening a named pipe must not wait where `stop` cannot reach


class Opened:
    """A source as its format reads it; `note` is told the names of columns, some of which may mean nothing here."""

    def __init__(self, source: Source, wake: Wake, note: Callable[[Iterable[str]], None]) -> None:
        self.path = source.path
        self.name = source.name
        self.note = note
        self._source = source
        self._wake = wake

    @contextmanager
    def file(self) -> Iterator[BinaryIO]:
        self._source.check()
        with open(self._open(), "rb") as file:
            yield file

    @contextmanager
    def chunks(self, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """Its bytes, unpacked, from `offset` on."""
        file = self._open()
        try:
            yield read_unpacked(file, self._wake, must=packing_named(self.path), offset=offset)
        finally:
            if self.path != STDIN:
                os.close(file)

    @contextmanager
    def lines(self, start: Mark = BEGINNING, positions: LinePositions | None = None) -> Iterator[Lines]:
        with self.chunks(start.offset) as chunks:
            yield Lines(chunks, self.name, first=start.line, positions=positions)

    def _open(self) -> int:
        try:
            return sys.stdin.fileno() if self.path == STDIN else os.open(self.path, _OPEN_FLAGS)
        except (OSError, AttributeError, ValueError) as error:
            raise self._source.unreadable(error) from error


class Format(Protocol):
    """What one kind of source knows. `unit`: what its ordinals count, lines or rows.

    `is_text`: it is read from its beginning, line by line; so it may be piped and packed, and counting is reading.
    """

    @property
    def unit(self) -> str: ...

    @property
    def is_text(self) -> bool: ...

    def check(self, opened: Opened) -> None:
        """Raise `SourceError` if it cannot work, and note its columns; reads the beginning alone."""

    def count(self, opened: Opened) -> int | None:
        """Count its requests; None where that would be a guess."""

    def requests(self, opened: Opened) -> Iterator[Request]:
        """Read all of it."""

    def read(self, opened: Opened, start: Mark) -> tuple[Iterator[Request], Positions]:
        """Read it from the row at `start` on; also returns who knows where rows begin."""

    def first_changed(self, opened: Opened, blocks: Iterable[Block]) -> Block | None:
        """Return the first of `blocks`, which are in order, that is not as it was; None if none is."""


class Text:
    """What formats that are lines of text have in common; `_requests` is theirs."""

    unit = "line"
    is_text = True

    def check(self, opened: Opened) -> None:
        with opened.lines() as lines:
            next(iter(lines), None)

    def count(self, opened: Opened) -> int | None:
        with opened.file() as file:
            if packing_named(opened.path) or packing_of(file.peek(CHUNK)):  # type: ignore[attr-defined]
                return None
            return self._count(file)

    def requests(self, opened: Opened) -> Iterator[Request]:
        return self._requests(opened, BEGINNING, None)

    def read(self, opened: Opened, start: Mark) -> tuple[Iterator[Request], Positions]:
        positions = LinePositions(start)
        return self._requests(opened, start, positions), positions

    def first_changed(self, opened: Opened, blocks: Iterable[Block]) -> Block | None:
        with opened.chunks() as chunks:
            try:
                return first_changed(chunks, blocks)
            except Stopped:
                return None

    def _count(self, lines: Iterable[bytes]) -> int | None:
        return sum(1 for line in lines if not line.isspace())

    def _requests(self, opened: Opened, start: Mark, positions: LinePositions | None) -> Iterator[Request]:
        raise NotImplementedError

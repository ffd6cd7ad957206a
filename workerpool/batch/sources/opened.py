"""One source: what the user named, how it is opened, and what a format knows of it.

One thread; `stop` of the sources ends a wait in it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol

from workerpool.batch.sources.base import STDIN
from workerpool.batch.sources.chunks import Stopped, Wake, read_unpacked
from workerpool.batch.sources.lines import Lines
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.marks import BEGINNING, Block, Fingerprint, LinePositions, Mark, Positions
from workerpool.batch.sources.packed import CHUNK, packing_named, packing_of
from workerpool.batch.sources.verify import first_changed
from workerpool.errors import SourceError
from workerpool.model import Request

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # opening a named pipe must not wait where `stop` cannot reach


@dataclass(frozen=True)
class Source:
    """One source as the user named it: a path, or ``-``; what it holds; and what to call it in a sentence.

    An object at a URL is a `remote.RemoteSource`.
    """

    path: str
    format: Format
    name: str

    @property
    def is_file(self) -> bool:
        """Whether it can be opened a second time and give the same bytes; raises `SourceError` where it is gone."""
        return self.path != STDIN and stat.S_ISREG(self.status().st_mode)

    def check(self) -> None:
        """Raise `SourceError` if it is missing, or a directory, or not the kind of file that its format needs."""
        if self.path == STDIN:
            if sys.stdin is None:
                raise SourceError("standard input is closed: give a file, or pipe the URLs in")
            return
        mode = self.status().st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(f"{self.name} is a directory: name the files in it, as in {self.name.rstrip('/')}/*.txt")
        if not self.format.is_text and not stat.S_ISREG(mode):
            raise SourceError(f"{self.name} is no file on a disk: Parquet is read from its end, so store it first")

    def status(self) -> os.stat_result:
        """Return what the system tells about the file; raises `SourceError` where it tells nothing."""
        try:
            return os.stat(self.path)
        except (OSError, ValueError) as error:
            raise self.unreadable(error) from error

    def size(self) -> int:
        return self.status().st_size

    def fingerprint(self) -> Fingerprint | None:
        """What tells whether it has changed; None for a pipe. Raises `SourceError` where it cannot be looked at."""
        status = None if self.path == STDIN else self.status()
        return Fingerprint(status.st_size, status.st_mtime_ns) if status and stat.S_ISREG(status.st_mode) else None

    @contextmanager
    def file(self) -> Iterator[IO[bytes]]:
        """Open it, to be read from any place."""
        with open(self._open(), "rb") as file:
            yield file

    @contextmanager
    def chunks(self, wake: Wake, offset: int) -> Iterator[Iterator[bytes]]:
        """Its bytes, unpacked, from `offset` on."""
        file = self._open()
        try:
            yield read_unpacked(file, wake, must=packing_named(self.path), offset=offset)
        finally:
            if self.path != STDIN:
                os.close(file)

    def _open(self) -> int:
        try:
            return sys.stdin.fileno() if self.path == STDIN else os.open(self.path, _OPEN_FLAGS)
        except (OSError, AttributeError, ValueError) as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: Exception) -> SourceError:
        """Return the error that says why it cannot be opened."""
        if isinstance(error, FileNotFoundError):
            return SourceError(f"{self.name} does not exist: look at the path")
        reason = getattr(error, "strerror", None) or str(error)
        return SourceError(f"{self.name} cannot be read: {reason[:1].lower()}{reason[1:]}")


class Opened:
    """A source as its format reads it, and what `making` makes of its rows.

    `note` is told the names of columns, some of which may mean nothing here.
    """

    def __init__(
        self, source: Source, wake: Wake, note: Callable[[Iterable[str]], None], making: Making = FIELD_ROWS
    ) -> None:
        self.path = source.path
        self.name = source.name
        self.note = note
        self.making = making
        self._source = source
        self._wake = wake

    @contextmanager
    def file(self) -> Iterator[IO[bytes]]:
        self._source.check()
        with self._source.file() as file:
            yield file

    @contextmanager
    def chunks(self, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """Its bytes, unpacked, from `offset` on."""
        with self._source.chunks(self._wake, offset) as chunks:
            yield chunks

    @contextmanager
    def lines(self, start: Mark = BEGINNING, positions: LinePositions | None = None) -> Iterator[Lines]:
        with self.chunks(start.offset) as chunks:
            yield Lines(chunks, self.name, first=start.line, positions=positions)


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

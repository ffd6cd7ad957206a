"""Reads the requests of a batch from files and standard input, lazily: one line or row in memory at a time.

What can be told before anything is sent (a missing file, an unknown kind, no column 'url') is told by `Sources.check`.
After that a bad line is a request with a `problem`, and only bytes that cannot be read end the reading, with a
`SourceError`. One thread iterates, `stop` comes from any thread. Nothing here decides what a request is: `rows` does.

A CSV file begins with a line of column names, and is parted by commas, semicolons or tabs, whichever shows a column
'url'. One field holds up to 128 KiB (the `csv` module's limit, which is the process's, not ours to raise); a JSON line
up to 4 MiB. Columns and fields that are not in `rows.COLUMNS` are left alone, and said once.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from workerpool.batch import rows
from workerpool.batch.chunks import Wake, read_unpacked
from workerpool.batch.lines import Line, Lines
from workerpool.batch.marks import BEGINNING, Fingerprint, LinePositions, Mark, Positions, Spot, check_between
from workerpool.batch.packed import CHUNK, packing_named, packing_of
from workerpool.batch.rows import COLUMNS, Place
from workerpool.batch.table import Table
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request

Format = Literal["txt", "csv", "jsonl"]
FORMATS: tuple[str, ...] = get_args(Format)

STDIN = "-"

COUNTED = 64 * 1024 * 1024
"""Bytes up to which files are read once more, in advance, to know how many requests there are: about 0.2 s."""

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # opening a named pipe must not wait where `stop` cannot reach


@dataclass(frozen=True, slots=True)
class Source:
    """One source as the user named it: a path, or ``-``; what it holds; and what to call it in a sentence."""

    path: str
    format: Format
    name: str

    @property
    def is_file(self) -> bool:
        """Whether it can be opened a second time and give the same bytes."""
        return self.path != STDIN and stat.S_ISREG(os.stat(self.path).st_mode)


class Sources:
    """The requests of several sources, one after the other; may be iterated once.

    `format` says what every source holds, whatever its name; without it the name's ending does, and standard input is
    lines of URLs. `note` is called, from the iterating thread, with a sentence about something that is left out.
    Raises `OptionError` or `SourceError` where the names alone cannot work.
    """

    def __init__(
        self, paths: Sequence[str], *, format: str | None = None, note: Callable[[str], None] = lambda sentence: None
    ) -> None:
        if format is not None and format not in FORMATS:
            raise OptionError(f"the input format {format!r} is unknown: write {', '.join(FORMATS)}")
        if paths.count(STDIN) > 1:
            raise OptionError("'-' is given twice, and standard input can be read once")
        self.sources: Sequence[Source] = [_source(path, cast("Format | None", format)) for path in paths]
        self._note = note
        self._noted: set[tuple[str, str]] = set()
        self._wake = Wake()
        self.is_exhausted = False
        """Whether every request has been given out."""

    def check(self) -> None:
        """Look at every source and raise `SourceError` for the first one that cannot work. Nothing is used up."""
        for source in self.sources:
            _check_readable(source)
            if source.path != STDIN and source.is_file:
                with self._lines(source) as lines:
                    first = next(iter(lines), None)
                    if source.format == "csv":
                        self._note_columns(source, Table(source.path, source.name, first).names)

    @property
    def may_wait(self) -> bool:
        """Whether reading may have to wait for somebody who writes: a source is a pipe or a terminal."""
        return not all(source.path != STDIN and source.is_file for source in self.sources)

    def count(self) -> int | None:
        """Say how many requests there are, or None where that would cost too much or be a guess."""
        try:
            if self.may_wait:
                return None
            if sum(os.stat(source.path).st_size for source in self.sources) > COUNTED:
                return None
            counts = [_count(source) for source in self.sources]
        except OSError:
            return None
        return None if None in counts else sum(count for count in counts if count)

    def stop(self) -> None:
        """Give out no more requests, also where the reader waits for a slow pipe. Any thread, any number of times."""
        self._wake.set()

    def __iter__(self) -> Iterator[Request]:
        for source in self.sources:
            for request in self._read(source):
                if self._wake.is_set:
                    return
                yield request
        self.is_exhausted = not self._wake.is_set

    def read(self, index: int, start: Mark | None = None) -> Reading:
        """Read the source `sources[index]` alone, from the row that begins at `start`, or from its beginning.

        Its requests have the ordinals of a full reading. Raises `SourceError` where `start` is in a pipe, which
        can only be read from its beginning.
        """
        source, begin = self.sources[index], start or BEGINNING
        if begin != BEGINNING and not source.is_file:
            raise SourceError(f"{source.name} cannot be read from line {begin.line:,} on: it is no file on a disk")
        positions = LinePositions(begin)
        return Reading(self._read(source, begin, positions), positions, Spot(begin, 0, 0), self._wake)

    def fingerprint(self, index: int) -> Fingerprint | None:
        """Return what tells whether the source `sources[index]` has changed; None for a pipe, which nothing tells of.

        Raises `SourceError` where it cannot be looked at.
        """
        source = self.sources[index]
        if source.path == STDIN:
            return None
        try:
            facts = os.stat(source.path)
        except (OSError, ValueError) as error:
            raise _unreadable(source, error) from error
        return Fingerprint(facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None

    def _read(
        self, source: Source, start: Mark = BEGINNING, positions: LinePositions | None = None
    ) -> Iterator[Request]:
        if source.format == "csv" and start != BEGINNING:
            with self._lines(source) as header:
                table = Table(source.path, source.name, next(iter(header), None))
            with self._lines(source, start, positions) as lines:
                yield from table.requests(lines)
            return
        with self._lines(source, start, positions) as lines:
            if source.format == "csv":
                table = Table(source.path, source.name, next(iter(lines), None))
                self._note_columns(source, table.names)
                yield from table.requests(lines)
            elif source.format == "jsonl":
                yield from self._objects(source, lines)
            else:
                yield from _urls(source, lines)

    @contextmanager
    def _lines(
        self, source: Source, start: Mark = BEGINNING, positions: LinePositions | None = None
    ) -> Iterator[Lines]:
        try:
            file = sys.stdin.fileno() if source.path == STDIN else os.open(source.path, _OPEN_FLAGS)
        except (OSError, AttributeError, ValueError) as error:
            raise _unreadable(source, error) from error
        try:
            chunks = read_unpacked(file, self._wake, must=packing_named(source.path), offset=start.offset)
            yield Lines(chunks, source.name, first=start.line, positions=positions)
        finally:
            if source.path != STDIN:
                os.close(file)

    def _objects(self, source: Source, lines: Iterable[Line]) -> Iterator[Request]:
        for line in lines:
            place = Place(source.path, source.name, line.number)
            if line.problem:
                yield rows.bad(line.text, place, line.problem)
            elif text := line.text.strip():
                request, unknown = rows.from_json(text, place)
                if unknown:
                    self._note_columns(source, sorted(unknown))
                yield request

    def _note_columns(self, source: Source, names: Iterable[str]) -> None:
        for name in names:
            if name not in COLUMNS and (source.path, name) not in self._noted and len(self._noted) < 100:
                self._noted.add((source.path, name))
                self._note(f"{source.name}: '{name}' is not read (what is: {', '.join(COLUMNS)})")


class Reading:
    """The requests of one source, from a place in it; may be iterated once, by one thread.

    While it is iterated it tells where the row of the request just given begins, and a check of what comes before
    that, in a few microseconds each.
    """

    def __init__(self, requests: Iterator[Request], positions: Positions, start: Spot, wake: Wake) -> None:
        self._requests = requests
        self._positions = positions
        self._origin = start
        self._wake = wake
        self._line = start.mark.line
        self._end: Spot | None = None  # not before all rows were given: a table reads on past the row at hand

    def __iter__(self) -> Iterator[Request]:
        for request in self._requests:
            if self._wake.is_set:
                return
            self._line = request.ordinal
            yield request
        self._end = self._positions.end

    @property
    def mark(self) -> Mark:
        """Where the row just given begins; once the source was read to its end, that end."""
        return self._spot().mark

    @property
    def check(self) -> int:
        """The CRC-32 of the unpacked bytes from the last `restart`, or the start, up to `mark`."""
        return check_between(self._origin, self._spot())

    def restart(self) -> None:
        """Make `mark` the origin of `check`."""
        self._origin = self._spot()

    @property
    def end(self) -> Mark | None:
        """The line after the last one and the size of the source; None until it was read to its end."""
        return self._end.mark if self._end else None

    def _spot(self) -> Spot:
        return self._end or self._positions.at(self._line)


def _urls(source: Source, lines: Iterable[Line]) -> Iterator[Request]:
    for number, text, problem in lines:
        if problem:
            yield rows.bad(text, Place(source.path, source.name, number), problem)
        elif url := text.strip():
            yield rows.from_url(url, source.path, source.name, number)


def _source(path: str, format: Format | None) -> Source:
    if path == STDIN:
        return Source(path, format or "txt", "standard input")
    packing = packing_named(path)
    ending = Path(path.lower().removesuffix(packing.ending if packing else "")).suffix[1:]
    if format is None and ending == "parquet":
        raise SourceError(f"{path}: Parquet comes in a later release: give .txt, .csv or .jsonl")
    if format is None and ending not in FORMATS:
        raise SourceError(
            f"{path}: its name does not say what is in it: end it in .txt, .csv or .jsonl (.gz may follow), "
            "or give --input-format"
        )
    return Source(path, format or cast(Format, ending), path)


def _check_readable(source: Source) -> None:
    if source.path == STDIN:
        if sys.stdin is None:
            raise SourceError("standard input is closed: give a file, or pipe the URLs in")
        return
    try:
        mode = os.stat(source.path).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error
    if stat.S_ISDIR(mode):
        raise SourceError(f"{source.path} is a directory: name the files in it, as in {source.path.rstrip('/')}/*.txt")


def _unreadable(source: Source, error: Exception) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{source.name} does not exist: look at the path")
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(f"{source.name} cannot be read: {reason[:1].lower()}{reason[1:]}")


def _count(source: Source) -> int | None:
    """Count the lines that are not blank; None for what is packed, or has rows that span lines."""
    with open(source.path, "rb") as file:
        if packing_named(source.path) or packing_of(file.peek(CHUNK)):
            return None
        if source.format == "csv":
            lines = 0
            for line in file:
                if line.count(b'"') % 2:
                    return None
                lines += not line.isspace()
            return max(0, lines - 1)
        return sum(1 for line in file if not line.isspace())

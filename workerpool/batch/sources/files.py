"""Reads the requests of a batch from files and standard input, lazily: one line or row in memory at a time.

What can be told before anything is sent (a missing file, an unknown kind, no column 'url') is told by `check`.
After that a bad line is a request with a `problem`, and only bytes that cannot be read end the reading, with a
`SourceError`. One thread iterates, `stop` comes from any thread. Nothing here decides what a request is: `rows` does.

A source can be read on from a `Mark`, without what is before it, and tells marks and checks as it is read (`reading`).
A JSON line is up to 4 MiB long; a CSV field 128 KiB (see `csv`). Columns and fields that are not in `rows.COLUMNS`
are left alone, and said once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from stat import S_ISREG
from typing import Any

from workerpool.batch.sources import rows
from workerpool.batch.sources.chunks import Stopped, Wake, read_unpacked
from workerpool.batch.sources.csv import Table
from workerpool.batch.sources.lines import Line, Lines
from workerpool.batch.sources.marks import BEGINNING, Block, Fingerprint, LinePositions, Mark
from workerpool.batch.sources.names import STDIN, Source, sources_named
from workerpool.batch.sources.packed import CHUNK, Broken, packing_named, packing_of
from workerpool.batch.sources.parquet import BadValue, ParquetRows, RowPositions, text_of
from workerpool.batch.sources.reading import FileReading
from workerpool.batch.sources.rows import COLUMNS, Place
from workerpool.batch.sources.verify import first_changed, first_changed_rows
from workerpool.errors import SourceError
from workerpool.model import Request

COUNTED = 64 * 1024 * 1024
"""Bytes up to which files are read once more, in advance, to know how many requests there are: about 0.2 s."""

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # opening a named pipe must not wait where `stop` cannot reach


class FileSources:
    """The requests of several sources, one after the other; may be iterated once.

    `paths` may be patterns, as in ``data/**/*.csv``. `format` says what every source holds, whatever its name; without
    it the name's ending does, and standard input is lines of URLs. `note` is called, from the iterating thread, with a
    sentence about something that is left out. Raises `OptionError` or `SourceError` where the names alone cannot work.
    """

    def __init__(
        self, paths: Sequence[str], *, format: str | None = None, note: Callable[[str], None] = lambda sentence: None
    ) -> None:
        self.sources: Sequence[Source] = sources_named(paths, format)
        self._note = note
        self._noted: set[tuple[str, str]] = set()
        self._wake = Wake()

    def check(self) -> None:
        """Look at every source and raise `SourceError` for the first one that cannot work. Nothing is used up."""
        for source in self.sources:
            source.check()
            if not source.is_file:
                continue
            if source.format == "parquet":
                with self._parquet(source) as file:
                    self._note_columns(source, file.names)
                continue
            with self._lines(source) as lines:
                first = next(iter(lines), None)
                if source.format == "csv":
                    self._note_columns(source, Table(source.path, source.name, first).names)

    @property
    def may_wait(self) -> bool:
        """Whether a source is a pipe or a terminal."""
        return not all(source.is_file for source in self.sources)

    @property
    def paths(self) -> list[str]:
        """What the requests of each source name as theirs."""
        return [source.path for source in self.sources]

    @property
    def unsought(self) -> frozenset[int]:
        """The numbers of those that can only be read from their beginning: pipes."""
        return frozenset(number for number, source in enumerate(self.sources) if not source.is_file)

    @property
    def can_be_read_again(self) -> bool:
        """Whether a second reading would give the same."""
        return not self.may_wait

    def count(self) -> int | None:
        """Say how many requests there are, or None where that would cost too much or be a guess."""
        try:
            if self.may_wait:
                return None
            texts = [source for source in self.sources if source.format != "parquet"]
            if sum(os.stat(source.path).st_size for source in texts) > COUNTED:
                return None
            counts = [self._count(source) for source in self.sources]
        except (OSError, SourceError):
            return None
        return None if None in counts else sum(count for count in counts if count)

    def _count(self, source: Source) -> int | None:
        if source.format != "parquet":
            return _count_lines(source)
        with self._parquet(source) as file:
            return file.count

    def stop(self) -> None:
        """Give out no more requests, also where the reader waits for a slow pipe. Any thread, any number of times."""
        self._wake.set()

    def __iter__(self) -> Iterator[Request]:
        for source in self.sources:
            for request in self._rows(source) if source.format == "parquet" else self._read(source):
                if self._wake.is_set:
                    return
                yield request

    def read(self, index: int, start: Mark | None = None) -> FileReading:
        """Read the source `sources[index]` alone, from the row that begins at `start`, or from its beginning.

        Its requests have the ordinals of a full reading. Raises `SourceError` where `start` is in a pipe, which
        can only be read from its beginning.
        """
        source, begin = self.sources[index], start or BEGINNING
        if begin != BEGINNING:
            self._refuse_pipe(source, f"cannot be read from {_unit(source)} {begin.line:,} on")
        if source.format == "parquet":
            of_rows = RowPositions(begin)
            return FileReading(self._rows(source, begin, of_rows), of_rows, begin, self._wake)
        of_lines = LinePositions(begin)
        return FileReading(self._read(source, begin, of_lines), of_lines, begin, self._wake)

    def where(self, index: int, ordinal: int) -> str:
        """Tell people where the request with that ordinal is in the source `sources[index]`."""
        source = self.sources[index]
        return f"{source.name}, {_unit(source)} {ordinal:,}"

    def fingerprint(self, index: int) -> Fingerprint | None:
        """Return what tells whether the source `sources[index]` has changed; None for a pipe, which nothing tells of.

        Raises `SourceError` where it cannot be looked at.
        """
        source = self.sources[index]
        status = None if source.path == STDIN else source.status()
        return Fingerprint(status.st_size, status.st_mtime_ns) if status and S_ISREG(status.st_mode) else None

    def verify(self, index: int, blocks: Iterable[Block]) -> Block | None:
        """Return the first of `blocks`, parts of the source `sources[index]` in order, that is not as it was.

        None if all are, and where `stop` ended it early. Raises `SourceError` where the file cannot be opened, or is
        none.
        """
        source = self.sources[index]
        self._refuse_pipe(source, "cannot be read a second time")
        if source.format == "parquet":
            with self._parquet(source) as file:
                return first_changed_rows(file, blocks)
        with self._chunks(source) as chunks:
            try:
                return first_changed(chunks, blocks)
            except Stopped:
                return None

    def _refuse_pipe(self, source: Source, what: str) -> None:
        if source.path == STDIN or not S_ISREG(source.status().st_mode):
            raise SourceError(f"{source.name} {what}: it is no file on a disk")

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

    def _rows(
        self, source: Source, start: Mark = BEGINNING, positions: RowPositions | None = None
    ) -> Iterator[Request]:
        number = start.line
        with self._parquet(source) as file:
            self._note_columns(source, file.names)
            try:
                for number, batch in file.read(start.line):
                    if positions is not None:
                        positions.feed(number, batch)
                    for row in batch:
                        yield _request(source, number, row)
                        number += 1
            except Broken as error:
                raise SourceError(f"{source.name}, after row {number - 1:,}: {error}") from error
            if positions is not None:
                positions.finish(number)

    @contextmanager
    def _parquet(self, source: Source) -> Iterator[ParquetRows]:
        source.check()
        with open(self._open(source), "rb") as file:
            yield ParquetRows(file, source.name)

    def _open(self, source: Source) -> int:
        try:
            return sys.stdin.fileno() if source.path == STDIN else os.open(source.path, _OPEN_FLAGS)
        except (OSError, AttributeError, ValueError) as error:
            raise source.unreadable(error) from error

    @contextmanager
    def _chunks(self, source: Source, offset: int = 0) -> Iterator[Iterator[bytes]]:
        file = self._open(source)
        try:
            yield read_unpacked(file, self._wake, must=packing_named(source.path), offset=offset)
        finally:
            if source.path != STDIN:
                os.close(file)

    @contextmanager
    def _lines(
        self, source: Source, start: Mark = BEGINNING, positions: LinePositions | None = None
    ) -> Iterator[Lines]:
        with self._chunks(source, start.offset) as chunks:
            yield Lines(chunks, source.name, first=start.line, positions=positions)

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


def _request(source: Source, number: int, row: dict[str, Any] | BadValue) -> Request:
    place = Place(source.path, source.name, number, _unit(source))
    if isinstance(row, BadValue):
        return rows.bad(text_of(row), place, str(row))
    return rows.from_cells(row, place, text_of(row) if not row["url"] else row["url"])


def _unit(source: Source) -> str:
    return "row" if source.format == "parquet" else "line"


def _urls(source: Source, lines: Iterable[Line]) -> Iterator[Request]:
    for number, text, problem in lines:
        if problem:
            yield rows.bad(text, Place(source.path, source.name, number), problem)
        elif url := text.strip():
            yield rows.from_url(url, source.path, source.name, number)


def _count_lines(source: Source) -> int | None:
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

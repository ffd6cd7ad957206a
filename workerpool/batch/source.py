"""Reads the requests of a batch from files and standard input, lazily: one line or row in memory at a time.

What can be told before anything is sent (a missing file, an unknown kind, no column 'url') is told by `Sources.check`.
After that a bad line is a request with a `problem`, and only bytes that cannot be read end the reading, with a
`SourceError`. One thread iterates, `stop` comes from any thread. Nothing here decides what a request is: `rows` does.

A CSV file begins with a line of column names, and is parted by commas, semicolons or tabs, whichever shows a column
'url'. One field holds up to 128 KiB (the `csv` module's limit, which is the process's, not ours to raise); a JSON line
up to 4 MiB. Columns and fields that are not in `rows.COLUMNS` are left alone, and said once.
"""

from __future__ import annotations

import csv
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from workerpool.batch import rows
from workerpool.batch.lines import Line, Wake, read_chunks, read_lines, unpack
from workerpool.batch.rows import COLUMNS, Place
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request

Format = Literal["txt", "csv", "jsonl"]
FORMATS: tuple[str, ...] = get_args(Format)

STDIN = "-"

COUNTED = 64 * 1024 * 1024
"""Bytes up to which files are read once more, in advance, to know how many requests there are: about 0.2 s."""

ROW_LINES = 10_000
"""Lines that one CSV row may span: past that, a quote was opened and never closed."""

_DELIMITERS = ",;\t"
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
        self._sources = [_source(path, cast("Format | None", format)) for path in paths]
        self._note = note
        self._noted: set[tuple[str, str]] = set()
        self._wake = Wake()
        self.is_exhausted = False
        """Whether every request has been given out."""

    def check(self) -> None:
        """Look at every source and raise `SourceError` for the first one that cannot work. Nothing is used up."""
        for source in self._sources:
            _check_readable(source)
            if source.path != STDIN and source.is_file:
                with self._lines(source) as lines:
                    first = next(lines, None)
                    if source.format == "csv":
                        self._note_columns(source, _Table(source, first).names)

    @property
    def may_wait(self) -> bool:
        """Whether reading may have to wait for somebody who writes: a source is a pipe or a terminal."""
        return not all(source.path != STDIN and source.is_file for source in self._sources)

    def count(self) -> int | None:
        """Say how many requests there are, or None where that would cost too much or be a guess."""
        try:
            if self.may_wait:
                return None
            if sum(os.stat(source.path).st_size for source in self._sources) > COUNTED:
                return None
            counts = [_count(source) for source in self._sources]
        except OSError:
            return None
        return None if None in counts else sum(count for count in counts if count)

    def stop(self) -> None:
        """Give out no more requests, also where the reader waits for a slow pipe. Any thread, any number of times."""
        self._wake.set()

    def __iter__(self) -> Iterator[Request]:
        for source in self._sources:
            for request in self._read(source):
                if self._wake.is_set:
                    return
                yield request
        self.is_exhausted = not self._wake.is_set

    def _read(self, source: Source) -> Iterator[Request]:
        with self._lines(source) as lines:
            if source.format == "csv":
                yield from self._rows(source, lines)
            elif source.format == "jsonl":
                yield from self._objects(source, lines)
            else:
                yield from _urls(source, lines)

    @contextmanager
    def _lines(self, source: Source) -> Iterator[Iterator[Line]]:
        try:
            file = sys.stdin.fileno() if source.path == STDIN else os.open(source.path, _OPEN_FLAGS)
        except (OSError, AttributeError, ValueError) as error:
            raise _unreadable(source, error) from error
        try:
            chunks = unpack(read_chunks(file, self._wake), must=_is_gz(source))
            yield read_lines(chunks, source.name)
        finally:
            if source.path != STDIN:
                os.close(file)

    def _objects(self, source: Source, lines: Iterator[Line]) -> Iterator[Request]:
        for line in lines:
            place = Place(source.path, source.name, line.number)
            if line.problem:
                yield rows.bad(line.text, place, line.problem)
            elif text := line.text.strip():
                request, unknown = rows.from_json(text, place)
                if unknown:
                    self._note_columns(source, sorted(unknown))
                yield request

    def _rows(self, source: Source, lines: Iterator[Line]) -> Iterator[Request]:
        table = _Table(source, next(lines, None))
        self._note_columns(source, table.names)
        return table.requests(lines)

    def _note_columns(self, source: Source, names: Iterable[str]) -> None:
        for name in names:
            if name not in COLUMNS and (source.path, name) not in self._noted and len(self._noted) < 100:
                self._noted.add((source.path, name))
                self._note(f"{source.name}: '{name}' is not read (what is: {', '.join(COLUMNS)})")


class _Table:
    """The rows of a CSV source under its header line."""

    def __init__(self, source: Source, header: Line | None) -> None:
        if header is None:
            raise SourceError(f"{source.name} is empty: its first line names the columns, and one of them is 'url'")
        if header.problem:
            raise SourceError(f"{source.name}, line {header.number}: {header.problem}")
        self._source = source
        self._delimiter, self.names = _header(source, header.text.rstrip("\r"))

    def requests(self, lines: Iterator[Line]) -> Iterator[Request]:
        feed = _Feed(lines)
        while feed.begin():
            reader = csv.reader(feed, delimiter=self._delimiter, strict=True)
            try:
                cells = next(reader)
            except (csv.Error, StopIteration) as error:
                # One stray quote reaches for the rest of the file: only its own line is bad, the others are read anew.
                first = feed.give_back()
                yield rows.bad(first.text.rstrip("\r"), self._place(first), _csv_problem(error))
            else:
                yield self._request(cells, feed.used)

    def _request(self, cells: list[str], lines: Sequence[Line]) -> Request:
        place, text = self._place(lines[0]), lines[0].text.rstrip("\r")
        problem = next((line.problem for line in lines if line.problem), None)
        if problem is None and len(cells) > len(self.names):
            problem = f"{len(cells)} values for {len(self.names)} columns: put double quotes around a value with commas"
        if problem:
            return rows.bad(text, place, problem)
        return rows.from_cells(dict(zip(self.names, cells, strict=False)), place, text)

    def _place(self, line: Line) -> Place:
        return Place(self._source.path, self._source.name, line.number)


def _csv_problem(error: Exception) -> str:
    text = str(error)
    if not text or "end of data" in text:
        return "a double quote is opened and never closed"
    if "field limit" in text:
        return "a field is longer than 128 KiB, or a double quote is never closed: give long bodies as .jsonl"
    return f"the line is no CSV ({text})"


class _Feed:
    """Gives `csv` its lines, remembers those of the row at hand, and can take them back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._returned: deque[Line] = deque()
        self.used: list[Line] = []

    def begin(self) -> bool:
        """Go to the next line that is not blank, which begins a row; False at the end."""
        self.used = []
        while (line := self._next()) is not None:
            if line.problem or line.text.strip():
                self._returned.appendleft(line)
                return True
        return False

    def give_back(self) -> Line:
        """Take back all lines of this row but the first, which is returned."""
        self._returned.extendleft(reversed(self.used[1:]))
        return self.used[0]

    def _next(self) -> Line | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._next() if len(self.used) < ROW_LINES else None
        if line is None:
            raise StopIteration
        self.used.append(line)
        return line.text + "\n"


def _urls(source: Source, lines: Iterator[Line]) -> Iterator[Request]:
    for number, text, problem in lines:
        if problem:
            yield rows.bad(text, Place(source.path, source.name, number), problem)
        elif url := text.strip():
            yield rows.from_url(url, source.path, source.name, number)


def _source(path: str, format: Format | None) -> Source:
    if path == STDIN:
        return Source(path, format or "txt", "standard input")
    ending = Path(path.lower().removesuffix(".gz")).suffix[1:]
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


def _is_gz(source: Source) -> bool:
    return source.path.lower().endswith(".gz")


def _header(source: Source, text: str) -> tuple[str, list[str]]:
    """Return the delimiter and the column names of a header line."""
    for delimiter in _DELIMITERS:
        try:
            cells = next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            continue
        names = [cell.strip().lower() for cell in cells]
        if names.count("url") > 1:
            raise SourceError(f"{source.name}, line 1: two columns are named 'url': keep one of them")
        if "url" in names:
            return delimiter, names
    raise SourceError(
        f"{source.name}, line 1: no column is named 'url': the first line names the columns, as in url,key"
    )


def _count(source: Source) -> int | None:
    """Count the lines that are not blank; None for what is packed, or has rows that span lines."""
    with open(source.path, "rb") as file:
        if _is_gz(source) or file.peek(2).startswith(b"\x1f\x8b"):
            return None
        if source.format == "csv":
            lines = 0
            for line in file:
                if line.count(b'"') % 2:
                    return None
                lines += not line.isspace()
            return max(0, lines - 1)
        return sum(1 for line in file if not line.isspace())

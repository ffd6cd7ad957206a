"""Reads CSV: a line of column names, then rows, which may span lines, parted by what shows the columns that are needed.

One field holds up to 128 KiB (the `csv` module's limit, which is the process's, not ours to raise). A quote that is
never closed costs its own line only: the lines after it, which `csv` has taken for a part of it, are read anew. One
thread for each table.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from workerpool.batch.sources import rows
from workerpool.batch.sources.lines import Line, Lines
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.marks import BEGINNING, LinePositions, Mark
from workerpool.batch.sources.opened import Opened, Text
from workerpool.batch.sources.rows import BadRow, Place
from workerpool.errors import SourceError
from workerpool.model import Request

ROW_LINES = 10_000
"""Lines that one CSV row may span: past that, a quote was opened and never closed."""

_DELIMITERS = ",;\t"


class Csv(Text):
    """Rows under a line of names."""

    def check(self, opened: Opened) -> None:
        with opened.lines() as lines:
            opened.note(_table(opened, lines).names)

    def _requests(self, opened: Opened, start: Mark, positions: LinePositions | None) -> Iterator[Request]:
        if start != BEGINNING:
            with opened.lines() as header:
                table = _table(opened, header)
            with opened.lines(start, positions) as lines:
                yield from table.requests(lines)
            return
        with opened.lines(start, positions) as lines:
            table = _table(opened, lines)
            opened.note(table.names)
            yield from table.requests(lines)

    def _count(self, lines: Iterable[bytes]) -> int | None:
        count = 0
        for line in lines:
            if line.count(b'"') % 2:  # a row may span lines
                return None
            count += not line.isspace()
        return max(0, count - 1)


def _table(opened: Opened, lines: Lines) -> Table:
    return Table(opened.path, opened.name, next(iter(lines), None), opened.making)


class Table:
    """The rows of a CSV source under its header line; raises `SourceError` for a header that cannot work."""

    def __init__(self, source: str, name: str, header: Line | None, making: Making = FIELD_ROWS) -> None:
        if header is None:
            raise SourceError(f"{name} is empty: its first line names the columns, as in url,key")
        if header.problem:
            raise SourceError(f"{name}, line {header.number}: {header.problem}")
        self._source, self._name, self._making = source, name, making
        self._delimiter, self.names = _header(name, header.text.rstrip("\r"), making)

    def requests(self, lines: Lines) -> Iterator[Request]:
        """Yield a request for each row of `lines`, which are those after the header."""
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
        return self._making.of_cells(dict(zip(self.names, cells, strict=False)), place, text)

    def _place(self, line: Line) -> Place:
        return Place(self._source, self._name, line.number)


def _csv_problem(error: Exception) -> str:
    text = str(error)
    if not text or "end of data" in text:
        return "a double quote is opened and never closed"
    if "field limit" in text:
        return "a field is longer than 128 KiB, or a double quote is never closed: give long bodies as .jsonl"
    return f"the line is no CSV ({text})"


class _Feed:
    """Gives `csv` its lines, remembers those of the row at hand, and can take them back."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rest = iter(lines)
        self._returned: deque[Line] = deque()
        self.used: list[Line] = []

    def begin(self) -> bool:
        """Go to the next line that is not blank, which begins a row; False at the end."""
        self.used = []
        while (line := self._next()) is not None:
            self._lines.low = line.number
            if line.problem or line.text.strip():
                self._returned.appendleft(line)
                return True
        return False

    def give_back(self) -> Line:
        """Take back all lines of this row but the first, which is returned."""
        self._returned.extendleft(reversed(self.used[1:]))
        return self.used[0]

    def _next(self) -> Line | None:
        return self._returned.popleft() if self._returned else next(self._rest, None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._next() if len(self.used) < ROW_LINES else None
        if line is None:
            raise StopIteration
        self.used.append(line)
        return line.text + "\n"


def _header(name: str, text: str, making: Making) -> tuple[str, list[str]]:
    """Return the delimiter and the column names of a header line: of the first delimiter that shows what is needed."""
    most, reason = 0, ""
    for delimiter in _DELIMITERS:
        try:
            names = [making.column(cell) for cell in next(csv.reader([text], delimiter=delimiter), [])]
            making.check(names)
        except csv.Error:
            continue
        except BadRow as error:
            if len(names) > most:
                most, reason = len(names), str(error)
        else:
            return delimiter, names
    raise SourceError(f"{name}, line 1: {reason or 'the line is no CSV'}")

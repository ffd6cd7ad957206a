"""Records as CSV (RFC 4180, with line feeds): a line of column names, then one row each.

None is an empty cell, as is empty text; true and false are written so, and response headers and other JSON are its text
in their cell.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from workerpool.batch.columns import Columns, Kind, Row
from workerpool.batch.record import Record


class CsvRows:
    """Rows with the columns of `columns`."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._row = _row_writer()
        self._as_json = [place for place, kind in enumerate(columns.kinds) if kind in (Kind.MAP, Kind.JSON)]
        self.header = self._row(columns.names)

    def line(self, record: Record) -> bytes:
        values = [_TRUTH.get(value, value) if type(value) is bool else value for value in self._values(record)]
        return self._row(values)

    def encode(self, rows: Sequence[Row]) -> bytes:
        return b"".join(map(self.line, self._columns.records(rows)))

    def entries(self, file: Iterable[bytes], fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        picked = self._columns.picked(fields)
        # As far as is needed and no further: what follows may be a body.
        beginning = re.compile(",".join([_CELL] * (1 + max(place for place, _ in picked))))
        for number, row in enumerate(_rows(file)):
            if number:
                found = beginning.match(row)
                if found is None:
                    raise ValueError(f"row {number:,} has too few columns")
                cells = next(csv.reader(io.StringIO(found[0], newline="")))
                yield tuple([_value(column.kind, cells[place]) for place, column in picked])

    def _values(self, record: Record) -> list[Any]:
        values = [*map(record.get, self._columns.names)]
        for place in self._as_json:
            if values[place] is not None:
                values[place] = json.dumps(values[place], ensure_ascii=False)
        return values


_TRUTH = {True: "true", False: "false"}


def _row_writer() -> Callable[[Iterable[Any]], bytes]:
    """Return a function that writes values as one row. For one thread: it reuses its buffer."""
    buffer = io.StringIO()
    # A cell is quoted that has a character of the row's end in it, so that end has both; the second is left out.
    write = csv.writer(buffer, lineterminator="\n\r").writerow

    def encode(values: Iterable[Any]) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        write(values)
        return buffer.getvalue()[:-1].encode(errors="backslashreplace")

    return encode


_CELL = r'(?:"(?:[^"]|"")*"|[^,"]*)'


def _value(kind: Kind, cell: str) -> Any:
    """What a cell stands for; that of an empty one is text, whose reader knows better whether there was any."""
    if kind is Kind.TEXT:
        return cell
    if not cell:
        return None
    if kind is Kind.BOOLEAN:
        return cell == "true"
    if kind in (Kind.SHORT, Kind.LONG):
        return int(cell)
    if kind in (Kind.MAP, Kind.JSON):
        return json.loads(cell)
    return float(cell) if kind is Kind.REAL else cell


def _rows(file: Iterable[bytes]) -> Iterator[str]:
    """Part rows at the line feeds outside of quotes. The csv module's reader would refuse a long body."""
    row, quotes = [], 0
    for line in file:
        row.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            yield b"".join(row).decode()
            row, quotes = [], 0

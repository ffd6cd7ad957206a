"""Records as CSV (RFC 4180, with line feeds): a line of column names, then one row each.

None is an empty cell, true and false are written so, and response headers are a JSON object in their cell.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from workerpool.batch.columns import KINDS, Columns, Kind
from workerpool.batch.record import Record

_OURS = frozenset({bool, dict})  # what `_cell` writes; the rest, the csv module writes as it should be


def _encoder(fields: Sequence[str]) -> Callable[[Record], bytes]:
    """Return a function that writes a record as one row. For one thread: it reuses its buffer."""
    buffer = io.StringIO()
    write = csv.writer(buffer, lineterminator="\n").writerow

    def encode(record: Record) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        write([_cell(value) if type(value) in _OURS else value for value in map(record.get, fields)])
        return buffer.getvalue().encode(errors="backslashreplace")

    return encode


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class CsvRows:
    """Rows with the columns of `columns`."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.line = _encoder(columns.names)
        self.header = self.line({name: name for name in columns.names})

    def encode(self, rows: Sequence[bytes]) -> bytes:
        return b"".join(map(self.line, self._columns.records(rows)))

    def entries(self, file: Iterable[bytes], fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        places = [(self._columns.names.index(field), KINDS.get(field, Kind.TEXT)) for field in fields]
        # As far as is needed and no further: what follows may be a body.
        beginning = re.compile(",".join([_CELL] * (1 + max(place for place, _ in places))))
        for number, row in enumerate(_rows(file)):
            if number:
                found = beginning.match(row)
                if found is None:
                    raise ValueError(f"row {number:,} has too few columns")
                cells = next(csv.reader(io.StringIO(found[0], newline="")))
                yield tuple([_value(kind, cells[place]) for place, kind in places])


_CELL = r'(?:"(?:[^"]|"")*"|[^,"]*)'


def _value(kind: Kind, cell: str) -> Any:
    """What a cell stands for."""
    if kind is Kind.BOOLEAN:
        return cell == "true"
    if kind in (Kind.SHORT, Kind.LONG):
        return int(cell) if cell else None
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

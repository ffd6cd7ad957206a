"""Reads the rows of a Parquet file, some at a time and never a whole row group; the only user of pyarrow among sources.

Columns go by their names, in small or capital letters. `url`, `method`, `key` and `json` are text (or bytes that are
UTF-8), `key` also a number, date or time; `headers` and `params` are a map, a struct, or text that is a JSON object;
`body` is text or bytes. A column of another type is refused before anything is sent; a value that makes no request is
its row's problem. One thread for each file. pyarrow is imported when a file is opened.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from workerpool.batch.sources import rows
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.marks import BEGINNING, Block, Mark, Positions, Spot, check_between
from workerpool.batch.sources.opened import Opened
from workerpool.batch.sources.packed import Broken
from workerpool.batch.sources.parquet_columns import Columns, FieldColumns, TypedColumns
from workerpool.batch.sources.rows import Place
from workerpool.errors import SourceError
from workerpool.extras import load
from workerpool.model import Request

BATCH = 1024
"""Rows that are turned into Python's objects at a time."""

BUFFER = 1024 * 1024
"""Bytes of a column that are read at a time."""

Row = dict[str, Any]


class Parquet:
    """The format of sources."""

    unit = "row"
    is_text = False

    def check(self, opened: Opened) -> None:
        with _rows_of(opened) as file:
            opened.note(file.names)

    def count(self, opened: Opened) -> int | None:
        with _rows_of(opened) as file:
            return file.count

    def requests(self, opened: Opened) -> Iterator[Request]:
        return self._requests(opened, BEGINNING, None)

    def read(self, opened: Opened, start: Mark) -> tuple[Iterator[Request], Positions]:
        positions = RowPositions(start)
        return self._requests(opened, start, positions), positions

    def first_changed(self, opened: Opened, blocks: Iterable[Block]) -> Block | None:
        with _rows_of(opened) as file:
            return first_changed_rows(file, blocks)

    def _requests(self, opened: Opened, start: Mark, positions: RowPositions | None) -> Iterator[Request]:
        number = start.line
        with _rows_of(opened) as file:
            opened.note(file.names)
            try:
                for number, batch in file.read(start.line):
                    if positions is not None:
                        positions.feed(number, batch)
                    for row in batch:
                        yield _request(opened.making, Place(opened.path, opened.name, number, self.unit), row)
                        number += 1
            except Broken as error:
                raise SourceError(f"{opened.name}, after row {number - 1:,}: {error}") from error
            if positions is not None:
                positions.finish(number)


@contextmanager
def _rows_of(opened: Opened) -> Iterator[ParquetRows]:
    with opened.file() as file:
        yield ParquetRows(file, opened.name, opened.making)


def _request(making: Making, place: Place, row: Row | BadValue) -> Request:
    if isinstance(row, BadValue):
        return rows.bad(text_of(row), place, str(row))
    return making.of_cells(row, place, "" if making.is_typed else row["url"] or text_of(row))


class BadValue(Exception):
    """Why a row's values cannot be read; the text is a sentence without the place."""


class ParquetRows:
    """The rows of the Parquet file `file`. Raises `SourceError` for what is none, or has no column that will do.

    Raises `OptionError` where pyarrow is not installed.
    """

    def __init__(self, file: IO[bytes], name: str, making: Making = FIELD_ROWS) -> None:
        self._arrow = load("pyarrow", "parquet", f"reading {name}")
        parquet = load("pyarrow.parquet", "parquet", f"reading {name}")
        try:
            self._file = parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
            schema = self._file.schema_arrow
        except (self._arrow.ArrowException, OSError) as error:
            raise SourceError(f"{name} cannot be read as Parquet: {_first_line(error)}") from error
        self.names = [making.column(field.name) for field in schema]
        self.count: int = self._file.metadata.num_rows
        self._read: Columns = TypedColumns(self._arrow, making) if making.is_typed else FieldColumns(self._arrow)
        self._columns = self._read.select(schema, name)

    def read(self, first: int = 1) -> Iterator[tuple[int, Sequence[Row | BadValue]]]:
        """Yield rows some at a time, from the row `first` on, each time with the number of the first of them.

        Raises `Broken` where the data is damaged.
        """
        number, passed = first, 0
        if first > self.count + 1:
            raise Broken("it has fewer rows than it had: begin anew with the file as it is")
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if passed + rows >= first:
                for batch in self._batches(group, skip=max(first - 1 - passed, 0)):
                    yield number, self._rows(batch)
                    number += batch.num_rows
            passed += rows

    def _batches(self, group: int, skip: int) -> Iterator[Any]:
        batches = self._file.iter_batches(
            BATCH, row_groups=[group], columns=list(self._columns.values()), use_threads=False
        )
        while True:
            try:
                batch = next(batches, None)
            except (self._arrow.ArrowException, OSError) as error:
                raise Broken(f"the Parquet data is damaged ({_first_line(error)})") from error
            if batch is None:
                return
            if skip < batch.num_rows:
                yield batch.slice(skip)
            skip = max(skip - batch.num_rows, 0)

    def _rows(self, batch: Any) -> Sequence[Row | BadValue]:
        try:
            return self._objects(batch)
        except (ValueError, self._arrow.ArrowException):
            return [self._row(batch.slice(index, 1)) for index in range(batch.num_rows)]

    def _row(self, batch: Any) -> Row | BadValue:
        """Return the only row of `batch`, or what is wrong with it: text that is not UTF-8, a date beyond Python's."""
        try:
            return self._objects(batch)[0]
        except (ValueError, self._arrow.ArrowException) as error:
            return BadValue(f"a value cannot be read ({_first_line(error)})")

    def _objects(self, batch: Any) -> list[Row]:
        columns = [
            self._read.values(name, batch.column(batch.schema.get_field_index(self._columns[name])))
            for name in self._columns
        ]
        return [dict(zip(self._columns, values, strict=True)) for values in zip(*columns, strict=True)]


class RowPositions:
    """Where rows stand, and a CRC of what they say: of each row, its values as Python writes them, in ASCII."""

    def __init__(self, start: Mark) -> None:
        self._next = self._first = start.line
        self._rows: Sequence[Row | BadValue] = ()
        self._size = self._crc = 0
        self.end: Spot | None = None

    def feed(self, first: int, rows: Sequence[Row | BadValue]) -> None:
        """Take the next rows, of which `first` is the first; those before are not asked for any more."""
        self.at(first)
        self._first, self._rows = first, rows

    def finish(self, line: int) -> None:
        """Say that no rows come any more, and which number the next one would have."""
        self.end = self.at(line)

    def at(self, line: int) -> Spot:
        for row in self._rows[self._next - self._first : line - self._first]:
            data = ascii(row).encode()
            self._size += len(data)
            self._crc = zlib.crc32(data, self._crc)
        self._next = line
        return Spot(Mark(line, line - 1), self._size, self._crc)


def first_changed_rows(file: ParquetRows, blocks: Iterable[Block]) -> Block | None:
    """Return the first of `blocks`, which are in order, whose rows differ; None if none does."""
    read, positions = file.read(), RowPositions(BEGINNING)
    reached = 1

    def at(line: int) -> Spot:
        nonlocal reached
        while reached < line:
            first, batch = next(read, (line, None))
            if batch is None:
                raise Broken("the rows end here")
            positions.feed(first, batch)
            reached = first + len(batch)
        return positions.at(line)

    for block in blocks:
        try:
            same = check_between(at(block.start.line), at(block.end.line)) == block.check
        except Broken:
            same = False
        if not same:
            return block
    return None


def text_of(row: Row | BadValue) -> str:
    """Return what a row says, for its outcome if it makes no request."""
    if isinstance(row, BadValue):
        return "(unreadable row)"
    return rows.text_of(row)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

"""What the parts of an output at a URL hold, and how they become one: rows of text, packed or not, or columns.

Text is its parts in a row, after a header; columns are read from all of them, and written anew in groups.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol

from workerpool.batch.arrow import prepare, pyarrow, table_of, values_of
from workerpool.batch.columns import Columns, Row
from workerpool.batch.sinks.appended import NOTHING, Rows
from workerpool.batch.sinks.parts import STEP, first_of, groups_of
from workerpool.batch.sinks.position import Position
from workerpool.extras import load

_COPIED = 1024 * 1024  # bytes at a time


class Content(Protocol):
    """A format, as parts have it and as the output has it. `header` is what the output begins with."""

    @property
    def ending(self) -> str: ...

    @property
    def header(self) -> bytes: ...

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Make a part of rows of JSON."""

    def counted(self, data: bytes) -> int:
        """How many bytes of the output a part becomes; 0 where that is not known."""

    def merge(self, parts: Iterator[IO[bytes]], out: IO[bytes]) -> None:
        """Write the output."""

    def holds(self, file: IO[bytes], position: Position, *, exactly: bool) -> bool:
        """Whether an output holds what `position` says, or at least that."""

    def copy(self, source: IO[bytes], out: IO[bytes], position: Position) -> None:
        """Make a part of an output's rows up to `position`."""

    def entries(
        self, files: Iterator[IO[bytes]], fields: Sequence[str], *, is_whole: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Read some fields of parts, or of the output if that `is_whole`."""


class TextContent:
    """Rows of text."""

    def __init__(self, rows: Rows, *, packed: bool) -> None:
        self.ending = ".gz" if packed else ".txt"
        self._rows = rows
        self._is_packed = packed
        self.header = self._packed(rows.header) if rows.header else b""
        self._of_nothing = NOTHING if packed else b""

    def encode(self, rows: Sequence[Row]) -> bytes:
        return self._packed(self._rows.encode(rows))

    def counted(self, data: bytes) -> int:
        return len(data)

    def merge(self, parts: Iterator[IO[bytes]], out: IO[bytes]) -> None:
        out.write(self.header)
        is_empty = not self.header
        for part in parts:
            shutil.copyfileobj(part, out, _COPIED)
            is_empty = False
        if is_empty:
            out.write(self._of_nothing)

    def holds(self, file: IO[bytes], position: Position, *, exactly: bool) -> bool:
        size = file.seek(0, 2)
        return size == (position.bytes or len(self._of_nothing)) if exactly else size >= position.bytes

    def copy(self, source: IO[bytes], out: IO[bytes], position: Position) -> None:
        source.seek(len(self.header))
        rest = position.bytes - len(self.header)
        while rest > 0 and (data := source.read(min(rest, _COPIED))):
            out.write(data)
            rest -= len(data)

    def entries(
        self, files: Iterator[IO[bytes]], fields: Sequence[str], *, is_whole: bool
    ) -> Iterator[tuple[Any, ...]]:
        yield from self._rows.entries(self._lines(files, is_whole), fields)

    def _lines(self, files: Iterator[IO[bytes]], is_whole: bool) -> Iterator[bytes]:
        if not is_whole and self._rows.header:
            yield self._rows.header
        for file in files:
            yield from gzip.GzipFile(fileobj=file) if self._is_packed else file

    def _packed(self, data: bytes) -> bytes:
        return gzip.compress(data, 6, mtime=0) if self._is_packed else data


class ParquetContent:
    """Parquet files."""

    ending = ".parquet"
    header = b""

    def __init__(self, columns: Columns) -> None:
        self._arrow = pyarrow("a Parquet output")
        self._parquet = load("pyarrow.parquet", "parquet", "a Parquet output")
        self._columns = columns
        self._schema = prepare(columns)

    def encode(self, rows: Sequence[Row]) -> bytes:
        buffer = self._arrow.BufferOutputStream()
        steps = (rows[first : first + STEP] for first in range(0, len(rows), STEP))
        tables = [table_of(self._columns.records(step), self._columns, self._schema) for step in steps]
        self._write(buffer, iter(tables))
        data: bytes = buffer.getvalue().to_pybytes()
        return data

    def counted(self, data: bytes) -> int:
        return 0

    def merge(self, parts: Iterator[IO[bytes]], out: IO[bytes]) -> None:
        batches = (batch for part in parts for batch in self._batches(part))
        self._write(out, map(self._arrow.Table.from_batches, groups_of(batches)))

    def holds(self, file: IO[bytes], position: Position, *, exactly: bool) -> bool:
        rows: int = self._parquet.read_metadata(file).num_rows
        return rows == position.rows if exactly else rows >= position.rows

    def copy(self, source: IO[bytes], out: IO[bytes], position: Position) -> None:
        batches = first_of(self._batches(source), position.rows)
        self._write(out, map(self._arrow.Table.from_batches, groups_of(batches)))

    def entries(
        self, files: Iterator[IO[bytes]], fields: Sequence[str], *, is_whole: bool
    ) -> Iterator[tuple[Any, ...]]:
        columns = [column for _, column in self._columns.picked(fields)]
        for file in files:
            for batch in self._batches(file, fields):
                cells = (values_of(column, batch.column(column.name).to_pylist()) for column in columns)
                yield from zip(*cells, strict=True)

    def _batches(self, file: IO[bytes], fields: Sequence[str] | None = None) -> Iterator[Any]:
        yield from self._parquet.ParquetFile(file).iter_batches(STEP, columns=fields and [*fields])

    def _write(self, out: Any, tables: Iterator[Any]) -> None:
        with self._parquet.ParquetWriter(out, self._schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=table.num_rows)

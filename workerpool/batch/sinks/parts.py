"""A file of columns: OUTPUT.partial is a directory with such a file for each batch, and at the end they become one.

Which format they have, a `TableFile` knows. Such a part is named by the number of records up to its end, so that the
position needs no more than that number: to resume is to remove the parts with higher names. Parts are written in
memory, and synced when they are confirmed. The end merges them in groups of about `GROUP_ROWS` rows or `GROUP_BYTES`,
which is all that is in memory then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from workerpool.batch.arrow import prepare, pyarrow, table_of, values_of
from workerpool.batch.columns import Columns, Row
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.place import write_all
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.staged import FileStore
from workerpool.errors import SinkError

if TYPE_CHECKING:
    import pyarrow as pa

CADENCE = Cadence(seconds=30.0, bytes=32 * 1024 * 1024)
GROUP_ROWS = 100_000
GROUP_BYTES = 64 * 1024 * 1024

STEP = 4_096
"""Rows that are converted or read at a time."""

_DONE = ".done"


class TableFile(Protocol):
    """A format of files that hold an Arrow table each. Arrow's errors and the system's come out of every method."""

    @property
    def ending(self) -> str: ...

    def write(self, file: IO[bytes], schema: pa.Schema, groups: Iterable[pa.Table]) -> None:
        """Write the rows of `groups`, each of them together where the format has a word for that."""

    def rows(self, path: str) -> int:
        """Count the rows in a file, by its footer."""

    def batches(self, path: str, fields: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Read a file in its order, a few thousand rows at a time; only `fields`, if they are given."""


class PartsStore(FileStore):
    """Parts in a directory, which are merged in the end, all of the format that `file` is."""

    cadence = CADENCE

    def __init__(self, output: str, columns: Columns, file: TableFile) -> None:
        super().__init__(output)
        self._file = file
        self._arrow = pyarrow("a columnar output")
        self.errors = (OSError, self._arrow.ArrowException)
        self._columns = columns
        self._schema = prepare(columns)
        self._directory = -1  # open and locked while this is ready

    def reason(self, error: Exception) -> str:
        return _first_line(error) if isinstance(error, self._arrow.ArrowException) else super().reason(error)

    def refusal(self, error: Exception) -> SinkError:
        if isinstance(error, self._arrow.ArrowException):
            return SinkError(f"{self.name} cannot be read: {_first_line(error)}")
        return super().refusal(error)

    def make(self) -> Position:
        self._place.clear()
        os.mkdir(self._place.partial)
        self._place.sync_directory()
        self._lock()
        return Position()

    def open(self) -> bool:
        try:
            self._lock()
        except FileNotFoundError:
            return False
        return True

    def cut(self, position: Position) -> bool:
        parts = self._parts()
        for rows in [rows for rows in parts if rows > position.rows]:
            os.unlink(self._part(rows))
        os.fsync(self._directory)
        return self._rows_in([rows for rows in parts if rows <= position.rows]) == position.rows

    def copy(self, position: Position) -> bool:
        if self._file.rows(self._place.path) < position.rows:
            return False
        there = self.make()
        for group in groups_of(first_of(self._file.batches(self._place.path), position.rows)):
            there = self._add(self._arrow.Table.from_batches(group), there)
        return True

    def find_output(self, position: Position) -> bool:
        if not os.path.exists(self._place.path):
            return False
        if self._file.rows(self._place.path) != position.rows:
            return False
        self._place.sync_directory()
        self._remove_parts()
        return True

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        return self._add(self._arrow.concat_tables(self._tables(rows)), position)

    def publish(self) -> None:
        self._merge()
        self._remove_parts()

    def close(self) -> None:
        if self._directory >= 0:
            directory, self._directory = self._directory, -1
            os.close(directory)

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        paths = [self._place.path]
        if position is not None and os.path.isdir(self._place.partial):
            paths = [self._part(part) for part in self._parts() if part <= position.rows]
        columns = [column for _, column in self._columns.picked(fields)]
        for path in paths:
            for batch in self._file.batches(path, fields):
                cells = (values_of(column, batch.column(column.name).to_pylist()) for column in columns)
                yield from zip(*cells, strict=True)

    def _tables(self, rows: Sequence[Row]) -> Iterator[pa.Table]:
        """Turn rows into tables step by step: as Python's objects they take several times the memory."""
        for first in range(0, len(rows), STEP):
            records = self._columns.records(rows[first : first + STEP])
            yield table_of(records, self._columns, self._schema)

    def _lock(self) -> None:
        self._directory = os.open(self._place.partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._place.lock(self._directory)

    def _parts(self) -> list[int]:
        """Return the names of the parts that are there, which are numbers of records, in their order."""
        paths = map(Path, os.listdir(self._place.partial))
        return sorted(int(path.stem) for path in paths if path.suffix == self._file.ending and path.stem.isdecimal())

    def _part(self, rows: int) -> str:
        return os.path.join(self._place.partial, f"{rows:012}{self._file.ending}")

    def _rows_in(self, parts: list[int]) -> int:
        """Count the records in `parts` up to the first that does not hold what its name says."""
        before = 0
        for rows in parts:
            if self._file.rows(self._part(rows)) != rows - before:
                break
            before = rows
        return before

    def _add(self, table: pa.Table, position: Position) -> Position:
        """Write the next part."""
        buffer = self._arrow.BufferOutputStream()
        self._file.write(buffer, self._schema, [table])
        rows = position.rows + table.num_rows
        try:
            self._write_part(self._part(rows), memoryview(buffer.getvalue()))
        except OSError:
            Path(self._part(rows)).unlink(missing_ok=True)
            raise
        return Position(rows)

    def _write_part(self, path: str, data: memoryview) -> None:
        file = self._place.create(path)
        try:
            _, error = write_all(file, data)
            if error is not None:
                raise error
            os.fsync(file)
        finally:
            os.close(file)
        os.fsync(self._directory)

    def _merge(self) -> None:
        path = os.path.join(self._place.partial, "merged")
        with open(self._place.create(path), "wb") as file:
            file.truncate(0)
            self._file.write(file, self._schema, map(self._arrow.Table.from_batches, groups_of(self._batches())))
            file.flush()
            os.fsync(file.fileno())
        self._place.publish(path)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for rows in self._parts():
            yield from self._file.batches(self._part(rows))

    def _remove_parts(self) -> None:
        """Remove the parts, by another name first: a part of them must never look like an unfinished output."""
        self.close()
        done = self._place.partial + _DONE
        if os.path.exists(self._place.partial):
            shutil.rmtree(done, ignore_errors=True)
            os.rename(self._place.partial, done)
            self._place.sync_directory()
        shutil.rmtree(done, ignore_errors=True)


def groups_of(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Put small batches together to row groups."""
    group: list[Any] = []
    rows = size = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def first_of(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Give out the first `rows` rows of `batches`."""
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""A Parquet file: OUTPUT.partial is a directory with a file for each batch, and at the end they become one file.

Such a part is named by the number of records up to its end, so that the position needs no more than that number: to
resume is to remove the parts with higher names. Parts are written in memory, and synced when they are confirmed. The
end merges them in row groups of about `GROUP_ROWS` rows or `GROUP_BYTES`, which is all that is in memory then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workerpool.batch.arrow import pyarrow, schema_of, table_of
from workerpool.batch.columns import Columns
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.place import write_all
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.staged import FileStore
from workerpool.errors import SinkError
from workerpool.extras import load

if TYPE_CHECKING:
    import pyarrow as pa

CADENCE = Cadence(seconds=30.0, bytes=32 * 1024 * 1024)
GROUP_ROWS = 100_000
GROUP_BYTES = 64 * 1024 * 1024

_PART = ".parquet"
_STEP = 4_096  # rows that are converted or read at a time
_DONE = ".done"


class ParquetStore(FileStore):
    """Parts in a directory, which are merged in the end."""

    cadence = CADENCE

    def __init__(self, output: str, columns: Columns) -> None:
        super().__init__(output)
        self._arrow = pyarrow("a Parquet output")
        self._parquet = load("pyarrow.parquet", "parquet", "a Parquet output")
        self.errors = (OSError, self._arrow.ArrowException)
        self._columns = columns
        self._schema = schema_of(columns)
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
        with self._parquet.ParquetFile(self._place.path) as source:
            if source.metadata.num_rows < position.rows:
                return False
            there = self.make()
            for group in _groups(_first(source.iter_batches(_STEP), position.rows)):
                there = self._add(self._arrow.Table.from_batches(group), there)
        return True

    def find_output(self, position: Position) -> bool:
        if not os.path.exists(self._place.path):
            return False
        if self._parquet.read_metadata(self._place.path).num_rows != position.rows:
            return False
        self._place.sync_directory()
        self._remove_parts()
        return True

    def append(self, rows: Sequence[bytes], position: Position) -> Position:
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
        for path in paths:
            with self._parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_STEP, columns=[*fields]):
                    yield from zip(*(batch.column(field).to_pylist() for field in fields), strict=True)

    def _tables(self, rows: Sequence[bytes]) -> Iterator[pa.Table]:
        """Turn rows into tables step by step: as Python's objects they take several times the memory."""
        for first in range(0, len(rows), _STEP):
            records = self._columns.records(rows[first : first + _STEP])
            yield table_of(records, self._columns, self._schema)

    def _lock(self) -> None:
        self._directory = os.open(self._place.partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._place.lock(self._directory)

    def _parts(self) -> list[int]:
        """Return the names of the parts that are there, which are numbers of records, in their order."""
        names = [name.removesuffix(_PART) for name in os.listdir(self._place.partial) if name.endswith(_PART)]
        return sorted(int(name) for name in names if name.isdecimal())

    def _part(self, rows: int) -> str:
        return os.path.join(self._place.partial, f"{rows:012}{_PART}")

    def _rows_in(self, parts: list[int]) -> int:
        """Count the records in `parts` up to the first that does not hold what its name says."""
        before = 0
        for rows in parts:
            if self._parquet.read_metadata(self._part(rows)).num_rows != rows - before:
                break
            before = rows
        return before

    def _add(self, table: pa.Table, position: Position) -> Position:
        """Write the next part."""
        buffer = self._arrow.BufferOutputStream()
        self._parquet.write_table(table, buffer, compression="zstd")
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
            with self._parquet.ParquetWriter(file, self._schema, compression="zstd") as writer:
                for group in _groups(self._batches()):
                    table = self._arrow.Table.from_batches(group)
                    writer.write_table(table, row_group_size=table.num_rows)
            file.flush()
            os.fsync(file.fileno())
        self._place.publish(path)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for rows in self._parts():
            with self._parquet.ParquetFile(self._part(rows)) as part:
                yield from part.iter_batches(_STEP)

    def _remove_parts(self) -> None:
        """Remove the parts, by another name first: a part of them must never look like an unfinished output."""
        self.close()
        done = self._place.partial + _DONE
        if os.path.exists(self._place.partial):
            shutil.rmtree(done, ignore_errors=True)
            os.rename(self._place.partial, done)
            self._place.sync_directory()
        shutil.rmtree(done, ignore_errors=True)


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
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


def _first(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Give out the first `rows` rows of `batches`."""
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

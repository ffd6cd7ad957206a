"""A Parquet file: OUTPUT.partial is a directory with a file for each batch, and at the end they become one file.

Such a part is named by the number of records up to its end, so that the position needs no more than that number: to
resume is to remove the parts with higher names. Parts are written in memory, and synced when they are confirmed. The
end merges them in row groups of about `GROUP_ROWS` rows or `GROUP_BYTES`, which is all that is in memory then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workerpool.batch.arrow import pyarrow, schema_of, table_of
from workerpool.batch.columns import Columns
from workerpool.batch.sinks.base import KEY_AND_URL, Cadence
from workerpool.batch.sinks.place import Place
from workerpool.batch.sinks.position import Position, parse
from workerpool.batch.sinks.sentences import write_error
from workerpool.batch.sinks.target import write_all
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


class ParquetSink:
    """A `DurableSink` that writes parts, and merges them in the end."""

    is_exactly_once = True
    cadence = CADENCE

    def __init__(self, output: str, columns: Columns, *, overwrite: bool = False) -> None:
        self._arrow = pyarrow("a Parquet output")
        self._parquet = load("pyarrow.parquet", "parquet", "a Parquet output")
        self._place = Place(output)
        self._columns = columns
        self._schema = schema_of(columns)
        self._overwrite = overwrite
        self._directory = -1  # open and locked while this is ready
        self._rows = 0
        self._is_finished = False

    @property
    def name(self) -> str:
        return self._place.name

    def leftover(self) -> str | None:
        return self._place.leftover()

    def begin(self) -> str:
        self._place.check_new(self._overwrite)
        with self._making_ready():
            self._make()
        return str(Position())

    def resume(self, position: str) -> None:
        wanted = parse(position)
        with self._making_ready():
            try:
                self._lock()
            except FileNotFoundError:
                self._find_finished(wanted)
                return
            parts = self._parts()
            for rows in [rows for rows in parts if rows > wanted.rows]:
                os.unlink(self._part(rows))
            os.fsync(self._directory)
            self._check([rows for rows in parts if rows <= wanted.rows], wanted)
        self._rows = wanted.rows

    def reopen(self, position: str) -> str:
        wanted = parse(position)
        if not os.path.exists(self._place.path):
            raise self._place.changed()
        with self._making_ready(), self._parquet.ParquetFile(self._place.path) as source:
            if source.metadata.num_rows < wanted.rows:
                raise self._place.changed()
            self._make()
            for group in _groups(_first(source.iter_batches(_STEP), wanted.rows)):
                self._add(self._arrow.Table.from_batches(group))
        return str(Position(self._rows))

    def write(self, rows: Sequence[bytes]) -> str:
        if self._is_finished:
            raise SinkError(f"{self.name} is finished, and takes no more records", records=self._rows)
        if rows:
            with self._writing():
                self._add(self._arrow.concat_tables(self._tables(rows)))
        return str(Position(self._rows))

    def finish(self) -> None:
        with self._writing():
            if not self._is_finished:
                self._merge()
                self._is_finished = True
            self._remove_parts()

    def close(self) -> None:
        if self._directory >= 0:
            directory, self._directory = self._directory, -1
            os.close(directory)

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        with self._making_ready():
            paths = [self._place.path]
            if position is not None and os.path.isdir(self._place.partial):
                rows = parse(position).rows
                paths = [self._part(part) for part in self._parts() if part <= rows]
            for path in paths:
                yield from self._read(path, fields)

    def _tables(self, rows: Sequence[bytes]) -> Iterator[pa.Table]:
        """Turn rows into tables step by step: as Python's objects they take several times the memory."""
        for first in range(0, len(rows), _STEP):
            records = self._columns.records(rows[first : first + _STEP])
            yield table_of(records, self._columns, self._schema)

    def _read(self, path: str, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        if not os.path.exists(path):
            raise self._place.changed()
        with self._parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_STEP, columns=[*fields]):
                yield from zip(*(batch.column(field).to_pylist() for field in fields), strict=True)

    def _make(self) -> None:
        """Have an empty directory, locked, in place of whatever was left."""
        self._place.clear()
        os.mkdir(self._place.partial)
        self._place.sync_directory()
        self._lock()
        self._rows = 0

    def _lock(self) -> None:
        self._directory = os.open(self._place.partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._place.lock(self._directory)

    def _parts(self) -> list[int]:
        """Return the names of the parts that are there, which are numbers of records, in their order."""
        names = [name.removesuffix(_PART) for name in os.listdir(self._place.partial) if name.endswith(_PART)]
        return sorted(int(name) for name in names if name.isdecimal())

    def _part(self, rows: int) -> str:
        return os.path.join(self._place.partial, f"{rows:012}{_PART}")

    def _check(self, parts: list[int], wanted: Position) -> None:
        """Raise `SinkError` unless `parts` hold the records that were confirmed."""
        before = 0
        for rows in parts:
            if self._parquet.read_metadata(self._part(rows)).num_rows != rows - before:
                break
            before = rows
        if before != wanted.rows:
            raise self._place.gone(f"does not hold the {wanted.rows:,} records that it did")

    def _add(self, table: pa.Table) -> None:
        """Write the next part."""
        buffer = self._arrow.BufferOutputStream()
        self._parquet.write_table(table, buffer, compression="zstd")
        rows = self._rows + table.num_rows
        try:
            self._write_part(self._part(rows), memoryview(buffer.getvalue()))
        except OSError:
            Path(self._part(rows)).unlink(missing_ok=True)
            raise
        self._rows = rows

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

    def _find_finished(self, wanted: Position) -> None:
        if not os.path.exists(self._place.path):
            raise self._place.gone("is gone")
        if self._parquet.read_metadata(self._place.path).num_rows != wanted.rows:
            raise self._place.gone("is gone")
        self._place.sync_directory()  # the rename was done by a process that may have had no time for this
        self._rows, self._is_finished = wanted.rows, True

    @contextmanager
    def _making_ready(self) -> Iterator[None]:
        with self._place.making_ready():
            try:
                yield
            except self._arrow.ArrowException as error:
                raise SinkError(f"{self.name} cannot be read: {_first_line(error)}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._place.writing(self._rows):
            try:
                yield
            except self._arrow.ArrowException as error:
                raise write_error(self.name, _first_line(error), self._rows, self._place.partial_name) from error


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

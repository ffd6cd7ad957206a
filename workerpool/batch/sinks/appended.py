"""JSON Lines and CSV for jobs, plain or packed by gzip: a file that grows by whole batches, each synced.

The position is a number of bytes, and a checksum of the last of them. To resume is to cut off the rest. A packed file
gets a gzip member for each batch, so that it can be cut there; members in a row are one gzip file. None of them is no
such file: where there are no records the output gets `NOTHING`, which no position counts.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

from workerpool.batch.columns import Row
from workerpool.batch.record import Record
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.place import write_all
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.staged import FileStore

PLAIN = Cadence(seconds=0.25, bytes=1024 * 1024)
PACKED = Cadence(seconds=5.0, bytes=4 * 1024 * 1024)
"""Larger, as each member begins with an empty dictionary and packs the worse the smaller it is."""

TAIL = 4096
"""Bytes before a position that are looked at to know that the file is the same."""

NOTHING = gzip.compress(b"", mtime=0)
"""A gzip file with nothing in it."""

_COPIED = 1024 * 1024  # bytes at a time
_LEVEL = 6


class Rows(Protocol):
    """What a format makes of records. `header` is what a file begins with."""

    @property
    def header(self) -> bytes: ...

    @property
    def line(self) -> Callable[[Record], bytes]:
        """Encode a record."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Encode rows, many of which are JSON already."""

    def entries(self, file: Iterable[bytes], fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Read some fields of each record back."""


class AppendedStore(FileStore):
    """A file that is appended to."""

    def __init__(self, output: str, rows: Rows, *, packed: bool = False) -> None:
        super().__init__(output)
        self.cadence = PACKED if packed else PLAIN
        self._rows = rows
        self._is_packed = packed
        self._file = -1
        self._last = b""  # the bytes before the position, TAIL of them at most

    def make(self) -> Position:
        self._open_new()
        return self._append(self._rows.header, Position(), 0) if self._rows.header else Position()

    def open(self) -> bool:
        try:
            self._file = os.open(self._place.partial, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._place.lock(self._file)
        return True

    def cut(self, position: Position) -> bool:
        if (last := _tail(self._file, position)) is None:
            return False
        os.ftruncate(self._file, position.bytes)
        os.fsync(self._file)
        self._last = last
        return True

    def copy(self, position: Position) -> bool:
        with open(self._place.path, "rb", buffering=0) as source:
            if (last := _tail(source.fileno(), position)) is None:
                return False
            self._open_new()
            self._copy(source, position.bytes)
            os.fsync(self._file)
        self._last = last
        return True

    def find_output(self, position: Position) -> bool:
        try:
            file = os.open(self._place.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if os.fstat(file).st_size != self._published(position) or _tail(file, position) is None:
                return False
        finally:
            os.close(file)
        self._place.sync_directory()
        return True

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        self._place.check_there(os.fstat(self._file))
        return self._append(self._rows.encode(rows), position, len(rows))

    def publish(self) -> None:
        opened = os.fstat(self._file)
        self._place.check_there(opened)
        if self._is_packed and not opened.st_size:
            self._write_at(0, NOTHING)
        os.fsync(self._file)
        self._place.publish(self._place.partial)

    def close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        file, size = self._open_to_read(position)
        with file:
            begin = io.BufferedReader(_Beginning(file, size))
            yield from self._rows.entries(gzip.GzipFile(fileobj=begin) if self._is_packed else begin, fields)

    def _open_to_read(self, position: Position | None) -> tuple[io.FileIO, int]:
        """Open what holds the records up to `position`; return it and how many of its bytes they are."""
        if position is not None:
            try:
                return io.FileIO(self._place.partial), position.bytes
            except FileNotFoundError:
                pass
        file = io.FileIO(self._place.path)
        return file, os.fstat(file.fileno()).st_size

    def _open_new(self) -> None:
        """Have an empty file, locked, in place of whatever was left."""
        self._place.clear()
        self._file = self._place.create(self._place.partial)
        self._place.lock(self._file)
        self._place.check_there(os.fstat(self._file))
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self._place.sync_directory()

    def _append(self, data: bytes, position: Position, rows: int) -> Position:
        packed = gzip.compress(data, _LEVEL, mtime=0) if self._is_packed else data
        self._write_at(position.bytes, packed)
        self._last = (self._last + packed[-TAIL:])[-TAIL:]
        return Position(position.rows + rows, position.bytes + len(packed), zlib.crc32(self._last))

    def _published(self, position: Position) -> int:
        """Bytes of the output that what there is up to `position` becomes."""
        return position.bytes or (len(NOTHING) if self._is_packed else 0)

    def _write_at(self, place: int, data: bytes) -> None:
        """Have `data` at the file's end, which is at `place`, on the disk; or nothing of it."""
        try:
            os.lseek(self._file, place, os.SEEK_SET)
            self._write(data)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, place)
            raise

    def _write(self, data: bytes) -> None:
        _, error = write_all(self._file, data)
        if error is not None:
            raise error

    def _copy(self, source: io.FileIO, size: int) -> None:
        source.seek(0)
        while size:
            data = source.read(min(_COPIED, size))
            if not data:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._write(data)
            size -= len(data)


class _Beginning(io.RawIOBase):
    """The first `size` bytes of a file, wherever that stands."""

    def __init__(self, file: io.FileIO, size: int) -> None:
        self._file = file
        self._rest = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))[: self._rest]
        read = self._file.readinto(view) or 0
        self._rest -= read
        return read


def _tail(file: int, position: Position) -> bytes | None:
    """Return the bytes before `position`, TAIL of them at most; None if they are not those that were confirmed."""
    size = min(TAIL, position.bytes)
    data = os.pread(file, size, position.bytes - size)
    return data if len(data) == size and (zlib.crc32(data) == position.tail or not size) else None

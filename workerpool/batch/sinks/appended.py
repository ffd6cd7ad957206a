"""JSON Lines and CSV for jobs, plain or packed by gzip: a file that grows by whole batches, each synced.

The position is a number of bytes, and a checksum of the last of them. To resume is to cut off the rest. A packed file
gets a gzip member for each batch, so that it can be cut there; members in a row are one gzip file.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, cast

from workerpool.batch.sinks.base import KEY_AND_URL, Cadence
from workerpool.batch.sinks.place import Place
from workerpool.batch.sinks.position import Position, parse
from workerpool.batch.sinks.target import write_all
from workerpool.errors import SinkError

PLAIN = Cadence(seconds=0.25, bytes=1024 * 1024)
PACKED = Cadence(seconds=5.0, bytes=4 * 1024 * 1024)
"""Larger, as each member begins with an empty dictionary and packs the worse the smaller it is."""

TAIL = 4096
"""Bytes before a position that are looked at to know that the file is the same."""

_COPIED = 1024 * 1024  # bytes at a time
_LEVEL = 6


class Rows(Protocol):
    """What a format makes of rows. `header` is what a file begins with."""

    header: bytes

    def encode(self, rows: Sequence[bytes]) -> bytes: ...

    def entries(self, file: Iterable[bytes], fields: Sequence[str]) -> Iterator[tuple[Any, ...]]: ...


class AppendedSink:
    """A `DurableSink` that appends to a file."""

    is_exactly_once = True

    def __init__(self, output: str, rows: Rows, *, packed: bool = False, overwrite: bool = False) -> None:
        self._place = Place(output)
        self._rows = rows
        self._is_packed = packed
        self._overwrite = overwrite
        self._file = -1
        self._position = Position()
        self._last = b""  # the bytes before the position, TAIL of them at most
        self._is_finished = False

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def cadence(self) -> Cadence:
        return PACKED if self._is_packed else PLAIN

    def leftover(self) -> str | None:
        return self._place.leftover()

    def begin(self) -> str:
        self._place.check_new(self._overwrite)
        with self._place.making_ready():
            self._make()
        if self._rows.header:
            self._append(self._rows.header, 0)
        return str(self._position)

    def resume(self, position: str) -> None:
        wanted = parse(position)
        with self._place.making_ready():
            try:
                self._file = os.open(self._place.partial, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                self._find_finished(wanted)
                return
            self._place.lock(self._file)
            if (last := _tail(self._file, wanted)) is None:
                raise self._place.gone(f"is not the file of {wanted.rows:,} records that it was")
            os.ftruncate(self._file, wanted.bytes)
            os.fsync(self._file)
        self._position, self._last = wanted, last

    def reopen(self, position: str) -> str:
        wanted = parse(position)
        with self._place.making_ready(), ExitStack() as stack:
            try:
                source = stack.enter_context(open(self._place.path, "rb", buffering=0))
            except FileNotFoundError:
                raise self._place.changed() from None
            if (last := _tail(source.fileno(), wanted)) is None:
                raise self._place.changed()
            self._make()
            self._copy(source, wanted.bytes)
            os.fsync(self._file)
        self._position, self._last = wanted, last
        return position

    def write(self, rows: Sequence[bytes]) -> str:
        if rows:
            self._append(self._rows.encode(rows), len(rows))
        return str(self._position)

    def finish(self) -> None:
        with self._place.writing(self._position.rows):
            if not self._is_finished:
                self._place.check_there(os.fstat(self._file))
                os.fsync(self._file)
                self._place.publish(self._place.partial)
                self._is_finished = True

    def close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        with self._place.making_ready(), ExitStack() as stack:
            file, size = self._open_to_read(position)
            raw = stack.enter_context(file)
            begin = io.BufferedReader(_Beginning(raw, size))
            yield from self._rows.entries(gzip.GzipFile(fileobj=begin) if self._is_packed else begin, fields)

    def _open_to_read(self, position: str | None) -> tuple[io.FileIO, int]:
        """Open what holds the records up to `position`; return it and how many of its bytes they are."""
        if position is not None:
            try:
                return io.FileIO(self._place.partial), parse(position).bytes
            except FileNotFoundError:
                pass
        try:
            file = io.FileIO(self._place.path)
        except FileNotFoundError:
            raise self._place.changed() from None
        return file, os.fstat(file.fileno()).st_size

    def _make(self) -> None:
        """Have an empty file, locked, in place of whatever was left."""
        self._place.clear()
        self._file = self._place.create(self._place.partial)
        self._place.lock(self._file)
        self._place.check_there(os.fstat(self._file))
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self._place.sync_directory()

    def _find_finished(self, wanted: Position) -> None:
        try:
            file = os.open(self._place.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._place.gone("is gone") from None
        try:
            if os.fstat(file).st_size != wanted.bytes or _tail(file, wanted) is None:
                raise self._place.gone("is gone")
        finally:
            os.close(file)
        self._place.sync_directory()  # the rename was done by a process that may have had no time for this
        self._position, self._is_finished = wanted, True

    def _append(self, data: bytes, rows: int) -> None:
        if self._is_finished:
            raise SinkError(f"{self.name} is finished, and takes no more records", records=self._position.rows)
        self._place.check_there(os.fstat(self._file))
        packed = gzip.compress(data, _LEVEL, mtime=0) if self._is_packed else data
        with self._place.writing(self._position.rows):
            try:
                self._write(packed)
            except OSError:
                os.ftruncate(self._file, self._position.bytes)
                raise
        self._last = (self._last + packed[-TAIL:])[-TAIL:]
        before = self._position
        self._position = Position(before.rows + rows, before.bytes + len(packed), zlib.crc32(self._last))

    def _write(self, data: bytes) -> None:
        os.lseek(self._file, self._position.bytes, os.SEEK_SET)
        _, error = write_all(self._file, data)
        if error is not None:
            raise error
        os.fsync(self._file)

    def _copy(self, source: io.FileIO, size: int) -> None:
        source.seek(0)
        while size:
            data = source.read(min(_COPIED, size))
            if not data:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            _, error = write_all(self._file, data)
            if error is not None:
                raise error
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

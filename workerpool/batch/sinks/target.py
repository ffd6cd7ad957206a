"""Descriptors that records are appended to: a file, or standard output. One thread at a time; no buffering here.

`sys.stdout` is passed by: what its buffer still holds when the reader of a pipe has gone turns into a traceback as the
interpreter exits, and records must be counted as the system takes them.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from workerpool.batch.sinks.sentences import why_not
from workerpool.errors import OptionError, SinkError

STDOUT_NAME = "standard output"


class WriteFailed(Exception):
    """Not everything was written: `whole` of the pieces are there, and nothing of the one after them if it could be
    taken back. `error` says why."""

    def __init__(self, error: OSError, whole: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.whole = whole


class Target(Protocol):
    @property
    def name(self) -> str: ...

    def open(self) -> None: ...

    def append(self, pieces: Sequence[bytes]) -> None: ...

    def close(self) -> None: ...

    def explain(self, error: OSError) -> str | None: ...


class FileTarget:
    """A file at `path`: made new, or emptied if `overwrite`; devices and named pipes are written as they are."""

    def __init__(self, path: str, *, overwrite: bool = False) -> None:
        self.name = path
        self._overwrite = overwrite
        self._file = -1
        self._size = 0
        self._is_regular = True

    def open(self) -> None:
        """Raises `OptionError` for a file that is there already, `SinkError` for one that cannot be made."""
        try:
            self._file = os.open(self.name, self._flags(), 0o666)
            self._is_regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        except FileExistsError as error:
            raise OptionError(
                f"{self.name} is there already: give --overwrite to replace it, or name another output"
            ) from error
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.name} cannot be written: {why_not(self.name, error)}") from error

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write `pieces` one after the other; raises `WriteFailed` after taking back a piece that is not whole."""
        written, error = write_all(self._file, b"".join(pieces))
        if error is None:
            self._size += written
            return
        whole, size = _whole(pieces, written)
        self._size += size
        if self._is_regular:
            with suppress(OSError):  # a disk that takes nothing may not take this either
                os.ftruncate(self._file, self._size)
        raise WriteFailed(error, whole) from error

    def close(self) -> None:
        """Sync and close: some file systems tell only then that there was no room."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        try:
            if self._is_regular:
                os.fsync(file)
        finally:
            os.close(file)

    def explain(self, error: OSError) -> str | None:
        return None

    def _flags(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            if not stat.S_ISREG(os.stat(self.name).st_mode):
                return flags & ~os.O_CREAT
        except OSError:
            pass
        return flags | (os.O_TRUNC if self._overwrite else os.O_EXCL)


class StdoutTarget:
    """Standard output, by its descriptor."""

    name = STDOUT_NAME

    def __init__(self) -> None:
        self._file = 1

    def open(self) -> None:
        """Raises `SinkError` if it was closed before we began.

        Then the first file or socket that was opened since has its number, and would get our records; `sys` has kept
        in mind how it was at the start.
        """
        if sys.__stdout__ is None:
            raise SinkError(f"{self.name} is closed: redirect it, or name a file with -o")
        if sys.stdout is not None:
            sys.stdout.flush()

    def append(self, pieces: Sequence[bytes]) -> None:
        written, error = write_all(self._file, b"".join(pieces))
        if error is not None:
            raise WriteFailed(error, _whole(pieces, written)[0]) from error

    def close(self) -> None:
        """Standard output is not ours to close."""

    def explain(self, error: OSError) -> str | None:
        return "its reader has gone" if error.errno in (errno.EPIPE, errno.ECONNRESET) else None


def write_all(file: int, data: bytes | memoryview) -> tuple[int, OSError | None]:
    """Write `data`, in as many steps as the system wants; return how many bytes went out, and what ended it early."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            select.select([], [file], [])
        except OSError as error:
            return len(data) - len(rest), error
    return len(data), None


def _whole(pieces: Sequence[bytes], written: int) -> tuple[int, int]:
    """Return how many of `pieces` are whole in the first `written` bytes of them, and their bytes."""
    size = 0
    for number, piece in enumerate(pieces):
        if size + len(piece) > written:
            return number, size
        size += len(piece)
    return len(pieces), size

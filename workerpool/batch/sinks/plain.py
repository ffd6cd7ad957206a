"""The plain outputs of a run: a file, or standard output, that records are appended to as they come.

There is no partial: what is there can be read at any time, and what a full disk left of a record is cut off again. One
thread at a time. `sys.stdout` is passed by: what its buffer still holds when the reader of a pipe has gone turns into a
traceback as the interpreter exits, and records must be counted as the system takes them.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress

from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.place import write_all
from workerpool.batch.sinks.sentences import reason_of, why_not, write_error
from workerpool.errors import OptionError, SinkError

STDOUT_NAME = "standard output"

CADENCE = Cadence(seconds=0.0, bytes=64 * 1024)
"""One system call for some 200 records, as each gives the interpreter's lock away."""


class _Plain:
    """`Batches` of records that are encoded already, to a descriptor, after a `header`."""

    name: str
    cadence = CADENCE

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._file = -1
        self._rows = self._size = 0  # that are there, whole

    def leftover(self) -> str | None:
        return None

    def write(self, rows: Sequence[bytes]) -> None:
        """Write `rows` one after the other; after an error those before the one that is torn are there, and counted."""
        written, error = write_all(self._file, b"".join(rows))
        whole, size = (len(rows), written) if error is None else _whole(rows, written)
        self._rows += whole
        self._size += size
        if error is not None:
            self._take_back()
            raise write_error(self.name, self._reason(error), self._rows) from error

    def _begin(self, rows: int) -> None:
        """Write the header; `rows` were there before."""
        self._rows = rows
        if self._header:
            self.write([self._header])
            self._rows = rows

    def settle(self) -> None:
        """Nothing was kept."""

    def _take_back(self) -> None:
        """Remove what there is of a row that is torn, where that can be done."""

    def _reason(self, error: OSError) -> str:
        return reason_of(error)


class PlainFile(_Plain):
    """A file: made new, or emptied if that may be; devices and named pipes are written as they are."""

    def __init__(self, path: str, header: bytes = b"") -> None:
        super().__init__(header)
        self.name = path
        self._is_regular = True

    def begin(self, *, overwrite: bool = False) -> None:
        """Raises `OptionError` for a file that is there already, `SinkError` for one that cannot be made."""
        try:
            self._file = os.open(self.name, self._flags(overwrite), 0o666)
            self._is_regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        except FileExistsError as error:
            raise OptionError(
                f"{self.name} is there already: give overwrite=True to replace it, or name another output"
            ) from error
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.name} cannot be written: {why_not(self.name, error)}") from error
        self._begin(0)

    def finish(self) -> None:
        """Sync and close: some file systems tell only then that there was no room."""
        try:
            if self._is_regular:
                os.fsync(self._file)
            self.close()
        except OSError as error:
            raise write_error(self.name, reason_of(error), self._rows) from error

    def close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _take_back(self) -> None:
        if self._is_regular:
            with suppress(OSError):  # a disk that takes nothing may not take this either
                os.ftruncate(self._file, self._size)

    def _flags(self, overwrite: bool) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            if not stat.S_ISREG(os.stat(self.name).st_mode):
                return flags & ~os.O_CREAT
        except OSError:
            pass
        return flags | (os.O_TRUNC if overwrite else os.O_EXCL)


class StandardOutput(_Plain):
    """Standard output, by its descriptor, which is not ours to close. `rows`: records that went there before."""

    name = STDOUT_NAME

    def __init__(self, header: bytes = b"", rows: int = 0) -> None:
        super().__init__(header)
        self._before = rows

    @property
    def rows(self) -> int:
        """Records that went there."""
        return self._rows

    def begin(self, *, overwrite: bool = False) -> None:
        """Raises `SinkError` if it was closed before we began.

        Then the first file or socket that was opened since has its number, and would get our records; `sys` has kept
        in mind how it was at the start.
        """
        if sys.__stdout__ is None:
            raise SinkError(f"{self.name} is closed: redirect it, or name a file with -o")
        if sys.stdout is not None:
            sys.stdout.flush()
        self._file = 1
        self._begin(self._before)

    def finish(self) -> None:
        """What was written has gone already."""

    def close(self) -> None:
        """Nothing of ours is open."""

    def _reason(self, error: OSError) -> str:
        return "its reader has gone" if error.errno in (errno.EPIPE, errno.ECONNRESET) else reason_of(error)


def _whole(rows: Sequence[bytes], written: int) -> tuple[int, int]:
    """Return how many of `rows` are whole in the first `written` bytes of them, and their bytes."""
    size = 0
    for number, row in enumerate(rows):
        if size + len(row) > written:
            return number, size
        size += len(row)
    return len(rows), size

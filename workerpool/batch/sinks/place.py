"""Where an output grows until it is finished: OUTPUT.partial beside it, on the same file system, for one rename.

A symbolic link is followed: what it leads to is replaced, the link stays. One process at a time has a place, by a lock
that ends with the process. What is created or renamed here is synced, its directory too, before a call returns.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import stat
from pathlib import Path

from workerpool.batch.sinks.sentences import gone
from workerpool.errors import OptionError, SinkError

PARTIAL = ".partial"

_BESIDE = ("-journal", "-wal", "-shm")  # what SQLite puts beside a database in use, or leaves after a crash


def is_one_file(one: str, other: str) -> bool:
    """Whether two paths lead to one regular file, or would if it were made."""
    try:
        if os.path.lexists(one) and os.path.lexists(other):
            return os.path.isfile(one) and os.path.samefile(one, other)
        return os.path.realpath(one) == os.path.realpath(other)
    except (OSError, ValueError):
        return False


class Place:
    """The path of an output, and of what it is until it is finished. Opens and holds nothing."""

    def __init__(self, output: str) -> None:
        self.name = output
        self.path = os.path.realpath(output)
        self.partial = self.path + PARTIAL
        self.partial_name = output + PARTIAL

    def check_new(self, overwrite: bool) -> None:
        """Raise `OptionError` for an output that is there and may not be replaced, or never could be."""
        if not os.path.lexists(self.path):
            return
        if not os.path.isfile(self.path):
            what = "a directory" if os.path.isdir(self.path) else "no regular file"
            raise OptionError(f"{self.name} is {what}: name a file that may be made or replaced, or - for a pipe")
        if not overwrite:
            raise OptionError(
                f"{self.name} is there already: give overwrite=True to replace it, or name another output"
            )

    def leftover(self) -> str | None:
        """Name what an unfinished run has left here, if anything."""
        return self.partial_name if os.path.lexists(self.partial) else None

    def clear(self) -> None:
        """Remove what was left unfinished, of whatever format; raises `SinkError` if another process writes it."""
        try:
            left = os.open(self.partial, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            pass
        else:
            try:
                self.lock(left)
                self.check_there(os.fstat(left))  # who held the lock may have made an output of it meanwhile
                if os.path.isdir(self.partial):
                    shutil.rmtree(self.partial)
                else:
                    os.unlink(self.partial)
            finally:
                os.close(left)
        remove_beside(self.partial)

    def create(self, path: str) -> int:
        """Open `path`, made if need be, with the permissions of the output that it will replace."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.fchmod(file, stat.S_IMODE(os.stat(self.path).st_mode))
        except FileNotFoundError:
            pass
        return file

    def publish(self, path: str) -> None:
        """Make the file at `path`, which is on the disk, the output."""
        os.replace(path, self.path)
        self.sync_directory()

    def sync_directory(self) -> None:
        """Have the names in the output's directory on the disk."""
        sync_directory(os.path.dirname(self.path))

    def lock(self, file: int) -> None:
        """Keep other processes from writing here as long as `file` is open; raises `SinkError` if one does."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SinkError(
                f"{self.partial_name} is being written by another process: let it end, or name another output"
            ) from error
        except OSError:
            pass  # some network file systems know no locks

    def check_there(self, opened: os.stat_result) -> None:
        """Raise `SinkError` if somebody has taken the file away that was opened: what is written would go with it."""
        try:
            if os.path.samestat(os.stat(self.partial), opened):
                return
        except OSError:
            pass
        raise gone(self.partial_name, "has been removed or replaced")


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


def remove_beside(path: str) -> None:
    """Remove what SQLite has left beside the database at `path`."""
    for ending in _BESIDE:
        Path(path + ending).unlink(missing_ok=True)


def sync_directory(path: str) -> None:
    """Have the names in the directory `path` on the disk."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

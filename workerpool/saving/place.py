"""The step from a part to its name: atomic, never over another file by accident, and never out of the directory.

Directories are entered one by one, and none by a symbolic link, whoever made it and when. What is made or renamed is
synced, its directory too, before a call returns. Any thread, any process.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from workerpool.errors import NameTaken
from workerpool.saving.parts import told

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
"""What file systems say that know no hard links."""
_NO_WAY = (errno.ENOTDIR, errno.ELOOP)
"""What the system says of a directory that is a file, or a symbolic link."""


def is_taken(directory: str, name: str) -> bool:
    """Whether something of that name is there."""
    try:
        return os.path.lexists(os.path.join(directory, *name.split("/")))
    except ValueError:
        return False


def put(part: str, size: int, directory: str, name: str, *, overwrite: bool, is_by_content: bool) -> str:
    """Give the file `part`, of `size` bytes and on the disk, its `name` in `directory`; returns its path.

    Raises `NameTaken` for a name that another file has: unless it may `overwrite` that, or the name `is_by_content`, so
    that a file of it and of that size is this very one. Raises `NotSaved` for what the disk does. The part is gone, or
    to be dropped.
    """
    path = os.path.join(directory, name)
    with told(path), _directory_of(directory, name) as (folder, last):
        if overwrite:
            _replace(part, last, folder, path)
        else:
            try:
                _link(part, last, folder)
            except FileExistsError:
                if not is_by_content:
                    raise taken(path) from None
                if _size_of(last, folder, path) != size:  # it was damaged since
                    _replace(part, last, folder, path)
        os.fsync(folder)
    return path


def taken(path: str) -> NameTaken:
    return NameTaken(
        f"{path} is there already, and may not be replaced: name it otherwise, or allow that it is overwritten"
    )


@contextmanager
def _directory_of(directory: str, name: str) -> Iterator[tuple[int, str]]:
    """Open the directory that `name` is in, made if need be; gives that, and the last piece of the name."""
    *pieces, last = name.split("/")
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # which the user named: links are theirs
    try:
        for number, piece in enumerate(pieces):
            inner = _entered(folder, piece, os.path.join(directory, *pieces[: number + 1]))
            os.close(folder)
            folder = inner
        yield folder, last
    finally:
        os.close(folder)


def _entered(folder: int, piece: str, path: str) -> int:
    try:
        os.mkdir(piece, dir_fd=folder)
        os.fsync(folder)
    except FileExistsError:
        pass
    try:
        return os.open(piece, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        raise NameTaken(f"{path} is no directory, and one is needed there: name the file otherwise") from error


def _link(part: str, name: str, folder: int) -> None:
    """Give a part its name as well, if nothing has it; raises `FileExistsError`."""
    try:
        os.link(part, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
        os.replace(part, name, dst_dir_fd=folder)


def _replace(part: str, name: str, folder: int, path: str) -> None:
    try:
        os.replace(part, name, dst_dir_fd=folder)
    except IsADirectoryError as error:
        raise NameTaken(f"{path} is a directory: name the file otherwise") from error


def _size_of(name: str, folder: int, path: str) -> int:
    """The size of a file; raises `NameTaken` for what is none."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise NameTaken(f"{path} is there already, and is no file: name the file otherwise")
    return found.st_size

"""The file of rejects, beside the output: a run without a job appends as it goes, a job writes it whole at its end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

from workerpool.batch.record import Record
from workerpool.batch.sinks import STDOUT, file_of
from workerpool.batch.sinks.jsonl import encode_row
from workerpool.batch.sinks.place import PARTIAL, is_one_file, sync_directory, write_all
from workerpool.batch.sinks.sentences import reason_of, why_not
from workerpool.errors import OptionError, SinkError

ENDING = ".rejects.jsonl"

NAME = "rejects.jsonl"
"""What it is called in the directory of a job whose output is no file."""

_PARTIAL = ".partial"
_AT_ONCE = 256 * 1024  # bytes


def rejects_path(output: str | None, given: str | None, directory: str | None = None) -> str:
    """Return where rejects go: what was `given`, or beside the output, or in a job's `directory`.

    `output` is None for a function. Raises `OptionError` where none of these is there, and for a path whose directory
    is not.
    """
    if given is not None:
        if not os.path.isdir(directory := os.path.dirname(given) or os.curdir):
            raise OptionError(f"rejects={given!r}: there is no directory {directory}: make it, or name another file")
        return given
    if output is not None and output != STDOUT and "://" not in output:
        return output + ENDING
    if directory is not None:
        return os.path.join(directory, NAME)
    raise OptionError("a schema's rejects go to a file beside the output, which is no file here: give rejects=FILE")


def check_rejects_apart(path: str, output: str | None, sources: Sequence[str]) -> None:
    """Raise `OptionError` if rejects at `path` would take away a source, the `output`, or what is no file.

    `output` is None for a function. Nothing is touched.
    """
    if os.path.lexists(path) and not os.path.isfile(path):
        raise OptionError(f"the rejects cannot go to {path}, as that is there and is no file: name another by rejects=")
    outputs = [] if output is None or output == STDOUT or "://" in output else [output, output + PARTIAL]
    for mine in (path, path + _PARTIAL):
        if any(is_one_file(mine, its) for its in outputs):
            raise OptionError(f"the rejects cannot go to {path}, where the output goes: name another file by rejects=")
        for source in sources:
            file = file_of(source)
            if file is not None and is_one_file(mine, file):
                raise OptionError(
                    f"the rejects cannot go to {path}, which is one of the sources: name another file by rejects="
                )


class RejectsFile:
    """The file at `path`, made with the first reject. The run's thread alone uses it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        self._file = -1

    def check(self, *, overwrite: bool = False) -> None:
        """Raise `OptionError` for a file that is there already and may not be replaced."""
        if not overwrite and os.path.lexists(self.path):
            raise OptionError(
                f"{self.path} is there already: give overwrite=True to replace it, or another one by rejects="
            )

    def open(self) -> None:
        """Take away the file of another run; raises `SinkError`."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SinkError(f"{self.path} cannot be replaced: {reason_of(error)}") from error

    def write(self, rejects: Sequence[Record]) -> None:
        """Append rejects; raises `SinkError`."""
        if not rejects:
            return
        try:
            if self._file < 0:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            _, error = write_all(self._file, b"".join(map(encode_row, rejects)))
            if error is not None:
                raise error
        except OSError as error:
            raise _unwritten(self.path, error) from error
        self.count += len(rejects)

    def close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            with suppress(OSError):
                os.fsync(file)
            os.close(file)


def publish(path: str, rejects: Iterable[bytes]) -> None:
    """Have exactly `rejects` in the file at `path`, in one step, and no file if there are none; raises `SinkError`."""
    partial = path + _PARTIAL
    try:
        if _write_all(partial, rejects):
            os.replace(partial, path)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.unlink(partial)
        sync_directory(os.path.dirname(path) or ".")
    except OSError as error:
        raise _unwritten(path, error) from error


def count_in(path: str) -> int:
    """Count the rejects in the file at `path`; 0 if it is not there."""
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


def _write_all(path: str, lines: Iterable[bytes]) -> bool:
    """Write `lines` to a new file, and say whether there were any."""
    with open(path, "wb", buffering=_AT_ONCE) as file:
        file.writelines(lines)
        has_any = file.tell() > 0
        file.flush()
        os.fsync(file.fileno())
    return has_any


def _unwritten(path: str, error: OSError) -> SinkError:
    return SinkError(f"the rejects cannot be written to {path}: {why_not(path, error)}")

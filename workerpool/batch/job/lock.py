"""The lock of a job's directory: one run at a time, and no trace of one that was killed.

It is the system's lock on an open file (`flock`), so it ends with its process, however that ends. What is written in
the file is for people: who holds it. Any thread.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import datetime

from workerpool.errors import JobError, JobHeld
from workerpool.forking import tell_of_forks

FILE = "lock"

LOOK_AGAIN = 0.05
"""Seconds between two looks at a lock that is waited for."""

GLANCE = 0.2
"""Seconds that a lock is always waited for: `holder_of` takes it for a moment to see whether it is free."""


class JobLock:
    """Makes the directory, and holds it until `release`.

    Raises `JobHeld` if another run holds it for longer than `wait` seconds, `JobError` if it cannot be made.
    """

    def __init__(self, directory: str, wait: float = 0.0) -> None:
        self._file = -1
        self._directory = directory
        try:
            os.makedirs(directory, exist_ok=True)
            self._file = os.open(os.path.join(directory, FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise JobError(f"the job's directory {directory} cannot be used: {_why_not(error)}") from error
        try:
            self._take(wait)
        except BaseException:
            os.close(self._file)
            raise
        tell_of_forks(self)

    def release(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def start_anew(self) -> None:
        """In a forked child: let go, as the lock is its parent's, and would outlive that."""
        self.release()

    def _take(self, wait: float) -> None:
        until = time.monotonic() + max(wait, GLANCE)
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    waited = f" for {wait:g} s" if wait else ""
                    raise JobHeld(
                        f"another run holds the job {self._directory}{waited}{_shown(self._file)}: "
                        "let it end, or wait for it with wait_lock="
                    ) from error
            time.sleep(min(LOOK_AGAIN, max(0.0, until - time.monotonic())))
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(holder).encode(), 0)
        except OSError:
            pass  # a full disk: the lock holds all the same, but nobody is told who holds it


def holder_of(directory: str) -> str | None:
    """Say who holds the job's lock, "" if that cannot be told; None if nobody does."""
    try:
        file = os.open(os.path.join(directory, FILE), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _shown(file).strip(" ()")
    finally:
        os.close(file)
    return None


def _shown(file: int) -> str:
    """Who holds the lock, in parentheses, as far as the file tells."""
    try:
        holder = json.loads(os.pread(file, 1000, 0))
        since = datetime.fromtimestamp(holder["since"]).strftime("%Y-%m-%d %H:%M:%S")
        return f" (process {int(holder['pid'])} on {holder['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return ""


def _why_not(error: OSError) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "there is a file of that name, or above it: name a directory"
    text = error.strerror or str(error)
    return f"{text[:1].lower()}{text[1:]}"

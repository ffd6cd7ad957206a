"""What a run needs of a place for its results, and the part that all files have in common.

A sink is written by one thread; `flush` and `abort` may come from another one. Records are appended whole: what a full
disk left of a record is cut off again, so a file that is there can be read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol

from workerpool.batch.record import Record
from workerpool.batch.sinks.target import Target, WriteFailed
from workerpool.errors import SinkError

FLUSH_BYTES = 64 * 1024
"""Bytes held back at most: one system call for some 200 records, as each gives the interpreter's lock away."""

ABORT_WAIT = 1.0
"""Seconds that `abort` waits for a write that is under way, such as one into a pipe that nobody reads."""


class Sink(Protocol):
    """Where records go. `name` is for sentences, `written` counts the records that are safe."""

    @property
    def name(self) -> str: ...

    @property
    def written(self) -> int: ...

    def open(self) -> None:
        """Make the place ready; raises `OptionError` or `SinkError` where nothing could be written."""

    def write(self, record: Record) -> None:
        """Take one record, to be written by the next `flush` at the latest; raises `SinkError`."""

    def flush(self) -> None:
        """Write what was taken; raises `SinkError`."""

    def close(self) -> None:
        """Write what was taken and let go; raises `SinkError`. A second call does nothing."""

    def abort(self) -> None:
        """Write what was taken if that can be done at once, for a process that is about to end. Raises nothing."""


class FileSink:
    """Appends encoded records to a target, whole ones only. `encode` may be costly; it runs outside the lock."""

    def __init__(self, target: Target, encode: Callable[[Record], bytes], header: bytes = b"") -> None:
        self._target = target
        self._encode = encode
        self._header = header
        self._lock = threading.Lock()  # guards everything below, and the target
        self._pending: list[bytes] = []
        self._size = 0
        self._written = 0
        self._failure: SinkError | None = None
        self._is_closed = False

    @property
    def name(self) -> str:
        return self._target.name

    @property
    def written(self) -> int:
        return self._written

    def open(self) -> None:
        self._target.open()
        if self._header:
            try:
                self._target.append([self._header])
            except WriteFailed as failure:
                raise self._failed(failure, 0) from failure

    def write(self, record: Record) -> None:
        data = self._encode(record)
        with self._lock:
            self._pending.append(data)
            self._size += len(data)
            if self._size >= FLUSH_BYTES or self._failure:
                self._flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            try:
                self._flush()
            finally:
                self._close_target()

    def abort(self) -> None:
        if self._lock.acquire(timeout=ABORT_WAIT):
            try:
                self._flush()
            except SinkError:
                pass
            finally:
                self._lock.release()

    def _flush(self) -> None:
        if self._failure:
            raise self._failure
        if not self._pending:
            return
        pending, self._pending, self._size = self._pending, [], 0
        try:
            self._target.append(pending)
        except WriteFailed as failure:
            raise self._failed(failure, failure.whole) from failure
        self._written += len(pending)

    def _close_target(self) -> None:
        try:
            self._target.close()
        except OSError as error:
            raise self._failed(WriteFailed(error, 0), 0) from error

    def _failed(self, failure: WriteFailed, whole: int) -> SinkError:
        """Remember a failure, which is final: a later record after a gap would claim that nothing is missing."""
        self._written += whole
        reason = os.strerror(failure.error.errno) if failure.error.errno else str(failure.error)
        self._failure = SinkError(
            f"{self.name} cannot be written: {self._target.explain(failure.error) or reason.lower()}; "
            f"{_records(self._written)}",
            records=self._written,
        )
        return self._failure


def _records(number: int) -> str:
    if number == 0:
        return "no record was written"
    return f"the {number:,} records before are whole" if number > 1 else "the 1 record before is whole"

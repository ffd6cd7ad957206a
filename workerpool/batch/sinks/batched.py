"""A run's sink: gives encoded records to their place in batches, at its cadence, and makes it the output at the end.

Until then records that do not go to a plain file are in a place beside the output, such as OUTPUT.partial. That is
where they stay, and can be read, after a run that could not end: `abort` writes what was taken and finishes nothing. A
later run refuses such a place unless it may overwrite, as nobody else has these records. A run that was asked to stop
ends all the same, so its output is finished with what came in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from workerpool.batch.record import Record
from workerpool.batch.sinks.base import ABORT_WAIT, Batches
from workerpool.batch.sinks.jsonl import encode
from workerpool.errors import OptionError, SinkError


class BatchedSink:
    """A `Sink` over `sink`. `encode` may be costly; it runs outside the lock."""

    def __init__(self, sink: Batches, encode: Callable[[Record], bytes] = encode, *, overwrite: bool = False) -> None:
        self._sink = sink
        self._encode = encode
        self._overwrite = overwrite
        self._seconds, self._most = sink.cadence.seconds, sink.cadence.bytes
        self._lock = threading.Lock()  # guards everything below, and the sink
        self._rows: list[bytes] = []
        self._size = 0
        self._since = 0.0  # when the first of the rows came
        self._written = 0
        self._failure: BaseException | None = None
        self._is_closed = False

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def written(self) -> int:
        return self._written

    def open(self) -> None:
        left = None if self._overwrite else self._sink.leftover()
        if left is not None:
            raise OptionError(
                f"{left} holds the results of a job, or of an earlier run that was broken off: "
                "keep it by another name, give overwrite=True to lose it, or name another output"
            )
        self._sink.begin(overwrite=self._overwrite)

    def write(self, record: Record) -> None:
        row = self._encode(record)
        with self._lock:
            if not self._rows:
                self._since = time.monotonic()
            self._rows.append(row)
            self._size += len(row)
            if self._size >= self._most or self._failure:
                self._write()

    def flush(self) -> None:
        """Write what was taken, once it is old enough to be a batch; raises `SinkError`."""
        with self._lock:
            if self._failure or (self._rows and time.monotonic() - self._since >= self._seconds):
                self._write()

    def close(self) -> None:
        """Write what was taken, finish the output and let go."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            try:
                self._write()
                self._sink.finish()
                self._sink.settle()
            finally:
                self._sink.close()

    def abort(self) -> None:
        if self._lock.acquire(timeout=ABORT_WAIT):
            try:
                with suppress(BaseException):
                    self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        if self._failure:
            raise self._failure
        if not self._rows:
            return
        rows, self._rows, self._size = self._rows, [], 0
        try:
            self._sink.write(rows)
        except BaseException as error:  # also one that nobody has foreseen: these records are lost
            self._failure = error  # final: a later batch after a gap would claim that nothing is missing
            if isinstance(error, SinkError):
                self._written = max(self._written, error.records)
            raise
        self._written += len(rows)

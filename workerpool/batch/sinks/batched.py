"""A run's sink: gives rows to their place in batches, at its cadence, and makes it the output at the end.

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
from typing import Generic, TypeVar

from workerpool.batch.record import Record
from workerpool.batch.sinks.base import ABORT_WAIT, Batches
from workerpool.batch.sinks.jsonl import encode
from workerpool.errors import OptionError, SinkError

R = TypeVar("R")

ROW = 512
"""Bytes that a row is taken for beside what it was made of, where it is not encoded: a dict and some ten objects."""


class BatchedSink(Generic[R]):
    """A `Sink` over `sink`, which takes what `encode` makes of a record; it may be costly, and runs outside any lock.

    A batch is written by whoever finds that it is due: the run's thread if there is enough of it, the housekeeper if it
    is old enough. While one of the two writes, the other goes on taking records, until these are a batch, too. So there
    are two batches in memory at most, and a sink that is slower than the answers slows them down.
    """

    def __init__(
        self,
        sink: Batches[R],
        encode: Callable[[Record], R] = encode,  # type: ignore[assignment]  # of a sink of lines
        *,
        overwrite: bool = False,
    ) -> None:
        self._sink = sink
        self._encode = encode
        self._overwrite = overwrite
        self._seconds, self._most = sink.cadence.seconds, sink.cadence.bytes
        # Who wants both takes this one first. It is held as long as a write takes; it guards the sink and the three
        # fields below. Rows are taken out under it, so that batches are written in the order in which they came.
        self._writing = threading.Lock()
        self._written = 0
        self._failure: BaseException | None = None
        self._is_closed = False
        self._lock = threading.Lock()  # held for moments; guards what follows
        self._rows: list[R] = []
        self._size = 0
        self._since = 0.0  # when the first of the rows came

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

    def write(self, *records: Record, size: int = 0) -> None:
        rows = [*map(self._encode, records)]
        lines = [len(row) for row in rows if isinstance(row, bytes)]
        size = sum(lines) if lines else size + ROW * len(rows)
        with self._lock:
            if not self._rows:
                self._since = time.monotonic()
            self._rows += rows
            self._size += size
            is_due = self._size >= self._most
        # A failure that is noted right after this look is raised by the next call, and by `close` if there is none.
        if is_due or self._failure:
            with self._writing:
                self._write()

    def flush(self) -> None:
        """Write what was taken, once it is old enough to be a batch; raises `SinkError`."""
        with self._lock:
            is_due = bool(self._rows) and time.monotonic() - self._since >= self._seconds
        if is_due or self._failure:
            with self._writing:
                self._write()

    def close(self) -> None:
        """Write what was taken, finish the output and let go."""
        with self._writing:
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
        if self._writing.acquire(timeout=ABORT_WAIT):
            try:
                with suppress(BaseException):
                    self._write()
            finally:
                self._writing.release()

    def _write(self) -> None:
        """Write what there is, which may be none, as another thread was quicker. `_writing` is held."""
        if self._failure:
            raise self._failure
        rows = self._taken()
        if not rows:
            return
        try:
            self._sink.write(rows)
        except BaseException as error:  # also one that nobody has foreseen: these records are lost
            self._failure = error  # final: a later batch after a gap would claim that nothing is missing
            if isinstance(error, SinkError):
                self._written = max(self._written, error.records)
            raise
        self._written += len(rows)

    def _taken(self) -> list[R]:
        with self._lock:
            rows, self._rows, self._size = self._rows, [], 0
        return rows

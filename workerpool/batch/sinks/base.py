"""What a run or a job needs of a place for its results, and the plain files of a run.

A `Sink` is written by one thread; `flush` and `abort` may come from another one. Records are appended whole: what a
full disk left of a record is cut off again, so a file that is there can be read.

A `DurableSink` is a job's, and used by one thread at a time. It takes batches, each of which is on the disk when
`write` returns. The position that `write` returns is committed elsewhere, and after a crash the sink is resumed there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from workerpool.batch.record import Record
from workerpool.batch.sinks.sentences import reason_of, write_error
from workerpool.batch.sinks.target import Target, WriteFailed
from workerpool.errors import SinkError

KEY_AND_URL = ("key", "url")
"""The fields that tell which input a record is of."""

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
        """Take one record, to be written by a `flush` to come at the latest; raises `SinkError`."""

    def flush(self) -> None:
        """Write what was taken, or wait for more if that is not worth a batch yet; raises `SinkError`."""

    def close(self) -> None:
        """Write what was taken and let go; raises `SinkError`. A second call does nothing."""

    def abort(self) -> None:
        """Write what was taken if that can be done at once, for a process that is about to end. Raises nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a batch is worth writing: after so many `seconds`, at so many `bytes` of JSON, or at so many `rows`."""

    seconds: float
    bytes: int
    rows: int = 100_000


class DurableSink(Protocol):
    """Where a job's records go, in batches, each of which is there whole or not at all once `write` has returned.

    Until `finish` they are in a place beside the output, such as ``OUTPUT.partial``. A sink is made ready by one of
    `begin`, `resume` and `reopen`. Every method but `close` raises `SinkError` for what the system or somebody else
    did; after that the sink is to be closed, and what was confirmed is kept. A position is text of the sink's making.
    """

    @property
    def name(self) -> str:
        """What to call it in a sentence; holds no secret."""

    @property
    def cadence(self) -> Cadence: ...

    @property
    def is_exactly_once(self) -> bool:
        """Whether `resume` can undo what was written after a position; if not, a batch may be there twice."""

    def leftover(self) -> str | None:
        """Name what an earlier run has left unfinished, which `begin` would remove; None if there is nothing."""

    def begin(self) -> str:
        """Make the place ready for a new run, and return the position of nothing.

        What an earlier run left unfinished is removed. Raises `OptionError` for an output that is there already, unless
        the sink was made with `overwrite`; even then it stays as it is until `finish`.
        """

    def resume(self, position: str) -> None:
        """Go back to `position`, undoing what was written after it, or find that all of it was finished already.

        Raises `SinkError` if less is there than that, or something else.
        """

    def reopen(self, position: str) -> str:
        """Go on from the finished output, keeping its records up to `position`; returns the position to resume at.

        The output stays as it is until `finish`.
        """

    def write(self, rows: Sequence[bytes]) -> str:
        """Write records, each a line as `jsonl.encode` makes it, durably; returns the position after them."""

    def finish(self) -> None:
        """Make it the output, in place of an older one, at once or not at all. Once it is done, this does nothing."""

    def close(self) -> None:
        """Let go. A second call does nothing."""

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        """Read back some `fields` of every record in its order, in bounded memory, on a sink that is not ready.

        `fields` are some of `record.FIELDS`; numbers and truth values come as such. With `position`, of the records up
        to it, wherever they are now; with None, of the finished output, all of it.
        """


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
        self._failure: BaseException | None = None
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
                with suppress(BaseException):
                    self._flush()
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
        except BaseException as error:
            self._failure = error  # whatever it is: these records are lost
            raise
        self._written += len(pending)

    def _close_target(self) -> None:
        try:
            self._target.close()
        except OSError as error:
            raise self._failed(WriteFailed(error, 0), 0) from error

    def _failed(self, failure: WriteFailed, whole: int) -> SinkError:
        """Remember a failure, which is final: a later record after a gap would claim that nothing is missing."""
        self._written += whole
        reason = self._target.explain(failure.error) or reason_of(failure.error)
        error = self._failure = write_error(self.name, reason, self._written)
        return error

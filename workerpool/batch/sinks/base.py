"""What a run or a job needs of a place for its results.

A `Sink` is written by one thread; `flush` and `abort` may come from another one.

A `DurableSink` is a job's, and used by one thread at a time. It takes batches, each of which is on the disk when
`write` returns. The position that `write` returns is committed elsewhere, and after a crash the sink is resumed there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from workerpool.batch.record import Record

R = TypeVar("R", contravariant=True)

KEY_AND_URL = ("key", "url")
"""The fields that tell which input a record is of."""

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

    def write(self, *records: Record, size: int = 0) -> None:
        """Take records, to be written by a `flush` to come at the latest; raises `SinkError`.

        `size`: the bytes that they were made of, where the sink does not count those of their lines.
        """

    def flush(self) -> None:
        """Write what was taken, or wait for more if that is not worth a batch yet; raises `SinkError`."""

    def close(self) -> None:
        """Write what was taken and let go; raises `SinkError`. A second call does nothing."""

    def abort(self) -> None:
        """Write what was taken if that can be done at once, for a process that is about to end. Raises nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When a batch is worth writing: after so many `seconds`, or at so many `bytes` of encoded records."""

    seconds: float
    bytes: int


class Batches(Protocol[R]):
    """What takes rows in batches, from `begin` to `finish`. Every method but `close` raises `SinkError`.

    A row is a record, or a line of JSON as `jsonl.encode` makes it, or either, as a `Row` is.
    """

    @property
    def name(self) -> str:
        """What to call it in a sentence; holds no secret."""

    @property
    def cadence(self) -> Cadence: ...

    def leftover(self) -> str | None:
        """Name what an earlier run has left unfinished, which `begin` would remove; None if there is nothing."""

    def begin(self, *, overwrite: bool = False) -> object:
        """Make the place ready; raises `OptionError` for an output that is there already and may not be replaced."""

    def write(self, rows: Sequence[R]) -> object:
        """Write rows; a `SinkError` says how many are whole."""

    def finish(self) -> None:
        """Make it the output."""

    def settle(self) -> None:
        """It is known, and written down, that it is finished: remove what was kept to find that out."""

    def close(self) -> None:
        """Let go. A second call does nothing."""


class DurableSink(Batches[bytes], Protocol):
    """Where a job's records go, in batches, each of which is there whole or not at all once `write` has returned.

    Until `finish` they are in a place beside the output, such as ``OUTPUT.partial``. A sink is made ready by one of
    `begin`, `resume` and `reopen`. Every method but `close` raises `SinkError` for what the system or somebody else
    did; after that the sink is to be closed, and what was confirmed is kept. A position is text of the sink's making.
    """

    @property
    def is_exactly_once(self) -> bool:
        """Whether `resume` can undo what was written after a position; if not, a batch may be there twice."""

    def begin(self, *, overwrite: bool = False) -> str:
        """Make the place ready for a new run, and return the position of nothing.

        What an earlier run left unfinished is removed. Raises `OptionError` for an output that is there already, unless
        it may `overwrite` that; even then the output stays as it is until `finish`.
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

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        """Read back some `fields` of every record in its order, in bounded memory, on a sink that is not ready.

        `fields` are some of `record.FIELDS`; numbers and truth values come as such. With `position`, of the records up
        to it, wherever they are now; with None, of the finished output, all of it.
        """

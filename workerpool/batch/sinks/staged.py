"""The `DurableSink` over files and tables: records grow in a partial beside the output, which becomes it in one step.

What the partial is, a `Store` knows: a file, a directory of files, a database, a table. What may be done when, what is
found after a crash, and what is said of it, is here. One thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from workerpool.batch.columns import Row
from workerpool.batch.sinks.base import KEY_AND_URL, Cadence
from workerpool.batch.sinks.place import Place
from workerpool.batch.sinks.position import Position, parse
from workerpool.batch.sinks.sentences import gone, reason_of, why_not, write_error
from workerpool.errors import SinkError


class Store(Protocol):
    """What holds records: an output, and a partial beside it. Positions are those after whole batches.

    `name` and `partial_name` are for sentences, and hold no secret. What the system or a library refuses comes out of
    every method as one of `errors`; with `hides_causes`, these may hold a secret that `reason` and `refusal` leave out.
    `FileNotFoundError` in `copy` and `read` says that there is no output.
    """

    @property
    def name(self) -> str: ...

    @property
    def partial_name(self) -> str: ...

    @property
    def cadence(self) -> Cadence: ...

    @property
    def errors(self) -> tuple[type[Exception], ...]: ...

    @property
    def hides_causes(self) -> bool: ...

    def reason(self, error: Exception) -> str:
        """Say what is wrong, to follow a colon."""

    def refusal(self, error: Exception) -> SinkError:
        """Say that nothing can be written or read here, and why."""

    def check_new(self, overwrite: bool) -> None:
        """Raise `OptionError` for an output that is there and may not be replaced, or never could be."""

    def leftover(self) -> str | None:
        """Name the partial if there is one."""

    def make(self) -> Position:
        """Hold an empty partial in place of whatever was left, and return the position of nothing."""

    def open(self) -> bool:
        """Hold the partial that is there; False if there is none."""

    def cut(self, position: Position) -> bool:
        """Remove from the partial what is after `position`; False if it holds less, or something else."""

    def copy(self, position: Position) -> bool:
        """Make a partial of the output's records up to `position`; False if it holds less, or something else."""

    def find_output(self, position: Position) -> bool:
        """Whether the output holds exactly that: a process ended right after `publish`, which is carried to its end."""

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        """Write rows after `position`, durably, all or none of them; returns where they end. Changes no record."""

    def publish(self) -> None:
        """Make the partial the output, in one step."""

    def settle(self) -> None:
        """See `Batches.settle`."""

    def close(self) -> None:
        """Let go of what is held, if anything is."""

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Read some fields back: see `DurableSink.entries`."""


class StagedSink:
    """A `DurableSink` over a `store`."""

    is_exactly_once = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self._position = Position()
        self._is_ready = False
        self._is_finished = False

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def cadence(self) -> Cadence:
        return self._store.cadence

    def leftover(self) -> str | None:
        with self._making_ready():
            return self._store.leftover()

    def begin(self, *, overwrite: bool = False) -> str:
        with self._making_ready():
            self._store.check_new(overwrite)
            self._position = self._store.make()
        self._is_ready = True
        return str(self._position)

    def resume(self, position: str) -> None:
        wanted = parse(position)
        with self._making_ready():
            if self._store.open():
                if not self._store.cut(wanted):
                    raise gone(self._store.partial_name, f"does not hold the {wanted.rows:,} records that it did")
            elif self._store.find_output(wanted):
                self._is_finished = True
            else:
                raise gone(self._store.partial_name, "is gone")
        self._position, self._is_ready = wanted, True

    def reopen(self, position: str) -> str:
        wanted = parse(position)
        with self._making_ready(), self._output():
            if not self._store.copy(wanted):
                raise self._changed()
        self._position, self._is_ready = wanted, True
        return str(wanted)

    def write(self, rows: Sequence[Row]) -> str:
        self._check_ready()
        if rows:
            with self._writing():
                self._position = self._store.append(rows, self._position)
        return str(self._position)

    def finish(self) -> None:
        if self._is_finished:
            return
        self._check_ready()
        with self._writing():
            self._store.publish()
        self._is_finished = True

    def settle(self) -> None:
        with suppress(*self._store.errors):  # what is left is removed by the next run
            self._store.settle()

    def close(self) -> None:
        self._is_ready = False
        self._store.close()

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        with self._making_ready(), self._output():
            yield from self._store.read(None if position is None else parse(position), fields)

    def _check_ready(self) -> None:
        if self._is_finished or not self._is_ready:
            what = "is finished or closed, and takes no more records"
            raise SinkError(f"{self.name} {what}", records=self._position.rows)

    def _changed(self) -> SinkError:
        return SinkError(
            f"{self.name} has been removed or changed since it was finished: put it back as it was, or leave out "
            "retry_failed=True to begin the next run"
        )

    @contextmanager
    def _output(self) -> Iterator[None]:
        """Say that an output that was finished is not there any more."""
        try:
            yield
        except FileNotFoundError:
            raise self._changed() from None

    @contextmanager
    def _making_ready(self) -> Iterator[None]:
        try:
            yield
        except self._store.errors as error:
            raise self._store.refusal(error) from self._cause(error)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn errors inside into sentences that say how many records are safe, and where; they are the end of it."""
        try:
            yield
        except self._store.errors as error:
            store, self._is_ready = self._store, False
            said = write_error(self.name, store.reason(error), self._position.rows, store.partial_name)
            raise said from self._cause(error)

    def _cause(self, error: Exception) -> Exception | None:
        return None if self._store.hides_causes else error


class MergedSink(StagedSink):
    """A `DurableSink` whose rows are merged into an output that is there: that has no records up to a position."""

    def reopen(self, position: str) -> str:
        """Go on with nothing: what was merged stays, and what comes is merged after it."""
        return self.begin()


class FileStore:
    """What the stores have in common whose output and partial are paths. `check_there` and more is their `_place`'s."""

    errors: tuple[type[Exception], ...] = (OSError,)
    hides_causes = False

    def __init__(self, output: str) -> None:
        self._place = Place(output)

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def partial_name(self) -> str:
        return self._place.partial_name

    def reason(self, error: Exception) -> str:
        return reason_of(error)

    def refusal(self, error: Exception) -> SinkError:
        return SinkError(f"{self.name} cannot be written: {why_not(self.name, error)}")

    def check_new(self, overwrite: bool) -> None:
        self._place.check_new(overwrite)

    def leftover(self) -> str | None:
        return self._place.leftover()

    def settle(self) -> None:
        """Nothing was kept."""

"""Standard output for jobs: what was written cannot be taken back, so a crash may bring the last batch twice.

Each process that writes begins with the header of its format, if that has one, as it may be a new reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from workerpool.batch.sinks.appended import PLAIN, Rows
from workerpool.batch.sinks.base import KEY_AND_URL, Cadence
from workerpool.batch.sinks.position import Position, parse
from workerpool.batch.sinks.sentences import reason_of, write_error
from workerpool.batch.sinks.target import STDOUT_NAME, StdoutTarget, WriteFailed
from workerpool.errors import SinkError


class StandardOutputSink:
    """A `DurableSink` that is none: it keeps nothing, and `resume` undoes nothing."""

    name = STDOUT_NAME
    is_exactly_once = False

    def __init__(self, rows: Rows) -> None:
        self._target = StdoutTarget()
        self._rows = rows
        self._position = Position()

    @property
    def cadence(self) -> Cadence:
        return PLAIN

    def leftover(self) -> str | None:
        return None

    def begin(self, *, overwrite: bool = False) -> str:
        self._start(Position())
        return str(self._position)

    def resume(self, position: str) -> None:
        self._start(parse(position))

    def reopen(self, position: str) -> str:
        self._start(parse(position))
        return position

    def write(self, rows: Sequence[bytes]) -> str:
        self._append(self._rows.encode(rows))
        self._position = Position(self._position.rows + len(rows))
        return str(self._position)

    def finish(self) -> None:
        """What was written has gone already."""

    def close(self) -> None:
        """Standard output is not ours to close."""

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        raise SinkError(f"{self.name} cannot be read back: give the job a file as its output")

    def _start(self, position: Position) -> None:
        self._position = position
        self._target.open()
        if self._rows.header:
            self._append(self._rows.header)

    def _append(self, data: bytes) -> None:
        try:
            self._target.append([data])
        except WriteFailed as failure:
            reason = self._target.explain(failure.error) or reason_of(failure.error)
            raise write_error(self.name, reason, self._position.rows) from failure

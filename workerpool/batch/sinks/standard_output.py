"""Standard output for jobs: what was written cannot be taken back, so a crash may bring the last batch twice.

Each process that writes begins with the header of its format, if that has one, as it may be a new reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from workerpool.batch.sinks.appended import PLAIN, Rows
from workerpool.batch.sinks.base import KEY_AND_URL
from workerpool.batch.sinks.plain import STDOUT_NAME, StandardOutput
from workerpool.batch.sinks.position import Position, parse
from workerpool.errors import SinkError


class StandardOutputSink:
    """Has a `DurableSink`'s methods, but cannot undo: after `resume` the last batch may come twice."""

    name = STDOUT_NAME
    is_exactly_once = False
    cadence = PLAIN

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._output = StandardOutput()

    def leftover(self) -> str | None:
        return None

    def begin(self, *, overwrite: bool = False) -> str:
        return self._start(Position())

    def resume(self, position: str) -> None:
        self._start(parse(position))

    def reopen(self, position: str) -> str:
        return self._start(parse(position))

    def write(self, rows: Sequence[bytes]) -> str:
        self._output.write([self._rows.encode([row]) for row in rows])
        return str(Position(self._output.rows))

    def finish(self) -> None:
        """What was written has gone already."""

    def settle(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Standard output is not ours to close."""

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        raise SinkError(f"{self.name} cannot be read back: give the job a file as its output")

    def _start(self, position: Position) -> str:
        self._output = StandardOutput(self._rows.header, position.rows)
        self._output.begin()
        return str(position)

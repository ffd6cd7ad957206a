"""A function as the output of a job: it is called with lists of records, and nobody knows what it does with them.

A batch is confirmed once the function has returned. So a crash may bring the last batch twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workerpool.batch.record import Record
from workerpool.batch.sinks.base import KEY_AND_URL, Cadence
from workerpool.batch.sinks.position import Position, parse
from workerpool.errors import SinkError

Receive = Callable[[list[Record]], object]


class CallbackSink:
    """A `DurableSink` over `receive`, whose errors end the run; what it raises is the cause of the `SinkError`."""

    name = "the function that receives the records"
    is_exactly_once = False
    cadence = Cadence(seconds=0.25, bytes=1024 * 1024)

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rows = 0

    def leftover(self) -> str | None:
        return None

    def begin(self, *, overwrite: bool = False) -> str:
        return str(Position())

    def resume(self, position: str) -> None:
        self._rows = parse(position).rows

    def reopen(self, position: str) -> str:
        self.resume(position)
        return position

    def write(self, rows: Sequence[bytes]) -> str:
        try:
            self._receive([json.loads(row) for row in rows])
        except Exception as error:
            raise SinkError(f"{self.name} raised {type(error).__name__}", records=self._rows) from error
        self._rows += len(rows)
        return str(Position(self._rows))

    def finish(self) -> None:
        """It has had everything."""

    def settle(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing is open."""

    def entries(self, position: str | None, fields: Sequence[str] = KEY_AND_URL) -> Iterator[tuple[Any, ...]]:
        raise SinkError(f"{self.name} cannot be read back: give the job a file as its output")

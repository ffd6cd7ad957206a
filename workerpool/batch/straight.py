"""The books of a run without a job: requests straight from the sources, records straight to a sink.

The run's thread fetches and writes; the housekeeper flushes. Nothing is kept: a run that was stopped starts over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from workerpool.batch.ahead import read_ahead
from workerpool.batch.record import record_of
from workerpool.batch.run import Pool, Take
from workerpool.batch.sinks.base import Sink
from workerpool.errors import SourceError
from workerpool.model import IDLE, Idle, Outcome, Request


class Source(Protocol):
    """What is needed of `batch.source.Sources`."""

    @property
    def may_wait(self) -> bool: ...

    def __iter__(self) -> Iterator[Request]: ...

    def stop(self) -> None: ...


class StraightBooks:
    """From a source to a sink, which the caller has opened."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        include: Collection[str] = (),
        ordered: bool = False,
        window: int | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._include = frozenset(include)
        self._ordered = ordered
        self._window = window
        self._is_stopped = False
        self._is_read_to_end = False
        self._done = 0
        self.failed = None
        self.read = 0
        self.source_error: SourceError | None = None

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def written(self) -> int:
        return self._sink.written

    @property
    def is_whole(self) -> bool:
        return self._is_read_to_end and self._done == self.read

    def fetch(self, pool: Pool, take: Take) -> None:
        with closing(pool.batches(self._requests(), ordered=self._ordered, window=self._window)) as batches:
            for items in batches:
                self._write([item for item in items if isinstance(item, Outcome)], take)
                del items  # their bodies must not live until the next ones come

    def stop(self, reason: str) -> None:
        self._is_stopped = True
        self._source.stop()

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        self._sink.close()

    def abort(self) -> None:
        self._sink.abort()

    def _write(self, outcomes: Sequence[Outcome], take: Take) -> None:
        for outcome in outcomes:
            self._sink.write(record_of(outcome, self._include))
        self._done += len(outcomes)
        take(outcomes)

    def _requests(self) -> Iterator[Request | Idle]:
        """Read the source; its error ends the reading here, as inside the pool's stream it would cost the results."""
        try:
            for request in read_ahead(self._source) if self._source.may_wait else self._source:
                self.read += request is not IDLE
                yield request
            self._is_read_to_end = not self._is_stopped
        except SourceError as error:
            self.source_error = error

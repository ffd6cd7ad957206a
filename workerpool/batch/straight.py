"""The books of a run without a job: requests straight from the sources, records straight to a sink.

The run's thread fetches and writes; the housekeeper flushes. Nothing is kept: a run that was stopped starts over.
Where inputs that ask for the same are fetched once, one that is read later is answered as soon as its answer is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from workerpool.batch.job.answers import ANSWER_TABLES, Answers
from workerpool.batch.job.database import Database
from workerpool.batch.job.duplicates import AT_ONCE, Copy, Duplicates
from workerpool.batch.job.states import State, state_of
from workerpool.batch.record import PAGE, record_of
from workerpool.batch.run import Pool, Take
from workerpool.batch.sinks.base import Sink
from workerpool.batch.sinks.sentences import reason_of
from workerpool.batch.sources.ahead import read_ahead
from workerpool.errors import Cancelled, SinkError, SourceError
from workerpool.model import IDLE, Idle, Outcome, Request
from workerpool.paging import Pages


class Source(Protocol):
    """What is needed of `batch.sources.files.FileSources`."""

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
        duplicates: Duplicates | None = None,
        pages: Pages | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._pages = pages
        self._include = frozenset(include) | (frozenset() if pages is None else {PAGE})
        self._ordered = ordered
        self._window = window
        self._duplicates = duplicates
        self._copies: list[Copy] = []  # of outcomes that came before
        self._take: Take = lambda outcomes: None
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
        self._take = take
        kind: dict[str, Any] = {"ordered": self._ordered, "window": self._window}
        if self._pages is not None:
            kind["pages"] = self._pages
        with closing(pool.batches(self._requests(), **kind)) as batches:
            for items in batches:
                self._write([item for item in items if isinstance(item, Outcome)])
                del items  # their bodies must not live until the next ones come
        self._write([])

    def stop(self, reason: str) -> None:
        self._is_stopped = True
        self._source.stop()

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        self._sink.close()

    def abort(self) -> None:
        self._sink.abort()

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        if self._duplicates is not None:
            self._write_copies(self._copies)
            self._copies = []
        for outcome in outcomes:
            record = record_of(outcome, self._include)
            self._sink.write(record)
            if self._duplicates is not None:
                state = State.QUEUED if isinstance(outcome.error, Cancelled) else state_of(outcome)
                for copies in self._duplicates.end(outcome, state, record):
                    self._write_copies(copies)
        self._done += sum(outcome.following is None for outcome in outcomes)
        self._take(outcomes)
        if self._duplicates is not None:
            self._duplicates.write_answers()

    def _write_copies(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            self._sink.write(copy.record)
        self._done += len(copies)
        self._take([copy.outcome for copy in copies])

    def _is_answered(self, request: Request | Idle) -> bool:
        """Whether another request like this one has ended, or will be its answer."""
        if self._duplicates is None or isinstance(request, Idle):
            return False
        met = self._duplicates.meet(request)
        if isinstance(met, Copy):
            self._copies.append(met)
            if len(self._copies) >= AT_ONCE:
                self._write([])
        return bool(met)

    def _requests(self) -> Iterator[Request | Idle]:
        """Read the source; its error ends the reading here, as inside the pool's stream it would cost the results."""
        try:
            for request in read_ahead(self._source) if self._source.may_wait else self._source:
                self.read += request is not IDLE
                if not self._is_answered(request):
                    yield request
            self._is_read_to_end = not self._is_stopped
        except SourceError as error:
            self.source_error = error


@contextmanager
def scratch_duplicates(paths: Sequence[str]) -> Iterator[Duplicates]:
    """Make a place, on the disk and for as long as this is entered, where the answers to what comes again are kept.

    `paths` are the sources' names in their requests. Raises `SinkError` if there is no room for it.
    """
    numbers = {path: number for number, path in enumerate(paths)}
    try:
        scratch = TemporaryDirectory(prefix="workerpool-")
    except OSError as error:
        raise SinkError(
            f"no temporary directory can be made to keep answers in: {reason_of(error)}; TMPDIR names another place"
        ) from error
    with scratch as directory, closing(Database(f"{directory}/answers", ANSWER_TABLES, 1, is_scratch=True)) as database:
        yield Duplicates(Answers(database), lambda request: (numbers[request.source], request.ordinal))

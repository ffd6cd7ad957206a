"""The books of a run without a job: requests straight from the sources, records straight to a sink.

The run's thread fetches and writes; the housekeeper flushes. Nothing is kept: a run that was stopped starts over.
Where inputs that ask for the same are fetched once, one that is read later is answered as soon as its answer is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from workerpool.batch.bodies import Bodies, as_sink_error
from workerpool.batch.job.answers import ANSWER_TABLES, Answers
from workerpool.batch.job.database import Database
from workerpool.batch.job.duplicates import AT_ONCE, Copy, Duplicates
from workerpool.batch.job.states import State, state_of
from workerpool.batch.progress import Moment
from workerpool.batch.record import Record
from workerpool.batch.run import Pool, Take
from workerpool.batch.schemas.forms import Form, Records
from workerpool.batch.schemas.rejects_file import RejectsFile
from workerpool.batch.sinks.base import Sink
from workerpool.batch.sinks.sentences import reason_of
from workerpool.batch.sources.ahead import read_ahead
from workerpool.errors import Cancelled, NotSaved, SinkError, SourceError
from workerpool.model import IDLE, Idle, Outcome, Request
from workerpool.paging import Pages


class Source(Protocol):
    """What is needed of `batch.sources.files.FileSources`."""

    @property
    def may_wait(self) -> bool: ...

    def __iter__(self) -> Iterator[Request]: ...

    def stop(self) -> None: ...


class StraightBooks:
    """From a source to a sink, which the caller has opened, and to a file of `rejects` if the `form` is a schema's."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        form: Form | None = None,
        rejects: RejectsFile | None = None,
        ordered: bool = False,
        window: int | None = None,
        duplicates: Duplicates | None = None,
        pages: Pages | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._form = form or Records(())
        self._rejects = rejects
        self._pages = pages
        self._ordered = ordered
        self._window = window
        self._duplicates = duplicates
        self._bodies = bodies
        self._unsaved: NotSaved | None = None
        self._drain: Callable[[], None] = lambda: None
        self._copies: list[Copy] = []  # of outcomes that came before
        self._take: Take = lambda outcomes: None
        self._is_stopped = False
        self._is_read_to_end = False
        self._done = 0
        self.directory = self.run = self.inputs = None  # there is no job
        self.read = 0
        self.source_error: SourceError | None = None

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def written(self) -> int:
        return self._sink.written

    @property
    def rejected(self) -> int:
        return 0 if self._rejects is None else self._rejects.count

    @property
    def is_whole(self) -> bool:
        return self._is_read_to_end and self._done == self.read

    def fetch(self, pool: Pool, take: Take) -> None:
        self._take, self._drain = take, pool.drain
        kind: dict[str, Any] = {"ordered": self._ordered, "window": self._window}
        if self._pages is not None:
            kind["pages"] = self._pages
        with closing(pool.batches(self._requests(), **kind)) as batches:
            for items in batches:
                self._write([item for item in items if isinstance(item, Outcome)])
                del items  # their bodies must not live until the next ones come
        self._write([])
        if self._unsaved is not None:
            raise as_sink_error(self._unsaved)

    def stop(self, reason: str) -> None:
        self._is_stopped = True
        self._source.stop()

    def flush(self, look: Callable[[], Moment]) -> None:
        self._sink.flush()

    def close(self) -> None:
        try:
            self._sink.close()
        finally:
            if self._rejects is not None:
                self._rejects.close()
        if self._bodies is not None:
            self._bodies.close()

    def abort(self) -> None:
        self._sink.abort()

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        if self._duplicates is not None:
            self._write_copies(self._copies)
            self._copies = []
        for outcome in outcomes:
            if isinstance(outcome.error, NotSaved):
                self._break_off(outcome.error)
            record = self._form.record(outcome)
            self._write_record(record)
            if self._duplicates is not None:
                state = State.QUEUED if isinstance(outcome.error, Cancelled) else state_of(outcome)
                for copies in self._duplicates.end(outcome, state, record):
                    self._write_copies(copies)
        self._done += sum(outcome.following is None for outcome in outcomes)
        self._take(outcomes)
        if self._duplicates is not None:
            self._duplicates.write_answers()

    def _write_record(self, record: Record) -> None:
        if rows := self._form.rows(record):
            self._sink.write(*rows, size=record["bytes"])
        if self._rejects is not None:
            self._rejects.write(self._form.rejects(record))

    def _break_off(self, error: NotSaved) -> None:
        """The disk takes no bodies: the run ends."""
        self._unsaved = self._unsaved or error
        self.stop("its bodies could not be written")
        self._drain()

    def _write_copies(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            self._write_record(copy.record)
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
                    yield (
                        request if self._bodies is None or isinstance(request, Idle) else self._bodies.prepare(request)
                    )
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

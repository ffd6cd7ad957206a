"""Reads the requests of a batch from files and standard input, lazily: one line or row in memory at a time.

What can be told before anything is sent (a missing file, an unknown kind, no column 'url') is told by `check`.
After that a bad line is a request with a `problem`, and only bytes that cannot be read end the reading, with a
`SourceError`. One thread iterates, `stop` comes from any thread. Nothing here decides what a request is: `rows` does.

A source can be read on from a `Mark`, without what is before it, and tells marks and checks as it is read (`reading`).
A JSON line is up to 4 MiB long; a CSV field 128 KiB (see `csv`). Columns and fields that are not in `rows.COLUMNS`
are left alone, and said once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from workerpool.batch.sources.chunks import Wake
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.marks import BEGINNING, Block, Fingerprint, Mark
from workerpool.batch.sources.names import sources_named
from workerpool.batch.sources.opened import Opened, Source
from workerpool.batch.sources.reading import FileReading
from workerpool.batch.sources.remote import RemoteSource
from workerpool.batch.sources.rows import COLUMNS
from workerpool.errors import SourceError
from workerpool.model import Request

COUNTED = 64 * 1024 * 1024
"""Bytes up to which files are read once more, in advance, to know how many requests there are: about 0.2 s."""


class FileSources:
    """The requests of several sources, one after the other; may be iterated once.

    `paths` may be patterns, as in ``data/**/*.csv``. `format` says what every source holds, whatever its name;
    without it the name's ending does, and standard input is lines of URLs. `note` is called, from the iterating
    thread, with a sentence about something that is left out. `making` makes the requests. Raises `OptionError` or
    `SourceError` where the names alone cannot work.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        format: str | None = None,
        note: Callable[[str], None] = lambda sentence: None,
        making: Making = FIELD_ROWS,
    ) -> None:
        self.sources: Sequence[Source] = sources_named(paths, format)
        self._note = note
        self._making = making
        self._noted: set[tuple[str, str]] = set()
        self._wake = Wake()

    def check(self) -> None:
        """Look at every source and raise `SourceError` for the first one that cannot work. Nothing is used up."""
        for source in self.sources:
            source.check()
            if source.is_file:
                source.format.check(self._opened(source))

    @property
    def may_wait(self) -> bool:
        """Whether a source is a pipe or a terminal."""
        return not all(source.is_file for source in self.sources)

    @property
    def paths(self) -> list[str]:
        """What the requests of each source name as theirs."""
        return [source.path for source in self.sources]

    @property
    def unsought(self) -> frozenset[int]:
        """The numbers of those that can only be read from their beginning: pipes."""
        return frozenset(number for number, source in enumerate(self.sources) if not source.is_file)

    @property
    def can_be_read_again(self) -> bool:
        """Whether a second reading would give the same."""
        return not self.may_wait

    def count(self) -> int | None:
        """Say how many requests there are, or None where that would cost too much or be a guess."""
        try:
            if self.may_wait:
                return None
            texts = [source for source in self.sources if source.format.is_text]
            if (
                any(isinstance(source, RemoteSource) for source in texts)
                or sum(source.size() for source in texts) > COUNTED
            ):
                return None
            counts = [source.format.count(self._opened(source)) for source in self.sources]
        except (OSError, SourceError):
            return None
        return None if None in counts else sum(count for count in counts if count)

    def stop(self) -> None:
        """Give out no more requests, also where the reader waits for a slow pipe. Any thread, any number of times."""
        self._wake.set()

    def __iter__(self) -> Iterator[Request]:
        for source in self.sources:
            for request in source.format.requests(self._opened(source)):
                if self._wake.is_set:
                    return
                yield request

    def read(self, index: int, start: Mark | None = None) -> FileReading:
        """Read the source `sources[index]` alone, from the row that begins at `start`, or from its beginning.

        Its requests have the ordinals of a full reading. Raises `SourceError` where `start` is in a pipe, which
        can only be read from its beginning.
        """
        source, begin = self.sources[index], start or BEGINNING
        if begin != BEGINNING:
            self._refuse_pipe(source, f"cannot be read from {source.format.unit} {begin.line:,} on")
        requests, positions = source.format.read(self._opened(source), begin)
        return FileReading(requests, positions, begin, self._wake)

    def where(self, index: int, ordinal: int) -> str:
        """Tell people where the request with that ordinal is in the source `sources[index]`."""
        source = self.sources[index]
        return f"{source.name}, {source.format.unit} {ordinal:,}"

    def fingerprint(self, index: int) -> Fingerprint | None:
        """Return what tells whether the source `sources[index]` has changed; None for a pipe, which nothing tells of.

        Raises `SourceError` where it cannot be looked at.
        """
        return self.sources[index].fingerprint()

    def verify(self, index: int, blocks: Iterable[Block]) -> Block | None:
        """Return the first of `blocks`, parts of the source `sources[index]` in order, that is not as it was.

        None if all are, and where `stop` ended it early. Raises `SourceError` where the file cannot be opened, or is
        none.
        """
        source = self.sources[index]
        self._refuse_pipe(source, "cannot be read a second time")
        return source.format.first_changed(self._opened(source), blocks)

    def _refuse_pipe(self, source: Source, what: str) -> None:
        if source.fingerprint() is None:
            raise SourceError(f"{source.name} {what}: it is no file on a disk")

    def _opened(self, source: Source) -> Opened:
        return Opened(source, self._wake, partial(self._note_columns, source), self._making)

    def _note_columns(self, source: Source, names: Iterable[str]) -> None:
        for name in self._making.unread(names):
            if (source.path, name) not in self._noted and len(self._noted) < 100:
                self._noted.add((source.path, name))
                self._note(f"{source.name}: '{name}' is not read (what is: {', '.join(COLUMNS)})")

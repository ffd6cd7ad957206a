"""What a job needs of the sources of its requests, whatever they are. One thread reads; `stop` comes from any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from workerpool.batch.sources.marks import Block, Fingerprint, Mark
from workerpool.model import Request

STDIN = "-"


class Reading(Protocol):
    """The requests of one source, from some row on.

    Before each of them, `mark` is where its row begins, and `check` adds up what was read since the last `restart`.
    `end` is where the source ends, once it was read that far.
    """

    def __iter__(self) -> Iterator[Request]: ...

    @property
    def mark(self) -> Mark: ...

    @property
    def check(self) -> int: ...

    @property
    def end(self) -> Mark | None: ...

    def restart(self) -> None: ...


class Sources(Protocol):
    """Sources by their numbers, from 0."""

    @property
    def paths(self) -> Sequence[str]:
        """What the requests of each source name as theirs."""

    @property
    def unsought(self) -> frozenset[int]:
        """The numbers of those that can only be read from their beginning."""

    @property
    def may_wait(self) -> bool:
        """Whether reading may have to wait for somebody who writes."""

    @property
    def can_be_read_again(self) -> bool:
        """Whether a second reading would give the same."""

    def check(self) -> None:
        """Raise `SourceError` for a source that cannot work. Nothing is used up."""

    def count(self) -> int | None:
        """Say how many requests there are, or None where that would cost too much or be a guess."""

    def stop(self) -> None:
        """Give out no more requests, also where the reader waits. Any thread, any number of times."""

    def read(self, index: int, start: Mark | None = None) -> Reading:
        """Read one source, from the row that begins at `start`, or from its beginning."""

    def where(self, index: int, ordinal: int) -> str:
        """Tell people where a request is."""

    def fingerprint(self, index: int) -> Fingerprint | None:
        """Return what tells whether a source has changed, None if nothing does."""

    def verify(self, index: int, blocks: Iterable[Block]) -> Block | None:
        """Return the first of `blocks`, parts of one source in order, that is not as it was; None if all are."""

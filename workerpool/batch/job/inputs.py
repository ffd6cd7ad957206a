"""The inputs of a job, and what has become of each: read from the sources where something is still to be done.

The run's thread alone uses it. In memory are the states of blocks that are being read or not done, a kilobyte for a
thousand inputs; the ledger has them all. Changes are collected, for the next transaction.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from workerpool.batch.ahead import read_ahead
from workerpool.batch.job.ledger import Ledger
from workerpool.batch.job.states import BLOCK, TO_DO, Block, State, block_of, count_states, new_block, place_of
from workerpool.batch.marks import Mark
from workerpool.errors import JobError
from workerpool.model import Idle, Request

T = TypeVar("T")

NOTED_EVERY = 0.25
"""Seconds after which it is noted how far a block has been read: a change of the file up to there will be noticed."""

_TO_DO = frozenset(map(int, TO_DO))
_IS_TO_DO = bytes(code in _TO_DO for code in range(256))
_NOWHERE = (sys.maxsize, 0)


class Reading(Protocol):
    """What is needed of `batch.reading.Reading`."""

    def __iter__(self) -> Iterator[Request]: ...

    @property
    def mark(self) -> Mark: ...

    @property
    def check(self) -> int: ...

    @property
    def end(self) -> Mark | None: ...

    def restart(self) -> None: ...


class Sources(Protocol):
    """What is needed of `batch.source.Sources`."""

    def read(self, index: int, start: Mark | None = None) -> Reading: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """Said by a reading before the first row of a block: where that row begins, and the check of the block before."""

    mark: Mark
    check: int


@dataclass(frozen=True, slots=True)
class End:
    """Said by a reading at the end of its source: where that is, and the check of the last block."""

    mark: Mark
    check: int


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks that are read one after the other, from `first` to the one numbered `last`, None for the source's end."""

    first: Block | None
    last: int | None


class Inputs:
    """What is to be done of a job's sources.

    `paths` are the sources' names in their requests. Those in `unsought` can only be read from their beginning, and
    those in `waiting` may have to be waited for, so that another thread reads them.
    """

    def __init__(
        self,
        ledger: Ledger,
        sources: Sources,
        paths: Iterable[str],
        unsought: Iterable[int] = (),
        waiting: Iterable[int] = (),
    ) -> None:
        self._ledger = ledger
        self._sources = sources
        self._numbers = {path: number for number, path in enumerate(paths)}
        self._unsought = frozenset(unsought)
        self._waiting = frozenset(waiting)
        self._blocks: dict[tuple[int, int], Block] = {}  # that are being read, or not done
        self._changed: dict[tuple[int, int], Block] = {}  # since the last transaction
        self._lines: list[tuple[int, int]] = []  # of sources that have been read to their end since then
        self._is_stopped = False
        self._reading: Reading | None = None  # of the source at hand, if this thread reads it
        self._current: Block | None = None  # the block that is being read
        self._noted_at = 0.0  # when it was noted how far that was read
        self._head = (0, 0)  # what is read next
        self._first_spent: tuple[int, int] | None = None

    def place(self, request: Request) -> tuple[int, int]:
        """The identity of a request: the number of its source, and its ordinal."""
        return self._numbers[request.source], request.ordinal

    def stop(self) -> None:
        """Read no more. Any thread."""
        self._is_stopped = True
        self._sources.stop()

    # -- reading ------------------------------------------------------------------------------------------------------

    def to_do(self) -> Iterator[tuple[Request, State] | Idle]:
        """Yield the requests that are still to be fetched, each with its state, in the order of the sources.

        Changes are to be in the ledger before. Raises `SourceError` where a source cannot be read to its end.
        """
        self._blocks.clear()
        for row in self._ledger.sources():
            is_open = row.lines is None
            for span in [*self._spans(row.number, is_open)]:
                if self._is_stopped:
                    return
                yield from self._read(row.number, span)

    def _spans(self, source: int, is_open: bool) -> Iterator[Span]:
        """The parts of a source in which something is to be done; `is_open`: it has not been read to its end."""
        first = last = previous = None
        for block in self._ledger.blocks(source):
            if block.is_done:
                if first is not None and last is not None:
                    yield Span(first, last)
                first = None
            else:
                first, last = first or block, block.number
            previous = block
        if first is None and not is_open:
            return
        is_pipe = source in self._unsought
        yield Span(None if is_pipe else first or previous, None if is_open else last)

    def _read(self, source: int, span: Span) -> Iterator[tuple[Request, State] | Idle]:
        start = None if span.first is None else span.first.start
        self._head = source, 0 if start is None else start.line
        reading = self._sources.read(source, start)
        items = by_block(reading)
        is_ahead = source in self._waiting  # read by another thread
        self._reading = None if is_ahead else reading
        block: Block | None = None
        before = 0  # the ordinal of the last row
        turn: Turn | None = None
        for item in read_ahead(items) if is_ahead else items:
            if isinstance(item, Request):
                ordinal = item.ordinal
                if turn is not None:
                    number = block_of(ordinal)
                    if span.last is not None and number > span.last:
                        return
                    block, turn = self._open(source, number, turn.mark, ordinal), None
                elif ordinal > before + 1 and block is not None and block.set_blanks(before + 1, ordinal - 1):
                    self._change(block)
                before = ordinal
                self._head = source, ordinal + 1
                assert block is not None
                state = block.states[place_of(ordinal)]
                if state in _TO_DO:
                    yield item, State(state)
            elif isinstance(item, Idle):
                yield item
            else:
                if block is not None:
                    self._close(block, before, item)
                if isinstance(item, Turn):
                    turn = item
                elif not self._is_stopped:
                    self._lines.append((item.mark.line - 1, source))

    def _open(self, source: int, number: int, mark: Mark, ordinal: int) -> Block:
        block = self._ledger.block(source, number)
        if block is None:
            block = new_block(source, number, mark)
            block.set_blanks(number * BLOCK + 1, ordinal - 1)
            self._change(block)
        self._blocks[source, number] = self._current = block
        return block

    def _close(self, block: Block, last: int, end: Turn | End) -> None:
        """Note that a block has been read to its end, `last` being its last input, and what it was."""
        self._current = None
        if block.is_read:
            if (block.end, block.check) != (end.mark, end.check):
                raise JobError(
                    f"lines {block.start.line:,} to {end.mark.line - 1:,} of the source are not what they were when "
                    "the run read them first: give what it was given then, or give --restart to begin anew"
                )
            return
        block.set_blanks(last + 1, (block.number + 1) * BLOCK)
        block.is_read, block.end, block.check = True, end.mark, end.check
        self._change(block)

    # -- what becomes of them -----------------------------------------------------------------------------------------

    def state(self, place: tuple[int, int]) -> State:
        """What has become of an input so far; OK for one that was let go, as its block is done."""
        source, ordinal = place
        block = self._blocks.get((source, block_of(ordinal)))
        return State.OK if block is None else State(block.states[place_of(ordinal)])

    def set(self, place: tuple[int, int], state: State) -> State:
        """Note what has become of an input that was given by `to_do`; returns what it was before."""
        source, ordinal = place
        block = self._blocks[source, block_of(ordinal)]
        at = place_of(ordinal)
        before = State(block.states[at])
        block.states[at] = state
        self._change(block)
        if state is State.SPENT and self._first_spent is not None:
            self._first_spent = min(self._first_spent, place)
        return before

    def changes(self) -> tuple[list[Block], list[tuple[int, int]]]:
        """What has changed since the last call, for the ledger: blocks, and the lines of sources that have ended."""
        self._note_how_far()
        blocks, lines = [*self._changed.values()], self._lines
        self._changed, self._lines = {}, []
        for block in blocks:
            if block.is_done:
                self._blocks.pop((block.source, block.number), None)
        return blocks, lines

    @property
    def has_changes(self) -> bool:
        return bool(self._changed or self._lines)

    def front(self) -> tuple[int, int]:
        """A place before which every input has ended for good."""
        front = self._head
        for key in sorted(self._blocks):
            block = self._blocks[key]
            at = block.states.translate(_IS_TO_DO).find(1)
            if at >= 0:
                front = min(front, (block.source, block.number * BLOCK + at + 1))
                break
        return front if self._first_spent is None else min(front, self._first_spent)

    def end(self) -> tuple[int, int]:
        """A place after all inputs."""
        return _NOWHERE

    def keep_spent(self) -> None:
        """From now on, let `front` stop at the first failure that may be tried again."""
        for row in self._ledger.sources():
            for block in self._ledger.blocks(row.number):
                at = block.states.find(State.SPENT)
                if at >= 0:
                    self._first_spent = block.source, block.number * BLOCK + at + 1
                    return
        self._first_spent = _NOWHERE

    def _note_how_far(self) -> None:
        """Note now and then how far the block at hand has been read, and what it was."""
        block, reading, now = self._current, self._reading, time.monotonic()
        if block is None or reading is None or block.is_read or now - self._noted_at < NOTED_EVERY:
            return
        self._noted_at = now
        if reading.end is None and block_of(reading.mark.line) == block.number:
            block.end, block.check = reading.mark, reading.check
            self._change(block)

    def _change(self, block: Block) -> None:
        self._changed[block.source, block.number] = block


def by_block(reading: Reading) -> Iterator[Request | Turn | End]:
    """Yield the rows of a reading, a `Turn` before the first one of each block, and the `End` if it comes to that."""
    number = -1
    for request in reading:
        if block_of(request.ordinal) != number:
            number = block_of(request.ordinal)
            yield Turn(reading.mark, reading.check)
            reading.restart()
        yield request
    if reading.end is not None:
        yield End(reading.end, reading.check)


def change_all(ledger: Ledger, before: Iterable[State], after: State) -> Iterator[Block]:
    """Yield every block that has states in `before`, these set to `after`; nothing is written."""
    table = bytes(after if code in frozenset(before) else code for code in range(256))
    for row in ledger.sources():
        for block in ledger.blocks(row.number):
            changed = block.states.translate(table)
            if changed != block.states:
                block.states = changed
                yield block


def count_inputs(ledger: Ledger) -> Counter[State]:
    """Count all inputs that have been read by what has become of them."""
    counts: Counter[State] = Counter()
    for row in ledger.sources():
        for block in ledger.blocks(row.number):
            counts.update(count_states(block.states))
    return counts

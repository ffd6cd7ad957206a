"""The inputs of a job, and what has become of each: read from the sources where something is still to be done.

The run's thread alone uses it. In memory are the states of blocks that are being read or not done, a kilobyte for a
thousand inputs; the ledger has them all. Changes are collected, for the next transaction.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workerpool.batch.job.cuts import STEP, Cut, Where, cut_up
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.states import (
    BLOCK,
    TO_DO,
    Block,
    Identity,
    State,
    block_of,
    count_states,
    index_of,
    new_block,
)
from workerpool.batch.sources.ahead import read_ahead
from workerpool.batch.sources.base import Sources
from workerpool.batch.sources.marks import Mark
from workerpool.errors import JobError
from workerpool.model import Idle, Request

_TO_DO = frozenset(map(int, TO_DO))
_IS_TO_DO = bytes(code in _TO_DO for code in range(256))
_NONE = bytes([State.QUEUED, State.NO_INPUT])
_NOWHERE = (sys.maxsize, 0)


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks that are read one after the other, from `first` to the one numbered `last`, None for the source's end."""

    first: Block | None
    last: int | None


class Inputs:
    """What is to be done of a job's sources."""

    def __init__(self, ledger: LedgerReader, sources: Sources) -> None:
        self._ledger = ledger
        self._sources = sources
        self._numbers = {path: number for number, path in enumerate(sources.paths)}
        self._unsought = sources.unsought
        self._waiting = sources.unsought if sources.may_wait else frozenset()  # which another thread reads
        self._blocks: dict[tuple[int, int], Block] = {}  # that are being read, or not done
        self._changed: dict[tuple[int, int], Block] = {}  # since the last transaction
        self._lines: list[tuple[int, int]] = []  # of sources that have been read to their end since then
        self._is_stopped = False
        self._is_unmet = False  # an earlier execution has read a part of the block at hand, and this one is not as far
        self._head = (0, 0)  # what is read next
        self._first_spent: tuple[int, int] | None = None

    def identity(self, request: Request) -> Identity:
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
        if source in self._unsought:
            for block in self._ledger.blocks(source):
                last = last if block.is_done else block.number
            if is_open or last is not None:
                yield Span(None, None if is_open else last)
            return
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
        yield Span(first or previous, None if is_open else last)

    def _read(self, source: int, span: Span) -> Iterator[tuple[Request, State] | Idle]:
        start = None if span.first is None else span.first.start
        self._head = source, 0 if start is None else start.line
        reading = self._sources.read(source, start)
        items = cut_up(reading, STEP)
        block: Block | None = None
        before = 0  # the ordinal of the last row
        turn: Cut | None = None
        # Rows that an earlier execution read too: held back until the check says that the source is unchanged there.
        unsure: list[tuple[Request, State]] = []
        for item in read_ahead(items) if source in self._waiting else items:
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
                state = block.states[index_of(ordinal)]
                if state not in _TO_DO:
                    continue
                if block.is_read or self._is_unmet:
                    unsure.append((item, State(state)))
                else:
                    yield item, State(state)
            elif isinstance(item, Idle):
                yield item
            elif item.where is Where.STEP:
                assert block is not None
                self._note_how_far(block, item)
                if not (block.is_read or self._is_unmet):
                    yield from unsure
                    unsure.clear()
            else:
                if item.where is Where.BLOCK:
                    turn = item
                elif not self._is_stopped:
                    self._check_end(source, before, item.mark)
                    self._lines.append((item.mark.line - 1, source))
                if block is not None:
                    self._close(block, before, item)
                yield from unsure
                unsure.clear()

    def _open(self, source: int, number: int, mark: Mark, ordinal: int) -> Block:
        block = self._ledger.block(source, number)
        if block is None:
            block = new_block(source, number, mark)
            block.set_blanks(number * BLOCK + 1, ordinal - 1)
            self._change(block)
        self._is_unmet = block.end is not None and not block.is_read
        self._blocks[source, number] = block
        return block

    def _close(self, block: Block, last: int, end: Cut) -> None:
        """Note that a block has been read to its end, `last` being its last input, and what it was."""
        if block.is_read:
            if (block.end, block.check) != (end.mark, end.check):
                raise self._changed_since(block, end.mark)
            return
        if self._is_unmet:
            raise self._changed_since(block, end.mark)
        block.set_blanks(last + 1, (block.number + 1) * BLOCK)
        block.is_read, block.end, block.check = True, end.mark, end.check
        self._change(block)

    # -- what becomes of them -----------------------------------------------------------------------------------------

    def state(self, identity: Identity) -> State:
        """What has become of an input so far; OK for one that was let go, as its block is done."""
        source, ordinal = identity
        block = self._blocks.get((source, block_of(ordinal)))
        return State.OK if block is None else State(block.states[index_of(ordinal)])

    def set(self, identity: Identity, state: State) -> State:
        """Note what has become of an input that was given by `to_do`; returns what it was before."""
        source, ordinal = identity
        block = self._blocks[source, block_of(ordinal)]
        at = index_of(ordinal)
        before = State(block.states[at])
        block.states[at] = state
        self._change(block)
        if state is State.SPENT and self._first_spent is not None:
            self._first_spent = min(self._first_spent, identity)
        return before

    def changes(self) -> tuple[list[Block], list[tuple[int, int]]]:
        """What has changed since the last call, for the ledger: blocks, and the lines of sources that have ended."""
        blocks, lines = [*self._changed.values()], self._lines
        self._changed, self._lines = {}, []
        for block in blocks:
            if block.is_done:
                self._blocks.pop((block.source, block.number), None)
        return blocks, lines

    @property
    def has_changes(self) -> bool:
        return bool(self._changed or self._lines)

    def front(self) -> Identity:
        """An identity before which every input has ended for good."""
        front = self._head
        for key in sorted(self._blocks):
            block = self._blocks[key]
            at = block.states.translate(_IS_TO_DO).find(1)
            if at >= 0:
                front = min(front, (block.source, block.number * BLOCK + at + 1))
                break
        return front if self._first_spent is None else min(front, self._first_spent)

    def end(self) -> Identity:
        """An identity after all inputs."""
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

    def _note_how_far(self, block: Block, cut: Cut) -> None:
        """Note how far a block was read, and what it was, or find it as it was when it was read before."""
        if block.is_read:
            return
        if block.end is None or cut.mark.line > block.end.line:
            if self._is_unmet:
                raise self._changed_since(block, cut.mark)
            block.end, block.check = cut.mark, cut.check
            self._change(block)
        elif cut.mark.line == block.end.line:
            if (cut.mark, cut.check) != (block.end, block.check):
                raise self._changed_since(block, cut.mark)
            self._is_unmet = False

    def _check_end(self, source: int, last: int, end: Mark) -> None:
        """Raise `JobError` if the run knows of inputs after the last one, now that the source ends there."""
        first = block_of(last) if last else 0
        for block in self._ledger.blocks(source, first):
            after = index_of(last) + 1 if last and block.number == first else 0
            if block.states[after:].translate(None, _NONE):
                where = self._sources.where(source, end.line - 1)
                raise JobError(
                    f"the source ends after {where}, and the run has read more of it before: "
                    "give what it was given then, or give restart=True to begin anew"
                )

    def _changed_since(self, block: Block, end: Mark) -> JobError:
        where = self._sources.where(block.source, block.start.line)
        return JobError(
            f"from {where} to {end.line - 1:,} the source is not what it was when the run read it first: "
            "give what it was given then, or give restart=True to begin anew"
        )

    def _change(self, block: Block) -> None:
        self._changed[block.source, block.number] = block


def change_all(ledger: LedgerReader, before: Iterable[State], after: State) -> Iterator[Block]:
    """Yield every block that has states in `before`, these set to `after`; nothing is written."""
    table = bytes(after if code in frozenset(before) else code for code in range(256))
    for row in ledger.sources():
        for block in ledger.blocks(row.number):
            changed = block.states.translate(table)
            if changed != block.states:
                block.states = changed
                yield block


def count_inputs(ledger: LedgerReader) -> Counter[State]:
    """Count all inputs that have been read by what has become of them."""
    counts: Counter[State] = Counter()
    for row in ledger.sources():
        for block in ledger.blocks(row.number):
            counts.update(count_states(block.states))
    return counts

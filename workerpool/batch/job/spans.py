"""The parts of a source in which something is to be done, and their reading: row by row, beside the ledger's blocks.

What an earlier execution has read is checked as it is read again, by what its bytes add up to. The run's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workerpool.batch.job.cuts import STEP, Cut, Where, cut_up
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.states import BLOCK, TO_DO, Block, State, block_of, index_of, new_block
from workerpool.batch.sources.ahead import read_ahead
from workerpool.batch.sources.base import Sources
from workerpool.batch.sources.marks import Mark
from workerpool.errors import JobError
from workerpool.model import Idle, Request

if TYPE_CHECKING:
    from workerpool.batch.job.inputs import Inputs

_TO_DO = frozenset(map(int, TO_DO))
_UNTOUCHED = bytes([State.QUEUED, State.NO_INPUT])


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks that are read one after the other, from `first` to the one numbered `last`, None for the source's end."""

    first: Block | None
    last: int | None


def spans_of(blocks: Iterable[Block], *, is_open: bool) -> Iterator[Span]:
    """The spans of a source that has these blocks; `is_open`: it has not been read to its end."""
    first = last = previous = None
    for block in blocks:
        if block.is_done:
            if first is not None and last is not None:
                yield Span(first, last)
            first = None
        else:
            first, last = first or block, block.number
        previous = block
    if first is not None or is_open:
        yield Span(first or previous, None if is_open else last)


def span_from_start(blocks: Iterable[Block], *, is_open: bool) -> Iterator[Span]:
    """The same of a source that can only be read from its beginning: one span, or none."""
    last = None
    for block in blocks:
        last = last if block.is_done else block.number
    if is_open or last is not None:
        yield Span(None, None if is_open else last)


class SpanReading:
    """The reading of one span of the source of that number. What it finds is noted in `inputs`."""

    def __init__(self, inputs: Inputs, ledger: LedgerReader, sources: Sources, source: int, span: Span) -> None:
        self._inputs = inputs
        self._ledger = ledger
        self._sources = sources
        self._source = source
        self._span = span
        self._block: Block | None = None  # at hand
        self._is_unmet = False  # an earlier execution has read a part of it, and this one is not as far
        self._turn: Cut | None = None  # where it ended: the next row opens another one
        self._before = 0  # the ordinal of the last row

    def to_do(self, *, ahead: bool) -> Iterator[tuple[Request, State] | Idle]:
        """Yield the requests that are still to be fetched; `ahead`: another thread reads.

        Raises `SourceError` where the source cannot be read to its end, `JobError` where it is not what it was.
        """
        start = None if self._span.first is None else self._span.first.start
        self._inputs.head = self._source, 0 if start is None else start.line
        items = cut_up(self._sources.read(self._source, start), STEP)
        # Rows that an earlier execution read too: held back until the check says that the source is unchanged there.
        unsure: list[tuple[Request, State]] = []
        for item in read_ahead(items) if ahead else items:
            if isinstance(item, Request):
                block = self._block_at(item.ordinal)
                if block is None:
                    return
                state = block.states[index_of(item.ordinal)]
                if state not in _TO_DO:
                    continue
                if block.is_read or self._is_unmet:
                    unsure.append((item, State(state)))
                else:
                    yield item, State(state)
            elif isinstance(item, Idle):
                yield item
            elif self._is_unchanged(item):
                yield from unsure
                unsure.clear()

    def _block_at(self, ordinal: int) -> Block | None:
        """Note that the next row is read; returns its block, None for one beyond the span."""
        block, turn = self._block, self._turn
        if turn is not None:
            number = block_of(ordinal)
            if self._span.last is not None and number > self._span.last:
                return None
            block = self._block = self._open(number, turn.mark, ordinal)
            self._turn = None
        else:
            assert block is not None
            if ordinal > self._before + 1 and block.set_blanks(self._before + 1, ordinal - 1):
                self._inputs.change(block)
        self._before = ordinal
        self._inputs.head = self._source, ordinal + 1
        return block

    def _open(self, number: int, mark: Mark, ordinal: int) -> Block:
        block = self._ledger.block(self._source, number)
        if block is None:
            block = new_block(self._source, number, mark)
            block.set_blanks(number * BLOCK + 1, ordinal - 1)
            self._inputs.change(block)
        self._is_unmet = block.end is not None and not block.is_read
        self._inputs.opened(block)
        return block

    def _is_unchanged(self, cut: Cut) -> bool:
        """Note that a cut was reached; returns whether all that was read before it is what it was, or is new."""
        block = self._block
        if cut.where is Where.STEP:
            assert block is not None
            self._note_how_far(block, cut)
            return not (block.is_read or self._is_unmet)
        if cut.where is Where.BLOCK:
            self._turn = cut
        elif not self._inputs.is_stopped:
            self._check_end(cut.mark)
            self._inputs.ended(self._source, cut.mark.line - 1)
        if block is not None:
            self._close(block, cut)
        return True

    def _note_how_far(self, block: Block, cut: Cut) -> None:
        """Note how far a block was read, and what it was, or find it as it was when it was read before."""
        if block.is_read:
            return
        if block.end is None or cut.mark.line > block.end.line:
            if self._is_unmet:
                raise self._changed_since(block, cut.mark)
            block.end, block.check = cut.mark, cut.check
            self._inputs.change(block)
        elif cut.mark.line == block.end.line:
            if (cut.mark, cut.check) != (block.end, block.check):
                raise self._changed_since(block, cut.mark)
            self._is_unmet = False

    def _close(self, block: Block, end: Cut) -> None:
        """Note that a block has been read to its end, and what it was."""
        if block.is_read:
            if (block.end, block.check) != (end.mark, end.check):
                raise self._changed_since(block, end.mark)
            return
        if self._is_unmet:
            raise self._changed_since(block, end.mark)
        block.set_blanks(self._before + 1, (block.number + 1) * BLOCK)
        block.is_read, block.end, block.check = True, end.mark, end.check
        self._inputs.change(block)

    def _check_end(self, end: Mark) -> None:
        """Raise `JobError` if the run knows of inputs after the last one, now that the source ends there."""
        last = self._before
        first = block_of(last) if last else 0
        for block in self._ledger.blocks(self._source, first):
            after = index_of(last) + 1 if last and block.number == first else 0
            if block.states[after:].translate(None, _UNTOUCHED):
                where = self._sources.where(self._source, end.line - 1)
                raise JobError(
                    f"the source ends after {where}, and the run has read more of it before: "
                    "give what it was given then, or give restart=True to begin anew"
                )

    def _changed_since(self, block: Block, end: Mark) -> JobError:
        where = self._sources.where(self._source, block.start.line)
        return JobError(
            f"from {where} to {end.line - 1:,} the source is not what it was when the run read it first: "
            "give what it was given then, or give restart=True to begin anew"
        )

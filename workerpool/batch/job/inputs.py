"""The inputs of a job, and what has become of each: read from the sources where something is still to be done.

The run's thread alone uses it. In memory are the states of blocks that are being read or not done, a kilobyte for a
thousand inputs; the ledger has them all. Changes are collected, for the next transaction.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.spans import SpanReading, span_from_start, spans_of
from workerpool.batch.job.states import BLOCK, TO_DO, Block, Identity, State, block_of, count_states, index_of
from workerpool.batch.sources.base import Sources
from workerpool.model import Idle, Request

_TO_DO = frozenset(map(int, TO_DO))
_IS_TO_DO = bytes(code in _TO_DO for code in range(256))
_AFTER_ALL = (sys.maxsize, 0)


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
        self.is_stopped = False
        self.head: Identity = (0, 0)  # what is read next
        self._first_spent: tuple[int, int] | None = None

    def identity(self, request: Request) -> Identity:
        """The identity of a request: the number of its source, and its ordinal."""
        return self._numbers[request.source], request.ordinal

    def count(self) -> int | None:
        """How many there are in all, also of those that were not read; None if that cannot be told."""
        return self._sources.count()

    def stop(self) -> None:
        """Read no more. Any thread."""
        self.is_stopped = True
        self._sources.stop()

    # -- reading ------------------------------------------------------------------------------------------------------

    def to_do(self) -> Iterator[tuple[Request, State] | Idle]:
        """Yield the requests that are still to be fetched, each with its state, in the order of the sources.

        Changes are to be in the ledger before. Raises `SourceError` where a source cannot be read to its end.
        """
        self._blocks.clear()
        for row in self._ledger.sources():
            source = row.number
            spans = span_from_start if source in self._unsought else spans_of
            for span in [*spans(self._ledger.blocks(source), is_open=row.lines is None)]:
                if self.is_stopped:
                    return
                reading = SpanReading(self, self._ledger, self._sources, source, span)
                yield from reading.to_do(ahead=source in self._waiting)

    # -- what a `SpanReading` finds -----------------------------------------------------------------------------------

    def opened(self, block: Block) -> None:
        """Keep a block at hand, as requests of it are given out."""
        self._blocks[block.source, block.number] = block

    def change(self, block: Block) -> None:
        """Note that the ledger is to hear of a block."""
        self._changed[block.source, block.number] = block

    def ended(self, source: int, lines: int) -> None:
        """Note that a source has been read to its end."""
        self._lines.append((lines, source))

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
        if state is before:
            return before  # one more page of an input that goes on
        block.states[at] = state
        self.change(block)
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
        front = self.head
        for key in sorted(self._blocks):
            block = self._blocks[key]
            at = block.states.translate(_IS_TO_DO).find(1)
            if at >= 0:
                front = min(front, (block.source, block.number * BLOCK + at + 1))
                break
        return front if self._first_spent is None else min(front, self._first_spent)

    def end(self) -> Identity:
        """An identity after all inputs."""
        return _AFTER_ALL

    def keep_spent(self) -> None:
        """From now on, let `front` stop at the first failure that may be tried again."""
        for row in self._ledger.sources():
            for block in self._ledger.blocks(row.number):
                at = block.states.find(State.SPENT)
                if at >= 0:
                    self._first_spent = block.source, block.number * BLOCK + at + 1
                    return
        self._first_spent = _AFTER_ALL


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

"""A source read again in full beside what the ledger says of it: what is missing there, too much, or has changed.

In memory is one block of the ledger at a time. One thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from workerpool.batch.job.again import sources_again
from workerpool.batch.job.cuts import Cut, Where, cut_up
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import RunRow, SourceRow
from workerpool.batch.job.states import BLOCK, DONE, ENDED, Block, State, block_of, index_of, new_block
from workerpool.batch.sources.marks import BEGINNING, Mark
from workerpool.model import Request
from workerpool.redact import redact

PLACES = 3
"""Inputs that are named of each kind of difference."""

_AN_INPUT = bytes(code != State.NO_INPUT for code in range(256))


class Rereading:
    """Reads one source from its beginning, beside the ledger's blocks of it. `inputs` counts what it holds.

    Raises `SourceError` where the source is not there.
    """

    def __init__(self, row: SourceRow, run: RunRow, ledger: LedgerReader) -> None:
        self._row = row
        path = run.settings["SOURCE"][row.number]  # which is absolute
        self._sources = sources_again(run, [path])
        self._name = redact(self._sources.paths[0])
        self._sources.check()
        self._reading = self._sources.read(0)
        self._is_finished = run.is_finished
        self._chains = None if run.settings.get("--pages") is None else ledger.chains
        self._have_record = frozenset((*ENDED, State.AGAIN)) - without_record(run)
        self._stored = ledger.blocks(row.number)
        self._next: Block | None = next(self._stored, None)
        self._mask = bytearray(BLOCK)  # which places of the block at hand are inputs
        self._changed: list[str] = []
        self._without: list[int] = []  # ordinals of inputs of which the ledger says that they are none
        self._phantoms: list[int] = []  # ordinals that are no inputs, and have a state
        self._open: list[int] = []  # ordinals of inputs that have not ended
        self._counts: Counter[str] = Counter()
        self.inputs = 0

    def read(self, take: Callable[[Request], None]) -> None:
        """Read it to its end, or raise `SourceError`; `take` is called with each input, or page, that has a record."""
        block: Block | None = None
        turn: Cut | None = None
        for item in cut_up(self._reading):
            if isinstance(item, Request):
                if turn is not None or block is None:
                    block, turn = self._turn_to(block_of(item.ordinal), turn.mark if turn else BEGINNING), None
                at = index_of(item.ordinal)
                self._mask[at] = 1
                self.inputs += 1
                for record in self._records_of(item, State(block.states[at])):
                    take(record)
                continue
            if block is not None:
                self._end_block(block, item)
            turn = item if item.where is Where.BLOCK else None
        while self._next is not None:
            self._compare(self._next, bytes(BLOCK))
            self._next = next(self._stored, None)

    def _records_of(self, request: Request, state: State) -> Iterator[Request]:
        """Yield the requests that have a record: an input, or its pages, as far as they were entered."""
        if self._chains is not None:
            for page in range(self._chains.entered((self._row.number, request.ordinal), state)):
                yield replace(request, page=page + 1)
        elif state in self._have_record:
            yield request

    def sentences(self) -> Iterator[str]:
        """Say what is wrong with the source, or what the ledger says of it."""
        yield from self._changed
        told = (
            ("phantoms", self._phantoms, "no input, but the ledger says what has become of one"),
            ("without", self._without, "an input, but the ledger knows of none"),
            ("open", self._open if self._is_finished else [], "an input that has no outcome"),
        )
        for name, ordinals, what in told:
            if ordinals:
                first, *others = ordinals
                places = ", ".join([self._where(first), *(f"{ordinal:,}" for ordinal in others)])
                more = self._counts[name] - len(ordinals)
                yield (
                    f"{places}{f' and {more:,} more' if more else ''}: each is {what}"
                    if self._counts[name] > 1
                    else f"{places} is {what}"
                )
        lines = self._row.lines
        if self._is_finished and lines is None:
            yield f"{self._name}: the run is finished, and the ledger does not say that it was read to its end"

    def _turn_to(self, number: int, mark: Mark) -> Block:
        """Return the ledger's block of that number, which begins with the row at `mark`, or one that knows nothing."""
        self._mask = bytearray(BLOCK)
        while self._next is not None and self._next.number < number:
            self._compare(self._next, bytes(BLOCK))
            self._next = next(self._stored, None)
        if self._next is None or self._next.number > number:
            block = new_block(self._row.number, number, mark)
            if self._row.lines is not None:  # all of it was read
                block.set_blanks(1, (number + 1) * BLOCK)
            return block
        block, self._next = self._next, next(self._stored, None)
        if block.start != mark:
            self._note_change(block)
        return block

    def _end_block(self, block: Block, end: Cut) -> None:
        if block.is_read and (block.end, block.check) != (end.mark, end.check):
            self._note_change(block)
        self._compare(block, bytes(self._mask))

    def _compare(self, block: Block, mask: bytes) -> None:
        claimed = bytes(block.states.translate(_AN_INPUT))
        if not block.is_read:  # what was not read of it is queued, whether it is an input or not
            states = zip(block.states, claimed, mask, strict=True)
            claimed = bytes(real if state == State.QUEUED else said for state, said, real in states)
        first = block.number * BLOCK + 1
        if claimed != mask:
            for at in range(BLOCK):
                if mask[at] != claimed[at]:
                    name, places = ("without", self._without) if mask[at] else ("phantoms", self._phantoms)
                    self._add(name, places, first + at)
        if self._is_finished and block.states.translate(None, DONE):
            for at in range(BLOCK):
                if mask[at] and block.states[at] not in DONE:
                    self._add("open", self._open, first + at)

    def _add(self, name: str, places: list[int], ordinal: int) -> None:
        self._counts[name] += 1
        if len(places) < PLACES:
            places.append(ordinal)

    def _note_change(self, block: Block) -> None:
        if not self._changed:
            last = "" if block.end is None else f" to {block.end.line - 1:,}"
            self._changed.append(f"from {self._where(block.start.line)}{last} the source is not what it was")

    def _where(self, ordinal: int) -> str:
        return self._sources.where(0, ordinal)


def without_record(run: RunRow) -> frozenset[int]:
    """The states whose inputs have no record."""
    return frozenset((State.UNCHANGED, State.SKIPPED)) if run.settings.get("--only-changed") else frozenset()

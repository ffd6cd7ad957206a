"""What has become of each input of a source: a byte for each ordinal, in blocks of 1,024.

A batch of ten million inputs is ten megabytes of these on disk, and in memory only the blocks that are not finished:
one that is read to its end, and holds nothing that is still to be done, is let go. Values and arithmetic; the ledger
keeps them, and one thread uses them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from workerpool.batch.sources.marks import Mark
from workerpool.config import RETRIED_STATUSES
from workerpool.errors import CircuitOpen, HostPaused, OutcomeUnknown, StatusError
from workerpool.model import Outcome

Identity = tuple[int, int]
"""Which input it is: the number of its source, and its ordinal."""

BLOCK = 1024
"""Ordinals in a block."""


class State(IntEnum):
    """What has become of an input. Those below `OK` are still to be fetched, but for `NO_INPUT`."""

    QUEUED = 0  # not read, or read and not ended
    NO_INPUT = 1  # a blank line, a header, a further line of a row
    DEFERRED = 2  # put off, for the next time the command is run
    AGAIN = 3  # it has failed, and is to be tried again; its record is kept until then
    OK = 8
    UNCHANGED = 9  # ok: the server says that it is as it was
    SKIPPED = 10  # ok a short while ago, so it was not asked for
    FAILED = 16  # for good: another attempt would end the same
    SPENT = 17  # failed, and another attempt may end better
    UNKNOWN = 18  # sent, not to be repeated, and no answer came


ENDED = (State.OK, State.UNCHANGED, State.SKIPPED, State.FAILED, State.SPENT, State.UNKNOWN)
GOOD = (State.OK, State.UNCHANGED, State.SKIPPED)
TO_DO = (State.QUEUED, State.DEFERRED, State.AGAIN)

KNOWN = bytes(State)
"""Every state there is."""

DONE = bytes([State.NO_INPUT, *ENDED])
"""What nothing is to be done about."""

_TOLD: Mapping[str, tuple[State, ...]] = {
    "ok": (State.OK,),
    "unchanged": (State.UNCHANGED,),
    "skipped": (State.SKIPPED,),
    "failed": (State.FAILED, State.SPENT),
    "unknown": (State.UNKNOWN,),
    "deferred": (State.DEFERRED, State.AGAIN),
}


@dataclass(slots=True)
class Block:
    """The states of 1,024 ordinals of a source, from `number` × 1,024 + 1 on.

    `start`: where its first row begins, for a reading to begin there. `end`, `check`: where what was read of it ends,
    and the CRC-32 of that. `is_read`: whether that is all of it.
    """

    source: int
    number: int
    start: Mark
    states: bytearray
    end: Mark | None = None
    check: int = 0
    is_read: bool = False

    @property
    def is_done(self) -> bool:
        """Whether everything in it has ended."""
        return self.is_read and not self.states.translate(None, DONE)

    def set_blanks(self, first: int, last: int) -> bool:
        """Note that the ordinals `first` to `last`, as far as they lie in here, are no inputs; whether any was new."""
        begin = max(0, first - 1 - self.number * BLOCK)
        end = min(BLOCK, last - self.number * BLOCK)
        piece = self.states[begin:end]
        if begin >= end or State.QUEUED not in piece:
            return False
        self.states[begin:end] = piece.replace(bytes([State.QUEUED]), bytes([State.NO_INPUT]))
        return True


def new_block(source: int, number: int, start: Mark) -> Block:
    return Block(source, number, start, bytearray(BLOCK))


def block_of(ordinal: int) -> int:
    """The number of the block that an ordinal, from 1, is in."""
    return (ordinal - 1) // BLOCK


def index_of(ordinal: int) -> int:
    """The index of an ordinal in its block."""
    return (ordinal - 1) % BLOCK


def count_states(states: bytearray) -> Counter[State]:
    """Count the inputs by what became of them; what is no input is left out."""
    counts = Counter({state: states.count(state) for state in State})
    del counts[State.NO_INPUT]
    return counts


def told(counts: Mapping[State, int]) -> dict[str, int]:
    """Count inputs in the words that people read; those that are queued are left out."""
    return {name: sum(counts.get(state, 0) for state in states) for name, states in _TOLD.items()}


def state_of(outcome: Outcome, is_unchanged: bool = False) -> State:
    """Name what has become of a request that has ended."""
    error = outcome.error
    if error is None:
        return State.UNCHANGED if is_unchanged else State.OK
    if isinstance(error, OutcomeUnknown):
        return State.UNKNOWN
    if isinstance(error, StatusError):
        may_help = error.status in RETRIED_STATUSES
    else:
        may_help = error.retry_helps or isinstance(error, (HostPaused, CircuitOpen))
    return State.SPENT if may_help else State.FAILED

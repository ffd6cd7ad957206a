"""A reading cut up into blocks, and these into steps: what its bytes add up to at each cut is told among its rows.

It is told there, and not asked of the reading, as another thread may read ahead of who takes the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from workerpool.batch.job.states import block_of
from workerpool.batch.sources.base import Reading
from workerpool.batch.sources.marks import Mark
from workerpool.model import Request

STEP = 16
"""Every so many ordinals the check of the block so far is told, so that a change before that is noticed."""


class Where(Enum):
    """Where a cut is: before the first row of a block, inside one, at the end of the source."""

    BLOCK = "block"
    STEP = "step"
    END = "end"


@dataclass(frozen=True, slots=True)
class Cut:
    """`mark`: where the next row begins, or the source ends. `check`: of what was read of the block before that."""

    where: Where
    mark: Mark
    check: int


def cut_up(reading: Reading, step: int | None = None) -> Iterator[Request | Cut]:
    """Yield the rows of a reading and its cuts: by blocks, with `step` inside these too, and where it ends, if it does.

    Cuts inside a block are always before the same rows.
    """
    block = part = -1
    for request in reading:
        at = 0 if step is None else (request.ordinal - 1) // step
        if block_of(request.ordinal) != block:
            block = block_of(request.ordinal)
            yield Cut(Where.BLOCK, reading.mark, reading.check)
            reading.restart()
        elif at != part:
            yield Cut(Where.STEP, reading.mark, reading.check)
        part = at
        yield request
    if reading.end is not None:
        yield Cut(Where.END, reading.end, reading.check)

"""What a job's ledger says: of runs, sources and inputs, of records on their way to the sink, and of what was seen.

Any thread; only the one that moves records reads those. Nothing is written here: see `ledger`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from workerpool.batch.job.chains import KeptChains
from workerpool.batch.job.database import Database
from workerpool.batch.job.schema import (
    FILE,
    VERSION,
    RunRow,
    Seen,
    SourceRow,
    Underway,
    apart,
    block_from,
    run_from,
    source_from,
)
from workerpool.batch.job.states import Block

_TEXT = "rtrim(CAST(record AS TEXT), char(10))"
_LINES = f"length({_TEXT}) - length(replace({_TEXT}, char(10), '')) + 1"
"""How many lines a record that is held has: see `schema.together`."""


class LedgerReader:
    """The database of one job as it is at this moment, also while a run writes it.

    `tables`: what a `Ledger`, which is a reader that writes, makes where there is no database.
    Every method raises `JobError` if it is damaged or cannot be read.
    """

    def __init__(self, directory: str, tables: str | None = None) -> None:
        self.name = os.path.join(directory, FILE)
        self._database = Database(self.name, tables, VERSION)
        self.chains = KeptChains(self._database)

    # -- runs ---------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """What tells this job from all others."""
        return str(self._noted("id"))

    @property
    def made(self) -> str | None:
        """The output of the last run that was finished, None before that."""
        return self._noted("made")

    def is_making(self, output: str) -> bool:
        """Whether the process was ended while this output was made ready for a run that had not begun."""
        return self._noted("making") == output

    def run(self) -> RunRow | None:
        """The last run, None before the first one."""
        row = self._database.one("SELECT * FROM runs ORDER BY number DESC LIMIT 1")
        if row is None:
            return None
        with self._database.understood():
            return run_from(*row)

    # -- inputs -------------------------------------------------------------------------------------------------------

    def sources(self) -> list[SourceRow]:
        rows = self._database.all("SELECT number, path, size, mtime, lines FROM sources ORDER BY number")
        with self._database.understood():
            return [source_from(*row) for row in rows]

    def blocks(self, source: int, first: int = 0) -> Iterator[Block]:
        """The blocks of a source from the number `first` on, as they are on disk; a thousand in memory at most."""
        while found := self._blocks(source, first, 1000):
            yield from found
            first = found[-1].number + 1

    def block(self, source: int, number: int) -> Block | None:
        """One block of a source as it is on disk."""
        found = self._blocks(source, number, 1)
        return found[0] if found and found[0].number == number else None

    def underway(self) -> dict[tuple[int, int], Underway]:
        """What was done, by source and ordinal, about inputs that have not ended: some thousands at most.

        `announced`: that it must not be repeated, and may have been sent. `attempts`: those that failed, as `prepare`
        writes them.
        """
        rows = self._database.all("SELECT source, ordinal, announced, attempts FROM underway")
        return {(a, b): Underway(bool(announced), attempts) for a, b, announced, attempts in rows}

    # -- records on their way to the sink -----------------------------------------------------------------------------

    def waiting(self, after: int, most: int) -> list[tuple[int, bytes]]:
        """What is held, with its numbers: about `most` bytes, in the order in which it was entered, from `after` on."""
        return self._database.read(
            "SELECT number, record FROM held WHERE number > ? AND NOT later ORDER BY number", (after,), most
        )

    def waiting_bytes(self) -> int:
        """The bytes of the records that may go to the sink now."""
        return int(self._database.one("SELECT coalesce(sum(length(record)), 0) FROM held WHERE NOT later")[0])

    def waiting_in_order(self, front: tuple[int, int], most: int) -> list[tuple[int, bytes]]:
        """What is held in the order of the inputs, about `most` bytes, before `front`, a source and an ordinal."""
        return self._database.read(
            "SELECT number, record FROM held WHERE NOT later AND (source, ordinal) < (?, ?) "
            "ORDER BY source, ordinal, number",
            front,
            most,
        )

    def held(self) -> tuple[int, int]:
        """How many records wait for the sink, and how many of these for the end of the run."""
        count, later = self._database.one(
            f"SELECT coalesce(sum({_LINES}), 0), coalesce(sum(later * ({_LINES})), 0) FROM held"
        )
        return count, later

    def held_records(self) -> Iterator[bytes]:
        """The records that wait for the sink."""
        number = 0
        while rows := self._database.all(
            "SELECT number, record FROM held WHERE number > ? ORDER BY number LIMIT 100", (number,)
        ):
            for number, lines in rows:  # noqa: B007  the last one is where the next hundred begins
                yield from apart(lines)

    # -- rejects ------------------------------------------------------------------------------------------------------

    def count_rejects(self) -> int:
        return int(self._database.one("SELECT count(*) FROM rejects")[0])

    def rejects(self) -> Iterator[bytes]:
        """What became no row, in the order in which it was entered."""
        number = 0
        while rows := self._database.all(
            "SELECT number, record FROM rejects WHERE number > ? ORDER BY number LIMIT 1000", (number,)
        ):
            for number, record in rows:  # noqa: B007  the last one is where the next thousand begins
                yield record

    # -- what was fetched before --------------------------------------------------------------------------------------

    def seen(self, request: int) -> Seen | None:
        """What runs that were finished before this one saw last of a request; None if nothing."""
        row = self._database.one("SELECT request, ok_at, etag, modified FROM seen WHERE request = ?", (request,))
        return None if row is None else Seen(*row)

    def has_seen(self) -> bool:
        """Whether anything was ok in a run before this one."""
        return self._database.one("SELECT 1 FROM seen LIMIT 1") is not None

    def key(self, hashed: int) -> tuple[int, int] | None:
        """The input that had a key first in this run, by its source's number and its ordinal."""
        row = self._database.one("SELECT source, ordinal FROM keys WHERE hash = ?", (hashed,))
        return None if row is None else (row[0], row[1])

    # -- keeping it ---------------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty if nothing is."""
        return self._database.check()

    def close(self) -> None:
        self._database.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _noted(self, name: str) -> str | None:
        """What the job notes under that name, None for nothing."""
        row = self._database.one("SELECT value FROM job WHERE name = ?", (name,))
        if row is None:
            return None
        with self._database.understood():
            return str(json.loads(row[0]))

    def _blocks(self, source: int, first: int, most: int) -> list[Block]:
        rows = self._database.all(
            "SELECT * FROM blocks WHERE source = ? AND number >= ? ORDER BY number LIMIT ?", (source, first, most)
        )
        with self._database.understood():
            return [block_from(*row) for row in rows]

"""The ledger of a job: an SQLite database in its directory, which knows what has become of every input.

It holds the states of the inputs, the records that the sink has not confirmed yet, what is known of requests that are
under way, and of URLs that were fetched before. What is written here survives the end of the process at any
instruction: a transaction is in the system's hands when it returns. Against a power cut the log is synced once a
second, and before a request is sent that must not be repeated.

Three kinds of threads come in: the run's, which enters outcomes; its housekeeper, which takes records to the sink; and
workers, which announce requests. `database` keeps them apart. Nothing is decided here: see `books`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workerpool.batch.job.answers import ANSWER_TABLES, Answer, Answers, put_answers
from workerpool.batch.job.database import Database
from workerpool.batch.job.states import BLOCK, KNOWN, Block
from workerpool.batch.sources.marks import Mark
from workerpool.errors import OptionError

FILE = "ledger.sqlite"

VERSION = 1
"""Of the tables; another version of workerpool may have others."""

_TABLES = """
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, phase TEXT NOT NULL, began REAL NOT NULL, ended REAL,
    continued INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL, position TEXT NOT NULL, kept TEXT, last TEXT,
    rounds INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE sources (
    number INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER, mtime INTEGER, lines INTEGER
);
CREATE TABLE blocks (
    source INTEGER NOT NULL, number INTEGER NOT NULL, line INTEGER NOT NULL, start INTEGER NOT NULL,
    states BLOB NOT NULL,
    end_line INTEGER, "end" INTEGER, crc INTEGER NOT NULL, is_read INTEGER NOT NULL, PRIMARY KEY (source, number)
) WITHOUT ROWID;
CREATE TABLE held (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: the mover looks for what comes after the last one
    source INTEGER NOT NULL, ordinal INTEGER NOT NULL, later INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE UNIQUE INDEX held_later ON held (source, ordinal) WHERE later;
CREATE TABLE underway (
    source INTEGER NOT NULL, ordinal INTEGER NOT NULL, announced INTEGER NOT NULL, attempts TEXT NOT NULL,
    PRIMARY KEY (source, ordinal)
) WITHOUT ROWID;
CREATE TABLE seen (request INTEGER PRIMARY KEY, ok_at INTEGER NOT NULL, etag TEXT, modified TEXT);
CREATE TABLE fresh (  -- what this run saw: at its end it is sorted into `seen`, where a row by itself costs a page
    number INTEGER PRIMARY KEY, request INTEGER NOT NULL, ok_at INTEGER NOT NULL, etag TEXT, modified TEXT
);
CREATE TABLE keys (hash INTEGER PRIMARY KEY, source INTEGER NOT NULL, ordinal INTEGER NOT NULL);
"""

_OF_LAST = " WHERE number = (SELECT max(number) FROM runs)"


class Held(NamedTuple):
    """A record that the sink is to get, `later` if only once the run is over: a failure that may be tried again."""

    source: int
    ordinal: int
    later: bool
    record: bytes


class Underway(NamedTuple):
    """What an earlier execution has done about an input that has not ended: see `Ledger.underway`."""

    announced: bool
    attempts: str


class Seen(NamedTuple):
    """What is known of a request that was ok: when (seconds since the epoch), and what tells whether it has changed."""

    request: int
    ok_at: int
    etag: str | None
    modified: str | None


class KeyRow(NamedTuple):
    """A key by its hash, and the input that had it first."""

    hash: int
    source: int
    ordinal: int


@dataclass(slots=True, kw_only=True)
class Entries:
    """What is entered in one transaction."""

    held: list[Held] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    underway: list[tuple[int, int, str]] = field(default_factory=list)  # source, ordinal, attempts as JSON
    ended: list[tuple[int, int]] = field(default_factory=list)  # of those that are under way no longer
    tried_again: list[tuple[int, int]] = field(default_factory=list)  # whose failure, kept for later, is overtaken
    lines: list[tuple[int, int]] = field(default_factory=list)  # and the source that had so many
    answers: list[Answer] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as the ledger knows it. Times are seconds since the epoch.

    `phase`: "fetching", then "closing" (every input has ended, and the last records are on their way), then "finished".
    `position`: where the sink stands; `kept`: where it stood before the failures were written. `last`: how its last
    execution ended. `rounds`: how often its failures were set to be tried again.
    """

    number: int
    phase: str
    began: float
    ended: float | None
    continued: int
    settings: dict[str, Any]
    position: str
    kept: str | None
    last: dict[str, Any] | None
    rounds: int

    @property
    def is_finished(self) -> bool:
        return self.phase == "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source as it was when the run began: `lines` is None until it has been read to its end."""

    number: int
    path: str
    size: int | None
    mtime: int | None
    lines: int | None


class Ledger:
    """The database of one job. Every method raises `JobError` if it is damaged, `SinkError` if it cannot be written.

    `read_only`: as it is at this moment, also while a run writes it; raises `JobError` if it cannot be read.
    """

    def __init__(self, directory: str, *, read_only: bool = False) -> None:
        self.name = os.path.join(directory, FILE)
        made = f"INSERT INTO job VALUES ('id', '{os.urandom(16).hex()}');"
        self._database = Database(self.name, _TABLES + ANSWER_TABLES + made, VERSION, read_only=read_only)
        self.answers = Answers(self._database)

    # -- runs ---------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """What tells this job from all others."""
        return str(self._database.one("SELECT value FROM job WHERE name = 'id'")[0])

    @property
    def made(self) -> str | None:
        """The output of the last run that was finished, None before that."""
        row = self._database.one("SELECT value FROM job WHERE name = 'made'")
        return None if row is None else str(row[0])

    def is_making(self, output: str) -> bool:
        """Whether the process was ended while this output was made ready for a run that had not begun."""
        return self._database.one("SELECT 1 FROM job WHERE name = 'making' AND value = ?", (output,)) is not None

    @contextmanager
    def making(self, output: str) -> Iterator[None]:
        """Note what is made ready inside, until `begin_run` or `reopen_run`, or until that is refused."""
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO job VALUES ('making', ?)", (output,))
        self._database.sync()
        try:
            yield
        except OptionError:  # refused before anything was made
            with self._database.transaction() as database:
                database.execute("DELETE FROM job WHERE name = 'making'")
            raise

    def run(self) -> RunRow | None:
        """The last run, None before the first one."""
        row = self._database.one("SELECT * FROM runs ORDER BY number DESC LIMIT 1")
        if row is None:
            return None
        number, phase, began, ended, continued, settings, position, kept, last, rounds = row
        with self._database.understood():
            return RunRow(
                number=number,
                phase=phase,
                began=began,
                ended=ended,
                continued=continued,
                settings=json.loads(settings),
                position=position,
                kept=kept,
                last=None if last is None else json.loads(last),
                rounds=rounds,
            )

    def begin_run(
        self, settings: dict[str, Any], position: str, sources: Sequence[SourceRow], *, ordered: bool = False
    ) -> None:
        """Begin a new run; of the one before it nothing is kept but its row, and what was seen if it was finished.

        What a run saw that was given up nobody was told of, so nothing is as it was then.
        `ordered`: its records will be asked for by `waiting_in_order`.
        """
        with self._database.transaction() as database:
            database.execute("DELETE FROM job WHERE name = 'making'")
            database.execute("DROP INDEX IF EXISTS held_place")
            if ordered:
                database.execute("CREATE INDEX held_place ON held (source, ordinal) WHERE NOT later")
            for table in ("blocks", "held", "underway", "fresh", "answers", "followers", "keys", "sources"):
                database.execute(f"DELETE FROM {table}")
            database.execute(
                "INSERT INTO runs (phase, began, settings, position) VALUES ('fetching', ?, ?, ?)",
                (time.time(), json.dumps(settings), position),
            )
            database.executemany(
                "INSERT INTO sources VALUES (?, ?, ?, ?, ?)",
                [(one.number, one.path, one.size, one.mtime, one.lines) for one in sources],
            )

    def continue_run(self, settings: dict[str, Any], sources: Sequence[SourceRow]) -> None:
        """Note that the run goes on, with what its options and the files of its sources are now."""
        with self._database.transaction() as database:
            again = "UPDATE runs SET continued = continued + 1, settings = ?" + _OF_LAST
            database.execute(again, (json.dumps(settings),))
            database.executemany(
                "UPDATE sources SET size = ?, mtime = ? WHERE number = ?",
                [(one.size, one.mtime, one.number) for one in sources],
            )

    def reopen_run(self, position: str, blocks: Sequence[Block]) -> None:
        """Go on with a run that was finished: some of its inputs, which `blocks` say, are to be fetched again."""
        with self._database.transaction() as database:
            database.execute("DELETE FROM job WHERE name = 'making'")
            database.execute(
                "UPDATE runs SET phase = 'fetching', ended = NULL, kept = NULL, rounds = 0, position = ?" + _OF_LAST,
                (position,),
            )
            self._put_blocks(database, blocks)

    def begin_closing(self) -> None:
        """Every input has ended: what was kept for later is to be moved, too."""
        with self._database.transaction() as database:
            database.execute("UPDATE runs SET phase = 'closing', kept = position" + _OF_LAST)
            database.execute("UPDATE held SET later = 0 WHERE later")

    def end_run(self, output: str) -> None:
        """The output is whole, and in its place: `output` is what was made there."""
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO job VALUES ('made', ?)", (output,))
            database.execute("UPDATE runs SET phase = 'finished', ended = ?" + _OF_LAST, (time.time(),))
            database.execute(
                "INSERT OR REPLACE INTO seen SELECT request, ok_at, etag, modified FROM fresh ORDER BY request, number"
            )
            for table in ("underway", "fresh", "answers", "followers"):
                database.execute(f"DELETE FROM {table}")

    def note_last(self, last: dict[str, Any]) -> None:
        """Note how an execution ended."""
        with self._database.transaction() as database:
            database.execute("UPDATE runs SET last = ?" + _OF_LAST, (json.dumps(last),))

    # -- inputs -------------------------------------------------------------------------------------------------------

    def sources(self) -> list[SourceRow]:
        rows = self._database.all("SELECT number, path, size, mtime, lines FROM sources ORDER BY number")
        return [SourceRow(number=a, path=b, size=c, mtime=d, lines=e) for a, b, c, d, e in rows]

    def blocks(self, source: int, first: int = 0) -> Iterator[Block]:
        """The blocks of a source from the number `first` on, as they are on disk; a thousand in memory at most."""
        while found := self._blocks(source, first, 1000):
            yield from found
            first = found[-1].number + 1

    def block(self, source: int, number: int) -> Block | None:
        """One block of a source as it is on disk."""
        found = self._blocks(source, number, 1)
        return found[0] if found and found[0].number == number else None

    def enter(self, entries: Entries) -> None:
        """Write everything that `entries` say, or nothing."""
        with self._database.transaction() as database:
            if entries.tried_again:
                database.executemany("DELETE FROM held WHERE later AND source = ? AND ordinal = ?", entries.tried_again)
            if entries.held:
                database.executemany(
                    "INSERT INTO held (source, ordinal, later, record) VALUES (?, ?, ?, ?)", entries.held
                )
            if entries.underway:
                database.executemany(
                    "INSERT INTO underway VALUES (?, ?, 0, ?) ON CONFLICT DO UPDATE SET attempts = excluded.attempts",
                    entries.underway,
                )
            if entries.ended:
                database.executemany("DELETE FROM underway WHERE source = ? AND ordinal = ?", entries.ended)
            put_answers(database, entries.answers)
            if entries.keys:
                database.executemany("INSERT INTO keys VALUES (?, ?, ?)", entries.keys)
            if entries.lines:
                database.executemany("UPDATE sources SET lines = ? WHERE number = ?", entries.lines)
            self._put_blocks(database, entries.blocks)

    def announce(self, source: int, ordinal: int) -> None:
        """Note, so that also a power cut does not lose it, that a request which must not be repeated is sent now."""
        with self._database.transaction() as database:
            database.execute(
                "INSERT INTO underway VALUES (?, ?, 1, '[]') ON CONFLICT DO UPDATE SET announced = 1", (source, ordinal)
            )
        self._database.sync()

    def underway(self) -> dict[tuple[int, int], Underway]:
        """What was done, by source and ordinal, about inputs that have not ended: some thousands at most.

        `announced`: that it must not be repeated, and may have been sent. `attempts`: those that failed, as `prepare`
        writes them.
        """
        rows = self._database.all("SELECT source, ordinal, announced, attempts FROM underway")
        return {(a, b): Underway(bool(announced), attempts) for a, b, announced, attempts in rows}

    # -- records on their way to the sink -----------------------------------------------------------------------------

    def waiting(self, after: int, most: int) -> list[tuple[int, bytes]]:
        """Records with their numbers, about `most` bytes, in the order in which they were entered, from `after` on."""
        return self._database.read(
            "SELECT number, record FROM held WHERE number > ? AND NOT later ORDER BY number", (after,), most
        )

    def waiting_bytes(self) -> int:
        """The bytes of the records that may go to the sink now."""
        return int(self._database.one("SELECT coalesce(sum(length(record)), 0) FROM held WHERE NOT later")[0])

    def waiting_in_order(self, front: tuple[int, int], most: int) -> list[tuple[int, bytes]]:
        """Records in the order of the inputs, about `most` bytes, of those before `front`, a source and an ordinal."""
        return self._database.read(
            "SELECT number, record FROM held WHERE NOT later AND (source, ordinal) < (?, ?) ORDER BY source, ordinal",
            front,
            most,
        )

    def confirm(self, numbers: Sequence[int], position: str, seen: Sequence[Seen] = ()) -> None:
        """Forget records that the sink has, and note where it stands."""
        with self._database.transaction() as database:
            if numbers and max(numbers) - min(numbers) == len(numbers) - 1:  # in whatever order
                database.execute("DELETE FROM held WHERE number BETWEEN ? AND ?", (min(numbers), max(numbers)))
            else:
                database.executemany("DELETE FROM held WHERE number = ?", [(number,) for number in numbers])
            database.execute("UPDATE runs SET position = ?" + _OF_LAST, (position,))
            self._put_seen(database, seen)

    def held(self) -> tuple[int, int]:
        """How many records wait for the sink, and how many of these for the end of the run."""
        count, later = self._database.one("SELECT count(*), coalesce(sum(later), 0) FROM held")
        return count, later

    def held_records(self) -> Iterator[bytes]:
        """The records that wait for the sink."""
        number = 0
        while rows := self._database.all(
            "SELECT number, record FROM held WHERE number > ? ORDER BY number LIMIT 1000", (number,)
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

    def note_seen(self, seen: Sequence[Seen]) -> None:
        with self._database.transaction() as database:
            self._put_seen(database, seen)

    def begin_round(self, blocks: Sequence[Block], state: int) -> None:
        """Note that failures are to be tried again: `blocks` say which, and answers with `state` are forgotten."""
        with self._database.transaction() as database:
            self._put_blocks(database, blocks)
            database.execute("DELETE FROM answers WHERE state = ?", (state,))
            database.execute("UPDATE runs SET rounds = rounds + 1" + _OF_LAST)

    def key(self, hashed: int) -> tuple[int, int] | None:
        """The input that had a key first in this run, by its source's number and its ordinal."""
        row = self._database.one("SELECT source, ordinal FROM keys WHERE hash = ?", (hashed,))
        return None if row is None else (row[0], row[1])

    # -- keeping it ---------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Let a power cut not undo what was written before; threads that come together share the wait."""
        self._database.sync()

    def tidy(self) -> None:
        """Take what is in SQLite's log to its place; holds nobody up, unless the log has become long."""
        self._database.tidy()

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty if nothing is."""
        return self._database.check()

    def close(self) -> None:
        self._database.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _blocks(self, source: int, first: int, most: int) -> list[Block]:
        rows = self._database.all(
            "SELECT * FROM blocks WHERE source = ? AND number >= ? ORDER BY number LIMIT ?", (source, first, most)
        )
        with self._database.understood():
            return [_block(*row) for row in rows]

    def _put_blocks(self, database: sqlite3.Connection, blocks: Sequence[Block]) -> None:
        database.executemany(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET states = excluded.states, "
            'end_line = excluded.end_line, "end" = excluded."end", crc = excluded.crc, is_read = excluded.is_read',
            [_row(block) for block in blocks],
        )

    def _put_seen(self, database: sqlite3.Connection, seen: Sequence[Seen]) -> None:
        if seen:
            database.executemany("INSERT INTO fresh (request, ok_at, etag, modified) VALUES (?, ?, ?, ?)", seen)


def _row(block: Block) -> tuple[Any, ...]:
    start, end = block.start, block.end
    ending = (None, None) if end is None else (end.line, end.offset)
    return block.source, block.number, start.line, start.offset, block.states, *ending, block.check, block.is_read


def _block(
    source: int,
    number: int,
    line: int,
    start: int,
    states: bytes,
    end_line: int | None,
    end: int,
    crc: int,
    is_read: int,
) -> Block:
    if len(states) != BLOCK or states.translate(None, KNOWN):
        raise ValueError(f"block {number} of source {source} has states that are none")
    ending = None if end_line is None else Mark(end_line, end)
    return Block(source, number, Mark(line, start), bytearray(states), ending, crc, bool(is_read))

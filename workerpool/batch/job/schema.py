"""The tables of a job's ledger, and what their rows are in Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from workerpool.batch.job.states import BLOCK, KNOWN, Block
from workerpool.batch.sources.marks import Mark

FILE = "ledger.sqlite"

VERSION = 4
"""Of the tables; another version of workerpool may have others."""

KEY_TABLE = "CREATE TABLE keys (hash INTEGER PRIMARY KEY, source INTEGER NOT NULL, ordinal INTEGER NOT NULL);"
"""What only one input may have, by its hash, and which one has it."""

TABLES = f"""
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;  -- the value as JSON
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, phase TEXT NOT NULL, began REAL NOT NULL, ended REAL,
    continued INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL, position TEXT NOT NULL, kept TEXT, last TEXT,
    rounds INTEGER NOT NULL DEFAULT 0, entered INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE sources (  -- the path as JSON, as one that is no UTF-8 is no text to SQLite
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
CREATE TABLE rejects (  -- until the next run begins, `failed` ones of a request that may be fetched again
    number INTEGER PRIMARY KEY, source INTEGER NOT NULL, ordinal INTEGER NOT NULL, failed INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE INDEX rejects_failed ON rejects (source, ordinal) WHERE failed;
CREATE TABLE underway (
    source INTEGER NOT NULL, ordinal INTEGER NOT NULL, announced INTEGER NOT NULL, attempts TEXT NOT NULL,
    PRIMARY KEY (source, ordinal)
) WITHOUT ROWID;
CREATE TABLE seen (request INTEGER PRIMARY KEY, ok_at INTEGER NOT NULL, etag TEXT, modified TEXT);
CREATE TABLE fresh (  -- what this run saw: at its end it is sorted into `seen`, where a row by itself costs a page
    number INTEGER PRIMARY KEY, request INTEGER NOT NULL, ok_at INTEGER NOT NULL, etag TEXT, modified TEXT
);
{KEY_TABLE}
"""

TOGETHER = 64 * 1024
"""Bytes of lines that are held together, at least, where there are more."""

OF_LAST = " WHERE number = (SELECT max(number) FROM runs)"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the ledger knows it. Times are seconds since the epoch.

    `phase`: "fetching", then "closing" (every input has ended, and the last records are on their way), then "finished".
    `position`: where the sink stands; `kept`: where it stood before the failures were written. `last`: how its last
    execution ended. `rounds`: how often its failures were set to be tried again. `entered`: the rows that a schema has
    made of its answers.
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
    entered: int

    @property
    def is_finished(self) -> bool:
        return self.phase == "finished"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source as it was when the run began: `lines` is None until it has been read to its end."""

    number: int
    path: str
    size: int | None
    mtime: int | None
    lines: int | None


class Held(NamedTuple):
    """What the sink is to get, `later` if only once the run is over: a failure that may be tried again.

    `record`: a line, or of an answer that became many rows, some of their lines: see `together`.
    """

    source: int
    ordinal: int
    later: bool
    record: bytes


def together(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put the lines of one input together, as a row of the ledger by itself for each costs more than the line.

    Up to a size: SQLite takes no gigabyte, and the mover wants to read as much as it asks for, and not much more.
    """
    some: list[bytes] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if size >= TOGETHER:
            yield b"".join(some)
            some, size = [], 0
    if some:
        yield b"".join(some)


def apart(record: bytes) -> list[bytes]:
    """The lines in what is held; JSON has line feeds and carriage returns between its lines only."""
    return record.splitlines(keepends=True)


class Rejected(NamedTuple):
    """What became no row of a schema; `failed` if that is a request, which may be fetched again."""

    source: int
    ordinal: int
    failed: bool
    record: bytes


class Underway(NamedTuple):
    """What an earlier execution has done about an input that has not ended: see `LedgerReader.underway`."""

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


def run_from(
    number: int,
    phase: str,
    began: float,
    ended: float | None,
    continued: int,
    settings: str,
    position: str,
    kept: str | None,
    last: str | None,
    rounds: int,
    entered: int,
) -> RunRow:
    """The run that a row of the table `runs` says; raises `ValueError` for one that says none."""
    noted = None if last is None else json.loads(last)
    return RunRow(number, phase, began, ended, continued, json.loads(settings), position, kept, noted, rounds, entered)


def source_row(source: SourceRow) -> tuple[Any, ...]:
    """The row of a source in the table `sources`."""
    return source.number, json.dumps(source.path), source.size, source.mtime, source.lines


def source_from(number: int, path: str, size: int | None, mtime: int | None, lines: int | None) -> SourceRow:
    """The source that such a row says; raises `ValueError` for one that says none."""
    return SourceRow(number, json.loads(path), size, mtime, lines)


def row_of(block: Block) -> tuple[Any, ...]:
    """The row of a block in the table `blocks`."""
    start, end = block.start, block.end
    ending = (None, None) if end is None else (end.line, end.offset)
    return block.source, block.number, start.line, start.offset, block.states, *ending, block.check, block.is_read


def block_from(
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
    """The block that such a row says; raises `ValueError` for one that says none."""
    if len(states) != BLOCK or states.translate(None, KNOWN):
        raise ValueError(f"block {number} of source {source} has states that are none")
    ending = None if end_line is None else Mark(end_line, end)
    return Block(source, number, Mark(line, start), bytearray(states), ending, crc, bool(is_read))

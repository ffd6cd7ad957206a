"""The ledger of a job: an SQLite database in its directory, which knows what has become of every input.

It holds the states of the inputs, the records that the sink has not confirmed yet, what is known of requests that are
under way, and of URLs that were fetched before. What is written here survives the end of the process at any
instruction: a transaction is in the system's hands when it returns. Against a power cut the log is synced once a
second, and before a request is sent that must not be repeated.

Three kinds of threads come in: the run's, which enters outcomes; its housekeeper, which takes records to the sink; and
workers, which announce requests. One connection writes, under a lock; the housekeeper reads with one of its own.
Nothing is decided here: see `books`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from workerpool.batch.job.states import BLOCK, KNOWN, Block
from workerpool.batch.marks import Mark
from workerpool.errors import JobError, SinkError

FILE = "ledger.sqlite"

VERSION = 1
"""Of the tables; another version of workerpool may have others."""

LOG_MOST = 32 * 1024 * 1024
"""Bytes of SQLite's log from which on it is emptied, which holds everybody up for a moment."""

_TABLES = """
CREATE TABLE job (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, phase TEXT NOT NULL, began REAL NOT NULL, ended REAL,
    continued INTEGER NOT NULL DEFAULT 0,
    settings TEXT NOT NULL, position TEXT NOT NULL, kept TEXT, moved INTEGER NOT NULL DEFAULT 0, last TEXT
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
CREATE TABLE seen (request INTEGER PRIMARY KEY, ok_at INTEGER NOT NULL, etag TEXT, modified TEXT, run INTEGER NOT NULL);
CREATE TABLE answers (request INTEGER PRIMARY KEY, state INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE followers (
    request INTEGER NOT NULL, source INTEGER NOT NULL, ordinal INTEGER NOT NULL, "key" TEXT, url TEXT NOT NULL,
    PRIMARY KEY (request, source, ordinal)
) WITHOUT ROWID;
CREATE TABLE keys (hash INTEGER PRIMARY KEY, source INTEGER NOT NULL, ordinal INTEGER NOT NULL);
"""


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
    """What is known of a request that was ok: when (seconds since the epoch), what tells whether it has changed, and
    the number of the run that had this answer.
    """

    request: int
    ok_at: int
    etag: str | None
    modified: str | None
    run: int


class Answer(NamedTuple):
    """How a request ended that other inputs may ask for, too."""

    request: int
    state: int
    record: bytes


class Follower(NamedTuple):
    """An input that waits for the answer to a request of another one; `request` is that one's hash."""

    request: int
    source: int
    ordinal: int
    key: str | None
    url: str


class KeyRow(NamedTuple):
    """A key by its hash, and the input that had it first."""

    hash: int
    source: int
    ordinal: int


@dataclass(slots=True, kw_only=True)
class Entries:
    """What is entered in one transaction."""

    held: Sequence[Held] = ()
    blocks: Sequence[Block] = ()
    underway: Sequence[tuple[int, int, str]] = ()  # source, ordinal, attempts as JSON
    ended: Sequence[tuple[int, int]] = ()  # of those that are under way no longer
    tried_again: Sequence[tuple[int, int]] = ()  # whose failure, kept for later, has been overtaken
    lines: Sequence[tuple[int, int]] = ()  # of sources that have been read to their end: lines, source
    answers: Sequence[Answer] = ()
    keys: Sequence[KeyRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as the ledger knows it. Times are seconds since the epoch.

    `phase`: "fetching", then "closing" (every input has ended, and the last records are on their way), then "finished".
    `position`: where the sink stands; `kept`: where it stood before the failures were written; `moved`: the number of
    the last record that it has confirmed. `last`: how its last execution ended.
    """

    number: int
    phase: str
    began: float
    ended: float | None
    continued: int
    settings: dict[str, Any]
    position: str
    kept: str | None
    moved: int
    last: dict[str, Any] | None

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
    `is_scratch`: nobody wants it once the process has ended.
    """

    def __init__(self, directory: str, *, read_only: bool = False, is_scratch: bool = False) -> None:
        self.name = os.path.join(directory, FILE)
        self._is_scratch = is_scratch
        self._lock = threading.Lock()  # guards the connection that writes, and what is below
        self._sync_lock = threading.Lock()  # guards _synced; taken before the other, if both
        self._commits = 0
        self._synced = 0
        self._log = -1
        with self._told():
            if read_only:
                self._writer = self._reader = self._look()
            else:
                self._writer = self._connect("rwc")
                self._reader = self._connect("rw", after=self._prepare)

    # -- runs ---------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """What tells this job from all others."""
        return str(self._one("SELECT value FROM job WHERE name = 'id'")[0])

    @property
    def made(self) -> str | None:
        """The output of the last run that was finished, None before that."""
        row = self._one("SELECT value FROM job WHERE name = 'made'")
        return None if row is None else str(row[0])

    def is_making(self, output: str) -> bool:
        """Whether the process was ended while this output was made ready for a run that had not begun."""
        return self._one("SELECT 1 FROM job WHERE name = 'making' AND value = ?", (output,)) is not None

    @contextmanager
    def making(self, output: str) -> Iterator[None]:
        """Note what is made ready inside, until `begin_run`, or until that fails."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO job VALUES ('making', ?)", (output,))
        self.sync()
        try:
            yield
        except Exception:
            with self._transaction() as database:
                database.execute("DELETE FROM job WHERE name = 'making'")
            raise

    def run(self) -> RunRow | None:
        """The last run, None before the first one."""
        row = self._one("SELECT * FROM runs ORDER BY number DESC LIMIT 1")
        if row is None:
            return None
        number, phase, began, ended, continued, settings, position, kept, moved, last = row
        with self._understood():
            return RunRow(
                number=number,
                phase=phase,
                began=began,
                ended=ended,
                continued=continued,
                settings=json.loads(settings),
                position=position,
                kept=kept,
                moved=moved,
                last=None if last is None else json.loads(last),
            )

    def begin_run(
        self, settings: dict[str, Any], position: str, sources: Sequence[SourceRow], *, ordered: bool = False
    ) -> None:
        """Begin a new run; of the one before it nothing is kept but its row, and what was seen if it was finished: the
        records of one that is given up go.

        `ordered`: its records will be asked for by `waiting_in_order`.
        """
        with self._transaction() as database:
            database.execute("DELETE FROM job WHERE name = 'making'")
            last = database.execute("SELECT number, phase FROM runs ORDER BY number DESC LIMIT 1").fetchone()
            if last is not None and last[1] != "finished":
                database.execute("DELETE FROM seen WHERE run = ?", last[:1])
            database.execute("DROP INDEX IF EXISTS held_place")
            if ordered:
                database.execute("CREATE INDEX held_place ON held (source, ordinal) WHERE NOT later")
            for table in ("blocks", "held", "underway", "answers", "followers", "keys", "sources"):
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
        with self._transaction() as database:
            database.execute("UPDATE runs SET continued = continued + 1, settings = ?" + _LAST, (json.dumps(settings),))
            database.executemany(
                "UPDATE sources SET size = ?, mtime = ? WHERE number = ?",
                [(one.size, one.mtime, one.number) for one in sources],
            )

    def reopen_run(self, position: str, blocks: Sequence[Block]) -> None:
        """Go on with a run that was finished: some of its inputs, which `blocks` say, are to be fetched again."""
        with self._transaction() as database:
            database.execute(
                "UPDATE runs SET phase = 'fetching', ended = NULL, kept = NULL, moved = 0, position = ?" + _LAST,
                (position,),
            )
            self._put_blocks(database, blocks)

    def begin_closing(self) -> None:
        """Every input has ended: what was kept for later is to be moved, too."""
        with self._transaction() as database:
            database.execute("UPDATE runs SET phase = 'closing', kept = position, moved = 0" + _LAST)
            database.execute("UPDATE held SET later = 0 WHERE later")

    def end_run(self, output: str) -> None:
        """The output is whole, and in its place: `output` is what was made there."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO job VALUES ('made', ?)", (output,))
            database.execute("UPDATE runs SET phase = 'finished', ended = ?" + _LAST, (time.time(),))
            for table in ("underway", "answers", "followers"):
                database.execute(f"DELETE FROM {table}")

    def note_last(self, last: dict[str, Any]) -> None:
        """Note how an execution ended."""
        with self._transaction() as database:
            database.execute("UPDATE runs SET last = ?" + _LAST, (json.dumps(last),))

    def history(self) -> Iterator[tuple[int, float, float | None, str]]:
        """Every run: its number, when it began and ended, its phase."""
        yield from self._all("SELECT number, began, ended, phase FROM runs ORDER BY number")

    # -- inputs -------------------------------------------------------------------------------------------------------

    def sources(self) -> list[SourceRow]:
        rows = self._all("SELECT number, path, size, mtime, lines FROM sources ORDER BY number")
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
        with self._transaction() as database:
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
            if entries.answers:
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", entries.answers)
            if entries.keys:
                database.executemany("INSERT INTO keys VALUES (?, ?, ?)", entries.keys)
            if entries.lines:
                database.executemany("UPDATE sources SET lines = ? WHERE number = ?", entries.lines)
            self._put_blocks(database, entries.blocks)

    def announce(self, source: int, ordinal: int) -> None:
        """Note, so that also a power cut does not lose it, that a request which must not be repeated is sent now."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO underway VALUES (?, ?, 1, '[]') ON CONFLICT DO UPDATE SET announced = 1", (source, ordinal)
            )
        self.sync()

    def underway(self) -> dict[tuple[int, int], Underway]:
        """What was done, by source and ordinal, about inputs that have not ended: some thousands at most.

        `announced`: that it must not be repeated, and may have been sent. `attempts`: those that failed, as `prepare`
        writes them.
        """
        rows = self._all("SELECT source, ordinal, announced, attempts FROM underway")
        return {(a, b): Underway(bool(announced), attempts) for a, b, announced, attempts in rows}

    # -- records on their way to the sink -----------------------------------------------------------------------------

    def waiting(self, after: int, most: int) -> list[tuple[int, bytes]]:
        """Records with their numbers, about `most` bytes, in the order in which they were entered, from `after` on."""
        return self._read(
            "SELECT number, record FROM held WHERE number > ? AND NOT later ORDER BY number", (after,), most
        )

    def waiting_in_order(self, front: tuple[int, int], most: int) -> list[tuple[int, bytes]]:
        """Records in the order of the inputs, about `most` bytes, of those before `front`, a source and an ordinal."""
        return self._read(
            "SELECT number, record FROM held WHERE NOT later AND (source, ordinal) < (?, ?) ORDER BY source, ordinal",
            front,
            most,
        )

    def confirm(self, numbers: Sequence[int], position: str, seen: Sequence[Seen] = ()) -> None:
        """Forget records that the sink has, and note where it stands."""
        with self._transaction() as database:
            if numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
                database.execute("DELETE FROM held WHERE number BETWEEN ? AND ?", (numbers[0], numbers[-1]))
            else:
                database.executemany("DELETE FROM held WHERE number = ?", [(number,) for number in numbers])
            moved = (max(numbers),) if numbers else (0,)
            database.execute("UPDATE runs SET moved = max(moved, ?), position = ?" + _LAST, (*moved, position))
            self._put_seen(database, seen)

    def held(self) -> tuple[int, int]:
        """How many records wait for the sink, and how many of these for the end of the run."""
        count, later = self._one("SELECT count(*), coalesce(sum(later), 0) FROM held")
        return count, later

    def held_records(self) -> Iterator[bytes]:
        """The records that wait for the sink."""
        number = 0
        while rows := self._all(
            "SELECT number, record FROM held WHERE number > ? ORDER BY number LIMIT 1000", (number,)
        ):
            for number, record in rows:  # noqa: B007  the last one is where the next thousand begins
                yield record

    # -- what was fetched before --------------------------------------------------------------------------------------

    def seen(self, request: int) -> Seen | None:
        row = self._one("SELECT * FROM seen WHERE request = ?", (request,))
        return None if row is None else Seen(*row)

    def has_seen(self) -> bool:
        """Whether anything was ever ok."""
        return self._one("SELECT 1 FROM seen LIMIT 1") is not None

    def note_seen(self, seen: Sequence[Seen]) -> None:
        with self._transaction() as database:
            self._put_seen(database, seen)

    def answer(self, request: int) -> Answer | None:
        row = self._one("SELECT request, state, record FROM answers WHERE request = ?", (request,))
        return None if row is None else Answer(*row)

    def forget_answers(self, state: int) -> None:
        """Forget the answers with a state: they are to be fetched again."""
        with self._transaction() as database:
            database.execute("DELETE FROM answers WHERE state = ?", (state,))

    def follow(self, followers: Sequence[Follower]) -> None:
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO followers VALUES (?, ?, ?, ?, ?)", followers)

    def followers(self, request: int, after: tuple[int, int], most: int) -> list[Follower]:
        """Up to `most` inputs that wait for the answer to a request, from after the place `after` on."""
        rows = self._all(
            "SELECT * FROM followers WHERE request = ? AND (source, ordinal) > (?, ?) ORDER BY source, ordinal LIMIT ?",
            (request, *after, most),
        )
        return [Follower(*row) for row in rows]

    def forget_followers(self) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM followers")

    def key(self, hashed: int) -> tuple[int, int] | None:
        """The input that had a key first in this run, by its source's number and its ordinal."""
        row = self._one("SELECT source, ordinal FROM keys WHERE hash = ?", (hashed,))
        return None if row is None else (row[0], row[1])

    # -- keeping it ---------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Let a power cut not undo what was written before; threads that come together share the wait."""
        with self._lock:
            mine = self._commits
        with self._sync_lock:
            if self._synced >= mine:
                return
            with self._lock:
                now = self._commits
            try:
                if self._log < 0:
                    self._log = os.open(f"{self.name}-wal", os.O_RDONLY | os.O_CLOEXEC)
                os.fsync(self._log)
            except OSError as error:
                raise SinkError(f"{self.name} cannot be written: {_reason(error)}; what it holds is kept") from error
            self._synced = now

    def tidy(self) -> None:
        """Take what is in SQLite's log to its place; holds nobody up, unless the log has become long."""
        with self._told():
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            try:
                size = os.stat(f"{self.name}-wal").st_size
            except OSError as error:
                raise SinkError(
                    f"{self.name} cannot be written: {_reason(error)}; was its directory removed?"
                ) from error
            if size > LOG_MOST:
                with self._lock:
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file; empty if nothing is."""
        with self._told():
            rows = self._reader.execute("PRAGMA integrity_check(5)").fetchall()
        return [text for (text,) in rows if text != "ok"]

    def close(self) -> None:
        with self._lock:
            log, self._log = self._log, -1
            try:
                self._reader.close()
                self._writer.close()
            except sqlite3.Error:
                pass  # everything is written; what is left is to be tidied by the next one
            if log >= 0:
                os.close(log)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _connect(self, mode: str, more: str = "", after: Any = None) -> sqlite3.Connection:
        if after is not None:
            after()
        uri = f"{Path(self.name).absolute().as_uri()}?mode={mode}{more}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        if self._is_scratch:
            database.execute("PRAGMA synchronous = OFF")
        elif mode != "ro":
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA wal_autocheckpoint = 0")  # `tidy` does it, on a thread that nobody waits for
        return database

    def _look(self) -> sqlite3.Connection:
        """Open the file to read it as it is now, without a trace and without holding anybody up.

        While a log is there it is read with it, and what others write from now on is not seen. Without one nothing
        is under way, and SQLite is told so: it would make a log and its index, or fail where it must not.
        """
        has_log = os.path.exists(f"{self.name}-wal")
        try:
            database = self._connect("ro", "" if has_log else "&immutable=1")
            database.execute("BEGIN")
            version = database.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError as error:
            log = ", or its log beside it," if has_log else ""
            raise JobError(
                f"{self.name}{log} cannot be read: {_reason(error)}; look at the rights of its directory, "
                "or copy that and look at the copy"
            ) from error
        if version != VERSION:
            database.close()
            raise self._other_version(version)
        return database

    def _other_version(self, version: int) -> JobError:
        return JobError(
            f"{self.name} is not a ledger that this version of workerpool reads (it says {version}, not {VERSION}): "
            "name another directory, or finish the run with the version that began it"
        )

    def _prepare(self) -> None:
        """Make the tables of a new job, and look whether those that are there are ours."""
        writer = self._writer
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";")[:-1]:
                writer.execute(statement)
            writer.execute("INSERT INTO job VALUES ('id', ?)", (os.urandom(16).hex(),))
            writer.execute(f"PRAGMA user_version = {VERSION}")
            writer.execute("COMMIT")
        elif version != VERSION:
            raise self._other_version(version)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say SQLite's errors in our words."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", "") or ""
            if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
                raise SinkError(f"{self.name} cannot be written: {_reason(error)}; what it holds is kept") from error
            if code.startswith("SQLITE_BUSY"):
                raise JobError(
                    f"{self.name} is held by another program: close it, and run the command again"
                ) from error
            raise self._damaged(error) from error

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Say in our words that what was read means nothing."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> JobError:
        return JobError(
            f"{self.name} is damaged ({error}): keep a copy of its directory, and give --job another one; "
            "the output so far stays where it is"
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._told():
            writer = self._writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            self._commits += 1

    def _blocks(self, source: int, first: int, most: int) -> list[Block]:
        rows = self._all(
            "SELECT * FROM blocks WHERE source = ? AND number >= ? ORDER BY number LIMIT ?", (source, first, most)
        )
        with self._understood():
            return [_block(*row) for row in rows]

    def _put_blocks(self, database: sqlite3.Connection, blocks: Sequence[Block]) -> None:
        database.executemany(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET states = excluded.states, "
            'end_line = excluded.end_line, "end" = excluded."end", crc = excluded.crc, is_read = excluded.is_read',
            [_row(block) for block in blocks],
        )

    def _put_seen(self, database: sqlite3.Connection, seen: Sequence[Seen]) -> None:
        if seen:
            database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", sorted(seen))

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, self._told():
            return self._writer.execute(statement, values).fetchall()

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        with self._lock, self._told():
            return self._writer.execute(statement, values).fetchone()

    def _read(self, statement: str, values: Sequence[Any], most: int) -> list[tuple[int, bytes]]:
        rows: list[tuple[int, bytes]] = []
        with self._told(), closing(self._reader.execute(statement, values)) as cursor:
            for row in cursor:
                rows.append(row)
                most -= len(row[1])
                if most <= 0:
                    break
        return rows


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


_LAST = " WHERE number = (SELECT max(number) FROM runs)"


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{text[:1].lower()}{text[1:]}"

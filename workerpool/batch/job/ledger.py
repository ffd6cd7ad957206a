"""The ledger of a job: an SQLite database in its directory, which knows what has become of every input.

It holds the states of the inputs, the records that the sink has not confirmed yet, what is known of requests that are
under way, and of URLs that were fetched before. What is written here survives the end of the process at any
instruction: a transaction is in the system's hands when it returns. Against a power cut the log is synced once a
second, and before a request is sent that must not be repeated.

Three kinds of threads come in: the run's, which enters outcomes; its housekeeper, which takes records to the sink; and
workers, which announce requests. `database` keeps them apart. Here is what they write, and `reader` has what they ask.
Nothing is decided here: see `books`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from workerpool.batch.job.answers import ANSWER_TABLES, Answer, Answers, put_answers
from workerpool.batch.job.chains import CHAIN_TABLES, OF_CHAINS, ChainEntries, put_chains
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import OF_LAST, TABLES, Held, KeyRow, Rejected, Seen, SourceRow, row_of, source_row
from workerpool.batch.job.states import Block
from workerpool.errors import OptionError


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
    chains: ChainEntries = ChainEntries()  # noqa: RUF009  a tuple
    rejects: list[Rejected] = field(default_factory=list)
    rows: int = 0  # that a schema has made


class Ledger(LedgerReader):
    """The database of one job, made where there is none. What a method writes is one transaction.

    Every method raises `JobError` if it is damaged, `SinkError` if it cannot be written.
    """

    def __init__(self, directory: str) -> None:
        made = f"INSERT INTO job VALUES ('id', '{json.dumps(os.urandom(16).hex())}');"
        super().__init__(directory, TABLES + ANSWER_TABLES + CHAIN_TABLES + made)
        self.answers = Answers(self._database)

    def put_keys(self, rows: Sequence[KeyRow]) -> None:
        """Write down what inputs have, before anything else is entered."""
        self.enter(Entries(keys=[*rows]))

    # -- runs ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def making(self, output: str) -> Iterator[None]:
        """Note what is made ready inside, until `begin_run` or `reopen_run`, or until that is refused."""
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO job VALUES ('making', ?)", (json.dumps(output),))
        self._database.sync()
        try:
            yield
        except OptionError:  # refused before anything was made
            with self._database.transaction() as database:
                database.execute("DELETE FROM job WHERE name = 'making'")
            raise

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
            for table in (
                "blocks",
                "held",
                "underway",
                "fresh",
                "answers",
                "followers",
                "keys",
                "rejects",
                *OF_CHAINS,
                "sources",
            ):
                database.execute(f"DELETE FROM {table}")
            database.execute(
                "INSERT INTO runs (phase, began, settings, position) VALUES ('fetching', ?, ?, ?)",
                (time.time(), json.dumps(settings), position),
            )
            database.executemany("INSERT INTO sources VALUES (?, ?, ?, ?, ?)", map(source_row, sources))

    def continue_run(self, settings: dict[str, Any], sources: Sequence[SourceRow]) -> None:
        """Note that the run goes on, with what its options and the files of its sources are now."""
        with self._database.transaction() as database:
            again = "UPDATE runs SET continued = continued + 1, settings = ?" + OF_LAST
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
                "UPDATE runs SET phase = 'fetching', ended = NULL, kept = NULL, rounds = 0, position = ?" + OF_LAST,
                (position,),
            )
            database.execute("DELETE FROM rejects WHERE failed")
            _put_blocks(database, blocks)

    def begin_closing(self) -> None:
        """Every input has ended: what was kept for later is to be moved, too."""
        with self._database.transaction() as database:
            database.execute("UPDATE runs SET phase = 'closing', kept = position" + OF_LAST)
            database.execute("UPDATE held SET later = 0 WHERE later")

    def end_run(self, output: str) -> None:
        """The output is whole, and in its place: `output` is what was made there."""
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO job VALUES ('made', ?)", (json.dumps(output),))
            database.execute("UPDATE runs SET phase = 'finished', ended = ?" + OF_LAST, (time.time(),))
            database.execute(
                "INSERT OR REPLACE INTO seen SELECT request, ok_at, etag, modified FROM fresh ORDER BY request, number"
            )
            for table in ("underway", "fresh", "answers", "followers"):
                database.execute(f"DELETE FROM {table}")

    def note_last(self, last: dict[str, Any]) -> None:
        """Note how an execution ended."""
        with self._database.transaction() as database:
            database.execute("UPDATE runs SET last = ?" + OF_LAST, (json.dumps(last),))

    # -- inputs and their records -------------------------------------------------------------------------------------

    def enter(self, entries: Entries) -> None:
        """Write everything that `entries` say, or nothing."""
        with self._database.transaction() as database:
            if entries.tried_again:
                for table, when in (("held", "later"), ("rejects", "failed")):
                    database.executemany(
                        f"DELETE FROM {table} WHERE {when} AND source = ? AND ordinal = ?", entries.tried_again
                    )
            if entries.held:
                database.executemany(
                    "INSERT INTO held (source, ordinal, later, record) VALUES (?, ?, ?, ?)", entries.held
                )
            if entries.rejects:
                database.executemany(
                    "INSERT INTO rejects (source, ordinal, failed, record) VALUES (?, ?, ?, ?)", entries.rejects
                )
            if entries.rows:
                database.execute("UPDATE runs SET entered = entered + ?" + OF_LAST, (entries.rows,))
            if entries.underway:
                database.executemany(
                    "INSERT INTO underway VALUES (?, ?, 0, ?) ON CONFLICT DO UPDATE SET attempts = excluded.attempts",
                    entries.underway,
                )
            if entries.ended:
                database.executemany("DELETE FROM underway WHERE source = ? AND ordinal = ?", entries.ended)
            put_answers(database, entries.answers)
            put_chains(database, entries.chains)
            if entries.keys:
                database.executemany("INSERT INTO keys VALUES (?, ?, ?)", entries.keys)
            if entries.lines:
                database.executemany("UPDATE sources SET lines = ? WHERE number = ?", entries.lines)
            _put_blocks(database, entries.blocks)

    def announce(self, source: int, ordinal: int) -> None:
        """Note, so that also a power cut does not lose it, that a request which must not be repeated is sent now."""
        with self._database.transaction() as database:
            database.execute(
                "INSERT INTO underway VALUES (?, ?, 1, '[]') ON CONFLICT DO UPDATE SET announced = 1", (source, ordinal)
            )
        self._database.sync()

    def confirm(self, numbers: Sequence[int], position: str, seen: Sequence[Seen] = ()) -> None:
        """Forget records that the sink has, and note where it stands."""
        with self._database.transaction() as database:
            if numbers and max(numbers) - min(numbers) == len(numbers) - 1:  # in whatever order
                database.execute("DELETE FROM held WHERE number BETWEEN ? AND ?", (min(numbers), max(numbers)))
            else:
                database.executemany("DELETE FROM held WHERE number = ?", [(number,) for number in numbers])
            database.execute("UPDATE runs SET position = ?" + OF_LAST, (position,))
            _put_seen(database, seen)

    def note_seen(self, seen: Sequence[Seen]) -> None:
        with self._database.transaction() as database:
            _put_seen(database, seen)

    def begin_round(self, blocks: Sequence[Block], state: int) -> None:
        """Note that failures are to be tried again: `blocks` say which, and answers with `state` are forgotten."""
        with self._database.transaction() as database:
            _put_blocks(database, blocks)
            database.execute("DELETE FROM answers WHERE state = ?", (state,))
            database.execute("UPDATE runs SET rounds = rounds + 1" + OF_LAST)

    # -- keeping it ---------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Let a power cut not undo what was written before; threads that come together share the wait."""
        self._database.sync()

    def tidy(self) -> None:
        """Take what is in SQLite's log to its place; holds nobody up, unless the log has become long."""
        self._database.tidy()


def _put_blocks(database: sqlite3.Connection, blocks: Sequence[Block]) -> None:
    database.executemany(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET states = excluded.states, "
        'end_line = excluded.end_line, "end" = excluded."end", crc = excluded.crc, is_read = excluded.is_read',
        [row_of(block) for block in blocks],
    )


def _put_seen(database: sqlite3.Connection, seen: Sequence[Seen]) -> None:
    if seen:
        database.executemany("INSERT INTO fresh (request, ok_at, etag, modified) VALUES (?, ?, ?, ?)", seen)

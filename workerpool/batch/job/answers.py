"""What the database keeps of answers that several inputs ask for, and of the inputs that wait for one.

It is a part of the ledger, whose transactions it takes part in; without a job it has a database of its own. The run's
thread alone uses it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from workerpool.batch.job.database import Database

ANSWER_TABLES = """
CREATE TABLE answers (request INTEGER PRIMARY KEY, state INTEGER NOT NULL, reason TEXT, record BLOB NOT NULL);
CREATE TABLE followers (
    request INTEGER NOT NULL, source INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    named TEXT NOT NULL,  -- its key and URL as JSON: a lone surrogate is no text to SQLite
    PRIMARY KEY (request, source, ordinal)
) WITHOUT ROWID;
"""


class Answer(NamedTuple):
    """How a request ended that other inputs may ask for, too; `reason` is its error's word, None if it was ok."""

    request: int
    state: int
    reason: str | None
    record: bytes


class Follower(NamedTuple):
    """An input that waits for the answer to a request of another one; `request` is that one's hash."""

    request: int
    source: int
    ordinal: int
    key: str | None
    url: str


class Answers:
    """The answers in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answer(self, request: int) -> Answer | None:
        row = self._database.one("SELECT * FROM answers WHERE request = ?", (request,))
        return None if row is None else Answer(*row)

    def write(self, answers: Sequence[Answer]) -> None:
        with self._database.transaction() as database:
            put_answers(database, answers)

    def follow(self, followers: Sequence[Follower]) -> None:
        with self._database.transaction() as database:
            database.executemany(
                "INSERT OR REPLACE INTO followers VALUES (?, ?, ?, ?)",
                [(one.request, one.source, one.ordinal, json.dumps([one.key, one.url])) for one in followers],
            )

    def followers(self, request: int, after: tuple[int, int], most: int) -> list[Follower]:
        """Up to `most` inputs that wait for the answer to a request, from after the input `after` on."""
        rows = self._database.all(
            "SELECT * FROM followers WHERE request = ? AND (source, ordinal) > (?, ?) ORDER BY source, ordinal LIMIT ?",
            (request, *after, most),
        )
        return [Follower(*identity, *json.loads(named)) for *identity, named in rows]

    def forget_followers(self) -> None:
        with self._database.transaction() as database:
            database.execute("DELETE FROM followers")


def put_answers(database: sqlite3.Connection, answers: Sequence[Answer]) -> None:
    """Write answers in a transaction that has begun."""
    if answers:
        database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", answers)

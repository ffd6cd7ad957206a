"""Where the chain of pages of each input is, in the ledger: the page that is asked for next, and how to ask for it.

A page's record and where its chain goes on are in one transaction, so that a run that was killed goes on in the middle
of every chain: no page comes twice, and only what was in flight is fetched again. A row is written once an input has a
second page, and stays until the next run begins: by it the records of an input can be counted. What is written is what
a page's request differs in from its input's; that is read again from the source, so no header or login gets here. The
run's thread alone uses this.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from workerpool.batch.job.database import Database
from workerpool.batch.job.states import ENDED, GOOD, Identity, State
from workerpool.model import Request
from workerpool.paging import Chain, Pages, Position, as_page, hash_of

CHAIN_TABLES = """
CREATE TABLE chains (
    source INTEGER NOT NULL, ordinal INTEGER NOT NULL, page INTEGER NOT NULL, position TEXT NOT NULL,
    PRIMARY KEY (source, ordinal)
) WITHOUT ROWID;
CREATE TABLE steps (  -- what the pages of a chain were asked for by, as hashes, to know one that comes again
    source INTEGER NOT NULL, ordinal INTEGER NOT NULL, hash INTEGER NOT NULL, PRIMARY KEY (source, ordinal, hash)
) WITHOUT ROWID;
"""

OF_CHAINS = ("chains", "steps")


class ChainRow(NamedTuple):
    """The page of an input that is asked for next, or was last: its number, and its `Position` as JSON."""

    source: int
    ordinal: int
    page: int
    position: str


class KeptChains:
    """The chains in `database`, which is a ledger's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self) -> bool:
        """Whether any input has more than one page."""
        return self._database.one("SELECT 1 FROM chains LIMIT 1") is not None

    def chain(self, identity: Identity) -> ChainRow | None:
        row = self._database.one("SELECT * FROM chains WHERE source = ? AND ordinal = ?", identity)
        return None if row is None else ChainRow(*row)

    def steps(self, identity: Identity) -> set[int]:
        rows = self._database.all("SELECT hash FROM steps WHERE source = ? AND ordinal = ?", identity)
        return {hashed for (hashed,) in rows}

    def further(self) -> int:
        """How many pages were asked for, the first of each input apart."""
        return int(self._database.one("SELECT coalesce(sum(page - 1), 0) FROM chains")[0])

    def entered(self, identity: Identity, state: State) -> int:
        """How many pages of an input have a record, its state being this one."""
        row = self.chain(identity)
        return (1 if row is None else row.page) - (state not in (*ENDED, State.AGAIN))


class JobChains:
    """The journal of the chains of one execution. `pages`: how they go on; `identity`: gives that of a request."""

    def __init__(self, kept: KeptChains, pages: Pages, identity: Callable[[Request], Identity]) -> None:
        self._kept = kept
        self._identity = identity
        self._pages = pages
        self._knows = kept.any()
        self._left: dict[Identity, Chain] = {}  # by an execution or a round before, and about to go on
        self._steps: dict[Identity, tuple[int, Position]] = {}  # what is to be entered with the page before
        self._open: dict[Identity, int] = {}  # the page that each chain is at, from the second on
        self._rows: list[ChainRow] = []  # for the next transaction
        self._ended: list[Identity] = []  # chains whose pages need not be known again

    def begin(self) -> None:
        """Begin a reading of the inputs: those that were read before are read again."""
        self._knows = self._kept.any()
        self._left.clear()

    def request(self, start: Request) -> Request:
        """Return the request for the page at which an input's chain is, `start` being the one for its first page."""
        identity = self._identity(start)
        row = self._kept.chain(identity) if self._knows else None
        if row is None or start.problem is not None:
            return replace(start, page=1)
        position = Position(*json.loads(row.position))
        start = replace(start, earlier=())
        first = hash_of(self._pages.first(start).url)
        self._left[identity] = Chain(start, row.page, position, {first, *self._kept.steps(identity)})
        self._open[identity] = row.page
        return as_page(self._pages.at(start, position), start, row.page)

    def page_of(self, identity: Identity) -> int:
        """The page that an input's chain is at."""
        return self._open.get(identity, 1)

    # -- as the journal of a stream's chains --------------------------------------------------------------------------

    def begun(self, request: Request) -> Chain | None:
        return self._left.pop(self._identity(request), None)

    def goes_on(self, chain: Chain) -> None:
        assert chain.position is not None
        self._steps[self._identity(chain.start)] = chain.page, chain.position

    # -- what becomes of them -----------------------------------------------------------------------------------------

    def enter(self, identity: Identity, state: State) -> None:
        """Note that a page is entered; `state` is what becomes of its input, QUEUED if its chain goes on."""
        step = self._steps.pop(identity, None)
        if step is not None:
            page, position = step
            self._open[identity] = page
            self._rows.append(ChainRow(*identity, page, json.dumps([position.value, position.has_left])))
            return
        self._left.pop(identity, None)
        if self._open.pop(identity, 1) > 1 and state in GOOD:
            self._ended.append(identity)

    def take(self) -> ChainEntries:
        """What the ledger does not have yet, for its next transaction."""
        entries = ChainEntries(self._rows, self._ended, has_steps=self._pages.may_circle)
        self._rows, self._ended = [], []
        return entries


class ChainEntries(NamedTuple):
    """What one transaction writes of chains."""

    rows: Sequence[ChainRow] = ()
    ended: Sequence[Identity] = ()
    has_steps: bool = False


def put_chains(database: sqlite3.Connection, entries: ChainEntries) -> None:
    """Write them in a transaction that has begun."""
    if entries.rows:
        database.executemany("INSERT OR REPLACE INTO chains VALUES (?, ?, ?, ?)", entries.rows)
        if entries.has_steps:
            steps = [(row.source, row.ordinal, hash_of(json.loads(row.position)[0])) for row in entries.rows]
            database.executemany("INSERT OR IGNORE INTO steps VALUES (?, ?, ?)", steps)
    if entries.ended:
        database.executemany("DELETE FROM steps WHERE source = ? AND ordinal = ?", entries.ended)

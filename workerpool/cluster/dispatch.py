"""What the coordinator does next, given what it knows: who is given a chunk, who is lost, when the batch is given up.

Told the time, it decides and returns, and performs nothing: the coordinator does that over a line to Dask, and
simulations on a clock of their own. One thread uses it, so there are no locks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from workerpool.clock import LONG_AGO
from workerpool.cluster.berths import Berth, Given
from workerpool.cluster.books import Books

DEPTH = 2
"""Chunks that a worker has at once: while the result of one travels, the next one is there."""

LOOK_EVERY = 1.0
"""Seconds between two looks which workers there are."""

PATIENCE = 120.0
"""Seconds for which there may be no worker, or no scheduler, before the batch is given up."""

MOST_LOSSES = 20
"""Workers that may be lost one after the other without an outcome in between."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A chunk to submit: its number, for whom, and what it brings; `seconds` and `low` as in `messages.Chunk`."""

    number: int
    berth: Berth
    given: list[Given]
    seconds: float
    low: int


@dataclass(frozen=True, slots=True)
class News:
    """What a look has told: workers that are gone, and the addresses of those that are to be greeted."""

    lost: list[Berth]
    new: list[str]


class Dispatch:
    """The books, and what is known of the workers. `may_split`: whether several may send to one host."""

    def __init__(self, *, may_split: bool, now: float) -> None:
        self.books = Books(may_split=may_split)
        self.past: list[Berth] = []  # of workers that are gone
        self.losses = 0  # since the last outcome
        self._numbers = count(1)  # of chunks
        self._greeted: set[str] = set()  # workers that have not answered yet, by address
        self._seen_at = now  # that there was a worker
        self._looked_at = LONG_AGO
        self._is_looking = False
        self._is_unsure = True  # which workers there are: nothing is submitted until a look has told

    # -- which workers there are --------------------------------------------------------------------------------------

    def looks(self, now: float) -> bool:
        """Whether to ask now which workers there are; if so, `hear_of_workers` has to be told."""
        is_due = now - self._looked_at >= (LOOK_EVERY / 10 if self._is_unsure else LOOK_EVERY)
        if not is_due or self._is_looking:
            return False
        self._is_looking, self._looked_at = True, now
        return True

    def hear_of_workers(self, threads: Mapping[str, int] | None, now: float) -> News:
        """Take in which workers there are; None if nobody could tell."""
        self._is_looking, self._is_unsure = False, threads is None
        if threads is None:
            return News([], [])
        lost = [self._lose(address) for address in self.books.berths.keys() - threads.keys()]
        new = [address for address in threads if address not in self.books.berths and address not in self._greeted]
        self._greeted.update(new)
        if self.books.berths:
            self._seen_at = now
        self.look_at_all()
        return News(lost, new)

    def _lose(self, address: str) -> Berth:
        berth = self.books.leave(address)
        self.losses += 1
        berth.count_in()
        self.past.append(berth)
        return berth

    def take_leave(self, address: str) -> None:
        """Forget a worker that was greeted, and did not answer: the next look finds it, if it is there."""
        self._greeted.discard(address)

    def welcome(self, address: str, threads: int, now: float) -> None:
        """Take in a worker that has answered."""
        self._greeted.discard(address)
        self.books.join(Berth(address, threads, counted_at=now))
        self._seen_at = now

    def why_hopeless(self, now: float, *, is_up: bool, is_closed: bool) -> str | None:
        """Why to give the batch up, if that is so. Of the cluster: whether its scheduler is there, or gone for good."""
        if is_closed or now - self._seen_at > PATIENCE:
            what = "no worker" if is_up and not is_closed else "no scheduler any more"
            return f"has {what}: start it again, and then this, which goes on if it is a job"
        if self.losses > MOST_LOSSES:
            return (
                f"has lost {self.losses} workers one after the other, and nothing was fetched: see what their logs say"
            )
        return None

    # -- chunks -------------------------------------------------------------------------------------------------------

    def assignments(self) -> Iterator[Assignment]:
        """What to submit now; each counts as submitted once it is taken from here."""
        if self._is_unsure:
            return
        self.books.level()
        changed, self.books.changed = self.books.changed, {}
        for berth in changed:
            while len(berth.chunks) < DEPTH and (assignment := self._assignment(berth)) is not None:
                yield assignment

    def look_at_all(self) -> None:
        """See with the next assignments whether there is something for anybody, whoever has changed."""
        self.books.changed.update(dict.fromkeys(self.books.berths.values()))

    def _assignment(self, berth: Berth) -> Assignment | None:
        """A chunk for a worker, if there is something for it, or something to be told of."""
        given = self.books.fill(berth)
        if not given and (berth.chunks or not berth.given):
            return None
        low = min(berth.target, berth.has) // 2 if self.books.waiting else 0
        assignment = Assignment(next(self._numbers), berth, given, self.books.seconds, low)
        berth.chunks.add(assignment.number)
        return assignment

    def hear_of_chunk(self, assignment: Assignment, pool: str, ended: Collection[int], now: float) -> bool:
        """Take in that a chunk has come back; False if it is of a worker that was given up, and says nothing new.

        `pool`: which one the worker has; `ended`: numbers of what has, which are to be taken out by `books.end`.
        """
        berth = assignment.berth
        if assignment.number not in berth.chunks:
            return False
        berth.chunks.discard(assignment.number)
        self.books.changed[berth] = None
        if berth.pool not in ("", pool):  # what the one before it had is there no more
            berth.count_in()
            self.books.take_back(berth, [number for number in berth.given if number not in ended])
        berth.pool = pool
        given = self.books.given
        berth.note_rate(sum(given[number].size for number in ended if number in given), now, self.books.seconds)
        self._seen_at = now
        if ended:
            self.losses = 0
        return True

    def lose_chunk(self, assignment: Assignment, *, is_to_wait: bool = False) -> bool:
        """Queue again what a worker has, as a chunk of it came to nothing, and look soon whether it is there.

        `is_to_wait`: it is no fault of the worker's, who cannot begin yet. False as above.
        """
        berth = assignment.berth
        if assignment.number not in berth.chunks:
            return False
        berth.chunks.discard(assignment.number)
        self.books.changed[berth] = None
        self.losses += not is_to_wait
        self._is_unsure = True
        self.books.take_back(berth, [*berth.given])
        return True

    def needs_more_hosts(self) -> bool:
        """Whether a worker could send to further hosts. Any thread."""
        return any(berth.is_hungry and berth.has < berth.target for berth in [*self.books.berths.values()])

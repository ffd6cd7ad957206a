"""Who does what in the coordinator's books: a worker of the cluster, a host's queue at it, a request.

Each worker has a *berth*, and each host with something to be sent a *lane* at one of them: its queue, here, and the
count of its requests that are there. `books` moves them.

Values and arithmetic. One thread uses them, the coordinator's, so there are no locks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from workerpool.cluster.messages import Errand
from workerpool.processes.figures import NOTHING, added, only_past
from workerpool.statistics import PoolStatistics
from workerpool.tickets import Ticket

SECONDS = 1.0
"""Seconds after which a worker is to say what has ended, at least; see `books.TASKS`."""

AHEAD = 2.0
"""So many times these seconds of work, by its measured rate, a worker is given ahead of what it has told."""

FIRST = 4
"""Requests for each thread, and each of these seconds, that a worker is given before its rate is known."""

MOST = 10_000
"""Requests that a worker is given at most."""


@dataclass(slots=True, eq=False)
class Given:
    """A request without an outcome. `lane`: where it counts as being under way; None while it is queued.

    `size`: how many it counts as; simulations let one stand for a range of a host's.
    """

    ticket: Ticket
    errand: Errand
    size: int = 1
    lane: Lane | None = None
    is_over: bool = False

    @property
    def number(self) -> int:
        return self.errand.number


@dataclass(slots=True, eq=False)
class Lane:
    """What is to be sent to a host by one worker. `berth`: whose; None while there is no worker.

    `queued`: requests in the `queue`.
    """

    host: str
    berth: Berth | None = None
    queue: deque[Given] = field(default_factory=deque)
    queued: int = 0
    under_way: int = 0

    @property
    def load(self) -> int:
        return self.queued + self.under_way

    def push(self, *new: Given, first: bool = False) -> None:
        """Queue requests, in their order, behind all others or before them."""
        if first:
            self.queue.extendleft(reversed(new))
        else:
            self.queue.extend(new)
        self._count(sum(given.size for given in new))

    def pop(self) -> Given:
        given = self.queue.popleft()
        self._count(-given.size)
        return given

    def bring_forward(self, ticket: Ticket) -> bool:
        """Put a request before all others; False if it is not queued here."""
        place = next((n for n, given in enumerate(self.queue) if given.ticket is ticket), None)
        if place is None:
            return False
        given = self.queue[place]
        del self.queue[place]
        self.queue.appendleft(given)
        return True

    def part(self) -> list[Given]:
        """Take out the later half of the queue."""
        queue = [*self.queue]
        rest = queue[len(queue) // 2 :]
        self.queue = deque(queue[: -len(rest)])
        self._count(-sum(given.size for given in rest))
        return rest

    def _count(self, more: int) -> None:
        self.queued += more
        if self.berth is not None:
            self.berth.queued += more


@dataclass(slots=True, eq=False)
class Berth:
    """A worker of the cluster, with so many `threads`.

    `given`: requests that it has, `has` in number, `target` of them at most, by its `rate`; `queued`: those in its
    lanes' queues.
    `chunks`: numbers of the tasks that it has. `pool`: which pool it had when it told last; `is_hungry`: whether that
    could send to more hosts. `counted`: outcomes since `counted_at`.
    """

    address: str
    threads: int
    lanes: dict[str, Lane] = field(default_factory=dict)
    given: dict[int, Given] = field(default_factory=dict)
    has: int = 0
    queued: int = 0
    chunks: set[int] = field(default_factory=set)
    target: int = 0
    rate: float = 0.0
    counted: int = 0
    counted_at: float = 0.0
    pool: str = ""
    is_hungry: bool = True
    figures: PoolStatistics = NOTHING
    past: PoolStatistics = NOTHING
    cpu: float = 0.0
    past_cpu: float = 0.0

    def __post_init__(self) -> None:
        self.target = self.least

    @property
    def least(self) -> int:
        return FIRST * self.threads

    @property
    def low(self) -> int:
        """How many it may have left when it is to be given more: half of what it may have."""
        return self.target // 2

    @property
    def load(self) -> float:
        """How much it has to do, in what it may be given at once."""
        return (self.has + self.queued) / self.target

    def note_rate(self, ended: int, now: float, seconds: float = SECONDS) -> None:
        """Count what has ended, and find out how much work lasts for `AHEAD` times so many seconds.

        Where that is more than it was given, it grows by what it does with that, twofold at a time.
        """
        self.counted += ended
        elapsed = now - self.counted_at
        if elapsed < SECONDS / 2:
            return
        rate = self.counted / elapsed
        self.rate = (self.rate + rate) / 2 if self.rate else rate
        self.target = min(2 * self.target, MOST, int(max(self.least, self.rate * AHEAD) * seconds))
        self.counted, self.counted_at = 0, now

    def count_in(self) -> None:
        """Keep what its pool had done, which has ended."""
        self.past, self.figures = added([self.past, only_past(self.figures)]), NOTHING
        self.past_cpu, self.cpu = self.past_cpu + self.cpu, 0.0

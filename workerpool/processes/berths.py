"""What a fleet keeps books of: berths, what they were given, which hosts are whose, and what streams are at.

No locks of their own: the fleet's guards them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workerpool.crew.delays import Feeder
from workerpool.model import Attempt
from workerpool.processes.figures import NOTHING, added, only_past
from workerpool.processes.messages import Doing, Task
from workerpool.processes.process import Process
from workerpool.statistics import PoolStatistics, Wait
from workerpool.tickets import Ticket

HOSTS_KEPT = 10_000
"""Hosts without a request whose berth is remembered, for the sockets to them that are still open there."""


@dataclass(slots=True)
class Given:
    """A request that a berth has. `attempts`: that are known of it. `may_have_been_sent`: so it is not sent again."""

    ticket: Ticket
    task: Task
    attempts: tuple[Attempt, ...] | None = None
    may_have_been_sent: bool = False


@dataclass(slots=True, eq=False)
class Berth:
    """A place for a process. `held`: places of each owner that wait for its receipt, by the owner's number."""

    number: int
    workers: int
    options: Mapping[str, bytes] = field(default_factory=dict)
    process: Process | None = None
    given: dict[int, Given] = field(default_factory=dict)
    hosts: int = 0
    held: dict[int, int] = field(default_factory=dict)
    past: PoolStatistics = NOTHING  # of processes that have ended
    past_cpu: float = 0.0
    figures: PoolStatistics = NOTHING
    cpu: float = 0.0  # seconds that its processes have had
    needs_more_hosts: bool = False
    doing: Wait | None = None  # what its process knows of the streams
    seen: int = 0  # the last question that was answered
    is_done: bool = False

    def tell(self, message: Any) -> None:
        """Tell its process, if it has one. Any thread, without the lock."""
        if (process := self.process) is not None:
            process.tell(message)

    def of(self, owner: int) -> list[int]:
        """Its requests that belong to an owner."""
        return [number for number, given in self.given.items() if given.task.owner == owner]

    def note(self, figures: PoolStatistics, cpu: float) -> None:
        """Take what its process has done."""
        self.figures, self.cpu = figures, cpu

    def count_in(self) -> None:
        """Keep what its process had done, which has ended; the next one knows nothing of the streams."""
        self.past, self.figures = added([self.past, only_past(self.figures)]), NOTHING
        self.past_cpu, self.cpu = self.past_cpu + self.cpu, 0.0
        self.doing = None


def tell_all(berths: Iterable[Berth], message: Any) -> None:
    """Tell the processes of all these."""
    for berth in berths:
        berth.tell(message)


@dataclass(slots=True)
class _Host:
    berth: Berth
    under_way: int = 0


class Delays:
    """What streams tell of themselves, for the processes that have nothing to do; see `delays.Delays`."""

    def __init__(self, berths: Sequence[Berth]) -> None:
        self._berths = berths
        self.feeders: list[Feeder] = []

    @property
    def watches_feeders(self) -> bool:
        """Whether what they do matters: some process has nothing to do. Asked without the lock, all the time."""
        return not all(berth.given for berth in self._berths)

    def tell(self) -> None:
        """Tell the processes that have nothing to do what the streams are at, if they do not know. Under the lock."""
        doing = Wait.IDLE
        for feeder in [*self.feeders]:
            doing = feeder.doing
            if doing not in (Wait.ANSWERS, Wait.WINDOW):
                break
        for berth in self._berths:
            if not berth.given and berth.doing is not doing and berth.process is not None:
                berth.doing = doing
                berth.tell(Doing(doing))


class Hosts:
    """Which berth sends to which host, by the requests that it was given and has not ended."""

    def __init__(self, berths: Sequence[Berth]) -> None:
        self._berths = berths
        self._hosts: dict[str, _Host] = {}
        self._idle: dict[str, None] = {}  # those without a request, the one that has been so longest first

    def enter(self, name: str) -> Berth:
        """Count one more request to a host; returns where it goes."""
        host = self._hosts.get(name)
        if host is None:
            berth = min(self._berths, key=lambda berth: (len(berth.given), berth.hosts))
            host = self._hosts[name] = _Host(berth)
            berth.hosts += 1
        elif not host.under_way:
            del self._idle[name]
        host.under_way += 1
        return host.berth

    def take(self, berth: Berth, number: int) -> Given | None:
        """Take a request out of a berth that has ended; None if it has been before."""
        given = berth.given.pop(number, None)
        if given is not None:
            self._leave(given.task.host)
        return given

    def _leave(self, name: str) -> None:
        """Count one less, and forget the host that has had none for longest, if they are many."""
        host = self._hosts[name]
        host.under_way -= 1
        if not host.under_way:
            self._idle[name] = None
            if len(self._idle) > HOSTS_KEPT:
                oldest = next(iter(self._idle))
                del self._idle[oldest]
                self._hosts.pop(oldest).berth.hosts -= 1

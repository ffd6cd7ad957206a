"""The books of the coordinator: which worker of the cluster has which host, and which requests.

A host's requests go to one worker as long as any is under way. Only a large host's queue is split by ranges, where
another worker has nothing to do and budgets are counted in common.

Arithmetic. One thread uses it, the coordinator's, so there are no locks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import nlargest
from itertools import cycle

from workerpool.cluster.berths import SECONDS, Berth, Given, Lane
from workerpool.processes.berths import HOSTS_KEPT

TASKS = 100
"""Chunks a second of all workers together: Dask needs milliseconds for each, so that many workers speak less often."""

HOST_PART = 2
"""A host's requests at a worker may be so many times those that it could be given besides (dynamic thresholds, as in
`Intake`): one that does not answer leaves a third to the others, two leave a fifth."""

CHOICES = 8
"""Workers that are looked at for a new host."""

SPLIT_FROM = 16
"""Requests that a host has in its queue when a part of it may go to a second worker."""


class Books:
    """All berths and lanes. `may_split`: whether several workers may send to one host.

    `waiting`: requests that no worker has. `changed`: workers that may be given something since it was emptied.
    """

    def __init__(self, *, may_split: bool) -> None:
        self._may_split = may_split
        self.berths: dict[str, Berth] = {}
        self._order: list[Berth] = []  # the same
        self._turn = 0  # where it was last looked for one with little to do
        self._homeless: dict[str, Lane] = {}  # of which there is one for each host, where no worker is
        self._lanes: dict[str, list[Lane]] = {}  # by host
        self._homes: dict[str, str] = {}  # where hosts were that have nothing now, who is longest so first
        self.given: dict[int, Given] = {}  # all without an outcome, by number
        self.waiting = 0
        self.changed: dict[Berth, None] = {}  # in order, as a set would not be
        self._idle: dict[Berth, None] = {}  # had nothing to send when that was looked at last

    @property
    def seconds(self) -> float:
        """After which a worker is to say what has ended: the more of them, the later."""
        return max(SECONDS, len(self.berths) / TASKS)

    # -- requests -----------------------------------------------------------------------------------------------------

    def enter(self, given: Given) -> None:
        """Queue a request: with its host's worker, or that which has least to do."""
        self.given[given.number] = given
        lanes = self._lanes.get(given.errand.host)
        lane = self._open(given.errand.host) if lanes is None else min(lanes, key=lambda one: one.load)
        lane.push(given)
        self.waiting += given.size
        self._note(lane.berth)

    def end(self, number: int) -> Given | None:
        """Take a request out that has ended; None if it has been before."""
        given = self.given.pop(number, None)
        if given is None:
            return None
        given.is_over = True  # should it still be queued, as its worker was thought to be lost
        self.waiting -= given.size if given.lane is None else 0
        self._let_go(given)
        return given

    def take_out(self, owner: int) -> list[Given]:
        """Take out what is queued of a stream."""
        gone = [
            given for lanes in self._lanes.values() for lane in lanes for given in lane.queue
            if given.errand.owner == owner and not given.is_over
        ]  # fmt: skip
        for given in gone:
            given.is_over = True
            self.waiting -= given.size
            del self.given[given.number]
        for lanes in [*self._lanes.values()]:
            for lane in [*lanes]:
                self._tidy(lane)
        return gone

    def fill(self, berth: Berth) -> list[Given]:
        """Give a worker as much of its lanes as it may have, of one after the other in turn.

        Of what is left at the end of a batch it is given less and less (guided self-scheduling: Polychronopoulos and
        Kuck, 1987), so that those who are done first can take it.
        """
        berth.target = max(berth.target, int(berth.least * self.seconds))
        room = min(berth.target, max(berth.threads, 2 * self.waiting // len(self.berths))) - berth.has
        chosen: list[Given] = []
        lanes = deque(lane for lane in berth.lanes.values() if lane.queue)
        while lanes and room > 0:
            lane = lanes.popleft()
            if lane.under_way > HOST_PART * room:
                continue
            given = _next(lane)
            if given is None:
                self._tidy(lane)
                continue
            given.lane = lane
            lane.under_way += given.size
            berth.given[given.number] = given
            berth.has += given.size
            room -= given.size
            self.waiting -= given.size
            chosen.append(given)
            lanes.append(lane)
        return chosen

    def take_back(self, berth: Berth, numbers: Iterable[int]) -> None:
        """Queue again, before all others, what a worker was given and will not tell of."""
        back = [berth.given[number] for number in sorted(numbers, reverse=True) if number in berth.given]
        for given in back:
            lane = given.lane
            assert lane is not None
            self._let_go(given, tidy=False)
            lane.push(given, first=True)
            self.waiting += given.size
            self._note(lane.berth)

    # -- workers ------------------------------------------------------------------------------------------------------

    def join(self, berth: Berth) -> None:
        """Take in a worker, and give it what has none."""
        self.berths[berth.address] = berth
        self._order.append(berth)
        self._note(berth)
        homeless, self._homeless = self._homeless, {}
        for lane in homeless.values():
            self._house(lane, berth)

    def leave(self, address: str) -> Berth:
        """Take out a worker that is gone; the others get its lanes, with all that it has not told of."""
        berth = self.berths.pop(address)
        self._order.remove(berth)
        self.changed.pop(berth, None)
        self._idle.pop(berth, None)
        self.take_back(berth, [*berth.given])
        for lane in [*berth.lanes.values()]:
            self._unhouse(lane)
            others = [other for other in self._lanes.get(lane.host, ()) if other.berth is not None]
            if others:
                others[0].push(*lane.queue, first=True)
                self._note(others[0].berth)
                self._lanes[lane.host].remove(lane)
            elif self.berths:
                self._house(lane, self._least_loaded())
            else:
                self._homeless[lane.host] = lane
        return berth

    def level(self) -> None:
        """Give workers without anything to send a part of what waits for others, for each of another one."""
        perhaps = {**self._idle, **self.changed}
        takers = [berth for berth in perhaps if not berth.queued and berth.has < max(1, berth.low)]
        self._idle = dict.fromkeys(takers)
        if not takers or not self.waiting:
            return
        givers = nlargest(len(takers), (berth for berth in self.berths.values() if berth.queued), key=_queued)
        for taker, giver in zip(takers, cycle(givers) if givers else (), strict=False):
            self._help(taker, giver)

    def _help(self, berth: Berth, giver: Berth) -> None:
        """Take lanes of which nothing is under way, up to half of what waits there, or else a part of the largest."""
        queued, moved = giver.queued, 0
        if not queued:  # another one has taken it
            return
        for lane in [*giver.lanes.values()]:
            if moved >= max(1, queued // 2):
                return
            if not lane.under_way and lane.queue and lane.host not in berth.lanes:
                self._unhouse(lane)
                self._house(lane, berth)
                moved += lane.queued
        if not moved and self._may_split:
            self._split(giver, berth)

    def _split(self, giver: Berth, berth: Berth) -> None:
        """Give the later half of a large host's queue to another worker, as a range of its own."""
        largest = max(giver.lanes.values(), key=lambda lane: lane.queued)
        if len(largest.queue) < 2 or largest.queued < SPLIT_FROM:
            return
        part = berth.lanes.get(largest.host)
        if part is None:
            part = Lane(largest.host)
            self._lanes[largest.host].append(part)
            self._house(part, berth)
        part.push(*largest.part())
        self._note(berth)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _open(self, host: str) -> Lane:
        lane = Lane(host)
        self._lanes[host] = [lane]
        if self.berths:
            self._house(lane, self._home_of(host))
        else:
            self._homeless[host] = lane
        return lane

    def _home_of(self, host: str) -> Berth:
        """The worker that had a host last, for its sockets, unless others have far less to do."""
        least = self._least_loaded()
        last = self.berths.get(self._homes.pop(host, ""), least)
        return last if last.load <= least.load + 1 else least

    def _least_loaded(self) -> Berth:
        """The worker with least to do of a few that follow each other: to ask a thousand for each host takes long."""
        count = len(self._order)
        self._turn = (self._turn + CHOICES) % count
        some = [self._order[(self._turn + n) % count] for n in range(min(CHOICES, count))]
        return min(some, key=lambda berth: (berth.load, len(berth.lanes)))

    def _note(self, berth: Berth | None) -> None:
        if berth is not None and berth.address in self.berths:
            self.changed[berth] = None

    def _house(self, lane: Lane, berth: Berth) -> None:
        self._note(berth)
        lane.berth = berth
        berth.lanes[lane.host] = lane
        berth.queued += lane.queued

    def _unhouse(self, lane: Lane) -> None:
        if lane.berth is not None:
            del lane.berth.lanes[lane.host]
            lane.berth.queued -= lane.queued
            lane.berth = None

    def _let_go(self, given: Given, *, tidy: bool = True) -> None:
        """Count a request as under way no more, if it was."""
        lane, given.lane = given.lane, None
        if lane is None:
            return
        lane.under_way -= given.size
        if lane.berth is not None and lane.berth.given.pop(given.number, None) is not None:
            lane.berth.has -= given.size
        if tidy:
            self._tidy(lane)

    def _tidy(self, lane: Lane) -> None:
        """Forget a lane that has nothing any more, but for where it was."""
        while lane.queue and lane.queue[0].is_over:
            lane.pop()
        lanes = self._lanes.get(lane.host, [])
        if lane.queue or lane.under_way or lane not in lanes:
            return
        lanes.remove(lane)
        if not lanes:
            del self._lanes[lane.host]
            self._homeless.pop(lane.host, None)
            if lane.berth is not None:
                self._homes[lane.host] = lane.berth.address
                if len(self._homes) > HOSTS_KEPT:
                    del self._homes[next(iter(self._homes))]
        self._unhouse(lane)


def _queued(berth: Berth) -> int:
    return berth.queued


def _next(lane: Lane) -> Given | None:
    """Take the next request out of a lane that is to be sent now."""
    while lane.queue:
        given = lane.queue[0]
        if not (given.is_over or given.ticket.owner.lets(given.ticket)):
            # What a full stream waits for may stand further back: what two workers had has come together here.
            awaited = given.ticket.owner.awaited
            if awaited is None or awaited is given.ticket or not lane.bring_forward(awaited):
                return None
            continue
        lane.pop()
        if not given.is_over:
            return given
    return None

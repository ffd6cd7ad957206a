"""What requests wait for. Reads everything in the scheduler, and changes nothing: to look must not move anybody.

Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from workerpool.limits import MemoryLimiter, SharedBudget
from workerpool.scheduler.callers import Callers
from workerpool.scheduler.lanes import Lane
from workerpool.scheduler.owners import Owners
from workerpool.scheduler.parked import Parked
from workerpool.scheduler.places import Places
from workerpool.scheduler.register import Register
from workerpool.scheduler.ring import Ring
from workerpool.statistics import Reasons, Wait
from workerpool.tickets import Owner


@dataclass(frozen=True, slots=True)
class HoldUps:
    """Looks at all of these."""

    register: Register
    ring: Ring
    parked: Parked
    owners: Owners
    callers: Callers
    places: Places
    limiter: MemoryLimiter | None
    shared: SharedBudget | None

    def seen(self, at: float, otherwise: Wait) -> Reasons:
        """See `Scheduler.hold_ups`."""
        found = Counter[tuple[Wait, str]]()
        ready = otherwise
        if self.shared is not None and (otherwise is Wait.READY or self.shared.next_at(None, 1, at) > at):
            ready = Wait.SHARED  # it is also what is missing where workers are free, and none may send
        for owner, aside in self.owners.aside.items():
            found[_consumer_of(owner), ""] += len(aside)
        for host in self.register.hosts.values():
            for lane in host.lanes.values():
                if not lane.is_empty:
                    found[self._of_lane(lane, at, otherwise, ready), host.name] += len(lane.queue) + len(lane.retries)
        for caller in self.callers.waiting:
            wait = self.register.hosts[caller.host].waits_for(at)
            found[self._of_pool(1, at, ready) if wait is Wait.READY else wait, caller.host] += 1
        return found or self._of_parked(at)

    def _of_parked(self, at: float) -> Reasons:
        found = Counter[tuple[Wait, str]]()
        for _, _, ticket in self.parked.heap:
            host = self.register.hosts.get(ticket.host)
            wait = Wait.READY if host is None else host.waits_for(at)
            found[wait if wait in (Wait.PAUSE, Wait.BREAKER) else Wait.BACKOFF, ticket.host] += 1
        for for_what, held in self.parked.held.items():  # a site's robots.txt by its name, or else a `Login`
            found[Wait.ROBOTS if isinstance(for_what, str) else Wait.TOKEN, ""] += len(held)
        return found

    def _of_lane(self, lane: Lane, at: float, otherwise: Wait, ready: Wait) -> Wait:
        """`otherwise`: what it waits for if it needs no slot; `ready`: what, if it needs one and its host has one."""
        wait = lane.waits_for(at)
        if wait is not Wait.READY:
            return wait
        ticket = lane.queue[0] if lane.queue else lane.retries[0]
        if not ticket.owner.lets(ticket):
            return _consumer_of(ticket.owner)
        if lane.host.refused_until > at:  # what ends unsent needs no slot
            return Wait.SOCKETS if self.places.taken >= self.places.sockets else otherwise
        if lane.stands_back:
            return Wait.WORKERS
        is_denied = lane in self.ring.denied and not lane.listed
        return self._of_pool(ticket.request.weight, at, Wait.SHARED if is_denied else ready)

    def _of_pool(self, weight: int, at: float, ready: Wait) -> Wait:
        if self.places.taken >= self.places.sockets:
            return Wait.SOCKETS
        if self.limiter is not None and self.limiter.next_at(weight) > at:
            return Wait.RATE
        return ready


def _consumer_of(owner: Owner) -> Wait:
    """What holds up an owner that is full or has no room: its consumer, or else an outcome is on its way there."""
    return Wait.SINK if owner.doing is Wait.SINK else Wait.READY

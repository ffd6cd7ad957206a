"""Requests that were put aside, as their owner may not send them now: it is full, or has no room for receipts.

They still count as queued, but stand in no lane, so that those behind them may go. Only the scheduler enters, under the
lock of its caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from workerpool.scheduler.parked import parted
from workerpool.scheduler.register import Register
from workerpool.scheduler.ring import Ring
from workerpool.tickets import Owner, Ticket


class Aside:
    """Requests by their owner, oldest first."""

    def __init__(self, register: Register, ring: Ring) -> None:
        self._register = register
        self._ring = ring
        self.by_owner: dict[Owner, deque[Ticket]] = {}  # none of these is empty

    def put(self, ticket: Ticket) -> None:
        """Keep a request until its owner may send."""
        self.by_owner.setdefault(ticket.owner, deque()).append(ticket)

    def resume(self, owner: Owner, now: float) -> None:
        """Bring back all of an owner's."""
        aside = self.by_owner.pop(owner, None)
        if aside is None:
            return
        brought = [(self._register.lane_of(ticket, now), ticket) for ticket in aside]
        for lane, ticket in reversed(brought):  # each to the front of its lane, so the oldest stands there in the end
            lane.push_first(ticket)
        # The lanes in the order in which they stood. Were it reversed, the same ones would come last each time, and
        # starve.
        for lane in dict.fromkeys(lane for lane, _ in brought):
            self._ring.enlist(lane, now)

    def urge(self, ticket: Ticket, now: float) -> None:
        """Bring back one request, if it is here."""
        aside = self.by_owner.get(ticket.owner)
        if aside is None or ticket not in aside:
            return
        aside.remove(ticket)
        if not aside:
            del self.by_owner[ticket.owner]
        self._ring.bring_back(ticket, now)

    def discard(self, is_unwanted: Callable[[Ticket], bool]) -> list[Ticket]:
        """Remove and return those that `is_unwanted` picks."""
        gone: list[Ticket] = []
        for owner, aside in [*self.by_owner.items()]:
            picked, kept = parted(aside, is_unwanted)
            gone += picked
            if kept:
                self.by_owner[owner] = kept
            else:
                del self.by_owner[owner]
        return gone

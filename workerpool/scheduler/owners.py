"""Owners: what is queued in all and for each, how many more each may send, and what is put aside meanwhile.

An owner may be full, or wait for receipts. Its requests still count as queued then, but those at the head of the ring
are put aside, so that others may pass. Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from workerpool.scheduler.parked import parted
from workerpool.scheduler.ring import Ring
from workerpool.tickets import Owner, Ticket


class Owners:
    """`queued`: requests in lanes, or aside. `aside`: these by their owner, oldest first; no owner has none."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.queued = 0
        self.aside: dict[Owner, deque[Ticket]] = {}

    def count(self, ticket: Ticket, by: int) -> None:
        """Count a request that begins or ends to be queued."""
        self.queued += by
        owner = ticket.owner
        if owner.needs_receipts:
            owner.queued += by

    def note_sent(self, ticket: Ticket) -> None:
        """Count a request that is queued no more, but sent."""
        self.queued -= 1
        owner = ticket.owner
        if owner.needs_receipts:
            owner.queued -= 1
            owner.room -= 1
            ticket.holds_place = True

    def give_places(self, owner: Owner, places: int, now: float) -> None:
        """Let an owner that needs receipts send so many more."""
        owner.room += places
        self.resume(owner, now)

    def put_aside(self, ticket: Ticket) -> None:
        """Keep a request until its owner may send."""
        self.aside.setdefault(ticket.owner, deque()).append(ticket)

    def resume(self, owner: Owner, now: float) -> None:
        """Bring back all that an owner has aside."""
        self._ring.bring_all_back(self.aside.pop(owner, ()), now)

    def urge(self, ticket: Ticket, now: float) -> None:
        """Bring back one request, if it is aside."""
        aside = self.aside.get(ticket.owner)
        if aside is None or ticket not in aside:
            return
        aside.remove(ticket)
        if not aside:
            del self.aside[ticket.owner]
        self._ring.bring_back(ticket, now)

    def discard(self, is_unwanted: Callable[[Ticket], bool]) -> list[Ticket]:
        """Remove from what is aside, and return, those that `is_unwanted` picks."""
        gone: list[Ticket] = []
        for owner, aside in [*self.aside.items()]:
            picked, kept = parted(aside, is_unwanted)
            gone += picked
            if kept:
                self.aside[owner] = kept
            else:
                del self.aside[owner]
        return gone

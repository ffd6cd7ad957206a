"""Requests aside: parked until a time, or held until something is known. They have no place in any lane meanwhile.

Only the scheduler enters, under the lock of its caller.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable
from itertools import count

from workerpool.clock import NEVER
from workerpool.tickets import Ticket


class Parked:
    """Requests by when they go on, and by what they wait for."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Ticket]] = []
        self.held: dict[Hashable, deque[Ticket]] = {}  # none of these is empty
        self._order = count()
        self._held_in_all = 0

    def __len__(self) -> int:
        return len(self.heap) + self._held_in_all

    def park(self, ticket: Ticket, until: float) -> None:
        """Keep a request until a time."""
        heapq.heappush(self.heap, (until, next(self._order), ticket))

    def pop(self) -> Ticket:
        """Take the request whose time comes first."""
        return heapq.heappop(self.heap)[2]

    def wakes_at(self) -> float:
        """When the next one's time comes."""
        return self.heap[0][0] if self.heap else NEVER

    def hold(self, ticket: Ticket, for_what: Hashable) -> None:
        """Keep a request until `free` is called for what it waits for."""
        self._held_in_all += 1
        self.held.setdefault(for_what, deque()).append(ticket)

    def free(self, for_what: Hashable) -> list[Ticket]:
        """Remove and return the requests that were held for it."""
        freed = [*self.held.pop(for_what, ())]
        self._held_in_all -= len(freed)
        return freed

    def discard(self, is_unwanted: Callable[[Ticket], bool]) -> list[Ticket]:
        """Remove and return those that `is_unwanted` picks."""
        gone: list[Ticket] = []
        for name, held in [*self.held.items()]:
            picked, kept = parted(held, is_unwanted)
            gone += picked
            if kept:
                self.held[name] = kept
            else:
                del self.held[name]
        self._held_in_all -= len(gone)
        kept_entries = list[tuple[float, int, Ticket]]()
        for entry in self.heap:
            if is_unwanted(entry[2]):
                gone.append(entry[2])
            else:
                kept_entries.append(entry)
        heapq.heapify(kept_entries)
        self.heap = kept_entries
        return gone


def parted(tickets: deque[Ticket], is_unwanted: Callable[[Ticket], bool]) -> tuple[list[Ticket], deque[Ticket]]:
    """The unwanted tickets, and the others. Each is asked about once: the answer may change between two questions, as a
    future may be cancelled, or a stream left, on any thread at any time."""
    picked, kept = list[Ticket](), deque[Ticket]()
    for ticket in tickets:
        (picked if is_unwanted(ticket) else kept).append(ticket)
    return picked, kept

"""The count of open sockets: to each host and in all, here and in the processes that share the budget.

It knows no socket but by a ticket. `Connections` calls it with its lock held, save where a method says otherwise.
"""

from __future__ import annotations

import itertools
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class Leases(Protocol):
    """The part of a budget that processes share which is this one's: how many sockets it may have open.

    Called with the lock of `Connections` held; takes only a lock of its own.
    """

    def allows(self, host: str | None, sockets: int) -> bool:
        """Whether so many may be open to `host`, or in all; takes what is free if one is missing."""

    def tidy(self, opened: Mapping[str, int]) -> Mapping[str | None, int]:
        """Give back what is not needed; returns how many idle sockets to each host, or in all, are to be closed.

        `opened`: sockets by host.
        """

    def leave(self) -> None:
        """Give back everything, for good. Safe to call again."""


class SocketPlaces:
    """Who may have a socket open: so many in all, so many to each host, and what `leases` allow."""

    def __init__(self, most: int, host_most: int, leases: Leases | None) -> None:
        self._most = most
        self._host_most = host_most
        self._leases = leases
        self._hosts: dict[int, str] = {}  # a ticket: the host that it counts against
        # Its socket, also while only a response has it. Single writes need no lock under the GIL.
        self._sockets: dict[int, weakref.ref[Any]] = {}
        self._gone: deque[int] = deque()  # tickets of those that have closed since; appended to without the lock
        self._tickets = itertools.count(1)

    def __len__(self) -> int:
        return len(self._hosts)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._hosts

    def is_full(self, host: str | None) -> bool:
        """Whether there is no place for one socket more to `host`, or in all."""
        count, most = (len(self._hosts), self._most) if host is None else (self._open_to(host), self._host_most)
        return count >= most or (self._leases is not None and not self._leases.allows(host, count + 1))

    def take(self, host: str) -> int:
        """Count one more socket to `host`; returns its ticket."""
        ticket = next(self._tickets)
        self._hosts[ticket] = host
        return ticket

    def move(self, ticket: int, host: str) -> None:
        """Count an open socket against another host from now on."""
        if ticket in self._hosts:
            self._hosts[ticket] = host

    def note(self, ticket: int, sock: Any) -> None:
        """Note the socket that has a place. Without the lock."""
        self._sockets[ticket] = weakref.ref(sock)

    def leave(self, ticket: int) -> None:
        """Have a place given back soon, by `let_go`. Without the lock, and safe to call again."""
        self._gone.append(ticket)

    def let_go(self) -> bool:
        """Give back the places that were left; returns whether there was one."""
        has_room = False
        while self._gone:
            try:
                ticket = self._gone.popleft()
            except IndexError:  # the garbage collector has ended a connection in between, and so called this
                break
            self._sockets.pop(ticket, None)
            has_room |= self._hosts.pop(ticket, None) is not None
        return has_room

    def by_host(self) -> Counter[str]:
        """How many sockets are open to each host."""
        return Counter([*self._hosts.values()])

    def sockets(self) -> Iterator[Any]:
        """The sockets that there still are. Without the lock, where no other thread is."""
        return (reference() for reference in [*self._sockets.values()])

    def _open_to(self, host: str) -> int:
        """How many sockets count against `host`. Counted anew each time, which only new sockets do."""
        return [*self._hosts.values()].count(host)

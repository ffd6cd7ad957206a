"""The requests that one thread carries: their sockets, the first time at which an answer is late, and a bell.

One thread at a time uses a load, the carrier's (`workerpool.crew.carrier`); only `wake` is for any other.
"""

from __future__ import annotations

import select
import socket
import time
import weakref
from typing import NamedTuple

from workerpool.clock import NEVER
from workerpool.tickets import Ticket
from workerpool.transport import Carried

LONGEST_WAIT = 3600.0
"""Seconds after which the thread looks again in any case: poll takes no more than some weeks."""


class Entry(NamedTuple):
    """A request that is carried, and the descriptor of its socket, which may be closed by now."""

    descriptor: int
    ticket: Ticket
    carried: Carried


class Load:
    """The requests that a thread carries, and the bell that calls it while it waits for their sockets.

    `sleeps`: whether the thread waits, or is about to, so that it has to be woken for new work. It says so under the
    crew's lock; that it does not any more, without: it takes that lock next, and sees the work.
    """

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._looks_at = NEVER  # `time.monotonic`: the first answer may be late then
        self._poll = select.poll()
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._poll.register(self._bell, select.POLLIN)
        self._close = weakref.finalize(self, _close, self._bell, self._rope)  # also of a pool that is dropped
        self._close.atexit = False
        self.sleeps = False

    @property
    def is_empty(self) -> bool:
        return not self._entries

    def add(self, ticket: Ticket, carried: Carried) -> None:
        """Carry a request that has just been sent."""
        descriptor = carried.sock.fileno()
        self._poll.register(descriptor, select.POLLIN)
        self._entries[descriptor] = Entry(descriptor, ticket, carried)
        self._looks_at = min(self._looks_at, carried.expires_at)

    def remove(self, entry: Entry) -> None:
        """Carry a request no longer: it has ended, or somebody else goes on with it."""
        del self._entries[entry.descriptor]
        self._poll.unregister(entry.descriptor)

    def take_all(self) -> list[Entry]:
        """Carry nothing any longer; returns what was carried."""
        entries, self._entries = self._entries, {}
        for descriptor in entries:
            self._poll.unregister(descriptor)
        return [*entries.values()]

    def wait(self, *, at_most: float = NEVER) -> list[tuple[Entry, bool]]:
        """The requests that something has come for, and those whose answers are late, which are marked by True.

        Waits for the first of them, for `at_most` seconds, unless it is woken.
        """
        if self._looks_at < NEVER and at_most:
            at_most = min(at_most, max(0.0, self._looks_at - time.monotonic()), LONGEST_WAIT)
        events = self._poll.poll(None if at_most == NEVER else at_most * 1000)
        self.sleeps = False
        ready: list[tuple[Entry, bool]] = []
        for descriptor, _ in events:
            entry = self._entries.get(descriptor)
            if entry is not None:
                ready.append((entry, False))
            else:
                self._hear_bell()
        if self._looks_at < NEVER and time.monotonic() >= self._looks_at:
            self._look_for_late(ready)
        return ready

    def close(self) -> None:
        """Let go of the bell: nothing will be carried any more."""
        self._close()

    def wake(self) -> None:
        """Let `wait` return. Any thread."""
        try:
            self._rope.send(b"\0")
        except BlockingIOError:
            pass  # it has been rung more often than heard

    def _hear_bell(self) -> None:
        try:
            self._bell.recv(4096)
        except BlockingIOError:
            pass

    def _look_for_late(self, ready: list[tuple[Entry, bool]]) -> None:
        now = time.monotonic()
        here = {entry.descriptor for entry, _ in ready}
        earliest = NEVER
        for entry in self._entries.values():
            expires_at = entry.carried.expires_at
            if expires_at <= now and entry.descriptor not in here:
                ready.append((entry, True))
            else:
                earliest = min(earliest, expires_at)
        self._looks_at = earliest


def _close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()

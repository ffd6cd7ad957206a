"""The carrier's requests: those for whose answers one thread waits all at once, and what passes between it and others.

A thread for each request in flight costs more than the requests: two threads that are ready contend for the
interpreter, at each system call (see decision 13). So one turn at a time, the *carrier's*, carries whatever can be sent
without waiting, and the others do the rest: they make connections, and read what is slow to come.

Both sides meet under the crew's lock, and leave each other lists there. What is carried is the carrier's thread's own:
it sends, waits and reads without the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from workerpool.clock import NEVER
from workerpool.crew.load import Load
from workerpool.tickets import Ticket
from workerpool.transport import Carried
from workerpool.trip import Step
from workerpool.worker import Worker


class Sending(NamedTuple):
    """A request that was taken from the scheduler.

    `carried`: what of it has been begun, if anything. `found_none_idle`: the carrier has not begun it, as no connection
    was idle, and one more is of use.
    """

    ticket: Ticket
    carried: Carried | None = None
    found_none_idle: bool = False


class Carrier:
    """The requests that one turn at a time carries, those that the others have for it, and those that it has for them.

    Everything above the line is done under the crew's lock, by any thread, save `close`; everything below it without,
    by the thread whose turn it is to carry.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._load: Load | None = None  # made with the first request that is given; so whoever carries has one
        # Guarded by the crew's lock:
        self.is_carrying = False  # whether a turn does
        self.given: list[Sending] = []  # the others have sent these, and leave them to the carrier
        self.for_others: deque[Sending] = deque()  # the carrier leaves these to the others
        # The carrying thread's own; the crew has not been told of either yet.
        self._ended: list[tuple[Ticket, Step]] = []  # carried no longer, and what follows
        self._not_carried: list[Sending] = []  # those with which another thread is to go on

    def give(self, ticket: Ticket, carried: Carried) -> bool:
        """Leave a request to the carrier, which the next turn becomes if there is none. False if it cannot be."""
        if self._load is None:
            try:
                self._load = Load()
            except OSError:  # no more descriptors
                return False
        self.given.append(Sending(ticket, carried))
        self.call()
        return True

    def call(self) -> None:
        """Wake the carrier, if there is one, and it sleeps."""
        load = self._load
        if self.is_carrying and load is not None and load.sleeps:
            load.sleeps = False
            load.wake()

    def take_note(self) -> list[tuple[Ticket, Step]]:
        """Carry what was given, leave to the others what is theirs from now on, and return what has ended."""
        load = self._load
        assert load is not None
        for ticket, carried, _ in self.given:
            assert carried is not None
            self._load_on(load, ticket, carried)
        self.given.clear()
        self.for_others += self._not_carried  # after the loading, as a socket may have been closed meanwhile
        self._not_carried = []
        ended, self._ended = self._ended, []
        return ended

    def stays(self, takes_more: bool) -> bool:
        """Whether the carrier goes on, as something is carried or about to be.

        If not, another thread may be the carrier once the lock is released: this one must touch nothing here any more.
        """
        load = self._load
        assert load is not None
        # Both in the hold of the lock that saw that nothing was given and nothing could be taken: whoever has something
        # next then wakes a carrier that is about to sleep, or finds that there is none.
        self.is_carrying = takes_more or not load.is_empty
        load.sleeps = self.is_carrying
        return self.is_carrying

    def break_off(self) -> list[tuple[Ticket, Step]]:
        """Leave all that is carried to the others, as the carrying thread has failed; returns what had ended."""
        load = self._load
        assert load is not None
        self._not_carried += (Sending(entry.ticket, entry.carried) for entry in load.take_all())
        self.for_others += self._not_carried
        self._not_carried = []
        self.is_carrying = False
        ended, self._ended = self._ended, []
        return ended

    def take_all(self) -> list[Ticket]:
        """Take out what either side has for the other: there is nobody left to do it."""
        left = [sending.ticket for sending in (*self.for_others, *self.given)]
        self.for_others.clear()
        self.given.clear()
        return left

    def close(self) -> None:
        """Nothing will be carried any more. Without the lock."""
        if self._load is not None:
            self._load.close()

    # -- the carrying thread, without the lock ------------------------------------------------------------------------

    def set_out(self, taken: Iterable[Ticket]) -> None:
        """Send what was taken, without waiting for anything."""
        load = self._load
        assert load is not None
        for ticket in taken:
            begun = self._worker.begin(ticket, connects=False)
            if isinstance(begun, Step):
                self._ended.append((ticket, begun))
            elif begun is None or begun.needs_thread:
                self._not_carried.append(Sending(ticket, begun, found_none_idle=begun is None))
            else:
                self._load_on(load, ticket, begun)

    def look_around(self) -> None:
        """Wait until something has come for what is carried, unless there is something to tell, and look at that."""
        load = self._load
        assert load is not None
        for entry, is_late in load.wait(at_most=0.0 if self._ended or self._not_carried else NEVER):
            step = self._worker.go_on(entry.ticket, entry.carried, is_late)
            if step is not None:
                load.remove(entry)
                self._ended.append((entry.ticket, step))
            elif entry.carried.needs_thread:
                load.remove(entry)
                self._not_carried.append(Sending(entry.ticket, entry.carried))

    def _load_on(self, load: Load, ticket: Ticket, carried: Carried) -> None:
        try:
            load.add(ticket, carried)
        except (OSError, ValueError):  # its socket was closed just now: who goes on with it finds out why
            self._not_carried.append(Sending(ticket, carried))

"""The streams of a fleet as its processes know them: by numbers, with what each was told and has not receipted.

A consumer's own lock is taken before the fleet's, which guards the rest, save that both tables are read without it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from workerpool.processes.berths import Berth, Given, Hosts, tell_all
from workerpool.processes.messages import Forget, GiveUp, Hold, Open, Receipt
from workerpool.tickets import NOBODY, Owner


class _Consumer:
    """A stream. `places`: the berths whose sends were told to it and are to be receipted, oldest first."""

    def __init__(self, number: int, owner: Owner) -> None:
        self.number = number
        self.owner = owner
        self.lock = threading.Lock()  # guards what follows, and is held while the stream is told
        self.places: deque[Berth] = deque()
        self.is_held = False


class Consumers:
    """Which stream's outcomes go where. `lock` is the fleet's."""

    def __init__(self, berths: Sequence[Berth], hosts: Hosts, lock: threading.Lock) -> None:
        self._berths = berths
        self._hosts = hosts
        self._lock = lock
        self._count = count(1)
        self._numbers: dict[Owner, int] = {}
        self._consumers: dict[int, _Consumer] = {}  # by number

    # -- under the fleet's lock ---------------------------------------------------------------------------------------

    def number_of(self, owner: Owner) -> int:
        """The owner's number; all processes hear of a new one before its first request."""
        if owner is NOBODY:
            return 0
        number = self._numbers.get(owner)
        if number is None:
            self._sweep()
            number = self._numbers[owner] = next(self._count)
            consumer = self._consumers[number] = _Consumer(number, owner)
            for berth in self._berths:
                _open(consumer, berth)
        return number

    def introduce(self, berth: Berth) -> None:
        """Tell a new process of all streams."""
        self._sweep()  # now: of a stream that is left from here on, `forsake` tells this process by itself
        for consumer in self._consumers.values():
            _open(consumer, berth)
            if consumer.is_held:
                berth.tell(Hold(consumer.number, is_full=True))
            if consumer.owner.is_forsaken:  # since the sweep: it may have been told so before it was told of it
                berth.tell(Forget(consumer.number))

    def hold_place(self, berth: Berth, given: Given) -> None:
        """Count a place as held, before its stream is told of the send."""
        consumer = self._consumers.get(given.task.owner)
        if consumer is not None and consumer.owner.needs_receipts:
            berth.held[consumer.number] = berth.held.get(consumer.number, 0) + 1

    def owners(self) -> list[Owner]:
        return [consumer.owner for consumer in self._consumers.values()]

    def give_up(self, owner: Owner) -> None:
        """Let the processes end what they are not sending of a stream that is over."""
        if (number := self._numbers.get(owner)) is not None:
            tell_all(self._berths, GiveUp(number))

    def _sweep(self) -> None:
        """Forget the streams that nobody consumes any more, and their requests."""
        for number, consumer in [*self._consumers.items()]:
            if consumer.owner.is_forsaken:
                del self._consumers[number], self._numbers[consumer.owner]
                tell_all(self._berths, Forget(number))
                for berth in self._berths:
                    berth.held.pop(number, None)
                    for one in berth.of(number):
                        self._hosts.take(berth, one)

    # -- without it ---------------------------------------------------------------------------------------------------

    def give(
        self, berth: Berth, given: Given, holds_place: bool, give: Callable[[], None], *, is_held: bool = False
    ) -> None:
        """Give news to a ticket. Its stream hears them in the order in which the places that they hold are noted.

        `is_held`: its place has been counted.
        """
        consumer = self._consumers.get(given.task.owner)
        if consumer is None:
            give()
            return
        with consumer.lock:
            if holds_place and consumer.owner.needs_receipts:
                consumer.places.append(berth)
                given.ticket.holds_place = True
                if not is_held:
                    with self._lock:
                        self.hold_place(berth, given)
            give()
            if consumer.owner.is_full and not consumer.is_held:
                consumer.is_held = True
                with self._lock:
                    tell_all(self._berths, Hold(consumer.number, is_full=True))

    def acknowledge(self, owner: Owner, places: int) -> None:
        """Take the receipt for the `places` sends of `owner` that were told first."""
        consumer = self._consumers[self._numbers[owner]]
        with consumer.lock:
            receipted = [consumer.places.popleft() for _ in range(places)]
        with self._lock:
            for berth in dict.fromkeys(receipted):
                number = receipted.count(berth)
                berth.held[consumer.number] -= number
                berth.tell(Receipt(consumer.number, number))

    def resume(self, owner: Owner) -> None:
        """Let the processes send requests of an owner again that is not full any more."""
        consumer = self._consumers[self._numbers[owner]]
        with consumer.lock:
            if consumer.is_held:
                consumer.is_held = False
                with self._lock:
                    tell_all(self._berths, Hold(consumer.number, is_full=False))

    def forsake(self, owner: Owner) -> None:
        """Let the processes forget an owner that is over. Takes no lock: see `crew.Crew.forsake`."""
        number = self._numbers.get(owner)
        if number is not None:
            tell_all(self._berths, Forget(number))


def _open(consumer: _Consumer, berth: Berth) -> None:
    """Tell a berth's process of a stream, and how much of it may be sent there without a receipt."""
    room = berth.workers - berth.held.get(consumer.number, 0) if consumer.owner.needs_receipts else None
    berth.tell(Open(consumer.number, room))

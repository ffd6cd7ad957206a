"""Reads a stream's source as there is room, and keeps one host from filling the window.

A host may hold a share of the window: no more than a part of what is free of it, so that hosts that do not answer leave
room for the others, and a host by itself gets its whole share. What its share has no room for waits in
a backlog, and reading goes on past it, so that a source sorted by host, its first host dead, still reaches the others.
Reading on costs memory and defeats laziness, so the stream asks for it only when workers are idle, or soon will be; the
backlog keeps its first items in memory and later ones in a temporary file, and is bounded.

For the one thread that consumes the stream; completions reach it through that thread, too.
"""

from __future__ import annotations

import heapq
import pickle
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Any, TypeAlias

from workerpool.clock import NEVER
from workerpool.model import IDLE, Request

IN_MEMORY = 100
"""Windows of backlog kept in memory, about 300 bytes an item; the rest goes to a temporary file."""

AT_MOST = 1_000
"""Windows of backlog in all; past that, reading waits for the hosts that it holds."""

PART = 16 * 1024 * 1024
"""Bytes after which the backlog goes on in another temporary file."""

Item: TypeAlias = tuple[int, Request, str]
"""A request read from the source, after its place in it, counted from 0, and before the host that it belongs to."""


class Intake:
    """The next request to admit, lowest number first among the hosts whose share has room.

    `share`: what a host may hold of the `window` if there is no other. Many hosts get less each (dynamic thresholds:
    Choudhury and Hahne, 1998), but always one. `clock`: gives the time, in seconds.
    """

    def __init__(
        self,
        source: Iterator[Any],
        share: int,
        window: int,
        as_item: Callable[[int, Any], Item],
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._share = share
        self._window = window
        self._in_memory = IN_MEMORY * window
        self._at_most = AT_MOST * window
        self._as_item = as_item
        self._clock = clock
        self._count = 0
        self._by_host: dict[str, int] = {}  # requests that were admitted and have no outcome
        self.admitted = 0  # these in all
        self._backlog: dict[str, _Backlog] = {}
        self._backlogged = 0
        self._spill = _Spill()
        self._free: list[tuple[int, str]] = []  # hosts with a backlog and room, by the number of their next item
        self._refused: Item | None = None  # read, but no room for its host yet
        self._stuck_since = 0.0  # when that was, or when a request of its host last ended
        self._allowance = 0  # items that may still go into the backlog
        self.is_idle = False  # the source has nothing yet
        self.failure: Exception | None = None  # why it is exhausted, where its source raised this or nobody takes more
        self.exhausted = False

    def next(self) -> Item | None:
        """Take the next request to admit; None if the source has ended, or its next request's host has no room."""
        while self._free:
            _, host = heapq.heappop(self._free)
            self._backlog[host].is_free = False
            if self._has_room(host):  # others may have taken it since
                return self._from_backlog(host)
        refused = self._refused
        item = refused or self._read()
        self._refused = None
        while item is not None:
            _, _, host = item
            if host not in self._backlog and self._has_room(host):
                self._admit(host)
                return item
            if not self._allowance or not self._keep(item):
                self._refused = item
                if item is not refused:
                    self._stuck_since = self._clock()
                return None
            self._allowance -= 1
            item = self._read()
        return None

    def admit(self, host: str) -> None:
        """Take note of a request that goes past the source and its hosts' shares, and has room in the window."""
        self._admit(host)

    def read_on(self, most: int) -> None:
        """Let `next` put up to `most` items, whose hosts have no room, into the backlog, and look behind them."""
        self._allowance = most
        self._stuck_since = self._clock()

    def ended(self, host: str) -> None:
        """Note that a request of `host` no longer takes room in the window."""
        self.admitted -= 1
        left = self._by_host[host] - 1
        if left:
            self._by_host[host] = left
        else:
            del self._by_host[host]
        if self._refused is not None and self._refused[2] == host:
            self._stuck_since = self._clock()
        if self._backlog:
            backlog = self._backlog.get(host)
            if backlog is not None and not backlog.is_free:
                self._offer(host, backlog)

    @property
    def is_blocked(self) -> bool:
        """Whether a request that was read waits for room of its host."""
        return self._refused is not None

    @property
    def stuck_since(self) -> float:
        """Since when a request that was read waits for room of its host, and none of that one has ended; or `NEVER`."""
        return NEVER if self._refused is None else self._stuck_since

    @property
    def is_done(self) -> bool:
        """Whether the source has ended and nothing read from it waits."""
        return self.exhausted and self._refused is None and not self._backlogged

    def stop(self) -> None:
        """Read no more; what was read is still to be taken."""
        self.exhausted = True
        self.is_idle = False

    def fail(self, error: Exception) -> None:
        """Read no more, for this reason."""
        self.stop()
        self.failure = error

    def close(self) -> None:
        """Forget what waits, and remove the temporary file."""
        self.stop()
        self._refused = None
        self._backlog.clear()
        self._backlogged = 0
        self._free.clear()
        self._spill.close()

    def _read(self) -> Item | None:
        if self.exhausted:
            return None
        self.is_idle = False
        try:
            raw = next(self._source)
        except StopIteration:
            self.exhausted = True
            return None
        except Exception as error:  # told when what was read before it has ended
            self.fail(error)
            return None
        if raw is IDLE:
            self.is_idle = True
            return None
        number = self._count
        self._count += 1
        return self._as_item(number, raw)

    def _keep(self, item: Item) -> bool:
        """Put an item into its host's backlog; False if there is no room, or it cannot be written down."""
        if self._backlogged >= self._at_most:
            return False
        number, _, host = item
        backlog = self._backlog.get(host) or _Backlog()
        if self._backlogged < self._in_memory and not backlog.places:
            backlog.items.append(item)
        else:
            place = self._spill.write(item)
            if place is None:
                return False
            backlog.numbers.append(number)
            backlog.places.append(place)
        self._backlog[host] = backlog
        backlog.size += 1
        self._backlogged += 1
        return True

    def _has_room(self, host: str) -> bool:
        """Whether its share has room: so that one host alone would come to hold its whole share, and no more."""
        admitted = self._by_host.get(host, 0)
        if not admitted:
            return True
        if admitted >= self._share:
            return False
        return admitted * (self._window - self._share) < self._share * (self._window - self.admitted)

    def _admit(self, host: str) -> None:
        self._by_host[host] = self._by_host.get(host, 0) + 1
        self.admitted += 1

    def _from_backlog(self, host: str) -> Item:
        backlog = self._backlog[host]
        item = backlog.items.popleft() if backlog.items else self._spill.read(backlog.next_place())
        backlog.size -= 1
        self._backlogged -= 1
        self._admit(host)
        if not backlog.size:
            del self._backlog[host]
        elif self._has_room(host):
            self._offer(host, backlog)
        return item

    def _offer(self, host: str, backlog: _Backlog) -> None:
        backlog.is_free = True
        heapq.heappush(self._free, (backlog.first, host))


class _Backlog:
    """One host's waiting items: the first ones here, later ones as places in the spill, always in order."""

    __slots__ = ("_read", "is_free", "items", "numbers", "places", "size")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.numbers: array[int] = array("Q")
        self.places: array[int] = array("Q")
        self._read = 0
        self.size = 0
        self.is_free = False

    @property
    def first(self) -> int:
        """The number of the next item."""
        return self.items[0][0] if self.items else self.numbers[self._read]

    def next_place(self) -> int:
        place = self.places[self._read]
        self._read += 1
        if 2 * self._read >= len(self.places):  # what was read is let go, at a step for each item on average
            del self.numbers[: self._read], self.places[: self._read]
            self._read = 0
        return place


class _Spill:
    """Pickled items in temporary files, made when they are needed, that vanish with the process.

    One file after the other is filled, and let go when all that is in it was read: some hosts may wait for as long as
    the stream lasts, while those that do not come and go.
    """

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}  # the last one is written
        self._number = 0  # its

    def write(self, item: Item) -> int | None:
        """Return where the item is. None if it cannot be pickled (a generator as body, a lambda as hook), or the disk
        is full."""
        try:
            data = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        except Exception:  # whatever an object in it raises
            return None
        try:
            part = self._parts.get(self._number)
            if part is None or part.end >= PART:
                part = _Part()
                self._number += 1
                self._parts[self._number] = part
            offset = part.write(data)
        except OSError:
            return None
        return None if offset is None else self._number << 32 | offset

    def read(self, place: int) -> Item:
        """Return the item that is at a place, once."""
        number = place >> 32
        part = self._parts[number]
        item = part.read(place & 0xFFFF_FFFF)
        if part.unread == 0:
            part.file.close()
            del self._parts[number]
        return item

    def close(self) -> None:
        for part in self._parts.values():
            part.file.close()
        self._parts.clear()


class _Part:
    """A file of the spill, its `end`, and how many of its items are still to be read."""

    __slots__ = ("end", "file", "unread")

    def __init__(self) -> None:
        # Without a buffer: where the disk is full, nothing stays in it that fails again at each later step.
        self.file: FileIO = tempfile.TemporaryFile(prefix="workerpool-", buffering=0)  # noqa: SIM115  see `_Spill.close`
        self.end = self.unread = 0

    def write(self, data: bytes) -> int | None:
        """Return where it begins; None if there is no room for all of it."""
        self.file.seek(self.end)
        if self.file.write(data) < len(data):
            return None
        offset, self.end = self.end, self.end + len(data)
        self.unread += 1
        return offset

    def read(self, offset: int) -> Item:
        self.file.seek(offset)
        item: Item = pickle.load(self.file)
        self.unread -= 1
        return item

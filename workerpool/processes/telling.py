"""What a process of a pool tells its parent: of requests that have ended or go on, and how much of that may wait.

Workers say what has come of theirs, and a thread sends it, all that waits at once. Where too many bytes of bodies wait,
every stream is full until half of them has gone.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from workerpool.crew import Crew
from workerpool.model import Attempt, Outcome
from workerpool.processes.messages import ASKED, Done, Leave, Line, News, Sending, Task, Told
from workerpool.processes.parcels import pack_attempts, pack_outcome, unpack_error, unpack_request
from workerpool.statistics import PoolStatistics
from workerpool.stream import NAP
from workerpool.streamed import body_size
from workerpool.tickets import Owner, Ticket

AT_ONCE = 8 * 1024 * 1024
"""Bytes of bodies that are sent together, about."""


class ParentStream(Owner):
    """A stream of the parent's. Where it is full or without room, its consumer has not taken what was sent."""

    def __init__(self, room: int | None) -> None:
        super().__init__(sys.maxsize if room is None else room, needs_receipts=room is not None)
        self.is_held = False  # by the parent; it is also full while this process holds too much by itself


class ParentTicket(Ticket):
    """A request of the parent's. `number`: there. `told`: its attempts that the parent knows. `size`: of its body."""

    __slots__ = ("_teller", "number", "size", "told")
    is_light = True

    def __init__(self, teller: Teller, task: Task, owner: Owner) -> None:
        request = unpack_request(task.request)
        super().__init__(request, task.host, owner)
        self._teller = teller
        self.number = task.number
        self.told = len(request.earlier)
        self.size = 0

    def note_underway(self, attempts: tuple[Attempt, ...]) -> None:
        holds_place, self.holds_place = self.holds_place, False
        if holds_place or len(attempts) > self.told:
            self.told = len(attempts)
            self._teller.tell((self, holds_place, None, attempts))

    def deliver(self, outcome: Outcome) -> None:
        self.trip = None
        self._teller.take(self, outcome)


class AnnouncedTicket(ParentTicket):
    """A request that the parent has to hear of before it is sent, and perhaps to give leave to."""

    __slots__ = ("_leave",)
    is_light = False

    def __init__(self, teller: Teller, task: Task, owner: Owner) -> None:
        super().__init__(teller, task, owner)
        self._leave: queue.SimpleQueue[Leave] | None = queue.SimpleQueue() if task.kind == ASKED else None

    def before_send(self) -> None:
        self._teller.send(Sending(self.number))
        if self._leave is not None:
            leave = self._leave.get()
            if leave.error is not None:
                raise unpack_error(leave.error)

    def answer(self, leave: Leave) -> None:
        assert self._leave is not None
        self._leave.put(leave)


_News: TypeAlias = tuple[ParentTicket, bool, Outcome | None, tuple[Attempt, ...] | None]
"""As `News`, of a request of this process's, and not packed: that is for the thread that tells."""


def _packed(news: _News) -> News:
    task, holds_place, outcome, attempts = news
    if outcome is not None:
        return task.number, holds_place, pack_outcome(outcome), None
    return task.number, holds_place, None, pack_attempts(attempts or ())


def _size_of(news: _News) -> int:
    """Bytes of bodies that it holds."""
    task, _, outcome, _ = news
    return 0 if outcome is None else task.size


class Teller:
    """What is to be told. `gone` ends the process: the parent does not listen any more."""

    def __init__(self, line: Line, gone: Callable[[], None]) -> None:
        self._line = line
        self._gone = gone
        self._crew: Crew
        self._figures: Callable[[], PoolStatistics]
        self.tickets: dict[int, ParentTicket] = {}  # without an outcome; workers take theirs out
        self.streams: dict[int, ParentStream] = {}
        self._news: queue.SimpleQueue[_News | None] = queue.SimpleQueue()
        self._held_most = 0
        self._held = 0  # bytes of bodies that are still to be sent
        self._held_lock = threading.Lock()  # guards it, `_is_full`, and whether streams are full
        self._is_full = False
        self.is_done = False
        """Whether all was told, so that the line may end."""

    def begin(self, crew: Crew, figures: Callable[[], PoolStatistics], held_most: int) -> None:
        """Tell what comes of the requests of a crew from now on, while about so many bytes of bodies wait at most.

        `figures`: what is told last, with the CPU's time.
        """
        self._crew, self._figures, self._held_most = crew, figures, held_most
        threading.Thread(target=self._tell_all, name="workerpool-telling", daemon=True).start()

    def end(self) -> None:
        """Nothing more will come: tell that last."""
        self._news.put(None)

    def send(self, message: Any) -> None:
        """Send one message now. Any thread."""
        try:
            self._line.send([message])
        except OSError:
            self._gone()

    # -- streams: the main thread -------------------------------------------------------------------------------------

    def open(self, number: int, room: int | None) -> None:
        """Take in a stream; it is full if too much waits."""
        stream = self.streams[number] = ParentStream(room)
        with self._held_lock:
            stream.is_full = self._is_full

    def hold(self, stream: ParentStream, is_full: bool) -> None:
        """Send nothing of a stream for now, as the parent says, or send again."""
        with self._held_lock:
            stream.is_held = is_full
            stream.is_full = is_full or self._is_full
        if not stream.is_full:
            self._crew.resume(stream)

    def forget(self, number: int) -> None:
        """Let go of a stream and its requests."""
        stream = self.streams.pop(number)
        for ticket in [*self.tickets.values()]:
            if ticket.owner is stream:
                self.tickets.pop(ticket.number, None)

    # -- workers' threads ---------------------------------------------------------------------------------------------

    def tell(self, news: _News) -> None:
        """Let the parent know, soon."""
        self._news.put(news)

    def take(self, ticket: ParentTicket, outcome: Outcome) -> None:
        """Take a request that has ended."""
        self.tickets.pop(ticket.number, None)
        ticket.size = body_size(outcome)
        if ticket.size:
            with self._held_lock:
                self._held += ticket.size
                if self._held >= self._held_most and not self._is_full:
                    self._is_full = True
                    for stream in [*self.streams.values()]:
                        stream.is_full = True
        self._news.put((ticket, ticket.holds_place, outcome, None))

    # -- its own thread -----------------------------------------------------------------------------------------------

    def _tell_all(self) -> None:
        """Send what is to be told, until nothing will be any more. A thread's whole life."""
        told_at = 0.0
        while True:
            news = [self._news.get()]
            if time.monotonic() - told_at < NAP:  # it comes faster than it could be sent one by one
                time.sleep(NAP)
            size = 0
            while news[-1] is not None and size < AT_ONCE:
                try:
                    news.append(self._news.get_nowait())
                except queue.Empty:
                    break
                if (last := news[-1]) is not None:
                    size += _size_of(last)
            told_at = time.monotonic()
            ends = news[-1] is None
            self._tell([one for one in news if one is not None])
            if ends:
                self.is_done = True  # first: once it is told, the line may end at any moment
                self.send(Done(self._figures(), time.process_time()))
                return
            del news

    def _tell(self, news: Sequence[_News]) -> None:
        if news:
            self.send(Told([_packed(one) for one in news]))
        if size := sum(map(_size_of, news)):
            self._fetch_on(size)

    def _fetch_on(self, size: int) -> None:
        """Fetch on when half of what was held has gone."""
        with self._held_lock:
            self._held -= size
            if not self._is_full or self._held >= self._held_most // 2:
                return
            self._is_full = False
            streams = [stream for stream in [*self.streams.values()] if not stream.is_held]
            for stream in streams:
                stream.is_full = False
        for stream in streams:
            self._crew.resume(stream)

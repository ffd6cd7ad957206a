"""`pool.stream`: lazily from a source of requests to their outcomes, in bounded memory.

The consumer's thread does everything here: it reads the source, hands requests to the crew, and takes outcomes out of
a queue into which worker threads put them. Nothing runs ahead of a consumer that has stopped asking, save what is in
the window already.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

from workerpool.crew import Crew
from workerpool.errors import Cancelled, InvalidRequest
from workerpool.intake import Intake, Item
from workerpool.model import Outcome, Request
from workerpool.redact import redact
from workerpool.tickets import Ticket

PATIENCE = 0.05
"""Seconds without an outcome or an arrival, workers being idle, after which a stream reads on past a host's share."""

READ_ON = 20
"""Windows read on at a time. At 1,000 a window, 100,000 requests of a dead host are passed in about a second."""

SLOW_READ = 0.002
"""Seconds for one request from the source, beyond which it is handed out at once rather than with the next ones."""

HELD_BYTES = 64 * 1024 * 1024
"""Bytes of bodies that wait for the consumer, from which on no more are fetched. Those in flight come on top."""


class Stream:
    """One call of `pool.stream`, from its source to its consumer."""

    def __init__(
        self,
        crew: Crew,
        source: Iterator[Any],
        *,
        as_request: Callable[[Any], Request],
        new_trip: Callable[[Request], Any],
        host_of: Callable[[str], str],
        refuse_inside: Callable[[], None],
        ordered: bool,
        window: int,
        share: int,
    ) -> None:
        self._crew = crew
        self._as_request = as_request
        self._new_trip = new_trip
        self._host_of = host_of
        self._refuse_inside = refuse_inside
        self._ordered = ordered
        self._window = window
        # How many have to end before the next are handed out, once the window or a host's share was full: one by one,
        # this thread would meet the workers at their lock for every request.
        self._batch = max(1, share // 8)
        self._batch_left = 0
        self._intake = Intake(source, share, window, self._as_item)
        # Put to by workers, read by the consumer. A `put` may interrupt another: `drain` is safe in a signal handler.
        self._results: queue.SimpleQueue[tuple[int, str, Outcome] | None] = queue.SimpleQueue()
        self._ready: deque[Outcome] = deque()  # to be yielded next
        self._early: dict[int, Outcome] = {}  # if ordered: ended before their turn, by number
        self._turn = 0  # if ordered: the number whose outcome is to be yielded next
        self._outstanding = 0  # handed out or held here, not yet yielded
        self._unanswered = 0  # handed out, no outcome yet
        self._tickets: dict[int, Ticket] = {}  # if ordered: those without an outcome, by number
        self._bytes_lock = threading.Lock()  # guards _held_bytes, and is_full with it
        self._held_bytes = 0
        # What the scheduler looks at, see `Owner`.
        self.is_over = False
        self.is_forsaken = False
        self.is_full = False
        self.awaited: Ticket | None = None

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield the outcomes, then raise what the source raised. Closing the generator cancels what has not ended."""
        try:
            self._refuse_inside()
            while True:
                self._feed()
                if self._ready:
                    yield self._pop()  # no name here: a body must not live until the next one is asked for
                elif self._unanswered or self._intake.is_idle:
                    self._receive()
                elif self._intake.is_done:
                    break
        finally:
            self._abandon()
        if self._intake.failure is not None:
            raise self._intake.failure

    def drain(self) -> None:
        """End soon: read no more, give up what is not being sent. May be called in a signal handler, or any thread."""
        self._results.put(None)

    # -- handing out --------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Hand out requests while there is room; once there was none, not before a batch of them has ended."""
        if self._batch_left > 0 and self._unanswered > self._batch and not self.is_over:
            return
        tickets: list[Ticket] = []
        while self._outstanding < self._window:
            began = time.perf_counter()
            item = self._intake.next()
            if item is None:
                self._batch_left = self._batch if self._intake.is_blocked else 0
                break
            self._outstanding += 1
            self._unanswered += 1
            if item.request.problem is not None:
                self._results.put((item.number, item.host, _invalid(item.request, item.request.problem)))
            elif self.is_over:
                self._results.put((item.number, item.host, _cancelled(item.request)))
            else:
                tickets.append(self._ticket(item))
            if time.perf_counter() - began > SLOW_READ:
                # What has been read must not wait for what a slow source gives next, nor must outcomes that are here.
                self._crew.add(tickets)
                tickets = []
                if not self._results.empty():
                    break
        else:
            self._batch_left = self._batch
        if tickets:
            self._crew.add(tickets)

    def _as_item(self, number: int, raw: Any) -> Item:
        try:
            request = self._as_request(raw)
            host = "" if request.problem is not None else self._host_of(request.url)
        except Exception as error:  # a junk item, or a key function that failed: an outcome, not the stream's end
            given = raw if isinstance(raw, Request) else Request(_text(raw))
            request, host = replace(given, url=_text(given.url), problem=redact(_text(error))), ""
        return Item(number, request, host)

    def _ticket(self, item: Item) -> Ticket:
        number, host = item.number, item.host
        ticket = Ticket(
            item.request,
            host,
            lambda outcome: self._deliver(number, host, outcome),
            trip=self._new_trip(item.request),
            owner=self,
        )
        if self._ordered:
            self._tickets[number] = ticket
        return ticket

    def _deliver(self, number: int, host: str, outcome: Outcome) -> None:
        """Take an outcome from a worker, on its thread."""
        size = _body_size(outcome)
        if size:
            with self._bytes_lock:
                self._held_bytes += size
                self.is_full = self.is_full or self._held_bytes >= HELD_BYTES
        self._results.put((number, host, outcome))

    # -- taking in ----------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait for an outcome. While a host's share keeps the source from being read, read on now and then."""
        self._refuse_inside()  # here, too: a generator may be handed to a worker after it was begun elsewhere
        if self.is_full and self._ordered:
            # Nothing can be taken before the outcome whose turn it is; what is held waits for that one.
            self.awaited = self._tickets.get(self._turn)
            if self.awaited is not None:
                self._crew.urge(self.awaited)
        intake = self._intake
        try:
            result = self._results.get(timeout=PATIENCE if intake.is_blocked or intake.is_idle else None)
        except queue.Empty:
            if intake.is_blocked and self._outstanding < self._window and self._crew.is_starved():
                intake.read_on(READ_ON * self._window)
                self._batch_left = 0
            return
        while True:
            if result is None:
                self._give_up()
            else:
                self._take(*result)
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return

    def _take(self, number: int, host: str, outcome: Outcome) -> None:
        self._unanswered -= 1
        self._batch_left -= 1
        self._intake.ended(host)
        if not self._ordered:
            self._ready.append(outcome)
            return
        self._tickets.pop(number, None)
        self._early[number] = outcome
        while self._turn in self._early:
            self._ready.append(self._early.pop(self._turn))
            self._turn += 1

    def _pop(self) -> Outcome:
        self._outstanding -= 1
        self._let_go(_body_size(self._ready[0]))
        return self._ready.popleft()

    def _let_go(self, size: int) -> None:
        """Note that the consumer takes a body of `size` bytes, and fetch on when half of what was held has gone."""
        with self._bytes_lock:
            self._held_bytes -= size
            goes_on = self.is_full and self._held_bytes < HELD_BYTES // 2
            if goes_on:
                self.is_full = False
        if goes_on:
            self._crew.resume(self)

    # -- ending -------------------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """End what is not being sent as cancelled outcomes, and read no more."""
        if self.is_over:
            return
        self.is_over = True
        self._intake.stop()
        for ticket in self._crew.discard(lambda ticket: ticket.owner is self):
            self._crew.cancel(ticket, "the batch was told to end")

    def _abandon(self) -> None:
        """The consumer has left: forget what is not being sent; what is will end unseen."""
        self.is_over = self.is_forsaken = True
        self._intake.close()
        if self._unanswered:
            self._crew.forsake(self)


def _text(value: object) -> str:
    """What `value` says of itself, whatever it is."""
    try:
        return value if isinstance(value, str) else str(value)
    except Exception:
        return f"<{type(value).__name__} that has no text>"


def _invalid(request: Request, problem: str) -> Outcome:
    return Outcome(request, None, InvalidRequest(problem, key=redact(request.label)))


def _cancelled(request: Request) -> Outcome:
    return Outcome(request, None, Cancelled("given up, as the batch was told to end", key=redact(request.label)))


def _body_size(outcome: Outcome) -> int:
    content = getattr(outcome.response, "_content", None)  # not `.content`, which would read a streamed response
    return len(content) if isinstance(content, bytes) else 0

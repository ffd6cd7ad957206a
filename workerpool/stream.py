"""`pool.stream` and `pool.batches`: lazily from a source of requests to their outcomes, in bounded memory.

The consumer's thread does everything here: it reads the source, hands requests to the crew, and takes outcomes out of
a queue into which worker threads put them. Nothing runs ahead of a consumer that has stopped asking, save what is in
the window already.

With receipts, what is sent holds one of as many places as there are workers, until the consumer asks for the list that
follows the one in which it heard of it. The scheduler counts the places (`Owner.room`), the stream what its lists give
back.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from workerpool.clock import NEVER
from workerpool.crew.delays import Feeder
from workerpool.endings import unsent
from workerpool.errors import Cancelled, InvalidRequest
from workerpool.model import Outcome, Request, Underway
from workerpool.paging import Chains
from workerpool.redact import redact
from workerpool.statistics import Wait
from workerpool.streamed import Maker, Streamed
from workerpool.tickets import Owner, Ticket
from workerpool.window import PATIENCE, Window

READING = 0.002
"""Seconds of reading after which what was read is handed out, rather than with what the source gives next."""

NAP = 0.001
"""Seconds that the consumer's thread sleeps, where outcomes come faster than that, rather than be woken for each."""

HELD_BYTES = 64 * 1024 * 1024
"""Bytes of bodies that wait for the consumer, from which on no more are fetched. Those in flight come on top."""


class Crew(Protocol):
    """What a stream needs of those who do its requests: `crew.Crew`, or processes of their own."""

    def add(self, tickets: Iterable[Ticket]) -> None: ...
    def give_up(self, owner: Owner) -> None: ...
    def acknowledge(self, owner: Owner, places: int) -> None: ...
    def urge(self, ticket: Ticket) -> None: ...
    def resume(self, owner: Owner) -> None: ...
    def attend(self, feeder: Feeder) -> None: ...
    def leave_off(self, feeder: Feeder) -> None: ...
    def look_again(self) -> None: ...
    def forsake(self, owner: Owner, *, has_requests: bool) -> None: ...
    def needs_more_hosts(self) -> bool: ...


Ready: TypeAlias = Streamed | Underway
"""What the consumer is to hear of next."""


class Stream(Owner):
    """One call of `pool.stream` or `pool.batches`, from its source to its consumer."""

    def __init__(
        self,
        crew: Crew,
        source: Iterator[Any],
        maker: Maker,
        *,
        refuse_inside: Callable[[], None],
        ordered: bool,
        workers: int,
        window: int,
        share: int,
        receipts: bool = False,
        before_send: Callable[[Request], object] | None = None,
        chains: Chains | None = None,
    ) -> None:
        super().__init__(workers, needs_receipts=receipts, doing=Wait.READY)
        self._crew = crew
        self._maker = maker
        self._refuse_inside = refuse_inside
        self._before_send = before_send
        self._chains = chains
        self._due: list[tuple[int, Request]] = []  # with receipts: pages that follow those in the list that is out
        self._ordered = ordered
        # So many without an outcome keep the workers busy for longer than a nap, unless they wait for receipts.
        self._crowd = NEVER if receipts else 4 * workers
        self._is_crowded = False  # outcomes came faster than one a nap when this thread last waited for one
        self._waited_at = 0.0  # when that was, `time.perf_counter`
        self._window = Window(source, window, share, maker.item)
        self._intake = self._window.intake
        # Put to by workers, read by the consumer. A `put` may interrupt another: `drain` is safe in a signal handler.
        self._ended: queue.SimpleQueue[Ready | None] = queue.SimpleQueue()
        self._ready: deque[Ready] = deque()  # to be yielded next
        self._places = 0  # held by what was yielded last, until the consumer asks for more
        self._early: dict[int, deque[Streamed]] = {}  # if ordered: ended before their turn, by number: pages of one
        self._turn = 0  # if ordered: the number whose outcome is to be yielded next
        self._tickets: dict[int, Streamed] = {}  # if ordered: those without an outcome, by number
        self._bytes_lock = threading.Lock()  # guards _bytes_put, and is_full
        self._bytes_put = 0  # of bodies, in all
        self._bytes_taken = 0  # of these, by the consumer; its thread alone writes it

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield the outcomes, then raise what the source raised. Closing the generator cancels what has not ended."""
        self._crew.attend(self)
        try:
            self._refuse_inside()
            while self._goes_on():
                self._turn_to(Wait.SINK)
                yield self._pop()  # no name here: a body must not live until the next one is asked for
        finally:
            self._abandon()
        self._raise_failure()

    def batches(self) -> Generator[list[Outcome | Underway], None, None]:
        """Yield lists of all that is ready, as `outcomes` yields one by one. To ask for the next one is a receipt."""
        self._crew.attend(self)
        try:
            self._refuse_inside()
            while self._goes_on():
                self._turn_to(Wait.SINK)
                yield [self._pop() for _ in range(len(self._ready))]
                if self._places:
                    places, self._places = self._places, 0
                    self._crew.acknowledge(self, places)
                self._follow_due()
        finally:
            self._abandon()
        self._raise_failure()

    def drain(self) -> None:
        """End soon: read no more, give up what is not being sent. May be called in a signal handler, or any thread."""
        self._ended.put(None)

    def fail(self, error: Exception) -> None:
        """End soon, and raise `error` in the end. Any thread."""
        self._intake.fail(error)
        self.drain()

    def tell(self, underway: Underway) -> None:
        """Take word of a request that goes on later, from a worker, on its thread."""
        self._ended.put(underway)

    def take(self, ticket: Streamed) -> None:
        """Take an ended request from a worker, on its thread."""
        if ticket.size:
            with self._bytes_lock:
                self._bytes_put += ticket.size
                if self._bytes_put - self._bytes_taken >= HELD_BYTES:
                    self.is_full = True
        self._ended.put(ticket)

    def _goes_on(self) -> bool:
        """Feed the crew, and wait, until something is ready; False at the end."""
        while True:
            self._feed()
            if self._ready:
                return True
            if self._window.unanswered or self._intake.is_idle:
                self._receive()
            elif self._intake.is_done and not self._window.has_pages:
                return False
            else:
                self._window.let_one_in(self._turn)

    def _turn_to(self, doing: Wait) -> None:
        """Note what the consumer's thread does from now on; if the crew has nothing to send, that is why."""
        if self.doing is not doing:
            self.doing = doing
            self._crew.look_again()

    # -- handing out --------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Hand out requests while there is room; once there was none, not before a batch of them has ended."""
        window, announce = self._window, self._before_send
        if not (window.is_open or self.is_over):
            return
        tickets: list[Ticket] = []
        reads = not (window.is_full or self._intake.exhausted)
        if reads:
            self._turn_to(Wait.SOURCE)
        began = time.perf_counter()
        while (item := window.next()) is not None:
            if self._chains is not None and not self._chains.has(item[0]):
                item = item[0], self._chains.begin(item[0], item[1]), item[2]
            ticket = self._maker.ticket(self, item, announce)
            if ticket.request.problem is not None:
                ticket.deliver(unsent(ticket.request, InvalidRequest(ticket.request.problem)))
            elif self.is_over:
                ticket.deliver(unsent(ticket.request, Cancelled("given up, as the batch was told to end")))
            else:
                tickets.append(ticket)
                if self._ordered:
                    self._tickets[ticket.number] = ticket
            if time.perf_counter() - began > READING:
                # What has been read must not wait for what the source gives next, nor must outcomes that are here.
                self._hand_out(tickets)
                tickets = []
                if not self._ended.empty():
                    break
                began = time.perf_counter()
        if reads:
            self._turn_to(Wait.READY)
        if tickets:
            self._hand_out(tickets)

    def _hand_out(self, tickets: list[Ticket]) -> None:
        try:
            self._crew.add(tickets)
        except RuntimeError as error:
            if self._window.outstanding == len(tickets):
                raise
            # The pool takes no more, but what was given to it before is still to be told.
            self._intake.fail(error)
            why = "the pool was shut down" if type(error) is RuntimeError else redact(str(error))
            for ticket in tickets:
                ticket.deliver(unsent(ticket.request, Cancelled(f"given up, as {why}")))

    # -- taking in ----------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Wait for an outcome, and take all that are here. While a host's share blocks the source, read on at times."""
        self._refuse_inside()  # here, too: a generator may be handed to a worker after it was begun elsewhere
        if self.is_full and self._ordered:
            # Nothing can be taken before the outcome whose turn it is; what is held waits for that one.
            self.awaited = self._tickets.get(self._turn)
            if self.awaited is not None:
                self._crew.urge(self.awaited)
        intake = self._intake
        self._turn_to(Wait.SOURCE if intake.is_idle else self._why_it_waits())
        if self._is_crowded and self._window.unanswered > self._crowd:
            time.sleep(NAP)
        try:
            ticket = self._ended.get(timeout=PATIENCE if intake.is_blocked or intake.is_idle else None)
        except queue.Empty:
            self._read_on()
            return
        taken = 0
        try:
            while True:
                taken += 1
                if ticket is None:
                    self._give_up()
                else:
                    self._sort_in(ticket)
                ticket = self._ended.get_nowait()
        except queue.Empty:
            pass
        now = time.perf_counter()
        self._is_crowded = now - self._waited_at < taken * NAP
        self._waited_at = now
        self._read_on()

    def _read_on(self) -> None:
        """Look behind a request that waits for room of its host, if that does not answer and workers need more."""
        if self._window.is_stuck and self._crew.needs_more_hosts():
            self._window.read_on()

    def _why_it_waits(self) -> Wait:
        """Why nothing more is handed out: the window is full, or there is nothing more."""
        return Wait.WINDOW if self._window.is_full and not self._intake.exhausted else Wait.ANSWERS

    def _sort_in(self, ticket: Ready) -> None:
        if isinstance(ticket, Underway):
            self._ready.append(ticket)
            return
        self._window.ended(ticket.read_for)
        if self._chains is not None:
            self._go_on(ticket, self._chains)
        if not self._ordered:
            self._ready.append(ticket)
            return
        self._tickets.pop(ticket.number, None)
        self._early.setdefault(ticket.number, deque()).append(ticket)
        while self._turn in self._early:
            self._ready += self._early.pop(self._turn)
            if self._chains is not None and self._chains.has(self._turn):
                break  # its further pages come first
            self._turn += 1

    def _go_on(self, ticket: Streamed, chains: Chains) -> None:
        """Find out what page follows the one that has come, and have it handed out before anything else.

        With receipts only after that: what a consumer enters of a page says where its chain is.
        """
        ticket.outcome = chains.end(ticket.number, ticket.outcome)
        following = ticket.outcome.following
        if following is None:
            return
        if self.needs_receipts:
            self._due.append((ticket.number, following))
        else:
            self._window.follow(self._maker.item(ticket.number, following))

    def _follow_due(self) -> None:
        for number, request in self._due:
            self._window.follow(self._maker.item(number, request))
        self._due.clear()

    def _pop(self) -> Any:
        """Take the next `Outcome`; with receipts, it may be an `Underway`."""
        ticket = self._ready.popleft()
        if isinstance(ticket, Underway):
            self._places += 1
            return ticket
        self._places += ticket.holds_place
        self._window.told()
        self._bytes_taken += ticket.size
        if self.is_full:
            self._fetch_on()
        outcome = ticket.outcome
        del ticket.outcome  # an error's traceback leads to the ticket: both would wait for the garbage collector
        return outcome

    def _fetch_on(self) -> None:
        """Fetch on when half of what was held has gone.

        Without the lock, `is_full` may be seen too late, never in vain: the body that made it true is still to be
        taken.
        """
        with self._bytes_lock:
            if self._bytes_put - self._bytes_taken >= HELD_BYTES // 2:
                return
            self.is_full = False
        self._crew.resume(self)

    # -- ending -------------------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        """End what is not being sent as cancelled outcomes, and read no more."""
        if self.is_over:
            return
        self.is_over = True
        self._intake.stop()
        self._crew.give_up(self)

    def _abandon(self) -> None:
        """The consumer has left: forget what is not being sent; what is will end unseen."""
        self.is_over = self.is_forsaken = True
        self._intake.close()
        if self._chains is not None:
            self._chains.forget()
        self._crew.leave_off(self)
        self._crew.forsake(self, has_requests=self._window.unanswered > 0)

    def _raise_failure(self) -> None:
        if self._intake.failure is not None:
            raise self._intake.failure

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
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from workerpool.clock import NEVER
from workerpool.delays import Feeder
from workerpool.endings import unsent
from workerpool.errors import Cancelled, InvalidRequest
from workerpool.intake import Intake, Item
from workerpool.meter import Wait
from workerpool.model import Attempt, Outcome, Request, Underway
from workerpool.redact import redact
from workerpool.tickets import Owner, Ticket

PATIENCE = 0.05
"""Two uses: seconds for which a host may give no outcome before the stream reads past it, where workers are idle or
soon will be; and how often a consumer that waits looks whether that is so."""

READ_ON = 20
"""Windows read on at a time. At 1,000 a window, 100,000 requests of a dead host are passed in about a second."""

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


class _Streamed(Ticket):
    """A request of a stream: the `number` of its place in the source, and once it has ended, its `outcome`.

    `read_for`: the host whose share of the window it takes; redirects do not change that. `size`: bytes of the body
    that waits in it.
    """

    __slots__ = ("_stream", "number", "outcome", "read_for", "size")
    outcome: Outcome
    is_light = True

    def __init__(self, stream: Stream, number: int, request: Request, host: str) -> None:
        super().__init__(request, host, stream)
        self._stream = stream
        self.number = number
        self.read_for = host
        self.size = 0

    def note_underway(self, attempts: tuple[Attempt, ...]) -> None:
        if self.holds_place:
            self.holds_place = False
            self._stream.tell(Underway(self.request, attempts))

    def deliver(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.trip = None  # it is over, and what it holds must not wait with the outcome
        self.size = body_size(outcome)
        self._stream.take(self)


class _Announced(_Streamed):
    """A request of a stream that is told of before it is sent."""

    __slots__ = ("_announce",)
    is_light = False

    def __init__(
        self, stream: Stream, number: int, request: Request, host: str, announce: Callable[[Request], object]
    ) -> None:
        super().__init__(stream, number, request, host)
        self._announce = announce

    def before_send(self) -> None:
        self._announce(self.request)


Ready: TypeAlias = _Streamed | Underway
"""What the consumer is to hear of next."""


class Stream(Owner):
    """One call of `pool.stream` or `pool.batches`, from its source to its consumer."""

    def __init__(
        self,
        crew: Crew,
        source: Iterator[Any],
        *,
        as_request: Callable[[Any], Request],
        host_of: Callable[[str], str],
        key_of: Callable[[Request], str | None] | None,
        refuse_inside: Callable[[], None],
        may_repeat: Callable[[Request], bool],
        ordered: bool,
        workers: int,
        window: int,
        share: int,
        receipts: bool = False,
        before_send: Callable[[Request], object] | None = None,
    ) -> None:
        super().__init__(workers, needs_receipts=receipts, doing=Wait.READY)
        self._crew = crew
        self._as_request = as_request
        self._host_of = host_of
        self._key_of = key_of
        self._refuse_inside = refuse_inside
        self._may_repeat = may_repeat
        self._before_send = before_send
        self._ordered = ordered
        self._window = window
        # So many without an outcome keep the workers busy for longer than a nap, unless they wait for receipts.
        self._crowd = NEVER if receipts else 4 * workers
        self._is_crowded = False  # outcomes came faster than one a nap when this thread last waited for one
        self._waited_at = 0.0  # when that was, `time.perf_counter`
        # How many have to end before the next are handed out, once the window or a host's share was full: one by one,
        # this thread would meet the workers at their lock for every request.
        self._batch = max(1, share // 8)
        self._batch_left = 0
        self._intake = Intake(source, share, window, self._as_item)
        # Put to by workers, read by the consumer. A `put` may interrupt another: `drain` is safe in a signal handler.
        self._ended: queue.SimpleQueue[Ready | None] = queue.SimpleQueue()
        self._ready: deque[Ready] = deque()  # to be yielded next
        self._places = 0  # held by what was yielded last, until the consumer asks for more
        self._early: dict[int, _Streamed] = {}  # if ordered: ended before their turn, by number
        self._turn = 0  # if ordered: the number whose outcome is to be yielded next
        self._outstanding = 0  # handed out or held here, not yet yielded
        self._unanswered = 0  # handed out, no outcome yet
        self._tickets: dict[int, _Streamed] = {}  # if ordered: those without an outcome, by number
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

    def take(self, ticket: _Streamed) -> None:
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
            if self._unanswered or self._intake.is_idle:
                self._receive()
            elif self._intake.is_done:
                return False

    def _turn_to(self, doing: Wait) -> None:
        """Note what the consumer's thread does from now on; if the crew has nothing to send, that is why."""
        if self.doing is not doing:
            self.doing = doing
            self._crew.look_again()

    # -- handing out --------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Hand out requests while there is room; once there was none, not before a batch of them has ended."""
        if self._batch_left > 0 and self._unanswered > self._batch and not self.is_over:
            return
        tickets: list[Ticket] = []
        intake, announce = self._intake, self._before_send
        reads = self._outstanding < self._window and not intake.exhausted
        if reads:
            self._turn_to(Wait.SOURCE)
        began = time.perf_counter()
        while self._outstanding < self._window:
            item = intake.next()
            if item is None:
                self._batch_left = self._batch if intake.is_blocked else 0
                break
            ticket = _Streamed(self, *item) if announce is None else self._announced(item, announce)
            self._outstanding += 1
            self._unanswered += 1
            if self._key_of is not None and ticket.request.problem is None:
                self._set_key(ticket, self._key_of)
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
        else:
            self._batch_left = self._batch
        if reads:
            self._turn_to(Wait.READY)
        if tickets:
            self._hand_out(tickets)

    def _hand_out(self, tickets: list[Ticket]) -> None:
        try:
            self._crew.add(tickets)
        except RuntimeError as error:
            if self._outstanding == len(tickets):
                raise
            # The pool takes no more, but what was given to it before is still to be told.
            self._intake.fail(error)
            why = "the pool was shut down" if type(error) is RuntimeError else redact(str(error))
            for ticket in tickets:
                ticket.deliver(unsent(ticket.request, Cancelled(f"given up, as {why}")))

    def _set_key(self, ticket: _Streamed, key_of: Callable[[Request], str | None]) -> None:
        try:
            ticket.key = key_of(ticket.request)
        except Exception as error:  # a function that failed: an outcome, not the stream's end
            ticket.request = replace(ticket.request, problem=redact(f"limit_by failed: {_text(error)}"))

    def _announced(self, item: Item, announce: Callable[[Request], object]) -> _Streamed:
        try:
            if self._may_repeat(item[1]):
                return _Streamed(self, *item)
        except Exception:  # junk for headers: it will end as an outcome when it is to be sent
            pass
        return _Announced(self, *item, announce)

    def _as_item(self, number: int, raw: Any) -> Item:
        try:
            request = self._as_request(raw)
            host = "" if request.problem is not None else self._host_of(request.url)
        except Exception as error:  # a junk item, or a key function that failed: an outcome, not the stream's end
            given = raw if isinstance(raw, Request) else Request(_text(raw))
            request, host = replace(given, url=_text(given.url), problem=redact(_text(error))), ""
        return number, request, host

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
        if self._is_crowded and self._unanswered > self._crowd:
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
        if self._intake.is_stuck(PATIENCE) and self._outstanding < self._window and self._crew.needs_more_hosts():
            self._intake.read_on(READ_ON * self._window)
            self._batch_left = 0

    def _why_it_waits(self) -> Wait:
        """Why nothing more is handed out: the window is full, or there is nothing more."""
        is_full = self._outstanding >= self._window and not self._intake.exhausted
        return Wait.WINDOW if is_full else Wait.ANSWERS

    def _sort_in(self, ticket: Ready) -> None:
        if isinstance(ticket, Underway):
            self._ready.append(ticket)
            return
        self._unanswered -= 1
        self._batch_left -= 1
        self._intake.ended(ticket.read_for)
        if not self._ordered:
            self._ready.append(ticket)
            return
        self._tickets.pop(ticket.number, None)
        self._early[ticket.number] = ticket
        while self._turn in self._early:
            self._ready.append(self._early.pop(self._turn))
            self._turn += 1

    def _pop(self) -> Any:
        """Take the next `Outcome`; with receipts, it may be an `Underway`."""
        ticket = self._ready.popleft()
        if isinstance(ticket, Underway):
            self._places += 1
            return ticket
        self._places += ticket.holds_place
        self._outstanding -= 1
        self._bytes_taken += ticket.size
        if self.is_full:
            self._make_room()
        outcome = ticket.outcome
        del ticket.outcome  # an error's traceback leads to the ticket: both would wait for the garbage collector
        return outcome

    def _make_room(self) -> None:
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
        self._crew.leave_off(self)
        self._crew.forsake(self, has_requests=self._unanswered > 0)

    def _raise_failure(self) -> None:
        if self._intake.failure is not None:
            raise self._intake.failure


def _text(value: object) -> str:
    """What `value` says of itself, whatever it is."""
    try:
        return value if isinstance(value, str) else str(value)
    except Exception:
        return f"<{type(value).__name__} that has no text>"


def body_size(outcome: Outcome) -> int:
    """Bytes of the body that an outcome holds."""
    content = getattr(outcome.response, "_content", None)  # not `.content`, which would read a streamed response
    return len(content) if isinstance(content, bytes) else 0

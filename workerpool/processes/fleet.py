"""The processes of a pool as one crew: which of them does which request, and what happens when one of them is killed.

Each process has a *berth*, which outlives it: a share of the workers, the hosts that it sends to and the requests that
it was given. All requests of a host go to one berth as long as any is under way, and afterwards while it is remembered.
A new host goes to the berth with the fewest requests.

A process that ends unasked is replaced. The next one in its berth is given the requests that have no outcome yet, with
the attempts that are known of them. One that may not be repeated and was about to be sent is `OutcomeUnknown`.

Streams call this from their consumers' threads, as they would call a `crew.Crew`. What a process tells comes on a
thread of its own (`processes.process`). One lock, `_lock`, guards everything here, save that `_consumers` and
`_numbers_of` are read without it; a consumer's lock is taken before it. No outcome is delivered under it, and no code
of users' is called.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, TypeAlias

from workerpool.delays import Feeder
from workerpool.endings import unsent
from workerpool.errors import Cancelled, InvalidRequest, OutcomeUnknown, ProcessesLost, RequestError
from workerpool.model import Outcome, Request
from workerpool.processes.berths import Berth, Consumer, Delays, Given, Hosts
from workerpool.processes.figures import added, with_age
from workerpool.processes.messages import (
    ASKED,
    LIGHT,
    TOLD,
    Begin,
    Close,
    Done,
    Forget,
    GiveUp,
    Hold,
    Leave,
    Logged,
    Look,
    News,
    Open,
    Refused,
    Seen,
    Sending,
    Settle,
    Task,
    Told,
    Urge,
    Work,
    log_levels,
)
from workerpool.processes.parcels import (
    RequestParcel,
    Unsendable,
    pack_error,
    pack_request,
    unpack_attempts,
    unpack_error,
    unpack_outcome,
)
from workerpool.processes.process import Process
from workerpool.redact import redact
from workerpool.statistics import PoolStatistics
from workerpool.stream import HELD_BYTES, Stream
from workerpool.tickets import NOBODY, Owner, Ticket

Orders: TypeAlias = tuple[Sequence[Mapping[str, bytes]], str | None]

MOST_ENDS, WITHIN = 5, 60.0
"""How many processes may end unasked in so many seconds, before the pool is given up. One that is killed now and then
is replaced for ever; a machine that kills each, or a request that ends each, is told of. Erlang's supervisors count so
("maximum restart intensity")."""

LOOK_WAIT = 0.5
"""Seconds that are waited for the processes to say how they stand."""


class Fleet:
    """A crew of processes, of so many `workers` each.

    `make_options`: called once, when they are started; gives each one's options, as `WorkerPool` takes them, pickled,
    and the directory that they are to remove should this process be killed, if there is one.
    """

    def __init__(
        self, workers: Sequence[int], make_options: Callable[[], Orders], may_repeat: Callable[[Request], bool]
    ) -> None:
        self._berths = [Berth(number, each) for number, each in enumerate(workers)]
        self._make_options: Callable[[], Orders] | None = make_options
        self._may_repeat = may_repeat
        self._scratch: str | None = None
        self._starting = threading.Lock()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._hosts = Hosts(self._berths)
        self._began, self._ended_at = time.monotonic(), 0.0
        self.delays = Delays(self._berths)
        self._numbers = count(1)
        self._consumers: dict[int, Consumer] = {}  # by number
        self._numbers_of: dict[Owner, int] = {}
        self._ends: deque[float] = deque(maxlen=MOST_ENDS)
        self._announcing: ThreadPoolExecutor | None = None
        self._is_closing = self._cancels = False
        self._is_abandoned = False
        self._failure: ProcessesLost | None = None

    def start(self) -> None:
        """Start the processes, if that has not been done.

        Raises `ProcessesLost` if the system does not allow that, and what `make_options` raises.
        """
        with self._starting:
            if self._make_options is None:
                return
            options, self._scratch = self._make_options()
            self._make_options = None  # it leads to the pool, which threads of ours must not keep
            for berth, its in zip(self._berths, options, strict=True):
                berth.options = its
                try:
                    process = self._process_for(berth)
                except OSError as error:
                    self.abandon()
                    self._failure = ProcessesLost(f"no process could be started: {error}")
                    raise self._failure from error
                with self._lock:
                    self._man(berth, process)

    # -- what a stream asks of a crew ---------------------------------------------------------------------------------

    def add(self, tickets: Iterable[Ticket]) -> None:
        """Give requests to processes; raises `RuntimeError` after shutdown, `ProcessesLost` if there are none."""
        refused: list[tuple[Ticket, Unsendable]] = []
        packed: list[tuple[Ticket, RequestParcel, int]] = []
        for ticket in tickets:
            try:
                packed.append((ticket, pack_request(ticket.request), self._kind_of(ticket)))
            except Unsendable as error:
                refused.append((ticket, error))
        if self._make_options is not None and not self._is_closing:
            self.start()
        with self._lock:
            self._check_open()
            work: dict[Berth, list[Task]] = {}
            for ticket, parcel, kind in packed:
                if not ticket.is_wanted():
                    continue
                ticket.started = True
                owner, number = self._number_of(ticket.owner), next(self._numbers)
                berth = self._hosts.enter(ticket.host)
                task = Task(number, owner, kind, ticket.host, parcel)
                berth.given[number] = Given(ticket, task)
                work.setdefault(berth, []).append(task)
            for berth, tasks in work.items():
                berth.tell(Work(tasks))
        for ticket, problem in refused:
            told = f"it {problem}, so it cannot be sent by another process: use one process, or leave that out"
            ticket.deliver(unsent(ticket.request, InvalidRequest(redact(told))))

    def give_up(self, owner: Owner) -> None:
        """Let the processes end what they are not sending of a stream that is over; its outcomes come as all others."""
        with self._lock:
            if (number := self._numbers_of.get(owner)) is not None:
                self._tell_all(GiveUp(number))

    def settle(self, owner: Owner, places: int) -> None:
        """Take the receipt for the `places` sends of `owner` that were told first."""
        consumer = self._consumers[self._numbers_of[owner]]
        with consumer.lock:
            receipted = [consumer.places.popleft() for _ in range(places)]
        with self._lock:
            for berth in dict.fromkeys(receipted):
                number = receipted.count(berth)
                berth.held[consumer.number] -= number
                berth.tell(Settle(consumer.number, number))

    def urge(self, ticket: Ticket) -> None:
        """Let a process send a request that its full owner waits for."""
        with self._lock:
            for berth in self._berths:
                for number, given in berth.given.items():
                    if given.ticket is ticket:
                        berth.tell(Urge(number))

    def resume(self, owner: Owner) -> None:
        """Let the processes send requests of an owner again that is not full any more."""
        consumer = self._consumers[self._numbers_of[owner]]
        with consumer.lock:
            if consumer.is_held:
                consumer.is_held = False
                with self._lock:
                    self._tell_all(Hold(consumer.number, is_full=False))

    def attend(self, feeder: Feeder) -> None:
        """Tell the processes what a stream does, from now on, where they have nothing to do."""
        self.delays.feeders.append(feeder)

    def leave_off(self, feeder: Feeder) -> None:
        self.delays.feeders.remove(feeder)

    def look_again(self) -> None:
        """Let processes that have nothing to do know what the streams are at."""
        if self.delays.is_starved:
            with self._lock:
                self.delays.tell()

    def forsake(self, owner: Owner, *, has_requests: bool) -> None:
        """Let the processes forget an owner that is over. Takes no lock: see `crew.Crew.forsake`."""
        number = self._numbers_of.get(owner)
        if number is not None:
            self._tell_all(Forget(number))

    def is_starved(self) -> bool:
        """Whether a process could send to further hosts."""
        with self._lock:
            self._ask()
            return any(berth.is_starved for berth in self._berths)

    # -- looking and ending -------------------------------------------------------------------------------------------

    def look(self) -> PoolStatistics:
        """Ask all processes how they stand, and add it up; what one last said, where it does not answer at once."""
        with self._lock:
            self._ask()
            age = (self._ended_at or time.monotonic()) - self._began
            return added(with_age(added((berth.past, berth.figures)), age) for berth in self._berths)

    def _ask(self) -> None:
        """Ask all processes how they stand, and wait a little for their answers. Lets go of the lock meanwhile."""
        end = time.monotonic() + LOOK_WAIT
        question = next(self._numbers)
        asked = [berth for berth in self._berths if berth.process is not None and not berth.is_done]
        for berth in asked:
            berth.tell(Look(question))
        while any(berth.seen < question and not berth.is_done for berth in asked):
            left = end - time.monotonic()
            if left <= 0 or self._failure is not None:
                return
            self._changed.wait(left)

    @property
    def cpu(self) -> float:
        """Seconds that the processes had had the CPU when they last said."""
        with self._lock:
            return sum(berth.past_cpu + berth.cpu for berth in self._berths)

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        with self._lock:
            return [berth.process.pid for berth in self._berths if berth.process is not None]

    @property
    def is_closing(self) -> bool:
        return self._is_closing

    def close(self, *, cancel: bool) -> None:
        """Take no more; the processes end when all has ended, with `cancel` without what is not being sent."""
        with self._lock:
            self._is_closing = True
            self._cancels = self._cancels or cancel
            self._tell_all(Close(cancel))

    def join(self) -> None:
        """Wait, after `close`, until all processes have ended."""
        with self._lock:
            while any(berth.process is not None for berth in self._berths):
                self._changed.wait()
        if self._announcing is not None:
            self._announcing.shutdown()

    def abandon(self) -> None:
        """End all processes at once: nobody wants anything of them any more. Takes no lock."""
        self._is_abandoned = True
        for berth in self._berths:
            if (process := berth.process) is not None:
                process.kill()

    def disown(self) -> None:
        """In a forked child of this process: leave the processes to it. Takes no lock."""
        for berth in self._berths:
            if berth.process is not None:
                berth.process.disown()

    # -- under the lock -----------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._is_closing:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _number_of(self, owner: Owner) -> int:
        """The owner's number; all processes hear of a new one before its first request."""
        if owner is NOBODY:
            return 0
        number = self._numbers_of.get(owner)
        if number is None:
            self._sweep()
            number = self._numbers_of[owner] = next(self._numbers)
            self._consumers[number] = Consumer(number, owner)
            for berth in self._berths:
                berth.tell(Open(number, berth.workers if owner.needs_receipts else None))
        return number

    def _sweep(self) -> None:
        """Forget the streams that nobody consumes any more, and their requests."""
        for number, consumer in [*self._consumers.items()]:
            if consumer.owner.is_forsaken:
                del self._consumers[number], self._numbers_of[consumer.owner]
                self._tell_all(Forget(number))
                for berth in self._berths:
                    berth.held.pop(number, None)
                    for one in berth.of(number):
                        self._take(berth, one)

    def _kind_of(self, ticket: Ticket) -> int:
        if type(ticket).before_send is not Ticket.before_send:
            return ASKED
        try:
            return LIGHT if self._may_repeat(ticket.request) else TOLD
        except Exception:  # junk for headers: it will end as an outcome when it is to be sent
            return LIGHT

    def _take(self, berth: Berth, number: int) -> Given | None:
        """Take a request out that has ended; None if it has been before."""
        given = berth.given.pop(number, None)
        if given is not None:
            self._hosts.leave(given.task.host)
        return given

    def _tell_all(self, message: Any) -> None:
        for berth in self._berths:
            berth.tell(message)

    def _process_for(self, berth: Berth) -> Process:
        """Start a process; raises OSError. It is told and heard from `_man` on."""
        return Process(partial(self._heard, berth), partial(self._lost, berth))

    def _man(self, berth: Berth, process: Process) -> None:
        """Put a process into a berth, and give it what is the berth's."""
        berth.process = process
        process.tell(Begin(dict(berth.options), HELD_BYTES // len(self._berths), log_levels(), self._scratch))
        self._sweep()  # now: of a stream that is left from here on, `forsake` tells this process by itself
        for number, consumer in self._consumers.items():
            needs_receipts = consumer.owner.needs_receipts
            process.tell(Open(number, berth.workers - berth.held.get(number, 0) if needs_receipts else None))
            if consumer.is_held:
                process.tell(Hold(number, is_full=True))
        if berth.given:
            process.tell(Work([given.task for given in berth.given.values()]))
        if self._is_closing:
            process.tell(Close(self._cancels))
        process.start()
        if self._is_abandoned:  # since it was looked at: `abandon` may not have seen this process
            process.kill()

    # -- what a process tells: its own thread -------------------------------------------------------------------------

    def _heard(self, berth: Berth, process: Process, message: Any) -> None:
        if isinstance(message, Told):
            self._take_news(berth, message.news)
        elif isinstance(message, Sending):
            self._take_leave(berth, process, message.number)
        elif isinstance(message, Seen):
            with self._lock:
                berth.note(message.figures, message.cpu)
                berth.is_starved, berth.seen = message.is_starved, message.number
                self._changed.notify_all()
        elif isinstance(message, Logged):
            record = logging.makeLogRecord(message.record)
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        elif isinstance(message, Done):
            with self._lock:
                berth.note(message.figures, message.cpu)
                berth.is_done, berth.is_starved = True, False
                if all(berth.is_done for berth in self._berths):
                    self._ended_at = time.monotonic()
                self._changed.notify_all()
            process.let_go()
        elif isinstance(message, Refused):
            self._fail(ProcessesLost(f"a process cannot work: {unpack_error(message.error)}"))

    def _take_news(self, berth: Berth, news: Sequence[News]) -> None:
        with self._lock:
            known = [
                berth.given.get(number) if outcome is None else self._take(berth, number)
                for number, _, outcome, _ in news
            ]
            if not berth.given:
                self.delays.tell()
        for given, (_, holds_place, outcome, attempts) in zip(known, news, strict=True):
            if given is None:
                continue
            if outcome is not None:
                self._deliver(berth, given, unpack_outcome(outcome, given.ticket.request), holds_place)
            elif attempts is not None:
                given.attempts = unpack_attempts(attempts)
                self._give(berth, given, holds_place, partial(given.ticket.go_on, given.attempts))

    def _deliver(self, berth: Berth, given: Given, outcome: Outcome, holds_place: bool) -> None:
        self._give(berth, given, holds_place, partial(given.ticket.deliver, outcome))

    def _give(self, berth: Berth, given: Given, holds_place: bool, give: Callable[[], None]) -> None:
        """Give news to a ticket. Its stream hears them in the order in which the places that they hold are noted."""
        consumer = self._consumers.get(given.task.owner)
        if consumer is None:
            give()
            return
        with consumer.lock:
            if holds_place and consumer.owner.needs_receipts:
                consumer.places.append(berth)
                given.ticket.holds_place = True
                with self._lock:
                    berth.held[consumer.number] = berth.held.get(consumer.number, 0) + 1
            give()
            if consumer.owner.is_full and not consumer.is_held:
                consumer.is_held = True
                with self._lock:
                    self._tell_all(Hold(consumer.number, is_full=True))

    def _take_leave(self, berth: Berth, process: Process, number: int) -> None:
        """Note that a request which may not be repeated is about to be sent, and ask for leave if it needs that."""
        with self._lock:
            given = berth.given.get(number)
            if given is None:
                return
            given.may_have_been_sent = True
            if given.task.kind != ASKED:
                return
            if self._announcing is None:
                workers = sum(berth.workers for berth in self._berths)
                self._announcing = ThreadPoolExecutor(workers, "workerpool-announcing")
        self._announcing.submit(self._announce, process, given)

    def _announce(self, process: Process, given: Given) -> None:
        error: list[bytes] | None = None
        try:
            given.ticket.before_send()
        except Exception as raised:
            given.may_have_been_sent = False
            error = pack_error(raised)
        process.tell(Leave(given.task.number, error))

    def _lost(self, berth: Berth, process: Process) -> None:
        """Act on the end of a process: it was asked to, or another one takes its place."""
        following = self._successor(berth, process)
        with self._lock:
            if following is None:
                berth.process = None
                self._changed.notify_all()
                return
            berth.count_in()
            over = self._over(berth)
            self._man(berth, following)
        for given, outcome in over:
            self._deliver(berth, given, outcome, given.may_have_been_sent and not isinstance(outcome.error, Cancelled))

    def _successor(self, berth: Berth, process: Process) -> Process | None:
        """Start the next process of a berth; None if nothing is left to do there, or the pool is given up."""
        while True:
            with self._lock:
                is_over = berth.is_done or (self._is_closing and not berth.given)
                if is_over or self._is_abandoned or self._failure is not None:
                    return None
                self._ends.append(time.monotonic())
                is_too_often = len(self._ends) == MOST_ENDS and self._ends[-1] - self._ends[0] < WITHIN
            if is_too_often:
                self._fail(ProcessesLost(_too_often(process)))
                return None
            try:
                return self._process_for(berth)
            except OSError as error:
                process.fault = error

    def _over(self, berth: Berth) -> list[tuple[Given, Outcome]]:
        """Take out the requests of a process that has ended which are not to be sent again. Under the lock."""
        over = []
        for number, given in [*berth.given.items()]:
            request, attempts, owner = given.ticket.request, given.attempts, given.ticket.owner
            error: RequestError | None = None
            if given.may_have_been_sent:
                error = OutcomeUnknown(
                    "it was sent, and the process that had sent it was ended before its answer came; "
                    f"{request.method} is not repeated blindly"
                )
            elif self._cancels or owner.is_over:
                error = Cancelled("given up, as the batch was told to end, and the process that had it was ended")
            if error is None:
                if attempts is not None:
                    given.task = given.task._replace(request=pack_request(request, attempts))
                continue
            self._take(berth, number)
            over.append((given, unsent(request, error, attempts)))
        return over

    def _fail(self, failure: ProcessesLost) -> None:
        """Give the pool up: end all processes, and every request as cancelled."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = failure
            left = [
                (berth, given) for berth in self._berths for number in [*berth.given]
                if (given := self._take(berth, number)) is not None
            ]  # fmt: skip
            owners = [consumer.owner for consumer in self._consumers.values()]
            processes = [berth.process for berth in self._berths if berth.process is not None]
            self._changed.notify_all()
        for process in processes:
            process.kill()
        for owner in owners:
            if isinstance(owner, Stream):
                owner.fail(failure)
        for berth, given in left:
            error = Cancelled(f"given up, as {failure}")
            self._deliver(berth, given, unsent(given.ticket.request, error, given.attempts), False)


def _too_often(process: Process) -> str:
    how = process.fault or process.returncode
    said = f"signal {-how}" if isinstance(how, int) and how < 0 else f"{how}"
    return (
        f"{MOST_ENDS} of its processes have ended unasked within {WITHIN:g} s, the last one by {said}: look whether "
        "the machine has run out of memory, or whether code that the requests carry ends its process"
    )

"""The processes of a pool as one crew: which of them does which request, and what comes of it.

Each process has a *berth*, which outlives it: a share of the workers, the hosts that it sends to and the requests that
it was given. All requests of a host go to one berth as long as any is under way, and afterwards while it is remembered.
A new host goes to the berth with the fewest requests. Which stream's outcomes go where is in `consumers`.

A process that ends unasked is replaced (`supervisor`). The next one in its berth is given the requests that have no
outcome yet, with the attempts that are known of them. One that may not be repeated and was about to be sent is
`OutcomeUnknown`.

Streams call this from their consumers' threads, as they would call a `crew.Crew`. What a process tells comes on a
thread of its own (`processes.process`). One lock, `_lock`, guards everything here, save what `consumers` names. No
outcome is delivered under it, and no code of users' is called.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

from workerpool.crew.delays import Feeder
from workerpool.endings import unsent
from workerpool.errors import Cancelled, InvalidRequest, OutcomeUnknown, ProcessesLost, RequestError
from workerpool.model import Outcome, Request
from workerpool.processes.berths import Berth, Delays, Given, Hosts
from workerpool.processes.consumers import Consumers
from workerpool.processes.figures import added, with_age
from workerpool.processes.messages import (
    ASKED,
    LIGHT,
    TOLD,
    Done,
    Leave,
    Logged,
    Look,
    News,
    Refused,
    Seen,
    Sending,
    Task,
    Told,
    Urge,
    Work,
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
from workerpool.processes.scratch import Scratch
from workerpool.processes.supervisor import Orders, Supervisor
from workerpool.redact import redact
from workerpool.statistics import PoolStatistics
from workerpool.stream import Stream
from workerpool.tickets import Owner, Ticket

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
        self._may_repeat = may_repeat
        self._lock = threading.Lock()  # guards everything here, and of the supervisor and the consumers
        self._changed = threading.Condition(self._lock)  # a process has said how it stands, or there is none any more
        self._hosts = Hosts(self._berths)
        self._began, self._ended_at = time.monotonic(), 0.0
        self.delays = Delays(self._berths)
        self._numbers = count(1)  # of requests and of questions
        self._consumers = Consumers(self._berths, self._hosts, self._lock)
        self._announcing: ThreadPoolExecutor | None = None
        self.scratch: Scratch | None = None
        self.supervisor = Supervisor(
            self._berths, self._changed, make_options, heard=self._heard, hand_over=self._hand_over, fail=self._fail
        )

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
        self.supervisor.start()
        with self._lock:
            self.supervisor.check_open()
            work: dict[Berth, list[Task]] = {}
            for ticket, parcel, kind in packed:
                if not ticket.is_wanted():
                    continue
                ticket.started = True
                owner, number = self._consumers.number_of(ticket.owner), next(self._numbers)
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
            self._consumers.give_up(owner)

    def acknowledge(self, owner: Owner, places: int) -> None:
        """Take the receipt for the `places` sends of `owner` that were told first."""
        self._consumers.acknowledge(owner, places)

    def urge(self, ticket: Ticket) -> None:
        """Let a process send a request that its full owner waits for."""
        with self._lock:
            for berth in self._berths:
                for number, given in berth.given.items():
                    if given.ticket is ticket:
                        berth.tell(Urge(number))

    def resume(self, owner: Owner) -> None:
        """Let the processes send requests of an owner again that is not full any more."""
        self._consumers.resume(owner)

    def attend(self, feeder: Feeder) -> None:
        """Tell the processes what a stream does, from now on, where they have nothing to do."""
        self.delays.feeders.append(feeder)

    def leave_off(self, feeder: Feeder) -> None:
        self.delays.feeders.remove(feeder)

    def look_again(self) -> None:
        """Let processes that have nothing to do know what the streams are at."""
        if self.delays.watches_feeders:
            with self._lock:
                self.delays.tell()

    def forsake(self, owner: Owner, *, has_requests: bool) -> None:
        """Let the processes forget an owner that is over. Takes no lock: see `crew.Crew.forsake`."""
        self._consumers.forsake(owner)

    def needs_more_hosts(self) -> bool:
        """Whether a process could send to further hosts."""
        with self._lock:
            self._ask()
            return any(berth.needs_more_hosts for berth in self._berths)

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
            if left <= 0 or self.supervisor.failure is not None:
                return
            self._changed.wait(left)

    @property
    def cpu(self) -> float:
        """Seconds that the processes had had the CPU when they last said."""
        with self._lock:
            return sum(berth.past_cpu + berth.cpu for berth in self._berths)

    @property
    def failure(self) -> ProcessesLost | None:
        """Why the pool was given up, if it was."""
        return self.supervisor.failure

    def close(self, *, cancel: bool) -> None:
        """Take no more requests, and end when all have ended; with `cancel`, without sending any more."""
        self.supervisor.close(cancel=cancel)

    def abandon(self) -> None:
        """End all processes at once: nobody wants anything of them any more. Takes no lock."""
        self.supervisor.abandon()

    def join(self) -> None:
        """Wait, after `close`, until all processes have ended."""
        self.supervisor.join()
        if self._announcing is not None:
            self._announcing.shutdown()

    def _kind_of(self, ticket: Ticket) -> int:
        if type(ticket).before_send is not Ticket.before_send:
            return ASKED
        try:
            return LIGHT if self._may_repeat(ticket.request) else TOLD
        except Exception:  # junk for headers: it will end as an outcome when it is to be sent
            return LIGHT

    # -- what a process tells: its own thread -------------------------------------------------------------------------

    def _heard(self, berth: Berth, process: Process, message: Any) -> None:
        if isinstance(message, Told):
            self._take_news(berth, message.news)
        elif isinstance(message, Sending):
            self._take_leave(berth, process, message.number)
        elif isinstance(message, Seen):
            with self._lock:
                berth.note(message.figures, message.cpu)
                berth.needs_more_hosts, berth.seen = message.needs_more_hosts, message.number
                self._changed.notify_all()
        elif isinstance(message, Logged):
            _log(message.record)
        elif isinstance(message, Done):
            with self._lock:
                berth.note(message.figures, message.cpu)
                berth.is_done, berth.needs_more_hosts = True, False
                if all(berth.is_done for berth in self._berths):
                    self._ended_at = time.monotonic()
                self._changed.notify_all()
            process.let_go()
        elif isinstance(message, Refused):
            self._fail(ProcessesLost(f"a process cannot work: {unpack_error(message.error)}"))

    def _take_news(self, berth: Berth, news: Sequence[News]) -> None:
        with self._lock:
            known = [
                berth.given.get(number) if outcome is None else self._hosts.take(berth, number)
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
                self._consumers.give(berth, given, holds_place, partial(given.ticket.note_underway, given.attempts))

    def _deliver(
        self, berth: Berth, given: Given, outcome: Outcome, holds_place: bool, *, is_held: bool = False
    ) -> None:
        self._consumers.give(berth, given, holds_place, partial(given.ticket.deliver, outcome), is_held=is_held)

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

    # -- the end of a process: its own thread -------------------------------------------------------------------------

    def _hand_over(self, berth: Berth) -> Callable[[], None]:
        """Give a berth's new process what is left there. Under the lock; returns what is to be done after it."""
        over = self._over(berth)
        self._consumers.introduce(berth)
        if berth.given:
            berth.tell(Work([given.task for given in berth.given.values()]))
        for number, given in berth.given.items():
            if given.ticket.owner.awaited is given.ticket:  # who waits for it has told the process before
                berth.tell(Urge(number))
        return partial(self._end, berth, over)

    def _over(self, berth: Berth) -> list[tuple[Given, Outcome]]:
        """Take out the requests of a berth whose process has ended which are not to be sent again. Under the lock."""
        over = []
        for number, given in [*berth.given.items()]:
            request, attempts, owner = given.ticket.request, given.attempts, given.ticket.owner
            error: RequestError | None = None
            if given.may_have_been_sent:
                error = OutcomeUnknown(
                    "it was sent, and the process that had sent it was ended before its answer came; "
                    f"{request.method} is not repeated blindly"
                )
            elif self.supervisor.cancels or owner.is_over:
                error = Cancelled("given up, as the batch was told to end, and the process that had it was ended")
            if error is None:
                if attempts is not None:
                    given.task = given.task._replace(request=pack_request(request, attempts))
                continue
            self._hosts.take(berth, number)
            if isinstance(error, OutcomeUnknown):
                self._consumers.hold_place(berth, given)
            over.append((given, unsent(request, error, attempts)))
        return over

    def _end(self, berth: Berth, over: list[tuple[Given, Outcome]]) -> None:
        for given, outcome in over:
            self._deliver(berth, given, outcome, isinstance(outcome.error, OutcomeUnknown), is_held=True)

    def _fail(self, failure: ProcessesLost) -> None:
        """Give the pool up: end all processes, and every request as cancelled."""
        with self._lock:
            if self.supervisor.failure is not None:
                return
            self.supervisor.failure = failure
            left = [
                (berth, given) for berth in self._berths for number in [*berth.given]
                if (given := self._hosts.take(berth, number)) is not None
            ]  # fmt: skip
            owners = self._consumers.owners()
            self._changed.notify_all()
        self.supervisor.abandon()
        for owner in owners:
            if isinstance(owner, Stream):
                owner.fail(failure)
        for berth, given in left:
            error = Cancelled(f"given up, as {failure}")
            self._deliver(berth, given, unsent(given.ticket.request, error, given.attempts), False)


def _log(packed: bytes) -> None:
    """Have a process's record handled here. What handlers of the program raise is told as logging tells its errors."""
    record = logging.makeLogRecord({})
    try:
        record = logging.makeLogRecord(pickle.loads(packed))
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except Exception:
        logging.Handler().handleError(record)

"""The workers of a cluster as one crew: chunks of requests to each, and their outcomes to the streams.

A thread of its own, the coordinator's, has all books, and does everything in turn: what streams ask for, and what
`line` tells, comes to it as calls in a queue. So nothing here needs a lock. What follows from what is known is for
`dispatch` to say, and done here. An outcome is delivered once, however often Dask has carried out what it came from:
a request that has ended is in no book any more.

A worker that is gone is noticed by a look at the list of all, once a second. What it had not told of is queued again
for the others, before anything else.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from workerpool import events
from workerpool.cluster.berths import Berth, Given
from workerpool.cluster.compatible import is_of_code, problem_of
from workerpool.cluster.dispatch import LOOK_EVERY, Assignment, Dispatch
from workerpool.cluster.line import Line
from workerpool.cluster.messages import Chunk, Ended, Errand, Harvest, packed, unpacked
from workerpool.crew.delays import Feeder
from workerpool.endings import unsent
from workerpool.errors import BudgetError, Cancelled, ClusterLost, InvalidRequest, RequestError
from workerpool.model import Request
from workerpool.processes.figures import added, with_age
from workerpool.processes.parcels import Unsendable, pack_request, unpack_outcome
from workerpool.processes.scratch import Scratch
from workerpool.redact import redact
from workerpool.statistics import PoolStatistics, Wait
from workerpool.stream import Stream
from workerpool.tickets import NOBODY, Owner, Ticket


class Coordinator:
    """A crew over a line to a cluster.

    `options`: of each worker's pool, pickled; `threads`: that each of these has. `may_split`: whether several workers
    may send to one host. `may_repeat`: whether a request may be sent again blindly.
    """

    def __init__(
        self,
        line: Line,
        options: dict[str, bytes],
        threads: int,
        *,
        may_split: bool,
        keeps_bodies: bool,
        may_repeat: Callable[[Request], bool],
    ) -> None:
        self._line = line
        self._options = options
        self._threads = threads
        self._keeps_bodies = keeps_bodies
        self._may_repeat = may_repeat
        self._job = f"workerpool-{uuid.uuid4().hex}"
        self.scratch: Scratch | None = None
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._began = time.monotonic()
        self._dispatch = Dispatch(may_split=may_split, now=self._began)
        self._books = self._dispatch.books
        self._numbers = count(1)  # of requests and owners
        self._owners: dict[int, Owner] = {}
        self._numbers_of: dict[Owner, int] = {NOBODY: 0}
        self._has_fetched = False
        self._over: set[int] = set()  # streams that were given up, by their numbers, and have requests at workers
        self._forget: dict[int, Callable[[], None]] = {}  # by the number of a chunk
        self._feeders: list[Feeder] = []
        self._ended_at = 0.0
        self._is_closing = False
        self.failure: ClusterLost | None = None
        self._is_started = False
        self._start_lock = threading.Lock()  # guards it
        self._gate = threading.Lock()  # guards its end: what comes in comes before it, or is refused
        self._thread = threading.Thread(target=self._go_on, name="workerpool-cluster", daemon=True)

    # -- what a stream asks of a crew: any thread ---------------------------------------------------------------------

    def add(self, tickets: Iterable[Ticket]) -> None:
        """Give requests to workers; raises `RuntimeError` after shutdown, `ClusterLost` if there is no cluster."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # or it would grow each time
        if self._is_closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.start()
        ready = list[tuple[Ticket, Any]]()
        for ticket in tickets:
            try:
                self._check_repeatable(ticket.request)
                ready.append((ticket, pack_request(ticket.request)))
            except Unsendable as error:
                told = f"it {error}, so it cannot be sent by a worker of a cluster: leave that out, or run it here"
                ticket.deliver(unsent(ticket.request, InvalidRequest(redact(told))))
        with self._gate:
            if self._is_closing:  # since it was looked at; the thread may have ended
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._calls.put(partial(self._enter, ready))

    def give_up(self, owner: Owner) -> None:
        """End what is not being sent of a stream that is over."""
        self._calls.put(partial(self._give_up, owner))

    def acknowledge(self, owner: Owner, places: int) -> None:
        """Nothing is held for receipts: a crash repeats what workers had, see `berths`."""

    def urge(self, ticket: Ticket) -> None:
        self._calls.put(self._dispatch.look_at_all)

    def resume(self, owner: Owner) -> None:
        self._calls.put(self._dispatch.look_at_all)

    def attend(self, feeder: Feeder) -> None:
        self._feeders.append(feeder)

    def leave_off(self, feeder: Feeder) -> None:
        self._feeders.remove(feeder)

    def look_again(self) -> None:
        """What streams are at is told with the next chunk."""

    def forsake(self, owner: Owner, *, has_requests: bool) -> None:
        self._calls.put(partial(self._give_up, owner))

    def needs_more_hosts(self) -> bool:
        """Whether a worker could send to further hosts."""
        return self._dispatch.needs_more_hosts()

    # -- looking and ending: any thread -------------------------------------------------------------------------------

    def look(self) -> PoolStatistics:
        """The figures of all workers, as they stood when they told last."""
        age = (self._ended_at or time.monotonic()) - self._began
        berths = [*self._dispatch.past, *self._books.berths.values()]
        return added(with_age(added((berth.past, berth.figures)), age) for berth in berths)

    @property
    def cpu(self) -> float:
        """Seconds that the workers' processes had had the CPU when they told last."""
        return sum(berth.past_cpu + berth.cpu for berth in [*self._dispatch.past, *self._books.berths.values()])

    @property
    def workers(self) -> int:
        """How many workers there are, and have been."""
        return len(self._dispatch.past) + len(self._books.berths)

    def start(self) -> None:
        with self._start_lock:
            if not self._is_started:
                self._is_started = True
                self._thread.start()

    def close(self, *, cancel: bool) -> None:
        """Take no more requests, and end when all have ended; with `cancel`, without sending any more."""
        self._is_closing = True
        self.start()
        self._calls.put(self._cancel_all if cancel else _nothing)

    def abandon(self) -> None:
        """End what belongs to a pool that was dropped without shutdown."""
        self.close(cancel=True)

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def disown(self) -> None:
        """In a forked child of this process: nothing leads to the cluster, and nothing is to be waited for."""
        self.failure = ClusterLost("a forked process has no way to the cluster of its parent: make a pool")
        self._start_lock, self._gate = threading.Lock(), threading.Lock()
        self._is_started = True

    # -- the coordinator's thread -------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Do what is to be done, until all has ended. A thread's whole life."""
        try:
            while not self._is_done():
                self._take_calls()
                self._tend()
        except BaseException as error:  # a bug: whoever waits for outcomes must not wait for ever
            self._fail(ClusterLost(f"the coordinator of the cluster broke: {type(error).__name__}: {error}"))
            raise
        finally:
            self._let_nothing_wait()
            self._ended_at = time.monotonic()
            for forget in self._forget.values():
                forget()
            self._line.close([*self._books.berths], self._job)

    def _is_done(self) -> bool:
        with self._gate:
            return self._is_closing and not self._books.given and self._calls.empty()

    def _let_nothing_wait(self) -> None:
        """Take no more requests, and cancel those that came while the pool was given up."""
        with self._gate:
            self._is_closing = True
        while not self._calls.empty():
            with suppress(Exception):  # what broke the thread may break this, too
                self._calls.get_nowait()()

    def _take_calls(self) -> None:
        try:
            call = self._calls.get(timeout=LOOK_EVERY)
            while True:
                call()
                call = self._calls.get_nowait()
        except queue.Empty:
            pass

    def _tend(self) -> None:
        """Look which workers there are, if it is time, and give each what it is to do."""
        now = time.monotonic()
        if self._books.given:
            self._give_up_if_hopeless(now)
        if not self._line.is_up:
            return
        if self._dispatch.looks(now):
            self._line.ask_workers(lambda answer: self._calls.put(partial(self._hear_of_workers, answer)))
        for chosen in self._dispatch.assignments():
            self._submit(chosen)

    def _give_up_if_hopeless(self, now: float) -> None:
        why = self._dispatch.why_hopeless(now, is_up=self._line.is_up, is_closed=self._line.is_closed)
        if why is not None:
            self._fail(ClusterLost(f"{self._line.name} {why}"))

    # -- requests -----------------------------------------------------------------------------------------------------

    def _check_repeatable(self, request: Request) -> None:
        """Raise `Unsendable` for a request that may not be sent twice: Dask repeats what a worker had that dies."""
        try:
            may = self._may_repeat(request)
        except Exception:  # junk for headers: it will end as an outcome when it is to be sent
            may = True
        if not may:
            raise Unsendable(
                f"is a {request.method}, which is not to be repeated blindly, and what a lost worker had is sent again "
                "(an Idempotency-Key makes that safe)"
            )

    def _enter(self, ready: Sequence[tuple[Ticket, Any]]) -> None:
        for ticket, parcel in ready:
            if not ticket.is_wanted():
                continue
            ticket.started = True
            if self.failure is not None or ticket.owner.is_over:
                self._cancel(ticket, "the batch was told to end" if self.failure is None else str(self.failure))
                continue
            errand = Errand(next(self._numbers), self._number_of(ticket.owner), ticket.host, parcel)
            self._books.enter(Given(ticket, errand))

    def _number_of(self, owner: Owner) -> int:
        number = self._numbers_of.get(owner)
        if number is None:
            for old in [one for one in self._numbers_of if one.is_forsaken]:
                del self._owners[self._numbers_of.pop(old)]
            number = self._numbers_of[owner] = next(self._numbers)
            self._owners[number] = owner
        return number

    def _give_up(self, owner: Owner) -> None:
        number = self._numbers_of.get(owner)
        if number is None:
            return
        for given in self._books.take_out(number):
            self._cancel(given.ticket, "the batch was told to end")
        self._over.add(number)
        self._stop_what_is_over()

    def _stop_what_is_over(self) -> None:
        """Let workers send nothing more of streams that are over: again and again, as a chunk may be on its way."""
        self._over &= {given.errand.owner for given in self._books.given.values()} if self._over else set()
        for number in self._over:
            self._line.stop([*self._books.berths], self._job, number)

    def _cancel_all(self) -> None:
        for owner in [*self._numbers_of]:
            self._give_up(owner)

    def _cancel(self, ticket: Ticket, why: str) -> None:
        error: RequestError = Cancelled(f"given up, as {why}")
        ticket.deliver(unsent(ticket.request, error))

    # -- chunks -------------------------------------------------------------------------------------------------------

    def _submit(self, chosen: Assignment) -> None:
        """Have a worker carry out a chunk."""
        errands = [given.errand for given in chosen.given]
        chunk = Chunk(
            self._job, self._options, self._keeps_bodies, errands, chosen.seconds, chosen.low, self._doing()
        )  # fmt: skip
        self._forget[chosen.number] = self._line.submit(
            chosen.berth.address, f"{self._job}-{chosen.number}", packed(chunk),
            lambda answer: self._calls.put(partial(self._hear_of_chunk, chosen, answer)),
        )  # fmt: skip

    def _hear_of_chunk(self, chosen: Assignment, answer: Any) -> None:
        self._forget.pop(chosen.number, None)
        if not isinstance(answer, bytes):
            self._hear_of_loss(chosen, answer)
            return
        harvest: Harvest = unpacked(answer)
        berth, ended = chosen.berth, {number for number, _, _ in harvest.ended}
        if not self._dispatch.hear_of_chunk(chosen, harvest.pool, ended, time.monotonic()):
            return
        berth.is_hungry, berth.figures, berth.cpu = harvest.is_hungry, harvest.figures, harvest.cpu
        self._has_fetched |= bool(ended)
        self._deliver(harvest.ended)

    def _hear_of_loss(self, chosen: Assignment, error: BaseException) -> None:
        """A chunk has come to nothing: its worker is gone, or its code cannot work.

        A worker that comes while the server of the budget is away cannot begin, as nobody tells it what others send. It
        is asked again later, unless nothing was ever fetched: then the budget is wrong.
        """
        is_to_wait = isinstance(error, BudgetError) and self._has_fetched
        if self._dispatch.lose_chunk(chosen, is_to_wait=is_to_wait) and is_of_code(error) and not is_to_wait:
            what = redact(f"{type(error).__name__}: {error}")
            self._fail(ClusterLost(f"a worker at {chosen.berth.address} cannot work: {what}"))

    def _deliver(self, ended: Sequence[Ended]) -> None:
        for number, parcel, left_out in ended:
            given = self._books.end(number)
            if given is None:  # told by two workers, as one was thought to be lost
                continue
            outcome = unpack_outcome(parcel, given.ticket.request)
            if left_out and outcome.response is not None:
                outcome.response.left_out = left_out  # type: ignore[attr-defined]
            given.ticket.deliver(outcome)

    def _doing(self) -> Wait:
        """What the streams' consumers are at."""
        doing = Wait.IDLE
        for feeder in [*self._feeders]:
            doing = feeder.doing
            if doing not in (Wait.ANSWERS, Wait.WINDOW):
                break
        return doing

    # -- workers ------------------------------------------------------------------------------------------------------

    def _hear_of_workers(self, answer: Mapping[str, int] | BaseException) -> None:
        threads = None if isinstance(answer, BaseException) else answer
        news = self._dispatch.hear_of_workers(threads, time.monotonic())
        for berth in news.lost:
            self._let_go_of(berth)
        for address in news.new:
            told = partial(self._hear_hello, address)
            self._line.greet(address, lambda said, told=told: self._calls.put(partial(told, said)))  # type: ignore[misc]
        if threads is not None:
            self._stop_what_is_over()

    def _let_go_of(self, berth: Berth) -> None:
        """Forget the chunks of a worker that is lost."""
        for number in berth.chunks:
            self._forget.pop(number, _nothing)()
        berth.chunks.clear()
        events.emit("cluster.lost", worker=berth.address)

    def _hear_hello(self, address: str, said: Any) -> None:
        """Take in a worker that has answered, if it is as it should be."""
        problem = problem_of(said)
        if problem is not None:
            self._dispatch.take_leave(address)
            if problem:
                self._fail(ClusterLost(f"the worker at {address} has {problem}"))
            return
        self._dispatch.welcome(address, self._threads, time.monotonic())
        events.emit("cluster.joined", worker=address)

    def _fail(self, failure: ClusterLost) -> None:
        """Give the batch up: every request that has not ended is cancelled."""
        if self.failure is not None:
            return
        self.failure = failure
        for owner in self._owners.values():
            if isinstance(owner, Stream):
                owner.fail(failure)
        for given in [*self._books.given.values()]:
            self._books.end(given.number)
            self._cancel(given.ticket, str(failure))


def _nothing() -> None:
    """To wake the thread."""

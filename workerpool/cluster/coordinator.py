"""The workers of a cluster as one crew: chunks of requests to each, and their outcomes to the streams.

A thread of its own, the coordinator's, has all books, and does everything in turn: what streams ask for, and what
`line` tells, comes to it as calls in a queue. So nothing here needs a lock. An outcome is delivered once, however often
Dask has carried out what it came from: a request that has ended is in no book any more.

A worker that is gone is noticed by a look at the list of all, once a second. What it had not told of is queued again
for the others, before anything else.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pickle import UnpicklingError
from typing import Any

from workerpool import events
from workerpool.agent import version
from workerpool.cluster.berths import SECONDS, Berth, Books, Given
from workerpool.cluster.line import Line
from workerpool.cluster.messages import Chunk, Ended, Errand, Harvest, packed, unpacked
from workerpool.crew.delays import Feeder
from workerpool.endings import unsent
from workerpool.errors import Cancelled, ClusterLost, InvalidRequest, RequestError, WorkerPoolError
from workerpool.model import Request
from workerpool.processes.figures import added, with_age
from workerpool.processes.parcels import Unsendable, pack_request, unpack_outcome
from workerpool.redact import redact
from workerpool.statistics import PoolStatistics, Wait
from workerpool.stream import Stream
from workerpool.tickets import NOBODY, Owner, Ticket

DEPTH = 2
"""Chunks that a worker has at once: while the result of one travels, the next one is there."""

LOOK_EVERY = 1.0
"""Seconds between two looks which workers there are."""

PATIENCE = 120.0
"""Seconds for which there may be no worker, or no scheduler, before the batch is given up."""

MOST_LOSSES = 20
"""Workers that may be lost one after the other without an outcome in between."""


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
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._books = Books(may_split=may_split)
        self._numbers = count(1)  # of requests, owners and chunks
        self._owners: dict[int, Owner] = {}
        self._numbers_of: dict[Owner, int] = {NOBODY: 0}
        self._over: set[int] = set()  # streams that were given up, by their numbers, and have requests at workers
        self._forget: dict[int, Callable[[], None]] = {}  # by the number of a chunk
        self._greeted: dict[str, int] = {}  # workers that have not answered yet, by address, with their threads
        self._feeders: list[Feeder] = []
        self._past: list[Berth] = []  # of workers that are gone
        self._losses = 0  # since the last outcome
        self._seen_at = self._began = time.monotonic()  # seen: that there was a worker
        self._looked_at = 0.0
        self._ended_at = 0.0
        self._is_looking = False
        self._is_unsure = True  # which workers there are: nothing is submitted until a look has told
        self._is_closing = False
        self.failure: ClusterLost | None = None
        self._is_started = False
        self._start_lock = threading.Lock()  # guards it
        self._thread = threading.Thread(target=self._go_on, name="workerpool-cluster", daemon=True)

    # -- what a stream asks of a crew: any thread ---------------------------------------------------------------------

    def add(self, tickets: Iterable[Ticket]) -> None:
        """Give requests to workers; raises `RuntimeError` after shutdown, `ClusterLost` if there is no cluster."""
        if self.failure is not None:
            raise self.failure
        if self._is_closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.start()
        ready = []
        for ticket in tickets:
            try:
                self._check_repeatable(ticket.request)
                ready.append((ticket, pack_request(ticket.request)))
            except Unsendable as error:
                told = f"it {error}, so it cannot be sent by a worker of a cluster: leave that out, or run it here"
                ticket.deliver(unsent(ticket.request, InvalidRequest(redact(told))))
        self._calls.put(partial(self._enter, ready))

    def give_up(self, owner: Owner) -> None:
        """End what is not being sent of a stream that is over."""
        self._calls.put(partial(self._give_up, owner))

    def acknowledge(self, owner: Owner, places: int) -> None:
        """Nothing is held for receipts: a crash repeats what workers had, see `SECONDS` and `AHEAD`."""

    def urge(self, ticket: Ticket) -> None:
        self._calls.put(_nothing)  # which looks at all that is queued

    def resume(self, owner: Owner) -> None:
        self._calls.put(_nothing)

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
        return any(berth.is_hungry and len(berth.given) < berth.target for berth in [*self._books.berths.values()])

    # -- looking and ending: any thread -------------------------------------------------------------------------------

    def look(self) -> PoolStatistics:
        """The figures of all workers, as they stood when they told last."""
        age = (self._ended_at or time.monotonic()) - self._began
        berths = [*self._past, *self._books.berths.values()]
        return added(with_age(added((berth.past, berth.figures)), age) for berth in berths)

    @property
    def cpu(self) -> float:
        """Seconds that the workers' processes had had the CPU when they told last."""
        return sum(berth.past_cpu + berth.cpu for berth in [*self._past, *self._books.berths.values()])

    @property
    def workers(self) -> int:
        """How many workers there are, and have been."""
        return len(self._past) + len(self._books.berths)

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

    def join(self) -> None:
        self._thread.join()

    # -- the coordinator's thread -------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Do what is to be done, until all has ended. A thread's whole life."""
        try:
            while not (self._is_closing and not self._books.given and self._calls.empty()):
                self._take_calls()
                self._tend()
        except BaseException as error:  # a bug: whoever waits for outcomes must not wait for ever
            self._fail(ClusterLost(f"the coordinator of the cluster broke: {type(error).__name__}: {error}"))
            raise
        finally:
            self._is_closing = True
            self._ended_at = time.monotonic()
            for forget in self._forget.values():
                forget()
            self._line.close([*self._books.berths], self._job)

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
        if self.failure is None and self._books.given:
            self._check_patience(now)
        is_due = now - self._looked_at >= (LOOK_EVERY / 10 if self._is_unsure else LOOK_EVERY)
        if is_due and not self._is_looking and self._line.is_up:
            self._is_looking, self._looked_at = True, now
            self._line.ask_workers(lambda answer: self._calls.put(partial(self._hear_of_workers, answer)))
        if self._is_unsure or not self._line.is_up:
            return
        self._books.level()
        for berth in self._books.berths.values():
            while len(berth.chunks) < DEPTH and self._submit_to(berth):
                pass

    def _check_patience(self, now: float) -> None:
        if self._line.is_closed or now - self._seen_at > PATIENCE:
            what = "has no scheduler any more" if self._line.is_closed or not self._line.is_up else "has no worker"
            self._fail(
                ClusterLost(f"{self._line.name} {what}: start it again, and then this, which goes on if it is a job")
            )
        elif self._losses > MOST_LOSSES:
            self._fail(
                ClusterLost(
                    f"{self._losses} workers of {self._line.name} were lost one after the other, and nothing was "
                    "fetched: see what their logs say"
                )
            )

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

    def _submit_to(self, berth: Berth) -> bool:
        """Give a worker a chunk, if there is something for it, or something to be told of; whether it was."""
        given = self._books.fill(berth)
        if not given and (berth.chunks or not berth.given):
            return False
        number = next(self._numbers)
        low = berth.low if berth.queued else 0
        errands = [one.errand for one in given]
        chunk = Chunk(self._job, self._options, self._keeps_bodies, errands, SECONDS, low, self._doing())
        berth.chunks.add(number)
        self._forget[number] = self._line.submit(
            berth.address, f"{self._job}-{number}", packed(chunk),
            lambda answer: self._calls.put(partial(self._hear_of_chunk, berth, number, answer)),
        )  # fmt: skip
        return True

    def _hear_of_chunk(self, berth: Berth, number: int, answer: Any) -> None:
        self._forget.pop(number, None)
        if number not in berth.chunks:  # of a worker that was given up
            return
        berth.chunks.discard(number)
        if not isinstance(answer, bytes):
            self._lose_touch(berth, answer)
            return
        harvest: Harvest = unpacked(answer)
        if harvest.pool != berth.pool and berth.pool:
            self._begin_anew(berth, harvest)
        berth.pool, berth.is_hungry = harvest.pool, harvest.is_hungry
        berth.figures, berth.cpu = harvest.figures, harvest.cpu
        berth.note_rate(len(harvest.ended), time.monotonic())
        self._seen_at = time.monotonic()
        self._deliver(harvest.ended)

    def _deliver(self, ended: Sequence[Ended]) -> None:
        if ended:
            self._losses = 0
        for number, parcel, left_out in ended:
            given = self._books.end(number)
            if given is None:  # told by two workers, as one was thought to be lost
                continue
            outcome = unpack_outcome(parcel, given.ticket.request)
            if left_out and outcome.response is not None:
                outcome.response.left_out = left_out  # type: ignore[attr-defined]
            given.ticket.deliver(outcome)

    def _begin_anew(self, berth: Berth, harvest: Harvest) -> None:
        """Queue again what a pool had that is there no more, in a worker of the same address."""
        berth.count_in()
        ended = {number for number, _, _ in harvest.ended}
        self._books.take_back(berth, [number for number in berth.given if number not in ended])

    def _lose_touch(self, berth: Berth, error: BaseException) -> None:
        """Queue again what a worker has, as a chunk of it came to nothing, and look whether it is there."""
        self._losses += 1
        self._is_unsure = True
        if _is_of_code(error):
            self._fail(
                ClusterLost(f"a worker at {berth.address} cannot work: {redact(f'{type(error).__name__}: {error}')}")
            )
            return
        self._books.take_back(berth, [*berth.given])

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
        self._is_looking = False
        if isinstance(answer, BaseException):
            self._is_unsure = True
            return
        self._is_unsure = False
        for address in [address for address in self._books.berths if address not in answer]:
            self._lose(address)
        for address in answer:
            if address not in self._books.berths and address not in self._greeted:
                self._greeted[address] = self._threads
                told = partial(self._hear_hello, address)
                self._line.greet(address, lambda said, told=told: self._calls.put(partial(told, said)))  # type: ignore[misc]
        if self._books.berths:
            self._seen_at = time.monotonic()
        self._stop_what_is_over()

    def _lose(self, address: str) -> None:
        berth = self._books.leave(address)
        self._losses += 1
        berth.count_in()
        self._past.append(berth)
        for number in berth.chunks:
            self._forget.pop(number, _nothing)()
        berth.chunks.clear()
        events.emit("cluster.lost", worker=address)

    def _hear_hello(self, address: str, said: Any) -> None:
        """Take in a worker that has answered."""
        threads = self._greeted.pop(address)
        if isinstance(said, BaseException):
            if _is_of_code(said):
                self._fail(
                    ClusterLost(
                        f"the worker at {address} has no workerpool, or another version than this one, {version()} "
                        f"({type(said).__name__}: {said}): install the same on all workers"
                    )
                )
            return
        its, _ = said
        if its != version():
            self._fail(
                ClusterLost(
                    f"the worker at {address} has workerpool {its}, and this is {version()}: install the same on all"
                )
            )
            return
        self._books.join(Berth(address, threads, counted_at=time.monotonic()))
        self._seen_at = time.monotonic()
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


def _is_of_code(error: BaseException) -> bool:
    """Whether it is the worker's code that fails, so that it would again."""
    return isinstance(error, (ImportError, AttributeError, TypeError, ValueError, WorkerPoolError, UnpicklingError))


def _nothing() -> None:
    """To wake the thread."""

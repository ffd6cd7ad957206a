"""A worker of a cluster, from within: a `WorkerPool` that lives from one task of Dask's to the next.

A task brings requests, waits for a while, and takes away all that has ended meanwhile: also of what came with tasks
before it, so that a host which is slow, or asks for a pause, holds up no task. So sockets, cookies, queues and what was
learned of hosts stay.

The pools of a process are in `_HOLDERS`, by their jobs. A task's thread makes one; `stop` and `close` come on the
worker's event loop. A pool that nobody asks for any more, as the process that had its batch is gone, ends after
`LEFT_ALONE`.
"""

from __future__ import annotations

import pickle
import signal
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence

from workerpool.agent import version
from workerpool.cluster.messages import Chunk, Ended, Errand, Harvest, packed, unpacked
from workerpool.crew import Crew
from workerpool.endings import unsent
from workerpool.errors import BudgetError, Cancelled, InvalidRequest
from workerpool.model import Outcome
from workerpool.pool import WorkerPool
from workerpool.processes.parcels import pack_outcome, unpack_request
from workerpool.redact import redact
from workerpool.statistics import Wait
from workerpool.streamed import body_size
from workerpool.tickets import Owner, Ticket

LEFT_ALONE = 30.0
"""Seconds without a task after which a pool gives up what it has not sent, and ends."""

LOOK_EVERY = 0.01
"""Seconds between two looks of a task whether it may end."""

AT_ONCE = 8 * 1024 * 1024
"""Bytes of bodies with which a task ends before its time, about."""

HELD_BYTES = 32 * 1024 * 1024
"""Bytes of bodies that wait for a task, from which on no more are fetched."""


def fetch_chunk(data: bytes) -> bytes:
    """Carry out a chunk. A task of Dask's."""
    chunk: Chunk = unpacked(data)
    try:
        holder = _HOLDERS.enter(chunk)
    except BudgetError:
        time.sleep(chunk.seconds)  # or it would be tried again, here or elsewhere, all the time
        raise
    return packed(holder.fetch(chunk))


def hello(is_ours: bool) -> tuple[str, str]:
    """Say which version is here, and on which machine. `is_ours`: this process is of a cluster made for one batch."""
    if is_ours:  # Ctrl-C reaches the whole group of processes, and is for the one that runs the batch
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    return version(), socket.gethostname()


def stop(job: str, owner: int) -> None:
    """Send nothing more of a stream: what is being sent ends as it does, the rest as cancelled outcomes."""
    holder = _HOLDERS.find(job)
    if holder is not None:
        holder.stop(owner)


def close(job: str) -> None:
    """End a job's pool."""
    _HOLDERS.close(job)


class _Pool(WorkerPool):
    """A pool whose crew takes requests that come from elsewhere."""

    @property
    def crew(self) -> Crew:
        return self._crew


class _Feeder:
    """The streams of the process that runs the batch; see `delays.Feeder`."""

    doing = Wait.IDLE


class _Task(Ticket):
    """A request of a chunk. `size`: bytes of the body that waits to be told."""

    __slots__ = ("_holder", "number", "size")
    is_light = True

    def __init__(self, holder: Holder, errand: Errand, owner: Owner) -> None:
        super().__init__(unpack_request(errand.request), errand.host, owner)
        self._holder = holder
        self.number = errand.number
        self.size = 0

    def deliver(self, outcome: Outcome) -> None:
        self.trip = None
        self._holder.take(self, outcome)


class Holder:
    """A job's pool on this worker. Any task's thread calls `fetch`."""

    def __init__(self, job: str, options: Mapping[str, bytes], *, keeps_bodies: bool) -> None:
        self._job = job
        self._keeps_bodies = keeps_bodies
        self._name = uuid.uuid4().hex
        self._pool = _Pool(**{name: pickle.loads(value) for name, value in options.items()})
        self._feeder = _Feeder()
        self._pool.crew.attend(self._feeder)
        self._lock = threading.Lock()  # guards all that follows
        self._owners: dict[int, Owner] = {}
        self._tasks: dict[int, _Task] = {}  # without an outcome
        self._ended: deque[tuple[_Task, Outcome]] = deque()  # to be told
        self._held = 0  # bytes of bodies in these
        self._guests = 0  # tasks that are here, or on their way in
        self._left_at = time.monotonic()  # when the last one went
        self._is_closed = False
        self._watch = threading.Thread(target=self._wait_for_guests, name="workerpool-forsaken", daemon=True)
        self._watch.start()

    # -- tasks --------------------------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """Count a task in; False if the pool has ended. Under the lock of the table."""
        with self._lock:
            self._guests += not self._is_closed
            return not self._is_closed

    def fetch(self, chunk: Chunk) -> Harvest:
        """Take in the requests of a chunk, and tell what has ended when its time is over, or it has."""
        try:
            self._feeder.doing = chunk.doing
            self._add(chunk.errands)
            end = time.monotonic() + chunk.seconds
            while not (time.monotonic() >= end or self._may_return(chunk.low)):
                time.sleep(LOOK_EVERY)
            return self._harvest()
        finally:
            with self._lock:
                self._guests -= 1
                self._left_at = time.monotonic()

    def _add(self, errands: Sequence[Errand]) -> None:
        tasks = []
        for errand in errands:
            with self._lock:
                if errand.number in self._tasks:  # it came before, and whoever sends it knows no better
                    continue
                owner = self._owners.setdefault(errand.owner, Owner())
            task, problem = self._task(errand, owner), None
            if isinstance(task, tuple):
                task, problem = task
            elif owner.is_over:
                problem = unsent(task.request, Cancelled("given up, as the batch was told to end"))
            with self._lock:
                self._tasks[task.number] = task
            if problem is not None:
                task.deliver(problem)
            else:
                tasks.append(task)
        try:
            self._pool.crew.add(tasks)
        except RuntimeError:  # no thread can be started just now: they will be sent again
            with self._lock:
                for task in tasks:
                    del self._tasks[task.number]
            raise

    def _task(self, errand: Errand, owner: Owner) -> _Task | tuple[_Task, Outcome]:
        """Make a request's ticket; beside one that cannot be sent stands its outcome."""
        try:
            return _Task(self, errand, owner)
        except Exception as error:  # what it carries cannot be imported here
            url, _ = errand.request
            why = (
                f"the worker that was to send it cannot read what it carries ({redact(str(error))}): install that there"
            )
            plain = _Task(self, errand._replace(request=(url, None)), owner)
            return plain, unsent(plain.request, InvalidRequest(why))

    def _may_return(self, low: int) -> bool:
        with self._lock:
            return len(self._tasks) < max(1, low) or self._held >= AT_ONCE

    def _harvest(self) -> Harvest:
        with self._lock:
            ended, self._ended = [*self._ended], deque()
            self._held = 0
            left = len(self._tasks)
            full = [owner for owner in self._owners.values() if owner.is_full]
            for owner in full:
                owner.is_full = False
        for owner in full:
            self._pool.crew.resume(owner)
        told = [self._packed(task, outcome) for task, outcome in ended]
        is_hungry = self._pool.crew.needs_more_hosts()
        return Harvest(self._name, told, left, is_hungry, self._pool.statistics(), time.process_time())

    def _packed(self, task: _Task, outcome: Outcome) -> Ended:
        left_out, response = 0, outcome.response
        if task.size and not self._keeps_bodies and response is not None:
            left_out, response._content = task.size, b""
        return task.number, pack_outcome(outcome), left_out

    # -- the pool's threads -------------------------------------------------------------------------------------------

    def take(self, task: _Task, outcome: Outcome) -> None:
        """Take a request that has ended."""
        task.size = body_size(outcome)
        with self._lock:
            self._tasks.pop(task.number, None)
            self._ended.append((task, outcome))
            if self._keeps_bodies:
                self._held += task.size
                if self._held >= HELD_BYTES:
                    task.owner.is_full = True

    # -- ending: the event loop's thread, or the one that waits for guests ---------------------------------------------

    def stop(self, number: int) -> None:
        """Give up what is not being sent of a stream, now and from now on."""
        with self._lock:
            owner = self._owners.setdefault(number, Owner())
        owner.is_over = True
        self._pool.crew.give_up(owner)

    def close(self) -> None:
        """End the pool, without waiting for it."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _wait_for_guests(self) -> None:
        """Close when no task has come for long. A thread's whole life."""
        while not self._is_closed:
            time.sleep(min(1.0, LEFT_ALONE / 4))
            with self._lock:
                is_left = not (self._guests or self._is_closed) and time.monotonic() - self._left_at > LEFT_ALONE
                self._is_closed = self._is_closed or is_left  # in the same hold: nobody enters any more
            if is_left:
                _HOLDERS.forget(self._job, self)
                self._pool.shutdown(wait=False, cancel_futures=True)


class _Holders:
    """The pools of this process, by their jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _holders
        self._holders: dict[str, Holder] = {}

    def enter(self, chunk: Chunk) -> Holder:
        """Find the pool of a chunk's job, or make it, and count the task in."""
        with self._lock:
            holder = self._holders.get(chunk.job)
            while holder is None or not holder.enter():
                holder = self._holders[chunk.job] = Holder(chunk.job, chunk.options, keeps_bodies=chunk.keeps_bodies)
            return holder

    def find(self, job: str) -> Holder | None:
        with self._lock:
            return self._holders.get(job)

    def forget(self, job: str, holder: Holder) -> None:
        """Let go of a pool that has ended by itself, unless the job has another one."""
        with self._lock:
            if self._holders.get(job) is holder:
                del self._holders[job]

    def close(self, job: str) -> None:
        with self._lock:
            holder = self._holders.pop(job, None)
        if holder is not None:
            holder.close()


_HOLDERS = _Holders()
"""All there are: a task has no other way to what an earlier one has left."""

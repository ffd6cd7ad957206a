"""The course of a batch on a cluster, on a manual clock: one event after the other, no thread, no socket.

Real are the coordinator's decisions (`Dispatch` and its books), the budget's server (`Budget`, to which its Lua is
held) and its members (`Leased`). Simulated are Dask, as a scheduler that takes its time for each task and may be
behind, the workers' pools (see `worker`) and the source.
"""

from __future__ import annotations

import heapq
import json
import random
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from benchmarks.cluster_simulated.setting import Setting, ranges
from benchmarks.cluster_simulated.worker import Range, Task, Worker
from workerpool.cluster.berths import Given
from workerpool.cluster.dispatch import LOOK_EVERY, Assignment, Dispatch
from workerpool.cluster.messages import Errand
from workerpool.cluster.options import window_of
from workerpool.limits.redis.model import Budget
from workerpool.limits.redis.terms import SECOND, Terms
from workerpool.model import Outcome, Request
from workerpool.testing import ManualClock
from workerpool.tickets import Ticket

CELL = 0.01
"""Seconds by which sends are counted."""

SAID_EVERY = 10.0
"""Seconds, simulated, after which it says how far it is."""

SAMPLED = 100
"""One in so many calls to the budget's server is measured."""

REPLACED = 30.0
"""Seconds until a worker that died is replaced."""


class _Ticket(Ticket):
    """Stands for all: whose request an entry is does not matter here."""

    def deliver(self, outcome: Outcome) -> None: ...


TICKET = _Ticket(Request("http://simulated.test/"), "simulated")


@dataclass
class Found:
    """What came of it.

    `sends`: by cells; `ended`, `tasks_in`: URLs and tasks by seconds. `shares`: sends of each worker in the middle half
    of the time that it takes at the rate, those of slow ones apart. `twice`: URLs that were told of again after they
    had ended. `dask`: seconds of its scheduler; `asked`: bytes that the members said to the budget's server. `cpu`:
    seconds of the whole, `deciding` of `Dispatch` and its books.
    """

    setting: Setting
    sends: array[int] = field(default_factory=lambda: array("I"))
    ended: array[int] = field(default_factory=lambda: array("I"))
    tasks_in: array[int] = field(default_factory=lambda: array("I"))
    shares: list[int] = field(default_factory=list)
    shares_of_slow: list[int] = field(default_factory=list)
    twice: int = 0
    seconds: float = 0.0
    read_at: float = 0.0
    tasks: int = 0
    calls: int = 0
    most_in_window: int = 0
    most_given: int = 0
    dask: float = 0.0
    asked: int = 0
    deciding: float = 0.0
    cpu: float = 0.0


class Course:
    """One run. `tell`: is told, now and then, how far it is."""

    def __init__(self, setting: Setting, tell: Callable[[str], None] = lambda text: None) -> None:
        self.found = Found(setting)
        self._setting = setting
        self._tell = tell
        self._dice = random.Random(setting.seed)
        self._clock = ManualClock()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._dispatch = Dispatch(may_split=setting.splits, now=0.0)
        self._budget = Budget()
        self._terms = Terms(10**9 // setting.rate, 1, 1 << 20)
        self._workers: dict[str, Worker] = {}
        self._names = count()
        self._numbers = count(1)
        self._source = ranges(setting, self._dice)
        self._window = setting.window or window_of(setting.workers)
        self._next = next(self._source, None)
        self._in_window = self._ended = 0
        self._inbox: list[Callable[[], None]] = []
        self._busy_until = self._dask_free_at = 0.0
        self._wakes_at = -1.0
        self._sent_before: dict[str, int] = {}
        self._slow = {host for host in range(setting.hosts) if self._dice.random() < setting.slow_hosts}

    def run(self) -> Found:
        """Go through it all."""
        began = time.process_time()
        setting, clock = self._setting, self._clock
        for _ in range(setting.workers):
            self._start_worker()
        for _ in range(setting.deaths):
            self._at(self._dice.random() * 0.9 * setting.urls / setting.rate, self._kill_one)
        for part in (0.25, 0.75):
            self._at(part * setting.urls / setting.rate, self._note_shares)
        for call in (self._look, self._read, self._say_how_far):
            self._at(0.0, call)
        while self._ended < setting.urls:
            at, _, act = heapq.heappop(self._events)
            clock.advance(max(0.0, at - clock.now()))
            act()
        found = self.found
        found.seconds, found.cpu = clock.now(), time.process_time() - began
        return found

    def _say_how_far(self) -> None:
        now = self._clock.now()
        self._tell(f"{now:,.0f} s: {self._ended:,} URLs have ended")
        self._at(now + SAID_EVERY, self._say_how_far)

    def _note_shares(self) -> None:
        """Count what workers have sent from here to here."""
        found, before = self.found, self._sent_before
        self._sent_before = {worker.name: worker.sent for worker in self._workers.values() if worker.is_alive}
        found.shares, found.shares_of_slow = [], []
        for name in before.keys() & self._sent_before.keys():
            shares = found.shares if self._workers[name].speed == 1.0 else found.shares_of_slow
            shares.append(self._sent_before[name] - before[name])

    # -- the clock ----------------------------------------------------------------------------------------------------

    def _at(self, at: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), act))

    def _way(self) -> float:
        return self._setting.way * (0.5 + self._dice.random())

    # -- the coordinator ----------------------------------------------------------------------------------------------

    def _say(self, call: Callable[[], None]) -> None:
        """Put a call into the coordinator's queue; it takes all that are there once it has time."""
        self._inbox.append(call)
        at = max(self._clock.now(), self._busy_until)
        if self._wakes_at < 0:
            self._wakes_at = at
            self._at(at, self._wake)

    def _wake(self) -> None:
        now, self._wakes_at = self._clock.now(), -1.0
        calls, self._inbox = self._inbox, []
        before, began = self._ended, time.process_time()
        for call in calls:
            call()
        chosen = [*self._dispatch.assignments()]
        self.found.deciding += time.process_time() - began
        for assignment in chosen:
            self._submit(assignment)
        cost = self._setting.chunk * (len(chosen) + len(calls)) + self._setting.url * (self._ended - before)
        self._busy_until = now + cost

    def _look(self) -> None:
        now = self._clock.now()
        if self._dispatch.looks(now):
            there = {name: self._setting.threads for name, worker in self._workers.items() if worker.is_alive}
            self._at(now + self._way(), partial(self._say, partial(self._hear_of_workers, there)))
        self._at(now + LOOK_EVERY / 10, self._look)

    def _hear_of_workers(self, there: dict[str, int]) -> None:
        now = self._clock.now()
        news = self._dispatch.hear_of_workers(there, now)
        for berth in news.lost:
            berth.chunks.clear()
        for name in news.new:
            self._dispatch.welcome(name, there[name], now)

    def _read(self) -> None:
        """Read on while there is room, as a stream does."""
        books, found = self._dispatch.books, self.found
        while self._next is not None and self._in_window + self._next[1] <= self._window:
            (host, size), self._next = self._next, next(self._source, None)
            errand: Any = Errand(next(self._numbers), 0, str(host), ("", None))
            books.enter(Given(TICKET, errand, size))
            self._in_window += size
        found.most_in_window = max(found.most_in_window, self._in_window)
        if self._next is None and not found.read_at:
            found.read_at = self._clock.now()

    def _hear_of_chunk(self, assignment: Assignment, pool: str, ended: list[int]) -> None:
        now = self._clock.now()
        if not self._dispatch.hear_of_chunk(assignment, pool, {*ended}, now):
            return
        for number in ended:
            given = self._dispatch.books.end(number)
            if given is None:
                self.found.twice += 1
                continue
            self._ended += given.size
            self._in_window -= given.size
            _count(self.found.ended, int(now), given.size)
        self._read()

    # -- Dask ---------------------------------------------------------------------------------------------------------

    def _through_dask(self) -> float:
        """When a message is there that goes through the scheduler, half of a task's work."""
        self._dask_free_at = max(self._clock.now(), self._dask_free_at) + self._setting.task / 2
        self.found.dask += self._setting.task / 2
        return self._dask_free_at + self._way()

    def _submit(self, assignment: Assignment) -> None:
        self.found.tasks += 1
        _count(self.found.tasks_in, int(self._clock.now()), 1)
        self.found.most_given = max(self.found.most_given, assignment.berth.has)
        worker = self._workers[assignment.berth.address]
        new = [
            Range(given.number, given.size, self._mean(int(given.errand.host)), given.size)
            for given in assignment.given
        ]
        self._at(self._through_dask(), partial(self._arrive, worker, assignment, new))

    def _mean(self, host: int) -> float:
        return self._setting.request * (10 if host in self._slow else 1)

    def _arrive(self, worker: Worker, assignment: Assignment, new: list[Range]) -> None:
        if not worker.is_alive:
            return
        worker.add(new)
        worker.tasks.append(Task(assignment, self._clock.now() + assignment.seconds))
        self._work(worker)

    def _work(self, worker: Worker) -> None:
        """Have a worker send what it can, and its tasks return when they are due."""
        now = self._clock.now()
        sent = worker.go_on(now, self._dice)
        if sent:
            cells = self.found.sends
            _count(cells, int(max(sent) / CELL), 0)
            for at in sent:  # one by one, as for each of a hundred million
                cells[int(at / CELL)] += 1
        for task in worker.tasks:
            at = worker.returns_at(task, now)
            if at < worker.asks_at or at <= now:
                self._at(at, partial(self._return, worker, task))

    def _return(self, worker: Worker, task: Task) -> None:
        now = self._clock.now()
        if task.is_over or not worker.is_alive or worker.returns_at(task, now) > now:
            return
        task.is_over = True
        worker.tasks.remove(task)
        told = partial(self._hear_of_chunk, task.assignment, worker.name, worker.harvest(now))
        self._at(self._through_dask(), partial(self._say, told))

    # -- workers and their leases -------------------------------------------------------------------------------------

    def _start_worker(self) -> None:
        now = self._clock.now()
        speed = 0.25 if self._dice.random() < self._setting.slow_workers else 1.0
        worker = Worker(f"w{next(self._names):04}", self._setting, self._terms, speed, now)
        self._workers[worker.name] = worker
        self._at(now + self._dice.random() * 0.1, partial(self._exchange, worker))

    def _exchange(self, worker: Worker) -> None:
        """One call of a worker's keeper."""
        if not worker.is_alive:
            return
        now = self._clock.now()
        self.found.calls += 1
        call = worker.call(now)
        if self.found.calls % SAMPLED == 0:
            self.found.asked += SAMPLED * len(json.dumps(call.packed(), separators=(",", ":")))
        answer = self._budget.answer(call, int((1_000 + now) * SECOND))
        worker.hear(answer, now)
        self._work(worker)
        self._at(worker.asks_at, partial(self._exchange, worker))

    def _kill_one(self) -> None:
        worker = self._dice.choice([one for one in self._workers.values() if one.is_alive])
        worker.is_alive = False
        self._at(self._clock.now() + REPLACED, self._start_worker)


def _count(cells: array[int], at: int, more: int) -> None:
    if at >= len(cells):
        cells.extend([0] * (at + 1 - len(cells)))
    cells[at] += more

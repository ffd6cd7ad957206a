"""A worker of the simulated cluster: its pool as an amount of work, its slots as the real leases give them.

What is real: `Leased`, the member's side of the protocol, and when a task ends, by `Chunk`'s rules. What is an amount:
a range's requests are sent at the times of their slots, keep the pool's threads busy for the sum of their times, which
is drawn, and are answered when that is over. Threads that are busy let slots go by, which are then lost.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass

from benchmarks.cluster_simulated.setting import Setting
from workerpool.cluster.dispatch import Assignment
from workerpool.limits.redis.leased import Leased
from workerpool.limits.redis.terms import SECOND, Answer, Call, Terms
from workerpool.limits.redis.times import Times

SOCKETS = 6
"""Of a range's requests so many are under way at once."""

TRIP = 0.001
"""Seconds to the budget's server and back."""


@dataclass(slots=True, eq=False)
class Range:
    """URLs of one host. `mean`: seconds of each; `left`: not sent yet; `ends_at`: when those that were sent end."""

    number: int
    size: int
    mean: float
    left: int
    ends_at: float = 0.0


@dataclass(slots=True, eq=False)
class Task:
    """A chunk that is here. `is_over`: it has returned."""

    assignment: Assignment
    until: float
    is_over: bool = False


class Worker:
    """One worker's pool. `sent`: called with the times of sends. `speed`: how fast its threads are."""

    def __init__(self, name: str, setting: Setting, terms: Terms, speed: float, now: float) -> None:
        self.name = name
        self.speed = speed
        self.is_alive = True
        self.sent = 0
        self.tasks: list[Task] = []
        self.tick = 0.1
        self.asks_at = now
        self._setting = setting
        self._terms = (terms, Terms(0, 1, 1 << 20))
        self._leased = Leased("pool", terms, now)
        self._times = Times()
        self._members = 1
        self._queue: deque[Range] = deque()
        self._waiting = 0  # URLs in it
        self._begun: list[tuple[float, int, int]] = []  # when ranges end, with their numbers and sizes: a heap
        self._has_begun = 0  # URLs in it
        self._free_at = now
        self._slack = 10 * setting.request  # seconds of work that may have begun: it does not hold every thread

    # -- leases -------------------------------------------------------------------------------------------------------

    def call(self, now: float) -> Call:
        """What its keeper asks the budget's server."""
        ask = self._leased.ask(now, self.tick, self._times)
        return Call(self.name, self._terms, (ask,), known=self._members)

    def hear(self, answer: Answer, now: float) -> None:
        self._times.note(answer.at, now, now + TRIP)
        self.tick, self._members = answer.tick / SECOND, answer.members
        self._leased.take_in(answer.leases[0], self._members, self._times)
        self.asks_at = now + self.tick

    # -- work ---------------------------------------------------------------------------------------------------------

    def add(self, ranges: list[Range]) -> None:
        self._queue.extend(ranges)
        self._waiting += sum(one.size for one in ranges)

    def go_on(self, now: float, dice: random.Random) -> list[float]:
        """Send what can be sent before the next call; returns when."""
        sent: list[float] = []
        leased, at = self._leased, max(now, self._free_at - self._slack)
        while self._queue:
            ready = leased.ready_at(1, at, self.asks_at, has_place=True)
            if ready >= self.asks_at:
                leased.note_want(1, at, has_place=True)
                break
            at = max(at, ready)
            slots = leased.next_slots(self._queue[0].left)
            leased.take(len(slots), at, None, has_place=True)
            sent += slots
            self._send(len(slots), at, slots[-1], dice)
            if self._queue and leased.next_slots(1) >= [self._free_at - self._slack]:
                leased.note_want(1, at, has_place=True)  # it is slots that it waits for, not threads
            at = max(at, self._free_at - self._slack)
        self.sent += len(sent)
        return sent

    def _send(self, count: int, at: float, last: float, dice: random.Random) -> None:
        """Send so many of the first range from a time on, the last of them at another."""
        one = self._queue[0]
        mean = one.mean / self.speed
        work = dice.gammavariate(count, mean)
        last_answer = mean
        if dice.random() < count * self._setting.hangs:
            work += self._setting.hang
            last_answer = self._setting.hang
        self._free_at = max(at, self._free_at) + work / self._setting.threads
        one.ends_at = max(one.ends_at, max(self._free_at, last, at + work / SOCKETS) + last_answer)
        one.left -= count
        if not one.left:
            self._queue.popleft()
            self._waiting -= one.size
            self._has_begun += one.size
            heapq.heappush(self._begun, (one.ends_at, one.number, one.size))

    # -- tasks --------------------------------------------------------------------------------------------------------

    def returns_at(self, task: Task, now: float) -> float:
        """When a task returns, as far as is known: when its time is over, or little is left."""
        left, low = self._waiting + self._has_begun, max(1, task.assignment.low)
        if left < low:
            return now
        if left - self._has_begun >= low:
            return task.until
        for ends_at, _, size in sorted(self._begun):
            left -= size
            if left < low or ends_at >= task.until:
                return max(now, min(ends_at, task.until))
        return task.until

    def harvest(self, now: float) -> list[int]:
        """The numbers of ranges that have ended since the last time."""
        ended = []
        while self._begun and self._begun[0][0] <= now:
            _, number, size = heapq.heappop(self._begun)
            self._has_begun -= size
            ended.append(number)
        return ended

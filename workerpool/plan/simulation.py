"""A batch on simulated time: the pool's own scheduler and intake, with sends that only take the time that they took.

It is an event loop: what may be sent is sent, and then time leaps to whatever comes first, the end of a send or the
time that the scheduler names. Threads, sockets and the interpreter's own work cost nothing here. A host answers as it
did, however many requests are under way to it. One thread.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from workerpool.clock import NEVER
from workerpool.intake import Item
from workerpool.limits import Answer
from workerpool.model import Request
from workerpool.plan.bounds import Load
from workerpool.plan.profile import Draws, History
from workerpool.plan.setting import Setting
from workerpool.scheduler import Scheduler
from workerpool.tickets import Ticket
from workerpool.window import Window, window_of


@dataclass(slots=True)
class Course:
    """What a simulated batch came to. Times are simulated seconds from its beginning.

    `seconds`: until its last request ended; `admitted`: until the last one was sent for the first time. `hosts`: what
    was done to each; `keys`: sends for each key. `most_at_once`: the most sends under way together. `unsent`: requests
    that a circuit breaker ended.
    """

    seconds: float = 0.0
    admitted: float = 0.0
    hosts: dict[str, Load] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    most_at_once: int = 0
    failed: int = 0
    unsent: int = 0


class _Simulated(Ticket):
    """A request with what is to become of it. `half`: it was redirected, and is on the second half of its way."""

    __slots__ = ("half", "history", "home", "sent_at", "tries")

    def __init__(self, request: Request, host: str, history: History) -> None:
        super().__init__(request, host, key=request.key)
        self.history = history
        self.home = host
        self.tries = 0  # attempts that have ended
        self.half = False
        self.sent_at = 0.0


class Simulation:
    """One batch with one setting; `run` it once.

    `requests`: host and key of each, in the order of the sources.
    """

    def __init__(
        self, setting: Setting, requests: Iterable[tuple[str, str | None]], draws: Draws, *, seed: int = 0
    ) -> None:
        budgets, policy = setting.options.budgets, setting.options.retry
        self._options = setting.options
        self._draws = draws
        self._random = random.Random(seed)
        self._scheduler = Scheduler(
            budgets,
            retries=policy.budget,
            floor=policy.budget_floor,
            breaker=setting.options.breaker,
            places=setting.options.workers,
        )
        window, share = window_of(setting.options.workers, budgets)
        self._window = Window(iter(requests), window, share, self._as_item, lambda: self._now)
        self._requests: dict[tuple[str, str | None], Request] = {}
        self._flying: list[tuple[float, int, _Simulated]] = []
        self._order = count()
        self._heard_at = 0.0  # when something last ended
        self._now = 0.0
        self._course = Course()

    def run(self) -> Course:
        """Let it happen."""
        try:
            while True:
                self._feed()
                self._send()
                wakes_at, reads_on_at = self._wakes_at(), self._reads_on_at()
                if reads_on_at < wakes_at:
                    self._now = max(self._now, reads_on_at)
                    self._window.read_on()
                    continue
                if wakes_at == NEVER:
                    break
                self._now = max(self._now, wakes_at)
                self._land()
        finally:
            self._window.intake.close()
        self._course.seconds = self._heard_at
        return self._course

    # -- reading ------------------------------------------------------------------------------------------------------

    def _as_item(self, number: int, place: Any) -> Item:
        request = self._requests.get(place)
        if request is None:
            host, key = place
            key = key if self._options.budgets.key_rate is not None else None
            request = self._requests[place] = Request(host, key=key)
        return number, request, place[0]

    def _feed(self) -> None:
        """Hand out what the window has room for."""
        if not self._window.is_open:
            return
        while (item := self._window.next()) is not None:
            _, request, host = item
            self._scheduler.add(_Simulated(request, host, self._draws.next(host)), self._now)

    def _reads_on_at(self) -> float:
        """When the stream reads on past a host whose share is full; `NEVER` if it need not."""
        at = self._window.stuck_at
        return at if at < NEVER and self._scheduler.needs_more_hosts(self._now) else NEVER

    # -- sending ------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send all that may be sent now."""
        course, now = self._course, self._now
        while len(self._flying) < self._options.workers:
            ticket = self._scheduler.next(now)
            if ticket is None:
                break
            assert isinstance(ticket, _Simulated)
            if ticket.refused_until is not None:
                self._scheduler.release(ticket.host, now, was_refused=True)
                course.unsent += 1
                self._end(ticket)
                continue
            if not ticket.tries and not ticket.half:
                course.admitted = now
            took = self._duration(ticket)
            ticket.sent_at = now
            load = course.hosts.get(ticket.host)
            if load is None:
                load = course.hosts[ticket.host] = Load()
            load.sends += 1
            load.busy += took
            if ticket.key is not None:
                course.keys[ticket.key] = course.keys.get(ticket.key, 0) + 1
            heapq.heappush(self._flying, (now + took, next(self._order), ticket))
        course.most_at_once = max(course.most_at_once, len(self._flying))

    def _duration(self, ticket: _Simulated) -> float:
        history = ticket.history
        took = history.last if ticket.tries + 1 >= history.attempts else history.failed
        return took if history.hop is None else took / 2

    def _wakes_at(self) -> float:
        """When something happens next."""
        wake = self._flying[0][0] if self._flying else NEVER
        if len(self._flying) < self._options.workers:
            at = self._scheduler.wakes_at(self._now)
            if at is not None and at < wake:
                return at
        return wake

    # -- answers ------------------------------------------------------------------------------------------------------

    def _land(self) -> None:
        """End the sends whose time has come."""
        now, flying = self._now, self._flying
        while flying and flying[0][0] <= now:
            ticket = heapq.heappop(flying)[2]
            history = ticket.history
            redirected = history.hop is not None and not ticket.half
            failed = not redirected and (ticket.tries + 1 < history.attempts or not history.ok)
            if self._options.listens:
                self._scheduler.hear(ticket.host, self._answer(ticket, failed), now)
            self._scheduler.release(ticket.host, now, since=ticket.granted_at)
            if redirected and history.hop is not None:
                ticket.half = True
                ticket.host = history.hop
                self._scheduler.put_first(ticket, now)
                continue
            ticket.tries += 1
            ticket.half = False
            if failed and self._tries_again(ticket):
                self._park(ticket)
            else:
                self._course.failed += failed
                self._end(ticket)

    def _tries_again(self, ticket: _Simulated) -> bool:
        """What failed for good at its first attempt does so again; of the rest more is tried if more may be."""
        history = ticket.history
        return (history.ok or history.attempts > 1) and ticket.tries < self._options.retry.attempts

    def _park(self, ticket: _Simulated) -> None:
        """Let it wait as the retry policy does, and its host, too, if that refused it."""
        policy = self._options.retry
        wait = self._random.uniform(0.0, min(policy.backoff_max, policy.backoff * 2.0 ** min(60, ticket.tries - 1)))
        if ticket.history.refused and not self._options.budgets.learns_rate:
            self._scheduler.pause(ticket.host, self._now + max(wait, policy.backoff), self._now)
        ticket.host = ticket.home
        self._scheduler.park(ticket, self._now + wait)

    def _answer(self, ticket: _Simulated, failed: bool) -> Answer:
        """What the scheduler learns from: records do not tell what a host said of its limits."""
        refused = failed and ticket.history.refused
        failure = 429 if refused else None if ticket.history.is_down else 404
        return Answer(
            sent_at=ticket.sent_at,
            ended_at=self._now,
            status=failure if failed else 200,
            refused=refused,
            latency=None if failed else self._now - ticket.sent_at,
            in_flight=ticket.in_flight,
        )

    def _end(self, ticket: _Simulated) -> None:
        self._heard_at = self._now
        self._window.ended(ticket.home)
        self._window.told()

"""A host and its client on simulated time: what a learner would meet in the scheduler, without a thread or a socket.

`Client` stands for the scheduler: it asks the limiter for slots, holds no more in flight than it may, parks refused
requests for a backoff, and obeys ``Retry-After``. Hosts are functions of time that accept or refuse.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from workerpool.limits.adaptive import AdaptiveRate
from workerpool.limits.answer import Answer
from workerpool.limits.connections import AdaptiveConnections
from workerpool.limits.headers import Allowance
from workerpool.limits.learning import tell


@dataclass
class Reply:
    accepted: bool = True
    pause: float | None = None
    allowance: Allowance | None = None
    latency: float | None = None
    status: int | None = 200


Host = Callable[[float, int], Reply]
"""What a host says to a request that arrives at a time, with so many others in progress."""


@dataclass
class Result:
    sent: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0
    rates: list[tuple[float, float]] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        return len(self.refused) / max(1, len(self.sent))


@dataclass
class Flight:
    sent_at: float
    attempt: int
    in_flight: int
    reply: Reply = field(default_factory=Reply)


@dataclass
class Client:
    """Sends to one host; demand is endless, or `demand` requests per second.

    `latency`: seconds that a request takes, of which a tenth is the way there, and a tenth the way back. `jitter`: the
    share by which all this varies. `wake_up`: seconds by which a thread wakes too late, at most.
    """

    host: Host
    rate: AdaptiveRate | None = None
    connections: AdaptiveConnections | None = None
    workers: int = 16
    latency: float = 0.05
    jitter: float = 0.1
    wake_up: float = 0.001
    demand: float | None = None
    attempts: int = 4
    seed: int = 1

    def run(self, seconds: float) -> Result:
        self._chance, self._order, self.result = random.Random(self.seed), count(), Result()
        self._now, self._paused_until, self._since = 0.0, 0.0, None
        self._flying = self._in_progress = self._begun = 0
        self._events: list[tuple[float, int, Callable[[Flight], None], Flight]] = []
        self._parked: list[tuple[float, int]] = []  # until when, attempts made
        while self._now < seconds:
            while self._send():
                pass
            self._now = max(self._now + 1e-9, self._next_time())
            if self.rate is not None:
                self.result.rates.append((self._now, self.rate.rate))
            while self._events and self._events[0][0] <= self._now:
                _, _, act, flight = heapq.heappop(self._events)
                act(flight)
        return self.result

    @property
    def _most(self) -> int:
        return min(self.workers, self.connections.limit) if self.connections else self.workers

    @property
    def _wants(self) -> bool:
        if self._parked and self._parked[0][0] <= self._now:
            return True
        return self.demand is None or self._begun < self.demand * self._now

    def _send(self) -> bool:
        """Send one request if one may be sent now."""
        if self._flying >= self._most or not self._wants:
            self._since = None
            return False
        if self._now < self._paused_until:
            return False
        if self.rate is not None:
            stamp = self.rate.try_take(self._now, since=self._since)
            if stamp is None:
                self._since = self._now if self._since is None else self._since
                return False
            self._since = stamp
        attempt = 1
        if self._parked and self._parked[0][0] <= self._now:
            attempt += heapq.heappop(self._parked)[1]
        self._begun += attempt == 1
        self._flying += 1
        self.result.sent.append(self._now)
        self._after(self._way(), self._arrive, Flight(self._now, attempt, self._flying))
        return True

    def _next_time(self) -> float:
        times = [self._events[0][0]] if self._events else []
        if self._flying < self._most:
            times += [self._parked[0][0]] if self._parked else []
            if self.demand is not None and not self._wants:
                times.append((self._begun + 1e-6) / self.demand)
            elif self.rate is not None:
                late = self.wake_up * self._chance.random()
                times.append(max(self.rate.next_at(), self._paused_until) + late)
            else:
                times.append(self._paused_until)
        return min((time for time in times if time > self._now), default=self._now + 0.001)

    def _after(self, seconds: float, act: Callable[[Flight], None], flight: Flight) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), act, flight))

    def _way(self) -> float:
        return self.latency * 0.1 * (1 + self.jitter * self._chance.random())

    def _arrive(self, flight: Flight) -> None:
        flight.reply = reply = self.host(self._now, self._in_progress)
        took = 0.0
        if reply.accepted:
            self.result.accepted.append(self._now)
            self._in_progress += 1
            took = self.latency * 0.8 if reply.latency is None else reply.latency
            took *= 1 + self.jitter * self._chance.uniform(-1, 1)
            self._after(took, self._leave, flight)
        else:
            self.result.refused.append(self._now)
        self._after(took + self._way(), self._return, flight)

    def _leave(self, flight: Flight) -> None:
        self._in_progress -= 1

    def _return(self, flight: Flight) -> None:
        self._flying -= 1
        reply, now = flight.reply, self._now
        tell(answer_to(flight, now), now, self.rate, self.connections)
        if reply.pause is not None:
            self._paused_until = max(self._paused_until, now + reply.pause)
        if not reply.accepted and flight.attempt < self.attempts:
            heapq.heappush(self._parked, (now + self._chance.uniform(0.25, 0.5), flight.attempt))
        elif not reply.accepted:
            self.result.failed += 1


def answer_to(flight: Flight, now: float) -> Answer:
    reply = flight.reply
    return Answer(
        sent_at=flight.sent_at,
        ended_at=now,
        status=reply.status if reply.accepted else 503,
        refused=not reply.accepted,
        pause=reply.pause,
        allowance=reply.allowance,
        latency=None if reply.status is None else now - flight.sent_at,
        in_flight=flight.in_flight,
    )


# -- hosts ------------------------------------------------------------------------------------------------------------


def no_limit(at: float, in_progress: int) -> Reply:
    return Reply()


def leaky(rate: float | Callable[[float], float], burst: int, pause: float | None = None) -> Host:
    """nginx's ``limit_req rate=… burst=… nodelay``."""
    excess, last = 0.0, 0.0

    def reply(at: float, in_progress: int) -> Reply:
        nonlocal excess, last
        now = rate(at) if callable(rate) else rate
        level = max(0.0, excess - (at - last) * now) + 1
        if level > burst + 1:
            return Reply(accepted=False, pause=pause)
        excess, last = level, at
        return Reply()

    return reply


def token_bucket(rate: float, burst: int) -> Host:
    return leaky(rate, burst - 1)


def fixed_window(
    limit: int, window: float, *, says: str = "", pause: bool = False, others: float = 0.0, begins: float = 0.0
) -> Host:
    """`says`: "floor", "ceil" or "exact" seconds to the reset in headers. `others`: requests a second by others."""
    counts: dict[int, int] = {}

    def reply(at: float, in_progress: int) -> Reply:
        number, into = divmod(at + begins, window)
        counts[int(number)] = counts.get(int(number), 0)
        used = counts[int(number)] + int(others * into)
        accepted = used < limit
        counts[int(number)] += accepted
        reset: float = window - into
        if says == "floor":
            reset = int(reset)
        elif says == "ceil":
            reset = int(reset) + 1
        left = max(0, limit - used - accepted)
        allowance = Allowance(limit=limit, remaining=left, reset=reset) if says else None
        return Reply(accepted=accepted, pause=reset if pause and not accepted else None, allowance=allowance)

    return reply


def sliding_window(limit: int, window: float, *, says: bool = False) -> Host:
    times: list[float] = []

    def reply(at: float, in_progress: int) -> Reply:
        while times and times[0] <= at - window:
            times.pop(0)
        accepted = len(times) < limit
        if accepted:
            times.append(at)
        left = limit - len(times)
        allowance = Allowance(limit=limit, window=window, remaining=left, reset=window) if says else None
        return Reply(accepted=accepted, allowance=allowance)

    return reply


def limit_conn(most: int) -> Host:
    return lambda at, in_progress: Reply(accepted=in_progress < most)


def slots(most: int, seconds: float) -> Host:
    """A server with `most` slots: what comes beyond waits in its queue, and is slower for it."""
    free = [0.0] * most

    def reply(at: float, in_progress: int) -> Reply:
        begins = max(at, heapq.heappop(free))
        heapq.heappush(free, begins + seconds)
        return Reply(latency=begins + seconds - at)

    return reply

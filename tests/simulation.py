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

    def accepted_in(self, first: float, last: float) -> int:
        return sum(first <= at < last for at in self.accepted)

    def refused_in(self, first: float, last: float) -> int:
        return sum(first <= at < last for at in self.refused)

    @property
    def refused_share(self) -> float:
        return len(self.refused) / max(1, len(self.sent))


@dataclass
class Client:
    """Sends to one host for `seconds`; demand is endless, or `demand` requests per second."""

    host: Host
    rate: AdaptiveRate | None = None
    connections: AdaptiveConnections | None = None
    workers: int = 16
    latency: float = 0.05
    jitter: float = 0.1
    wake_up: float = 0.001
    seed: int = 1
    demand: float | None = None
    attempts: int = 4

    def run(self, seconds: float) -> Result:
        chance, result, order = random.Random(self.seed), Result(), count()
        arrivals: list[tuple[float, int, str, tuple[float, int, int]]] = []
        now, flying, in_progress, paused_until = 0.0, 0, 0, 0.0
        parked: list[tuple[float, int]] = []  # until when, attempts made
        since: float | None = None
        begun = 0
        while True:
            # Send whatever may be sent now.
            while True:
                most = min(self.workers, self.connections.limit) if self.connections else self.workers
                is_retry = bool(parked) and parked[0][0] <= now
                if flying >= most:
                    since = None
                    break
                if not is_retry and self.demand is not None and begun >= self.demand * now:
                    since = None
                    break
                if now < paused_until:
                    break
                if self.rate is not None:
                    stamp = self.rate.try_take(now, since=since)
                    if stamp is None:
                        since = now if since is None else since
                        break
                    since = stamp
                tries = heapq.heappop(parked)[1] if is_retry else 0
                begun += not is_retry
                flying += 1
                result.sent.append(now)
                way = self.latency * 0.1 * (1 + self.jitter * chance.random())
                heapq.heappush(arrivals, (now + way, next(order), "arrives", (now, tries, flying)))
            # What happens next?
            times = [arrivals[0][0]] if arrivals else []
            if flying < most:
                if parked:
                    times.append(parked[0][0])
                if self.demand is not None and begun >= self.demand * now:
                    times.append(begun / self.demand + 1e-9)
                elif self.rate is not None:
                    times.append(max(self.rate.next_at(), paused_until) + self.wake_up * chance.random())
                elif paused_until > now:
                    times.append(paused_until)
            if self.rate is not None and parked and flying < most and parked[0][0] <= now:
                times.append(max(self.rate.next_at(), paused_until) + self.wake_up * chance.random())
            now = max(now, min(time for time in times if time > now)) if any(t > now for t in times) else now + 1e-3
            if now >= seconds:
                return result
            if self.rate is not None:
                result.rates.append((now, self.rate.rate))
            while arrivals and arrivals[0][0] <= now:
                at, _, kind, (sent_at, tries, at_once) = heapq.heappop(arrivals)
                if kind == "arrives":
                    reply = self.host(at, in_progress)
                    if reply.accepted:
                        result.accepted.append(at)
                        in_progress += 1
                        took = reply.latency if reply.latency is not None else self.latency * 0.8
                        took *= 1 + self.jitter * chance.uniform(-1, 1)
                    else:
                        result.refused.append(at)
                        took = 0.0
                    back = at + took
                    way = self.latency * 0.1 * (1 + self.jitter * chance.random())
                    if reply.accepted:
                        heapq.heappush(arrivals, (back, next(order), "leaves", (0.0, 0, 0)))
                    self._replies[(sent_at, at_once)] = reply
                    heapq.heappush(arrivals, (back + way, next(order), "returns", (sent_at, tries, at_once)))
                elif kind == "leaves":
                    in_progress -= 1
                else:
                    flying -= 1
                    reply = self._replies.pop((sent_at, at_once), Reply())
                    tell(self._answer(reply, sent_at, at, at_once), now, self.rate, self.connections)
                    if reply.pause is not None:
                        paused_until = max(paused_until, now + reply.pause)
                    if not reply.accepted:
                        if tries + 1 >= self.attempts:
                            result.failed += 1
                        else:
                            heapq.heappush(parked, (now + chance.uniform(0.25, 0.5), tries + 1))

    _replies: dict[tuple[float, int], Reply] = field(default_factory=dict)

    def _answer(self, reply: Reply, sent_at: float, now: float, at_once: int) -> Answer:
        status = reply.status if reply.accepted else 429
        return Answer(
            sent_at=sent_at,
            ended_at=now,
            status=status,
            refused=not reply.accepted,
            pause=reply.pause,
            allowance=reply.allowance,
            latency=None if status is None else now - sent_at,
            in_flight=at_once,
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


def fixed_window(limit: int, window: float, *, says: str = "", pause: bool = False, others: float = 0.0, begins: float = 0.0) -> Host:
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

"""How long requests took, host by host, as records tell: what a simulation draws from. One thread.

Of each host a random sample of up to 1,000 records is kept, 14 bytes each, and a few sums; hosts past the first 10,000
share one sample.

A record tells how long its request took in all, not how long each attempt did. So what is left of it after the last
attempt and the usual waits between attempts is spread evenly over the attempts that failed, for each host on average.
"""

from __future__ import annotations

import math
import random
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from workerpool.config import RetryPolicy
from workerpool.errors import JobError
from workerpool.model import origin
from workerpool.plan.records import Sent
from workerpool.plan.workload import HOSTS

KEPT = 1_000
"""Records kept of each host: with those of web servers, the mean is then right within some 3 %."""

SHORTEST = 0.0001
"""Seconds that a send takes at least."""

LONGEST = 30.0
"""Seconds that a failed attempt is taken for at most, the timeout that is used most: the rest was waiting."""

REFUSALS = frozenset({429, 503})

_OK, _REFUSED, _DOWN = 1, 2, 4

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class History:
    """What is to become of a request. `attempts`: that it takes; the last one is `ok`, or fails as the others did.

    `last`, `failed`: seconds that the last attempt takes, and each one before it. `hop`: the host that it is redirected
    to halfway, None if it stays. `refused`: whether failures are refusals for all of the host; `is_down`: whether they
    say that it is not well, as no answer and a status of 500 and more do.
    """

    attempts: int
    ok: bool
    last: float
    failed: float
    hop: str | None = None
    refused: bool = False
    is_down: bool = True


class Samples:
    """Records of one host, or of all of them: a random sample, and sums of all."""

    def __init__(self) -> None:
        self._elapsed = array("d")
        self._ends = array("H")  # attempts, and `_OK`, `_REFUSED`, `_DOWN`
        self._hops = array("i")  # where it was redirected to, by number; -1 if nowhere
        self._seen = 0
        self._singles = 0  # records of one attempt,
        self._single_seconds = 0.0  # and their seconds
        self._failed_tries = 0  # of those of several: attempts that failed,
        self._mended = 0  # those that were ok in the end,
        self._retried_seconds = 0.0  # and their seconds, usual waits apart

    def add(self, sent: Sent, hop: int, draw: random.Random) -> None:
        self._seen += 1
        if sent.attempts == 1:
            self._singles += 1
            self._single_seconds += sent.elapsed
        else:
            self._failed_tries += sent.attempts - sent.ok
            self._mended += sent.ok
            self._retried_seconds += sent.elapsed - usual_waits(sent.attempts)
        end = min(sent.attempts, 8_000) << 3 | (_OK if sent.ok else 0)
        if not sent.ok:
            end |= _REFUSED if sent.status in REFUSALS else 0
        if sent.ok or sent.status is None or sent.status >= 500:
            end |= _DOWN
        if len(self._elapsed) < KEPT:
            self._elapsed.append(sent.elapsed)
            self._ends.append(end)
            self._hops.append(hop)
        elif (place := int(draw.random() * self._seen)) < KEPT:
            self._elapsed[place], self._ends[place], self._hops[place] = sent.elapsed, end, hop

    @property
    def failed(self) -> float:
        """Seconds that an attempt takes which is followed by another one."""
        if not self._failed_tries:
            return SHORTEST
        seconds = self._retried_seconds - self._mended * self.usual
        return min(LONGEST, max(SHORTEST, seconds / self._failed_tries))

    @property
    def usual(self) -> float:
        """Seconds of a request of one attempt, on average; 0 if there is none."""
        return self._single_seconds / self._singles if self._singles else 0.0

    def history(self, number: int, start: float, hops: list[str]) -> History:
        """What the record says that a walk from `start` (0 to 1) comes to after `number` steps.

        The walk meets each record once before it meets one again, and is spread evenly all the while.
        """
        size = len(self._elapsed)
        at = (int(start * size) + number * _step(size)) % size
        end, hop = self._ends[at], self._hops[at]
        attempts, ok = end >> 3, bool(end & _OK)
        failed = self.failed if attempts > 1 else self._elapsed[at]
        last = self._elapsed[at] if attempts == 1 else (self.usual or failed) if ok else failed
        return History(
            attempts,
            ok,
            max(SHORTEST, last),
            max(SHORTEST, failed),
            None if hop < 0 else hops[hop],
            bool(end & _REFUSED),
            bool(end & _DOWN),
        )


class Profile:
    """The samples of all hosts, and what is to be said of the records. `records` counts those that were sent."""

    def __init__(self, records: Iterable[Sent], seed: int = 0) -> None:
        self._hosts: dict[str, Samples] = {}
        self._all = Samples()
        self._hops: list[str] = []
        self._numbers: dict[str, int] = {}
        self.records = self.retried = 0
        draw = random.Random(seed)
        for sent in records:
            self._add(sent, draw)

    def check(self, name: str) -> None:
        """Raise `JobError` if there is nothing to draw from."""
        if not self.records:
            raise JobError(f"{name} has no record of a request that was sent, so there are no timings")

    def knows(self, host: str) -> bool:
        """Whether there are records of this host alone."""
        return host in self._hosts

    def samples(self, host: str) -> Samples:
        """The host's own samples, or those of all hosts if it has none."""
        return self._hosts.get(host, self._all)

    def draws(self, seed: int = 0) -> Draws:
        return Draws(self, self._hops, seed)

    def _add(self, sent: Sent, draw: random.Random) -> None:
        self.records += 1
        self.retried += sent.attempts > 1
        host = origin(sent.url)
        samples = self._hosts.get(host)
        if samples is None and len(self._hosts) < HOSTS:
            samples = self._hosts[host] = Samples()
        hop = self._hop(host, sent)
        self._all.add(sent, hop, draw)
        if samples is not None:
            samples.add(sent, hop, draw)

    def _hop(self, host: str, sent: Sent) -> int:
        """The number of the host that a redirect led to; that of the host itself if it led to another path of it."""
        if sent.final_url is None or sent.final_url == sent.url:
            return -1
        target = origin(sent.final_url)
        if target == host and _path(sent.final_url) == _path(sent.url):
            return -1  # the same, written in another way, or with the parameters that belong to it
        number = self._numbers.get(target)
        if number is None and len(self._hops) < HOSTS:
            number = self._numbers[target] = len(self._hops)
            self._hops.append(target)
        return -1 if number is None else number


class Draws:
    """What becomes of each request of a simulation. Two with the same seed tell the same of a host's n-th request."""

    def __init__(self, profile: Profile, hops: list[str], seed: int) -> None:
        self._profile = profile
        self._hops = hops
        self._random = random.Random(seed)
        self._counts: dict[str, int] = {}
        self._start = self._random.random()

    def next(self, host: str) -> History:
        """Draw what becomes of the host's next request."""
        known = host if self._profile.knows(host) else ""
        number = self._counts.get(known, 0)
        self._counts[known] = number + 1
        return self._profile.samples(known).history(number, self._start, self._hops)


def usual_waits(attempts: int) -> float:
    """Seconds that so many attempts wait for each other on average, as far as nobody said how long."""
    policy = RetryPolicy()
    return sum(min(policy.backoff_max, policy.backoff * 2.0 ** min(number, 60)) / 2 for number in range(attempts - 1))


def _path(url: str) -> str:
    return unquote(re.split("[?#]", url, maxsplit=1)[0]).split("/", 3)[-1].rstrip("/")


def _step(size: int) -> int:
    """A step that meets each of `size` places before it meets one again, near the golden section of them."""
    step = max(1, round(size * _GOLDEN))
    while math.gcd(step, size) != 1:
        step += 1
    return step

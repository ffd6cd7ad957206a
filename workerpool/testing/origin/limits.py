"""Limits that an origin keeps to: their arithmetic, and the headers in which its answers tell of them.

Nothing here reads a clock: a limit is told when a request came. Times are seconds on any clock that does not go back.
The origin's thread only.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a limit leaves: of `limit` requests in `window` seconds, `remaining`, and more after `reset` seconds."""

    limit: int
    window: float
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one request.

    `wait`: None if it is let through, else the seconds until one would be. `delay`: seconds until its answer.
    """

    wait: float | None = None
    delay: float = 0.0
    allowance: Allowance | None = None


class Limit(Protocol):
    """A limit, and what it remembers."""

    def take(self, now: float, seconds: float) -> Verdict:
        """Judge a request that comes at `now`, and whose answer takes `seconds` if nothing holds it up."""


class TokenBucket:
    """`rate` tokens a second, `burst` at most, full at first; a request takes one, or is refused."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = -math.inf

    def take(self, now: float, seconds: float) -> Verdict:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        wait = None if self._tokens >= 1 else (1 - self._tokens) / self._rate
        if wait is None:
            self._tokens -= 1
        until_full = (self._burst - self._tokens) / self._rate
        allowance = Allowance(int(self._burst), self._burst / self._rate, int(self._tokens), until_full)
        return Verdict(wait, seconds, allowance)


class FixedWindow:
    """`count` requests in each window of `window` seconds; the first window begins with the first request."""

    def __init__(self, count: int, window: float) -> None:
        self._count = count
        self._window = window
        self._began: float | None = None
        self._taken = 0

    def take(self, now: float, seconds: float) -> Verdict:
        if self._began is None:
            self._began = now
        past = (now - self._began) // self._window
        if past > 0:
            self._began += past * self._window
            self._taken = 0
        reset = self._began + self._window - now
        wait = reset if self._taken >= self._count else None
        if wait is None:
            self._taken += 1
        return Verdict(wait, seconds, Allowance(self._count, self._window, self._count - self._taken, reset))


class SlidingWindow:
    """`count` requests in any `window` seconds."""

    def __init__(self, count: int, window: float) -> None:
        self._count = count
        self._window = window
        self._times: deque[float] = deque()

    def take(self, now: float, seconds: float) -> Verdict:
        times = self._times
        while times and now - times[0] >= self._window:
            times.popleft()
        is_full = len(times) >= self._count
        if not is_full:
            times.append(now)
        reset = times[0] + self._window - now
        allowance = Allowance(self._count, self._window, self._count - len(times), reset)
        return Verdict(reset if is_full else None, seconds, allowance)


class Places:
    """`most` requests at once; one more is refused."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ends: list[float] = []  # a heap

    def take(self, now: float, seconds: float) -> Verdict:
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) >= self._most:
            return Verdict(self._ends[0] - now)
        heapq.heappush(self._ends, now + seconds)
        return Verdict(None, seconds)


class Queue:
    """`slots` requests are worked on at once, each by itself for its time; the others wait for their turn."""

    def __init__(self, slots: int) -> None:
        self._free_at = [-math.inf] * slots  # a heap

    def take(self, now: float, seconds: float) -> Verdict:
        end = max(now, self._free_at[0]) + seconds
        heapq.heapreplace(self._free_at, end)
        return Verdict(None, end - now)


Pairs = tuple[tuple[str, str], ...]


def _ietf(allowance: Allowance, time: float) -> Pairs:
    """The draft of the IETF since its eighth version, where a policy has a name and times are whole seconds."""
    policy = f'"default";q={allowance.limit};w={math.ceil(allowance.window)}'
    left = f'"default";r={allowance.remaining};t={math.ceil(allowance.reset)}'
    return (("RateLimit-Policy", policy), ("RateLimit", left))


def _github(allowance: Allowance, time: float) -> Pairs:
    return (
        ("X-RateLimit-Limit", f"{allowance.limit}"),
        ("X-RateLimit-Remaining", f"{allowance.remaining}"),
        ("X-RateLimit-Used", f"{allowance.limit - allowance.remaining}"),
        ("X-RateLimit-Reset", f"{math.ceil(time + allowance.reset)}"),
        ("X-RateLimit-Resource", "core"),
    )


def _twitter(allowance: Allowance, time: float) -> Pairs:
    return (
        ("x-rate-limit-limit", f"{allowance.limit}"),
        ("x-rate-limit-remaining", f"{allowance.remaining}"),
        ("x-rate-limit-reset", f"{math.ceil(time + allowance.reset)}"),
    )


def _discord(allowance: Allowance, time: float) -> Pairs:
    return (
        ("X-RateLimit-Limit", f"{allowance.limit}"),
        ("X-RateLimit-Remaining", f"{allowance.remaining}"),
        ("X-RateLimit-Reset", f"{time + allowance.reset:.3f}"),
        ("X-RateLimit-Reset-After", f"{allowance.reset:.3f}"),
        ("X-RateLimit-Bucket", "origin"),
    )


def _delta(allowance: Allowance, time: float) -> Pairs:
    """What many others send: the reset is in seconds from now."""
    return (
        ("X-RateLimit-Limit", f"{allowance.limit}"),
        ("X-RateLimit-Remaining", f"{allowance.remaining}"),
        ("X-RateLimit-Reset", f"{math.ceil(allowance.reset)}"),
    )


DIALECTS: Mapping[str, Callable[[Allowance, float], Pairs]] = MappingProxyType(
    {
        "ietf": _ietf,
        "github": _github,
        "twitter": _twitter,
        "discord": _discord,
        "delta": _delta,
        "no": lambda allowance, time: (),
    }
)


def announce(dialect: str, allowance: Allowance, time: float) -> Pairs:
    """Return the headers that tell of `allowance`; `time`: seconds since 1970.

    Raises ValueError for a dialect that is unknown.
    """
    if dialect not in DIALECTS:
        raise ValueError(f"{dialect} is no dialect of headers: write {', '.join(DIALECTS)}")
    return DIALECTS[dialect](allowance, time)

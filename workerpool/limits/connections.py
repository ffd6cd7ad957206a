"""How many requests at once a host bears, learned from its latency and its refusals. Told the time and each answer.

`AdaptiveConnections` follows Netflix's concurrency-limits (Gradient2Limit, https://github.com/Netflix/concurrency-limits):
once a round the limit is multiplied by the gradient, the latency at little load over the latency now, and may grow by a
small queue. Unlike there the floor is 1; a round lasts until its mean latency is known, so that a host with quick and
slow pages is not taken for an overloaded one; and the latency at little load is measured anew from time to time, with
half as many requests for a round (as BBR does, "ProbeRTT"), as it would else drift up with the load that we are.

Not thread-safe: whoever shares it holds one lock, as the crew does.
"""

from __future__ import annotations

import math

from workerpool.limits.answer import Answer

START = 4
"""Requests at once to a host of which nothing is known."""

TOLERANCE = 1.3
"""How much slower than at little load a host may be before it counts as loaded."""

ROUND, LONGEST_ROUND = 8, 200
"""Answers in a round, at least and at most."""

PRECISION = 0.1
"""The standard error of a round's mean latency, as a share of it, that is good enough to end the round."""

SMOOTHING = 0.5
"""The share by which the limit moves to where the gradient wants it in one round."""

PROBE, LOADED_PROBE = 30.0, 6.0
"""Seconds after which the latency at little load is measured anew; the latter where the host seems to be loaded."""

FIRST_WAIT, LONGEST_WAIT = 15.0, 600.0
"""Seconds until a limit that was found by a refusal is tried again, and the most; each is twice the last."""

NEVER = float("-inf")


class AdaptiveConnections:
    """The requests in flight that one host bears: `limit`, from 1 to `most`."""

    __slots__ = (
        "_base", "_cap", "_cap_until", "_count", "_from", "_grows_fast", "_limit", "_most", "_peak", "_probe_at",
        "_probed", "_proven", "_squares", "_sum", "_wait",
    )  # fmt: skip

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._grows_fast = True  # until the first sign of load
        self._base = 0.0  # mean latency at little load; 0 while unknown
        self._probe_at = NEVER  # when it is measured anew
        self._probed = 0.0  # the limit before it was halved for that; 0 if it is not
        self._sum = self._squares = 0.0  # of this round's latencies
        self._count = self._peak = 0  # of this round: answers, and the most in flight
        self._from = NEVER  # what was sent before says nothing
        self._proven = 0  # in flight when something was accepted, at the most
        self._cap = math.inf  # one fewer than were in flight when a request was refused
        self._cap_until = NEVER
        self._wait = FIRST_WAIT

    @property
    def limit(self) -> int:
        """Requests that may be in flight, at least 1."""
        return max(1, min(self._most, int(self._limit + 1e-9)))

    def explains(self, answer: Answer) -> bool:
        """Whether a refusal speaks of too many at once: so many have not been accepted before."""
        return answer.refused and answer.in_flight > max(1, self._proven)

    def hear(self, answer: Answer, now: float) -> None:
        """Learn from how a send ended. A refusal is taken to be about connections."""
        if answer.refused:
            self._fall(answer, now)
        elif answer.accepted:
            self._proven = max(self._proven, answer.in_flight)
            if answer.latency is not None and answer.sent_at >= self._from:
                self._note(answer.latency, answer.in_flight, now)

    def _fall(self, answer: Answer, now: float) -> None:
        if answer.sent_at < self._from and not self._probed:
            return  # it belongs to the last incident
        self._proven = max(1, answer.in_flight - 1)
        self._cap = float(self._proven)
        self._limit = min(self._probed or self._limit, self._cap)
        self._grows_fast, self._probed = False, 0.0
        self._cap_until = now + self._wait
        self._wait = min(LONGEST_WAIT, 2 * self._wait)
        self._begin_round(now + (answer.pause or 0.0))

    def _note(self, latency: float, in_flight: int, now: float) -> None:
        self._sum += latency
        self._squares += latency * latency
        self._count += 1
        self._peak = max(self._peak, in_flight)
        if self._count >= max(ROUND, self._limit) and (self._count >= LONGEST_ROUND or self._is_precise):
            self._end_round(now)

    @property
    def _is_precise(self) -> bool:
        mean = self._sum / self._count
        variance = max(0.0, self._squares / self._count - mean * mean)
        return variance <= (PRECISION * mean) ** 2 * self._count

    def _end_round(self, now: float) -> None:
        latency, peak = self._sum / self._count, self._peak
        if self._probed:
            self._base, self._limit, self._probed = latency, self._probed, 0.0
            self._probe_at = now + PROBE
            self._begin_round(now)
            return
        if not self._base or latency < self._base or peak <= self._limit / 2:
            self._base = latency
            self._probe_at = max(self._probe_at, now + PROBE)
        gradient = max(0.5, min(1.0, TOLERANCE * self._base / latency)) if latency else 1.0
        if gradient < 1:
            self._grows_fast = False
            self._probe_at = min(self._probe_at, now + LOADED_PROBE)
            target = min(self._limit, gradient * self._limit + self._queue)
            self._limit = max(1.0, self._limit + SMOOTHING * (target - self._limit))
        elif peak >= self._limit - 1:  # else fewer were in flight than might have been, and nothing was learned
            self._widen(now)
        if now >= self._probe_at and self._limit > 1:
            self._probed, self._limit = self._limit, self._limit / 2
            self._begin_round(now)
        else:
            self._begin_round(self._from)

    def _widen(self, now: float) -> None:
        limit = 2 * self._limit if self._grows_fast else self._limit + SMOOTHING * self._queue
        if limit > self._cap:
            limit = max(self._limit, self._cap)
            if now >= self._cap_until:
                limit = self._cap = self._cap + 1
                self._cap_until = now + FIRST_WAIT / 5
        self._limit = min(limit, float(self._most))

    def _begin_round(self, at: float) -> None:
        """Begin to count, what was sent from `at` on."""
        self._from = at
        self._sum = self._squares = 0.0
        self._count = self._peak = 0

    @property
    def _queue(self) -> float:
        """Requests that may wait at the host: enough that it never idles."""
        return max(1.0, math.sqrt(self._limit) / 2)

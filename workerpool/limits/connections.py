"""How many requests at once a host bears, learned from its latency and its refusals. Told the time and each answer.

`AdaptiveConnections` follows Netflix's concurrency-limits (Gradient2Limit, https://github.com/Netflix/concurrency-limits):
once a round the limit is multiplied by the gradient, the latency at little load over the latency now, and may grow by a
small queue. Unlike there the floor is 1; a round lasts until its mean latency is known, so that a host with quick and
slow pages is not taken for an overloaded one; and the latency at little load is measured anew from time to time, with
half as many requests for a round (as BBR does, "ProbeRTT"), as it would else drift up with the load that we are.
"""

from __future__ import annotations

import math

from workerpool.clock import LONG_AGO
from workerpool.limits.answer import Answer

START = 4
"""Requests at once to a host of which nothing is known."""

TOLERANCE, ROUGH_TOLERANCE = 1.3, 2.0
"""How much slower than at little load a host may be before it counts as loaded; the latter while the limit still
doubles, on short rounds."""

ROUND, LONGEST_ROUND = 8, 200
"""Answers in a round, at least and at most."""

PRECISION = 0.05
"""The standard error of a round's mean latency, as a share of it, that is good enough to end the round."""

SMOOTHING = 0.5
"""The share by which the limit moves to where the gradient wants it in one round."""

PROBE, LOADED_PROBE = 30.0, 6.0
"""Seconds after which the latency at little load is measured anew; the latter where the host seems to be loaded."""

USUAL = 0.05
"""The share by which one accepted request moves what is usual."""

FIRST_WAIT, LONGEST_WAIT = 15.0, 600.0
"""Seconds until a limit that was found by a refusal is tried again, and the most; each is twice the last."""


class AdaptiveConnections:
    """The requests in flight that one host bears: `limit`, from 1 to `most`."""

    __slots__ = (
        "_base", "_cap", "_cap_until", "_count", "_doublings", "_from", "_limit", "_most", "_peak", "_probe_at",
        "_probed", "_squares", "_sum", "_usual", "_usual_square", "_wait",
    )  # fmt: skip

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._doublings = 1  # the limit doubles for the so-maniest time; 0 after the first sign of load
        self._base = 0.0  # mean latency at little load; 0 while unknown
        self._probe_at = math.inf  # when it is measured anew
        self._probed = 0.0  # the limit before it was halved for that; 0 if it is not
        self._sum = self._squares = 0.0  # of this round's latencies
        self._count = self._peak = 0  # of this round: answers, and the most in flight
        self._from = LONG_AGO  # what was sent before says nothing
        self._usual = self._usual_square = 1.0  # in flight when one is accepted, on average, and its square
        self._cap = math.inf  # one fewer than were in flight when a request was refused
        self._cap_until = LONG_AGO
        self._wait = FIRST_WAIT

    @property
    def limit(self) -> int:
        """Requests that may be in flight, at least 1."""
        return int(self._limit + 1e-9)

    def explains(self, answer: Answer) -> bool:
        """Whether a refusal speaks of too many at once: clearly more were in flight than are when one is accepted.

        A limit on the rate refuses as often with few in flight as with many.
        """
        spread = math.sqrt(max(0.25, self._usual_square - self._usual**2))
        return answer.refused and answer.in_flight > self._usual + 1.5 * spread

    def hear(self, answer: Answer, now: float) -> None:
        """Learn from how a send ended. A refusal is taken to be about connections."""
        if answer.refused:
            self._fall(answer, now)
        elif answer.accepted:
            self._usual += USUAL * (answer.in_flight - self._usual)
            self._usual_square += USUAL * (answer.in_flight**2 - self._usual_square)
            if answer.latency is not None and answer.sent_at >= self._from:
                self._note(answer.latency, answer.in_flight, now)

    def _fall(self, answer: Answer, now: float) -> None:
        if answer.sent_at < self._from and not self._probed:
            return  # it belongs to the last incident
        self._cap = max(1.0, answer.in_flight - 1.0)
        self._limit = min(self._probed or self._limit, self._cap)
        self._doublings, self._probed = 0, 0.0
        self._cap_until = now + self._wait
        self._wait = min(LONGEST_WAIT, 2 * self._wait)
        self._begin_round(now + min(answer.pause or 0.0, LONGEST_WAIT))

    def _note(self, latency: float, in_flight: int, now: float) -> None:
        self._sum += latency
        self._squares += latency * latency
        self._count += 1
        self._peak = max(self._peak, in_flight)
        if self._count >= max(ROUND, self._limit) and (self._is_precise or self._count >= self._longest_round):
            self._end_round(now)

    @property
    def _longest_round(self) -> int:
        return 2 * ROUND if self._doublings else LONGEST_ROUND

    @property
    def _is_precise(self) -> bool:
        mean = self._sum / self._count
        variance = self._squares / self._count - mean * mean
        return variance <= (PRECISION * mean) ** 2 * self._count

    def _end_round(self, now: float) -> None:
        latency, peak = self._sum / self._count, self._peak
        if self._probed:
            self._base, self._limit, self._probed = latency, self._probed, 0.0
            self._probe_at = now + PROBE
            self._begin_round(now)
            return
        if peak <= self._limit / 2:
            self._base, self._probe_at = latency, now + PROBE  # little load as it is
        base = self._base or latency
        tolerance = ROUGH_TOLERANCE if self._doublings else TOLERANCE
        gradient = max(0.5, tolerance * base / latency) if latency else 1.0
        if gradient < 1:
            self._doublings = 0
            self._probe_at = min(self._probe_at, now + LOADED_PROBE)
            target = min(self._limit, gradient * self._limit + self._queue)
            self._limit += SMOOTHING * (target - self._limit)
        else:
            self._learn_base(latency, base)
            if peak >= self._limit - 1:  # else fewer were in flight than might have been: nothing speaks for more
                self._widen(now)
        if now >= self._probe_at and self._limit >= 2:
            self._probed, self._limit = self._limit, self._limit / 2
            self._begin_round(now)
        else:
            self._begin_round(self._from)

    def _learn_base(self, latency: float, base: float) -> None:
        """Take a round's latency for one at little load: on average while the limit doubles, later if it is lower."""
        if self._doublings:
            self._base = base + (latency - base) / self._doublings
        elif latency < base:
            self._base = base + SMOOTHING * (latency - base)

    def _widen(self, now: float) -> None:
        if self._doublings:
            self._doublings += 1
            limit = 2 * self._limit
        else:
            limit = self._limit + SMOOTHING * self._queue
        if limit > self._cap:
            if now >= self._cap_until:
                self._cap += 1
                self._cap_until = now + FIRST_WAIT / 5
            limit = self._cap
        self._limit = min(limit, float(self._most))
        if self._doublings and self._limit == self._most:
            self._doublings, self._probe_at = 0, now + LOADED_PROBE

    def _begin_round(self, at: float) -> None:
        """Begin to count, what was sent from `at` on."""
        self._from = at
        self._sum = self._squares = 0.0
        self._count = self._peak = 0

    @property
    def _queue(self) -> float:
        """Requests that may wait at the host: enough that it never idles."""
        return max(1.0, math.sqrt(self._limit) / 2)

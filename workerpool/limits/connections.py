"""How many requests at once a host bears, learned from its latency and its refusals. Told the time and each answer.

`AdaptiveConnections` follows Netflix's concurrency-limits (Gradient2Limit, https://github.com/Netflix/concurrency-limits):
once a round the limit is multiplied by the gradient, the latency at little load over the latency now, and a small queue
is added. Unlike there the floor is 1, the latencies are means over a round, so that a host with quick and slow pages is
not taken for an overloaded one, and the baseline is learned anew where fewer requests do not make it quicker.

Not thread-safe: whoever shares it holds one lock, as the crew does.
"""

from __future__ import annotations

import math

from workerpool.limits.answer import Answer

START = 4
"""Requests at once to a host of which nothing is known."""

TOLERANCE = 1.3
"""How much slower than at little load a host may be before it counts as loaded."""

ROUND = 8
"""Answers that a round has at least: fewer have no mean to speak of."""

SMOOTHING = 0.5
"""The share by which the limit moves to where the gradient wants it in one round."""

AGEING = 0.01
"""The share by which the baseline follows a higher latency in one round."""

FIRST_WAIT, LONGEST_WAIT = 15.0, 600.0
"""Seconds until a limit that was found by a refusal is tried again, and the most; each is twice the last."""

NEVER = float("-inf")


class AdaptiveConnections:
    """The requests in flight that one host bears: `limit`, from 1 to `most`."""

    __slots__ = (
        "_base", "_cap", "_cap_until", "_count", "_fell_at", "_grows_fast", "_high", "_limit", "_loaded", "_most",
        "_peak", "_proven", "_sum", "_wait",
    )  # fmt: skip

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(START, most))
        self._grows_fast = True  # until the first sign of load
        self._base = 0.0  # mean latency at little load; 0 while unknown
        self._sum, self._count, self._peak = 0.0, 0, 0  # of this round: latencies, answers, the most in flight
        self._high = self._loaded = 0.0  # where the limit and the latency were when it began to shrink
        self._proven = 0.0  # in flight when something was accepted, at the most
        self._cap = math.inf  # one fewer than were in flight when a request was refused
        self._cap_until = NEVER
        self._wait = FIRST_WAIT
        self._fell_at = NEVER

    @property
    def limit(self) -> int:
        """Requests that may be in flight, at least 1."""
        return max(1, min(self._most, int(self._limit + 1e-9)))

    def explains(self, answer: Answer) -> bool:
        """Whether a refusal speaks of too many at once: so many have not been accepted before."""
        return answer.refused and answer.in_flight > max(1.0, self._proven)

    def hear(self, answer: Answer, now: float) -> None:
        """Learn from how a send ended."""
        if answer.refused:
            self._note_refusal(answer, now)
        elif answer.accepted:
            self._proven = max(self._proven, answer.in_flight)
            if answer.latency is not None and answer.sent_at >= self._fell_at:
                self._sum += answer.latency
                self._count += 1
                self._peak = max(self._peak, answer.in_flight)
                if self._count >= max(ROUND, self._limit):
                    self._end_round(now)

    def _note_refusal(self, answer: Answer, now: float) -> None:
        if answer.sent_at < self._fell_at:
            return
        if not self.explains(answer):
            self._proven -= 0.25  # the rate's, more likely; if it goes on, it is ours after all
            return
        self._cap = self._proven = max(1.0, answer.in_flight - 1.0)
        self._limit = min(self._limit, self._cap)
        self._grows_fast = False
        self._cap_until = now + self._wait
        self._wait = min(LONGEST_WAIT, 2 * self._wait)
        self._fell_at = now + (answer.pause or 0.0)
        self._begin_round()

    def _end_round(self, now: float) -> None:
        latency, peak = self._sum / self._count, self._peak
        self._begin_round()
        self._base = min(self._base or latency, latency)
        gradient = max(0.5, min(1.0, TOLERANCE * self._base / latency)) if latency else 1.0
        if gradient < 1:
            self._shrink(gradient, latency)
        elif peak >= self._limit - 1:  # fewer were in flight than might have been: nothing was learned
            self._high = 0.0
            self._widen(now)
        self._base += AGEING * (latency - self._base)

    def _shrink(self, gradient: float, latency: float) -> None:
        self._grows_fast = False
        if not self._high:
            self._high, self._loaded = self._limit, latency
        elif self._limit <= self._high / 2 and latency > 0.8 * self._loaded:
            # Half as many make it no quicker: so it is as slow by itself now.
            self._base, self._limit, self._high = latency, self._high, 0.0
            return
        target = gradient * self._limit + self._queue
        self._limit = max(1.0, self._limit + SMOOTHING * (min(target, self._limit) - self._limit))

    def _widen(self, now: float) -> None:
        limit = 2 * self._limit if self._grows_fast else self._limit + self._queue * SMOOTHING
        if limit > self._cap:
            limit = max(self._limit, self._cap)
            if now >= self._cap_until:
                limit = self._cap = self._cap + 1
                self._cap_until = now + FIRST_WAIT / 5
        self._limit = min(limit, float(self._most))

    def _begin_round(self) -> None:
        self._sum, self._count, self._peak = 0.0, 0, 0

    @property
    def _queue(self) -> float:
        """Requests that may wait at the host: enough that it never idles."""
        return max(1.0, math.sqrt(self._limit) / 2)

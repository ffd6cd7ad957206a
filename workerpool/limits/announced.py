"""The window that a host announces in its headers, and the pace that makes it last. Told the time.

What remains is spread over what is left of the window, so that nothing is refused. Reckoned with are the requests that
the host had not counted when it answered, resets in whole seconds, others that use up the same window, and windows
that slide, whose end never comes nearer.
"""

from __future__ import annotations

import math

from workerpool.clock import LONG_AGO
from workerpool.limits.headers import Allowance

LONGEST = 3600.0
"""Seconds for which an announced window is believed: after that one request asks again."""

ROUNDING = 1.1
"""Seconds by which two answers may disagree about the end of the same window."""

SLIDES = 0.6
"""A window slides if its end moves on by more than this for each second that passes."""


class AnnouncedWindow:
    """What is left of a host's window. All times are the pool's clock's; `pace` is in requests per second.

    Until something is announced, and where only other things are, it allows any pace.
    """

    __slots__ = (
        "_count", "_exact", "_fair", "_first_end", "_first_sent", "_heard_of", "_left", "_margin", "_span", "ends_at",
        "pace",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pace = math.inf
        self.ends_at = LONG_AGO
        self._left = math.inf
        self._margin = 0.0  # requests that are kept back, as others may be counted that we know nothing of
        self._fair = math.inf  # the policy's rate, if it is known
        self._span = 0.0  # seconds that a window lasts, as far as is known
        self._heard_of = LONG_AGO  # when the request was sent whose answer is the newest; older answers say nothing
        self._count = 0  # answers about this window
        self._exact = False  # resets have fractions
        self._first_sent = self._first_end = LONG_AGO

    def hear(self, said: Allowance, sent_at: float, now: float, rate: float) -> None:
        """Learn from an answer to a request sent at `sent_at`; `rate`: at which requests have been sent since."""
        if sent_at < self._heard_of:
            return
        self._heard_of = sent_at
        if said.limit and said.window:
            self._fair = said.limit / said.window
        if said.remaining is None or said.reset is None:
            if self.ends_at == LONG_AGO:
                self.pace = self._fair
            return
        self._set_end(sent_at, min(said.reset, LONGEST))
        uncounted = round(min(rate * (now - sent_at), 1e6))
        self._left = said.remaining - uncounted
        self._margin = min(2.0, 0.02 * (said.limit or said.remaining))
        self._spread(now)

    def next_at(self, last: float, weight: float) -> float:
        """When the next request may be sent after one of `weight` that was sent at `last`."""
        at = last + weight / self.pace if self.pace > 0 else math.inf
        if at > self.ends_at > LONG_AGO:
            at = max(self.ends_at + self._guard, last + weight / self._opening)
        return min(at, max(last + LONGEST, self.ends_at + 1.0))

    def take(self, at: float, weight: float) -> None:
        """Note that a request is sent."""
        if self.ends_at == LONG_AGO:
            return
        if at >= self.ends_at:
            self._roll(at)
        self._left -= weight
        self._spread(at)

    def _set_end(self, sent_at: float, reset: float) -> None:
        """Move the window's end to where the newest answer says it is.

        A reset in whole seconds is up to one too early. The latest of what several answers say comes near the truth.
        """
        end = sent_at + reset
        self._exact = self._exact or reset != int(reset)
        if abs(end - self.ends_at) <= ROUNDING:
            self.ends_at = max(self.ends_at, end)
            self._count += 1
            return
        self.ends_at = self._first_end = end
        self._first_sent = sent_at
        self._span = max(self._span, reset)
        self._count = 1

    @property
    def _guard(self) -> float:
        """Seconds by which the window may end later than is believed."""
        return 0.0 if self._exact else 2.0 / max(self._count, 2)

    @property
    def _opening(self) -> float:
        """The pace with which a new window begins, until its first answer says more."""
        return min(self._fair, max(self.pace, 1.0))

    @property
    def _slides(self) -> bool:
        seen = self._heard_of - self._first_sent
        return seen >= 5 * ROUNDING and self.ends_at - self._first_end > SLIDES * seen

    def _spread(self, now: float) -> None:
        left, span = self._left - self._margin, self.ends_at - now
        if self._slides and self._fair < math.inf:
            self.pace = 0.95 * self._fair if left > 0 else 0.5 * self._fair
        elif span > 0:
            self.pace = (left if left >= 1 else left >= 0.5) / span

    def _roll(self, now: float) -> None:
        """Begin a new window: nothing is known of it but that it is there."""
        self.pace = self._opening
        self.ends_at = max(self.ends_at, now - self._span) + self._span if self._span > ROUNDING else LONG_AGO
        self._left = self.pace * self._span + self._margin
        self._heard_of = self._first_sent = now
        self._first_end = self.ends_at
        self._count = 0

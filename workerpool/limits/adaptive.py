"""A rate that is learned: how often may a host be sent to that does not say? Told the time and each answer.

`AdaptiveRate` begins gently and grows by a share of what is accepted, so exponentially, until a first refusal. That is
one incident, however many requests it meets: the rate falls to a share of what the host *accepted* until then, which
for a hidden limit is the limit itself (delivery rate instead of halving: Cardwell et al., "BBR: Congestion-Based
Congestion Control", ACM Queue 14(5), 2016). From there it follows CUBIC's curve (RFC 9438, section 4.2): quickly back
to just under the known limit, a long plateau there, then a probe beyond. The curve's time is that in which the rate was
used: neither a pause nor a host with little to do moves it (as RFC 7661 has it for TCP). It is stretched so that
incidents stay rare: what they cost, in refused requests and in pauses, has to be earned first.

What hosts announce in headers (`workerpool.limits.announced`) bounds all this.
"""

from __future__ import annotations

import math

from workerpool.clock import LONG_AGO
from workerpool.limits.announced import LONGEST, AnnouncedWindow
from workerpool.limits.answer import Answer
from workerpool.limits.bucket import slot_from
from workerpool.rate import Rate

START = 8.0
"""Requests per second to a host of which nothing is known."""

SLOW = 1.0
"""Requests per second to a host that refuses one of its first already."""

FLOOR = 1 / 60
"""Requests per second that are sent however often they are refused: else nobody would learn that it is over."""

GROWTH = 1.2
"""Requests per second that each accepted one adds at most: by itself a doubling in 0.6 s."""

IN_FLIGHT, MORE_IN_FLIGHT = 6.0, 0.015
"""How many may be in flight to a host that has refused nothing: so many, and this share of what it has accepted. A
first refusal hits at most those."""

SHORTEST_FLIGHT = 1e-4
"""Seconds that a request is in flight at least, as a clock may not tell."""

BACK = 0.85
"""The share of the known limit at which the curve begins."""

BLIND = 0.7
"""The share of the rate that is kept where it is not known what the host accepts."""

UNDER = 0.97
"""The share of what was accepted that counts as the known limit: a little less, as a burst's allowance is in it."""

BEYOND, MORE_SLOWLY = 1.25, 0.25
"""The share of the known limit from which on it is not the limit any more, and the rate grows as it did at first, but
by this share of it."""

USED = 0.5
"""The share of the slots that have to be wanted, lately, for the rate to grow."""

SHORTEST, PER_REFUSAL, PER_PAUSE = 10.0, 70.0, 30.0
"""What it takes to come back to the known limit, at least: seconds, accepted requests for each refused one, seconds
for each second paused."""

SHORTEST_AT_FIRST = 4.0
"""Seconds, where the limit was found once only: the first fall comes from a rate that grew too fast to tell."""

EVIDENCE, FEW = 8, 2
"""So many accepted requests tell the rate that the host allows. And so many do, if nothing else was accepted since the
last fall, holds included."""

FIRST_HOLD, LONGEST_HOLD = 1.0, 60.0
"""Seconds to wait after a fall when nothing at all was accepted since the one before, and the most: each wait is four
times as long as the last."""

WINDOWS = (10.1, 60.6)
"""Seconds that the windows last that most hosts count by, and a little: worth asking then."""

WINDOW_REST = 5.0
"""Seconds of a pause from which on it may be the rest of a window that is used up."""

OUTAGE = 90.0
"""Seconds without an accepted request after which what was learned before is out of date."""

KEPT = 600.0
"""Seconds for which what was learned outlives the last request."""


class AdaptiveRate:
    """A limiter that learns its rate from answers, for one host. Never above `ceiling`.

    Slots are evenly spaced, so that in any W seconds at most 1 + rate * W are granted, with the highest rate of that
    time; a request of weight w leaves a gap for w of them.
    """

    __slots__ = (
        "_accepted", "_ceiling", "_cost", "_curve", "_cycle", "_cycle_at", "_dry", "_dry_since", "_evidence",
        "_fell_at", "_hold", "_is_confirmed", "_known", "_last", "_latency", "_learned", "_mark",
        "_mark_before", "_newest", "_paused", "_refused", "_seen", "_seen_before", "_spell", "_spell_at",
        "_use", "_window",
    )  # fmt: skip

    def __init__(self, ceiling: Rate | None = None) -> None:
        self._ceiling = ceiling.per_second if ceiling else math.inf
        self._learned = START
        self._window = AnnouncedWindow()
        self._last = LONG_AGO  # the last slot's time
        self._cost = 1  # and its weight
        self._hold = LONG_AGO  # nothing before this
        self._use = 1.0  # the share of the slots that were wanted when they came, lately
        self._accepted = 0  # requests in all
        self._latency = 0.0  # seconds that a request is in flight, on average
        self._known = 0.0  # the limit as far as it is known; 0 until something was refused
        self._is_confirmed = False  # more than one incident found it
        self._curve = 0.0  # seconds of fully used time since the fall
        self._fell_at = LONG_AGO  # what was sent before belongs to the last incident
        self._refused = 0  # requests that the last incident met
        self._paused = 0.0  # seconds that it cost
        self._evidence = 0  # accepted requests that `_known` was taken from
        self._dry = 0  # falls that helped nothing: nothing was accepted since
        self._dry_since = LONG_AGO
        self._mark = self._mark_before = LONG_AGO  # accepted requests are counted from these times on
        self._newest = LONG_AGO  # when the newest of them was sent
        self._seen = self._seen_before = 0
        self._cycle_at = LONG_AGO  # and all of them from the last time that the limit was found
        self._cycle = 0
        self._spell_at = LONG_AGO  # and since the last fall, for those that meet too few to tell
        self._spell = 0

    # -- a limiter ----------------------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """Requests per second, now."""
        return min(self._learned, self._ceiling, max(FLOOR, self._window.pace))

    def next_at(self, weight: int = 1) -> float:
        """The time of the next slot; in the past if one is free now."""
        at = self._last + self._cost / min(self._learned, self._ceiling)
        return max(at, self._window.next_at(self._last, self._cost), self._hold)

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None:
        """Take a slot that has come by `now`; returns its time, or None if none has.

        `since`: how long the caller has been waiting without a break, see `MemoryLimiter.try_take`.
        """
        free = self.next_at()
        if free > now:
            return None
        at = max(free, slot_from(now, since))
        interval = self._cost / self.rate
        self._use += 0.1 * (interval / (interval + at - free) - self._use)
        self._last, self._cost = at, weight
        self._window.take(at, weight)
        if self._dry:
            self._hold = at + FIRST_HOLD  # one asks; the others wait for its answer
        return at

    @property
    def rests_at(self) -> float:
        """The time from which on this limiter holds nothing worth keeping."""
        if self._known or self._window.pace < math.inf:
            return max(self._last + KEPT, self._window.ends_at)
        return self._last + KEPT / 10 if self._learned > START else self.next_at()

    # -- a learner ----------------------------------------------------------------------------------------------------

    def hear(self, answer: Answer, now: float) -> None:
        """Learn from how a send ended."""
        if answer.allowance is not None:
            self._window.hear(answer.allowance, answer.sent_at, now, self.rate)
        if answer.refused:
            self._note_refusal(answer, now)
        elif answer.accepted:
            self._note_acceptance(answer)

    def _note_acceptance(self, answer: Answer) -> None:
        if not self._accepted:
            self._cycle_at = self._spell_at = self._mark = self._mark_before = answer.sent_at
        self._accepted += 1
        self._latency += (answer.ended_at - answer.sent_at - self._latency) / min(self._accepted, 20)
        self._cycle += 1
        if answer.sent_at < self._fell_at:
            return
        self._spell += 1
        if self._dry:
            self._recover(answer.sent_at)
        self._count(answer.sent_at)
        if self._use >= USED and self._learned <= self.rate:
            self._grow()

    def _grow(self) -> None:
        step, most = GROWTH * min(1.0, self._learned / START), math.inf
        if not self._known:
            most = (IN_FLIGHT + MORE_IN_FLIGHT * self._accepted) / max(self._latency, SHORTEST_FLIGHT)
        elif self._learned >= BEYOND * self._known:
            step *= MORE_SLOWLY
        else:
            self._curve += 1 / self._learned
            most = self._on_curve()
        self._learned = max(self._learned, min(self._learned + step, most))

    def _on_curve(self) -> float:
        """CUBIC's curve: `BACK` of the known limit at the fall, all of it after `stretch` seconds, then beyond."""
        earned = min(PER_REFUSAL * self._refused, 2.0 * self._evidence)
        shortest = SHORTEST if self._is_confirmed else SHORTEST_AT_FIRST
        stretch = max(shortest, earned / self._known, PER_PAUSE * self._paused)
        return self._known * (1 + (1 - BACK) * (self._curve / stretch - 1) ** 3)

    def _note_refusal(self, answer: Answer, now: float) -> None:
        pause = min(answer.pause or 0.0, LONGEST)
        if answer.sent_at < self._fell_at:
            self._refused += 1
            self._extend(now, pause)
            return
        said = answer.allowance
        if said is not None and said.remaining == 0 and said.reset is not None:
            return  # the window is used up, which is known now, and says nothing about the rate
        if self._seen + self._seen_before >= EVIDENCE:
            self._fall(now, pause)
        else:
            self._fall_blindly(now, pause)
        self._refused, self._paused, self._curve = 1, 0.0, 0.0
        self._fell_at = now
        self._extend(now, pause)
        self._mark = self._mark_before = self._fell_at
        self._seen = self._seen_before = 0

    def _extend(self, now: float, pause: float) -> None:
        """Count what is sent until the pause is over to the same incident."""
        if pause:
            end = max(now + pause, self._fell_at)
            self._paused += end - max(now, self._fell_at)
            self._fell_at = end

    def _fall(self, now: float, pause: float) -> None:
        """Fall to a share of what was accepted lately."""
        count, since, rate = self._seen, self._mark, self.rate
        if count < self._sample[0]:
            count, since = count + self._seen_before, self._mark_before
        limit = min(rate, count / (self._newest - since + 1 / rate))
        if pause >= WINDOW_REST and pause > 2 * (now - self._cycle_at):
            limit = min(limit, self._cycle / (now - self._cycle_at + pause))
            self._cycle_at, self._cycle = now + pause, 0
        self._set_limit(limit, count)
        self._spell_at, self._spell = now + pause, 0

    def _fall_blindly(self, now: float, pause: float) -> None:
        """Fall without knowing what is accepted, and wait for longer each time that it helps nothing."""
        rate, elapsed = BLIND * self.rate, now - self._spell_at
        if self._accepted < EVIDENCE:
            rate = min(rate, SLOW)
        if self._spell >= FEW and elapsed >= FIRST_HOLD:
            self._set_limit(min(rate, self._spell / elapsed), self._spell)
            self._spell_at, self._spell = now + pause, 0
            return
        self._learned = max(FLOOR, rate)
        if not self._seen:
            self._hold_on(now, pause)

    def _hold_on(self, now: float, pause: float) -> None:
        """Nothing was accepted since the last fall: let one ask, after a while, unless the host has said when."""
        if not self._dry:
            self._dry_since = now
        self._dry += 1
        if not pause:
            self._hold = now + min(LONGEST_HOLD, FIRST_HOLD * 4.0 ** (self._dry - 1))
            ends = (self._cycle_at + window for window in WINDOWS)
            self._hold = min([self._hold, *(end for end in ends if end >= now + FIRST_HOLD)])

    def _recover(self, sent_at: float) -> None:
        """Something is accepted again after fruitless falls: what a whole cycle admitted is the limit."""
        elapsed = sent_at - self._cycle_at
        if sent_at - self._dry_since > OUTAGE:
            self._learned, self._known = START, 0.0
        elif self._dry > 1:
            self._set_limit(self._cycle / max(elapsed, FIRST_HOLD), self._cycle)
        if self._cycle >= EVIDENCE:
            self._cycle_at, self._cycle = sent_at, 1
        self._dry, self._hold = 0, LONG_AGO
        self._mark = self._mark_before = sent_at

    def _set_limit(self, limit: float, evidence: int) -> None:
        self._is_confirmed = self._known / BEYOND <= limit <= self._known * BEYOND
        self._known = max(FLOOR, UNDER * limit)
        self._learned = max(FLOOR, BACK * self._known)
        self._evidence = evidence + (self._evidence if self._is_confirmed else 0)

    @property
    def _sample(self) -> tuple[int, float]:
        """How many accepted requests, over how many seconds, tell what the host accepts."""
        return (40, 4.0) if self._learned < BEYOND * self._known else (15, 0.4)

    def _count(self, sent_at: float) -> None:
        """Count an accepted request; what is long ago is forgotten, soon while the rate still grows fast."""
        least, seconds = self._sample
        self._newest = max(self._newest, sent_at)
        if self._seen >= least and sent_at - self._mark >= seconds:
            self._mark_before, self._seen_before = self._mark, self._seen
            self._mark, self._seen = sent_at, 0
        self._seen += 1

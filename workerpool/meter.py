"""What kept a pool from sending one request more, added up over time. Told the time and the reason; decides nothing.

The crew enters under its lock, each time that it has brought threads and work together (`Dispatcher.wake_for_work`).
Most times nothing has changed, which costs a comparison. Some states have several reasons at once, as hosts are held up
by different things. To look at each of them takes time, so that is done every few milliseconds at most, and all the
time since the last look goes by what is seen. That is when something is about to change, not when it just has: what
lasts long is then always seen, even if it began right after a look.

Slots are dated by their own time, so a thread that takes one a moment late does not delay the next. Where slots are
what is waited for, these moments are charged to the rate, not to the pool's own work.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import nlargest

from workerpool.statistics import LARGEST, HostWait, Reasons, Wait, Waits

LOOK_EVERY = 0.005
"""Seconds between two looks at the reasons of a state that has several."""

LOOK_FOR_EACH = 0.000_2
"""Seconds more for each host or request that is looked at. That takes some microseconds, so all looks take some percent
of the time at most."""

BRIEF = 0.01
"""Seconds for which a request that could be sent is not sent at no cost to its rate: slots that are older are lost."""

HOSTS = 1_000
"""Hosts whose shares are kept, each with its reasons."""

FULL, HELD = len(Wait), len(Wait) + 1
"""States with several reasons: all workers are busy; requests are queued or parked, and none of them may be sent."""

SLOTS = frozenset({Wait.HOST_RATE, Wait.KEY_RATE, Wait.RATE, Wait.SHARED})
"""What is over when a slot comes."""


class Meter:
    """Adds up seconds by reason. `state` is a `Wait`, `FULL` or `HELD`: what holds since it was last told."""

    def __init__(self, now: float) -> None:
        self.state: int = Wait.IDLE
        self._since = now
        self._seconds = [0.0] * (HELD + 1)  # by state; of FULL and HELD, since their last look
        self._reasons: dict[int, Reasons] = {FULL: {(Wait.WORKERS, ""): 1}, HELD: {(Wait.READY, ""): 1}}  # last seen
        self._looks_at = {FULL: now, HELD: now}
        self._brief = 0.0  # seconds in which something could be sent, a moment each, since the last look
        self._by_host: dict[tuple[Wait, str], float] = {}

    def turn_to(self, state: int, now: float) -> None:
        """Note that another state holds from now on."""
        seconds = now - self._since
        if self.state == Wait.READY and seconds <= BRIEF:
            self._brief += seconds
        else:
            self._seconds[self.state] += seconds
        self._since = now
        self.state = state

    def is_due(self, now: float) -> bool:
        """Whether to look at the reasons of the state, which is `FULL` or `HELD`."""
        return now >= self._looks_at[self.state]

    def see(self, reasons: Reasons, looked_at: int, now: float) -> None:
        """Take what was seen of the state's reasons, for the time since the last look; `looked_at` says at how many."""
        state = self.state
        self.turn_to(state, now)
        if any(reasons.values()):
            self._reasons[state] = reasons
        self._share_out(state)
        self._share_out_brief(SLOTS if state == HELD else ())
        self._looks_at[state] = now + LOOK_EVERY + looked_at * LOOK_FOR_EACH

    def waits(self, now: float) -> Waits:
        """All until now."""
        self.turn_to(self.state, now)
        self._share_out(FULL)
        self._share_out(HELD)
        self._share_out_brief(())
        largest = nlargest(LARGEST, self._by_host.items(), key=lambda item: item[1])
        hosts = tuple(HostWait(wait.name.lower(), host, seconds) for (wait, host), seconds in largest)
        return Waits(**{wait.name.lower(): self._seconds[wait] for wait in Wait}, hosts=hosts)

    def _share_out(self, state: int) -> None:
        seconds, self._seconds[state] = self._seconds[state], 0.0
        if not seconds:
            return
        reasons = self._reasons[state]
        each = seconds / sum(reasons.values())
        for (wait, host), requests in reasons.items():
            self._add(wait, host, each * requests)
        if len(self._by_host) > 2 * HOSTS:
            self._by_host = dict(nlargest(HOSTS, self._by_host.items(), key=lambda item: item[1]))

    def _share_out_brief(self, takers: Collection[Wait]) -> None:
        """Give brief moments to those of the last reasons that take them, the rest to the pool's own work."""
        brief, self._brief = self._brief, 0.0
        if not brief:
            return
        reasons = self._reasons[HELD]
        each = brief / sum(reasons.values())
        for (wait, host), requests in reasons.items():
            if wait in takers:
                self._add(wait, host, each * requests)
            else:
                self._seconds[Wait.READY] += each * requests

    def _add(self, wait: Wait, host: str, seconds: float) -> None:
        self._seconds[wait] += seconds
        if host:
            self._by_host[wait, host] = self._by_host.get((wait, host), 0.0) + seconds

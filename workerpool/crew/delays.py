"""What holds a pool up at any moment: the crew's part of `Waits`.

Everything here happens under the crew's lock, save what streams say about themselves (`Feeder.doing`), and whether that
matters (`Delays.watches_feeders`).
"""

from __future__ import annotations

from typing import Protocol

from workerpool.meter import FULL, HELD, Meter
from workerpool.scheduler import Scheduler
from workerpool.statistics import Wait, Waits

READY, ANSWERS, WINDOW = Wait.READY, Wait.ANSWERS, Wait.WINDOW


class Feeder(Protocol):
    """Who gives requests to the pool, and takes outcomes: a stream.

    `doing`: what its consumer's thread is at. `SOURCE` while it asks its source, `SINK` while the consumer has it,
    `READY` in the stream's own code; while it waits for an outcome, `WINDOW` if it would read more had it the room, or
    else `ANSWERS`. That thread sets it, then looks whether nothing is queued, and if so has the crew look again.
    """

    doing: Wait


class Delays:
    """Notes what holds the pool up.

    `feeders`: the streams that go on; they come and go in single steps, without the lock. `watches_feeders`: nothing is
    queued, so what the feeders do is what counts.
    """

    def __init__(self, scheduler: Scheduler, now: float) -> None:
        self._scheduler = scheduler
        self._meter = Meter(now)
        self._noted_at = now
        self.feeders: list[Feeder] = []
        self.watches_feeders = True

    def look(self, now: float) -> None:
        """Look, at times, what has held requests up until now. To be called before anything changes."""
        meter = self._meter
        if meter.state >= FULL and meter.is_due(now):
            # As it was when the last change was over: what they waited for may be there now.
            reasons = self._scheduler.hold_ups(self._noted_at, Wait.WORKERS if meter.state == FULL else READY)
            meter.see(reasons, self._scheduler.lane_count + self._scheduler.parked, now)

    def note(self, now: float, *, is_full: bool, is_ready: bool) -> None:
        """Note what holds from now on. `is_full`: no worker is free; `is_ready`: one is, and may send."""
        scheduler, meter = self._scheduler, self._meter
        self._noted_at = now
        if is_ready:
            self.watches_feeders = False
            if meter.state is not READY:
                meter.turn_to(READY, now)
        elif scheduler.queued or scheduler.callers:
            self.watches_feeders = False
            state = FULL if is_full else HELD
            if meter.state != state:
                meter.turn_to(state, now)
        else:
            self.look_at_feeders(now)

    def look_at_feeders(self, now: float) -> None:
        """Note what holds from now on if nothing is queued."""
        scheduler = self._scheduler
        if not (scheduler.queued or scheduler.callers):
            self.watches_feeders = True  # before feeders are asked what they do: who changes that meanwhile sees this
            state = self._state_by_feeders()
            if state != self._meter.state:
                self._meter.turn_to(state, now)

    def waits(self, now: float) -> Waits:
        """What the pool's time went to, until now."""
        self.look(now)
        return self._meter.waits(now)

    def _state_by_feeders(self) -> int:
        """The state that holds where nothing is queued."""
        waits: Wait | None = None
        for feeder in self.feeders:
            waits = feeder.doing
            if waits is not ANSWERS and waits is not WINDOW:
                return waits
        if self._scheduler.parked:
            return HELD
        if self._scheduler.in_flight:
            return ANSWERS if waits is None else waits
        return Wait.IDLE if waits is None else READY  # an outcome is on its way to the stream's thread

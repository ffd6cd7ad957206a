"""What holds a pool up at any moment: the crew's part of `Waits`.

Everything here happens under the crew's lock, save what streams say about themselves (`Feeder.doing`), and whether that
matters (`Delays.is_starved`).
"""

from __future__ import annotations

from typing import Protocol

from workerpool.meter import FULL, HELD, Meter, Wait
from workerpool.scheduler import Scheduler
from workerpool.statistics import Waits

READY, ANSWERS, WINDOW = Wait.READY, Wait.ANSWERS, Wait.WINDOW


class Feeder(Protocol):
    """Who gives requests to the pool, and takes outcomes: a stream.

    `doing`: what its consumer's thread is at. `SOURCE` while it asks its source, `SINK` while the consumer has it,
    `READY` in the stream's own code; while it waits for an outcome, `WINDOW` if it would read more had it the room, or
    else `ANSWERS`. That thread sets it, then looks whether the pool is starved, and if so has the crew look again.
    """

    doing: Wait


class Delays:
    """Notes what holds the pool up.

    `feeders`: the streams that go on; they come and go in single steps, without the lock. `is_starved`: nothing is
    queued, so what the feeders do is what counts.
    """

    def __init__(self, scheduler: Scheduler, now: float) -> None:
        self._scheduler = scheduler
        self._meter = Meter(now)
        self.feeders: list[Feeder] = []
        self.is_starved = True

    def note(self, now: float, *, is_full: bool, is_ready: bool) -> None:
        """Note what holds from now on. `is_full`: no worker is free; `is_ready`: one is, and may send."""
        scheduler, meter = self._scheduler, self._meter
        if is_ready:
            self.is_starved = False
            if meter.state is not READY:
                meter.turn_to(READY, now)
        elif scheduler.queued or scheduler.callers:
            self.is_starved = False
            state = FULL if is_full else HELD
            if meter.state != state:
                meter.turn_to(state, now)
            if meter.is_due(now):
                self._look(now)
        else:
            self.look_again(now)

    def look_again(self, now: float) -> None:
        """Note what holds from now on if nothing is queued."""
        scheduler = self._scheduler
        if not (scheduler.queued or scheduler.callers):
            self.is_starved = True  # before feeders are asked what they do: who changes that meanwhile sees this
            state = self._starved_for()
            if state != self._meter.state:
                self._meter.turn_to(state, now)

    def waits(self, now: float) -> Waits:
        """What the pool's time went to, until now."""
        return self._meter.waits(now)

    def _look(self, now: float) -> None:
        """Look at the requests that are queued, and what they wait for."""
        scheduler, meter = self._scheduler, self._meter
        if meter.state == FULL and scheduler.has_ready(now):
            meter.see({(Wait.WORKERS, ""): 1}, 0, now)
        else:
            meter.see(scheduler.hold_ups(now), scheduler.hosts, now)

    def _starved_for(self) -> Wait:
        """Why nothing is queued."""
        waits: Wait | None = None
        for feeder in self.feeders:
            waits = feeder.doing
            if waits is not ANSWERS and waits is not WINDOW:
                return waits
        scheduler = self._scheduler
        if scheduler.parked:
            return Wait.ROBOTS if scheduler.held == scheduler.parked else Wait.BACKOFF
        if scheduler.in_flight:
            return ANSWERS if waits is None else waits
        return Wait.IDLE if waits is None else READY  # an outcome is on its way to the stream's thread

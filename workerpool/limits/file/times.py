"""The clock of a budget's file: seconds since the boot, the same for all processes, and what they are after another."""

from __future__ import annotations

from workerpool.clock import Clock


class Times:
    """Both clocks, and the boot that the first one counts from."""

    def __init__(self, clock: Clock, boot: bytes) -> None:
        self.boot = boot
        self._clock = clock
        self.ahead = 0.0  # by how many seconds the time of day is ahead of the clock
        self.refresh()

    def refresh(self) -> None:
        """Compare both clocks anew: the time of day may have been set. Called now and then."""
        self.ahead = self._clock.time() - self._clock.now()

    def elapsed(self, wall: float) -> float:
        """Seconds since a time of day, 0 if that seems to lie ahead. Right only as far as the machine's date is."""
        return max(0.0, self._clock.time() - wall)

    def now(self) -> float:
        return self._clock.now()

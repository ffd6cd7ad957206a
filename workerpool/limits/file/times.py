"""The clock of a budget's file: seconds since the boot, the same for all processes, and what they are after another."""

from __future__ import annotations

from workerpool.clock import Clock


class Times:
    """Both clocks, and the boot that the first one counts from."""

    def __init__(self, clock: Clock, boot: bytes) -> None:
        self.boot = boot
        self._clock = clock
        self.refresh()

    def refresh(self) -> None:
        """Compare both clocks anew: the time of day may have been set. Called now and then."""
        self.ahead = self._clock.time() - self._clock.now()  # the time of day is so far ahead

    def shift(self, boot: bytes, noted_at: float, date: float) -> float:
        """What to add to times that were noted at a time of the clock and of the day: 0 unless that was another boot.

        Then what was left of them is left now, less what has passed meanwhile, by the date: never more than was left.
        """
        if boot == self.boot:
            return 0.0
        return self._clock.now() - max(0.0, self._clock.time() - date) - noted_at

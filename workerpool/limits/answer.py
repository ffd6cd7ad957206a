"""`Answer`: what one answer of a host says about its limits, for whoever learns them."""

from __future__ import annotations

from dataclasses import dataclass

from workerpool.limits.headers import Allowance


@dataclass(frozen=True, slots=True)
class Answer:
    """How one send ended. Times are seconds on the pool's clock, spans are seconds.

    `sent_at`: when its slot was granted. `status`: None if no answer came. `refused`: 429 or 503. `pause`: what
    ``Retry-After`` asked for, if anything. `latency`: from the request's first byte to the end of the response's head.
    `in_flight`: the sends in flight to the host when it was sent, itself included.
    """

    sent_at: float
    ended_at: float
    status: int | None
    refused: bool
    pause: float | None = None
    allowance: Allowance | None = None
    latency: float | None = None
    in_flight: int = 1

    @property
    def accepted(self) -> bool:
        """Whether the host's limits let it pass. A server's error says neither this nor the contrary."""
        return self.status is not None and self.status < 500 and not self.refused

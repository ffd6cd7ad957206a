"""What a host's answer to one send says about its limits. Values; any thread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What rate-limit headers say: `limit` in `window` seconds; `remaining` until `reset` seconds from now."""

    limit: float | None = None
    window: float | None = None
    remaining: float | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How one send to a host ended, as far as its limits go. Times are seconds on the pool's clock.

    `status`: None if no answer came. `refused`: it is 429 or 503. `pause`: seconds that ``Retry-After`` asks for.
    `allowance`: what rate-limit headers say. `latency`: seconds from the request's first byte to the answer's head.
    `in_flight`: sends to the host when it was sent, itself included.
    """

    sent_at: float
    ended_at: float
    status: int | None = None
    refused: bool = False
    pause: float | None = None
    allowance: Allowance | None = None
    latency: float | None = None
    in_flight: int = 1

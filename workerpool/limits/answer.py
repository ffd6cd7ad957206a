"""`Answer`: what one answer of a host says about its limits, for whoever learns them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workerpool.limits.headers import Allowance, allowance, retry_after

if TYPE_CHECKING:
    from requests import Response

PAUSING_STATUSES = frozenset({429, 503})
"""The statuses whose ``Retry-After`` speaks for the whole host (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


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


def answer_of(
    response: Response | None,
    sent_at: float,
    now: float,
    wall_time: float,
    *,
    latency: float | None = None,
    in_flight: int,
) -> Answer:
    """What a response, or that none came, says about its host's limits. `wall_time`: seconds since the epoch."""
    if response is None:
        return Answer(sent_at, now, None, refused=False, in_flight=in_flight)
    refused = response.status_code in PAUSING_STATUSES
    return Answer(
        sent_at=sent_at,
        ended_at=now,
        status=response.status_code,
        refused=refused,
        pause=retry_after(response.headers, wall_time) if refused else None,
        allowance=allowance(response.headers, wall_time),
        latency=latency,
        in_flight=in_flight,
    )

"""What waits in the scheduler: a request's `Ticket`, and a `Caller`, a thread that wants to send by itself.

Both are only ever touched under the lock of whoever drives the scheduler, save where a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from workerpool.clock import NEVER
from workerpool.meter import Wait
from workerpool.model import Attempt, Outcome, Request

if TYPE_CHECKING:
    from workerpool.limits import Limiter


class Owner(Protocol):
    """What a request may belong to: a stream.

    `is_over`: it ends, and nothing of it is to be sent again. `is_forsaken`: nobody takes its outcomes any more.
    `is_full`: so many bodies wait to be taken that nothing of it is to be sent now, save `awaited`, which must go all
    the same: those that wait, wait for it. Any thread may set these; `Scheduler.resume` and `urge` tell of the change.

    `needs_receipts`: whether a request of it that was sent holds its place until that has been acknowledged. Then
    `room` is how many more may be sent, and `queued` how many wait in lanes. Both are the scheduler's. Without
    receipts, `room` stays above 0. `doing`: see `delays.Feeder`.
    """

    is_over: bool
    is_forsaken: bool
    is_full: bool
    awaited: Ticket | None
    needs_receipts: bool
    room: int
    queued: int
    doing: Wait


class Ticket:
    """One request on its way through the pool, from its arrival to its outcome.

    Who gives requests to the pool makes a subclass, which says what becomes of an outcome. `owner` is what the request
    belongs to (a stream). `arrived_at`: when it was given to the crew. `trip` is the worker's own: where the request
    stands between its attempts, None before the first one, so that a full window holds little. `refused_until` is set
    when the host wants no request before that time (seconds on the pool's clock): the request then ends unsent.
    `is_circuit_open`: that is its circuit breaker's doing. `key`: what it counts against besides its host, if anything.
    `slot_wait`: seconds that it stood at the head of its lane before its last send, waiting for slots or for its
    host's pause to end. `is_retry`: it waits for a token of the retry budget, since `ripe_at`; `excused`: seconds that
    it has waited for those in all. `in_flight`: sends to its host when it was sent, itself included. `holds_place`:
    whether it was sent, for an owner that needs receipts, and nobody was told yet. `is_light`: whether to begin it and
    to take its outcome never takes long, so that a thread may do it which others wait for, too. `obeys`: whether
    robots.txt is asked about it, in a pool that does so; False for that file itself, which nobody asked for. `pace`:
    what then spaces its site's requests, if anything.
    """

    is_light = False
    obeys = True

    __slots__ = (
        "arrived_at", "excused", "granted_at", "holds_place", "host", "in_flight", "is_circuit_open", "is_retry", "key",
        "owner", "pace", "refused_until", "request", "ripe_at", "slot_wait", "started", "trip",
    )  # fmt: skip

    def __init__(self, request: Request, host: str, owner: Owner | None = None, key: str | None = None) -> None:
        self.request = request
        self.host = host
        self.key = key
        self.owner = owner
        self.trip: Any = None
        self.started = False
        self.arrived_at = 0.0
        self.granted_at = 0.0
        self.slot_wait = 0.0
        self.holds_place = False
        self.refused_until: float | None = None
        self.is_circuit_open = False
        self.is_retry = False
        self.ripe_at = 0.0
        self.excused = 0.0
        self.in_flight = 0
        self.pace: Limiter | None = None

    def deliver(self, outcome: Outcome) -> None:
        """Take the outcome; called exactly once, without any lock."""
        raise NotImplementedError

    def before_send(self) -> None:
        """Called right before the first send, without any lock, unless `is_light`. If it raises, nothing is sent."""

    def go_on(self, attempts: tuple[Attempt, ...]) -> None:
        """Hear that it was sent and goes on later, after these attempts; called without any lock."""

    def claim(self) -> bool:
        """Whether the request is still wanted; asked once, right before the first send."""
        return True

    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more; may be asked at any time."""
        return False

    def is_wanted(self) -> bool:
        """Whether to send it: nobody has cancelled it, and its owner has not left."""
        if self.owner is not None and self.owner.is_forsaken:
            return False
        return self.started or self.claim()


class Caller:
    """A thread that asks to send something itself, and waits for leave: code inside `submit` using `pool.session`.

    `admitted` turns true when it may send now: its place and its slots are taken. Until then it asks again at
    `wakes_at` (seconds on the pool's clock). `notify` is called, under the scheduler's lock, when either has changed.
    `has_place`: it is inside a send already, and waits for slots only. `since`: when it began to wait. `is_retry`: it
    needs a token of the retry budget. `key`: as for a `Ticket`. `in_flight`: as for a `Ticket`, once it is admitted.
    `is_refused` turns true, and `notify` is called, when its host wants no request: it is then to be withdrawn.
    """

    __slots__ = (
        "admitted", "has_place", "host", "in_flight", "is_refused", "is_retry", "key", "notify", "since", "wakes_at",
    )  # fmt: skip

    def __init__(
        self,
        host: str,
        notify: Callable[[], None],
        *,
        key: str | None = None,
        has_place: bool = False,
        is_retry: bool = False,
        since: float = 0.0,
    ) -> None:
        self.host = host
        self.key = key
        self.is_retry = is_retry
        self.in_flight = 0
        self.notify = notify
        self.has_place = has_place
        self.admitted = False
        self.is_refused = False
        self.wakes_at = NEVER
        self.since = since

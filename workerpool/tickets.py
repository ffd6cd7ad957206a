"""What waits in the scheduler: a request's `Ticket`, and a `Caller`, a thread that wants to send by itself.

While they wait, they are touched under the lock of whoever drives the scheduler. A request in flight is its thread's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from workerpool.clock import NEVER
from workerpool.model import Attempt, Outcome, Request
from workerpool.statistics import Wait

if TYPE_CHECKING:
    from workerpool.credentials import Bearer
    from workerpool.limits import Limiter


class Owner:
    """What a request may belong to: a stream.

    `is_over`: it ends, and nothing of it is to be sent again. `is_forsaken`: nobody takes its outcomes any more.
    `is_full`: so many bodies wait to be taken that nothing of it is to be sent now, save `awaited`, which must go all
    the same: those that wait, wait for it. Any thread may set these; `Scheduler.resume` and `urge` tell of the change.

    `needs_receipts`: whether a request of it that was sent holds its place until that has been acknowledged. Then
    `room` is how many more may be sent, and `queued` how many wait in lanes. Both are the scheduler's. Without
    receipts, `room` stays above 0. `doing`: see `delays.Feeder`.
    """

    def __init__(self, room: int = 1, *, needs_receipts: bool = False, doing: Wait = Wait.SINK) -> None:
        self.is_over = False
        self.is_forsaken = False
        self.is_full = False
        self.awaited: Ticket | None = None
        self.needs_receipts = needs_receipts
        self.room = room
        self.queued = 0
        self.doing = doing

    def lets(self, ticket: Ticket) -> bool:
        """Whether a request of it may be sent now."""
        return ticket is self.awaited if self.is_full else self.room > 0


NOBODY = Owner()
"""Whose requests are that belong to no stream. It never changes."""


@dataclass(slots=True, eq=False, repr=False)
class Ticket:
    """One request on its way through the pool, from its arrival to its outcome.

    Who gives requests to the pool makes a subclass, which says what becomes of an outcome.
    """

    is_light: ClassVar[bool] = False
    """Whether to begin it and to take its outcome never takes long: a thread may do it which others wait for, too."""
    obeys: ClassVar[bool] = True
    """Whether robots.txt is asked about it, in a pool that does so; not about that file itself."""

    request: Request
    host: str
    owner: Owner = NOBODY
    key: str | None = None  # what it counts against besides its host, if anything
    trip: Any = None  # the worker's own: where it stands between its attempts. None before: a full window holds little
    started: bool = False  # it has been sent, or is about to be
    arrived_at: float = 0.0  # when it was given to the crew
    granted_at: float = 0.0  # when its last send was allowed, or the time of its slot
    in_flight: int = 0  # sends to its host then, itself included
    slot_wait: float = 0.0  # seconds at the head of its lane before that, for slots or its host's pause
    holds_place: bool = False  # it was sent, for an owner that needs receipts, and nobody was told yet
    refused_until: float | None = None  # its host wants no request before that time: it ends unsent
    is_circuit_open: bool = False  # and that is its circuit breaker's doing
    is_retry: bool = False  # it waits for a token of the retry budget,
    ripe_at: float = 0.0  # since then,
    excused: float = 0.0  # and has waited for so many seconds for these in all
    pace: Limiter | None = None  # what spaces the requests of its site, where robots.txt is obeyed
    bearer: Bearer | None = None  # how it says who sends it, where that is by a token which ends

    def __repr__(self) -> str:
        state = "to be retried" if self.is_retry else "has been sent" if self.started else "not sent yet"
        return f"<{type(self).__name__} {self.request!r}: {state}>"

    def deliver(self, outcome: Outcome) -> None:
        """Take the outcome; called exactly once, without any lock."""
        raise NotImplementedError

    def before_send(self) -> None:
        """Called right before the first send, without any lock, unless `is_light`. If it raises, nothing is sent."""

    def note_underway(self, attempts: tuple[Attempt, ...]) -> None:
        """Hear that it was sent and goes on later, after these attempts; called without any lock.

        Before the crew is told what follows: after that, another thread may have sent it again, and it may have ended.
        """

    def claim(self) -> bool:
        """Whether the request is still wanted; asked once, right before the first send."""
        return True

    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more; may be asked at any time."""
        return False

    def is_wanted(self) -> bool:
        """Whether to send it: nobody has cancelled it, and its owner has not left."""
        return not self.owner.is_forsaken and (self.started or self.claim())


@dataclass(slots=True, eq=False)
class Caller:
    """A thread that asks to send something itself, and waits for leave: code inside `submit` using `pool.session`.

    `notify` is called, under the scheduler's lock, when one of the last three has changed.
    """

    host: str
    notify: Callable[[], None]
    key: str | None = None  # as for a `Ticket`
    has_place: bool = False  # it is inside a send already, and waits for slots only
    is_retry: bool = False  # it needs a token of the retry budget
    since: float = 0.0  # when it began to wait
    in_flight: int = 0  # as for a `Ticket`, once it is admitted
    admitted: bool = False  # it may send now: its place and its slots are taken
    is_refused: bool = False  # its host wants no request: it is to be withdrawn
    wakes_at: float = NEVER  # otherwise it asks again then, in seconds on the pool's clock

"""A `Lane`: the queue of one host's requests, or of those of them that count against one key of the user's.

Only the scheduler touches it, under the lock of its caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from workerpool.clock import LONG_AGO, NEVER
from workerpool.limits import Limiter
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.parked import parted
from workerpool.statistics import Wait
from workerpool.tickets import Ticket


@dataclass(slots=True, eq=False, repr=False)
class Lane:
    """Requests for one host, and with one key where the user limits by key. `quota`: the key's slots, of all hosts."""

    host: Host
    key: str | None
    quota: Limiter | None
    queue: deque[Ticket] = field(default_factory=deque)
    retries: deque[Ticket] = field(default_factory=deque)  # those that need a token of the retry budget
    since: float | None = None  # since when the queue has waited for slots without a break
    head_at: float | None = None  # since when the head of the queue has had a place, and waits for slots
    listed: bool = False  # stands in the ring
    stands_back: bool = False  # as its host is slow, and others want the places
    timer: float = NEVER  # the earliest time at which the heap holds this lane

    def __repr__(self) -> str:
        where = "in the ring" if self.listed else "stands back" if self.stands_back else "waits"
        return f"<Lane of {self.host.name}: {len(self.queue)} queued, {len(self.retries)} to be retried, {where}>"

    @property
    def is_empty(self) -> bool:
        return not self.queue and not self.retries

    def append(self, ticket: Ticket) -> None:
        """Put a request at the end."""
        self.queue.append(ticket)
        self.host.queued += 1

    def push_first(self, ticket: Ticket) -> None:
        """Put a request to the front."""
        if ticket.is_retry:
            self.retries.appendleft(ticket)
        else:
            self.queue.appendleft(ticket)
            self.host.queued += 1

    def pop(self, line: deque[Ticket]) -> Ticket:
        """Take the first request of the queue that `line` gave."""
        if line is self.queue:
            self.host.queued -= 1
        return line.popleft()

    def discard(self, is_unwanted: Callable[[Ticket], bool]) -> list[Ticket]:
        """Remove and return those that `is_unwanted` picks."""
        gone, self.queue = parted(self.queue, is_unwanted)
        self.host.queued -= len(gone)
        retries, self.retries = parted(self.retries, is_unwanted)
        return gone + retries

    def line(self, now: float) -> deque[Ticket]:
        """The queue whose head goes next: a retry before the others, if there is a token for it."""
        if self.retries and (not self.queue or self.host.refused_until > now or self.host.finds_token(now)):
            return self.retries
        return self.queue

    def limits(self) -> tuple[Limiter, ...]:
        """Everything that gives slots to this lane, the pool's budget apart."""
        return self.host.limiters if self.quota is None else (*self.host.limiters, self.quota)

    def is_open(self, now: float) -> bool:
        """Whether something is queued that may be sent now, as far as its host and its key are concerned."""
        host = self.host
        if host.in_flight >= host.places and host.refused_until <= now:
            return False
        if self.retries or host.limiters or self.quota is not None:
            return bool(self.queue or self.retries) and self.opens_at(now) <= now
        return bool(self.queue) and (host.not_before <= now or host.refused_until > now)

    def opens_at(self, now: float) -> float:
        """When the next request may be sent, places apart."""
        host = self.host
        if host.refused_until > now:
            return now  # refusals are told at once
        return max(host.opens_at(self.line(now)[0].request.weight), self.own_at(now))

    def own_at(self, now: float) -> float:
        """When it may be sent by the lane's own limits: its key's quota, and a token if only retries are left."""
        line, tokens, at = self.line(now), self.host.tokens, LONG_AGO
        if line is self.retries and tokens is not None:
            at = tokens.next_at()
        if self.quota is not None:
            at = max(at, self.quota.next_at(line[0].request.weight))
        return at

    def waits_for(self, now: float) -> Wait:
        """What keeps the next request from being sent, as far as its host and its key are concerned; it is queued."""
        if self.host.refused_until > now:
            return Wait.READY  # it ends unsent, which needs nothing of the host's
        weight = (self.queue or self.retries)[0].request.weight
        wait = self.host.waits_for(now, weight)
        if wait is not Wait.READY:
            return wait
        tokens = self.host.tokens
        if not self.queue and tokens is not None and tokens.next_at() > now:
            return Wait.RETRY_BUDGET
        if self.quota is not None and self.quota.next_at(weight) > now:
            return Wait.KEY_RATE
        first = self.host.timed  # whose turn is before this one's, unless this one stands in the ring already
        return Wait.READY if first is None or first is self or self.listed else first.waits_for(now)

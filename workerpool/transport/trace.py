"""What a thread's current send is for, and what came of it: between the wire, the connection and the reader.

A `Trace` is made for each send, by the thread that sends. Who reads a streamed response elsewhere only changes
`received` and `has_leftover`, after everybody else has looked at the rest.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

ANY_AGE = float("inf")

UNREPEATABLE_IDLE = 1.0
"""Seconds that a socket may have been idle to carry a request that must not be sent twice: were it closed by its server
meanwhile, nobody could tell whether the request was acted on."""


def idle_max(*, fresh: bool, repeats: bool) -> float:
    """For how long a socket may have been idle: not at all if it must be a `fresh` one; `repeats`: whether the request
    may be sent twice."""
    if fresh:
        return 0.0
    return ANY_AGE if repeats else UNREPEATABLE_IDLE


@dataclass(slots=True)
class Trace:
    """One send. Times are seconds.

    What it is for: `host`, whose budget its socket counts against, "" for the socket's own origin; `idle_max`, for how
    long the socket that it takes may have been idle at most, 0 for a new socket only; `streams`, whether the caller
    reads the body.

    What came: `reused`, whether the socket had been used before; `resumed`, whether a TLS handshake resumed an
    earlier session; `place`, the wait for a place among the sockets; `dns`, `connect`, `tls`, `first_byte` and
    `body`, as `Timings` has them; `sent_at` (`time.perf_counter`), when the request's first byte went out, None
    before; `received`, bytes of the answer; `answered`, whether its headers are complete; `has_leftover`, whether
    more came than belongs to it. `fast_path`: whether that was the way it went, None for a send of `pool.session`
    that went by requests' own, or by an adapter of the user's. `unreadable`: what is wrong with the body of a
    redirect, which does no harm if that is followed. `handed`: a connection with which another path goes on, see
    `Pending`.
    """

    host: str = ""
    idle_max: float = ANY_AGE
    streams: bool = False
    reused: bool | None = None
    resumed: bool | None = None
    place: float = 0.0
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    body: float = 0.0
    sent_at: float | None = None
    received: int = 0
    answered: bool = False
    has_leftover: bool = False
    fast_path: bool | None = None
    unreadable: Exception | None = None
    handed: Any = None

    def note_body(self) -> None:
        """Count the time since the head as the body's."""
        if self.sent_at is not None:
            self.body = max(0.0, time.perf_counter() - self.sent_at - self.first_byte)

    def charge(self, began: float) -> None:
        """Add the time of a send that failed, and that began at `began`, to what it was doing."""
        now = time.perf_counter()
        if self.sent_at is None:
            self.connect = max(0.0, now - began - self.place - self.dns)
        elif not self.answered:
            self.first_byte = now - self.sent_at
        else:
            self.body = max(0.0, now - self.sent_at - self.first_byte)


def mark(response: Any, trace: Trace) -> None:
    """Let a response carry the trace of its send, until `taken_off`: a hook may send, too, before anybody asks."""
    response.trace = trace


def taken_off(response: Any) -> Trace | None:
    """Take its trace off a response; None where it has none, as somebody else has made it."""
    trace: Trace | None = getattr(response, "__dict__", {}).pop("trace", None)
    return trace


class Traces(threading.local):
    """The calling thread's current trace."""

    def __init__(self) -> None:
        self.current = Trace()

    def begin(self, trace: Trace) -> Trace:
        self.current = trace
        return trace

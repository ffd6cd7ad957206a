"""What a thread's current send is for, and what came of it: between the wire, the connection and the reader.

A `Trace` is made for each send, by the thread that sends. Who reads a streamed response elsewhere only adds to
`received`, after everybody else has looked at the rest.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

ANY_AGE = float("inf")


@dataclass(slots=True)
class Trace:
    """One send. Times are seconds.

    What it is for: `host`, whose budget its socket counts against, "" for the socket's own origin; `idle_max`, for how
    long the socket that it takes may have been idle at most, 0 for a new socket only; `streams`, whether the caller
    reads the body.

    What came: `reused`, whether the socket had been used before; `resumed`, whether a TLS handshake resumed an earlier
    session; `dns`, `connect`, `tls`, `first_byte`, `body`, as `Timings` has them; `sent_at` (`time.perf_counter`), when
    the request's first byte went out, None before; `received`, bytes of the answer; `answered`, whether its headers are
    complete.
    """

    host: str = ""
    idle_max: float = ANY_AGE
    streams: bool = False
    reused: bool | None = None
    resumed: bool | None = None
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    body: float = 0.0
    sent_at: float | None = None
    received: int = 0
    answered: bool = False


class Traces(threading.local):
    """The calling thread's current trace."""

    def __init__(self) -> None:
        self.current = Trace()

    def begin(self, trace: Trace) -> Trace:
        self.current = trace
        return trace

"""The wire: one small protocol, which workers send through and tests stand in for.

A transport sends one thing once, over the session of the calling worker's thread, and returns a response or raises one
of workerpool's errors. Many that are plain it can send without waiting. A redirect is not followed here: `follow` says
where the request goes on, and the scheduler decides when.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from requests import Response

from workerpool.config import RetryPolicy, Timeout
from workerpool.model import Request
from workerpool.transport.connections import SocketCounts
from workerpool.transport.trace import Trace


@dataclass(slots=True)
class Exchange:
    """One attempt at a request on the wire: what is sent next, and what came so far.

    `url`: where the next send goes, `host`: whose budget it counts against, `fresh`: over a new socket only.
    `prepared`: the transport's own form of it, kept between attempts so that a body can be sent again. `history`: the
    redirects followed, `steps`: what tells a circle of them. `trace`: of the last send. `login`: what ``Authorization``
    says in place of what the session would put there; None leaves that to the session. `route`: the transport's own
    account of the proxies that it has tried.
    """

    request: Request
    url: str
    host: str = ""
    fresh: bool = False
    prepared: Any = None
    first: Any = None
    history: list[Response] = field(default_factory=list)
    steps: set[Any] = field(default_factory=set)
    trace: Trace = field(default_factory=Trace)
    login: str | None = field(default=None, repr=False)
    route: Any = None

    @property
    def method(self) -> str:
        """Of what is sent next: a redirect may lead from a POST to a GET."""
        return getattr(self.prepared, "method", None) or self.request.method

    def may_repeat(self, policy: RetryPolicy) -> bool:
        """Whether what is sent next may be sent twice."""
        return policy.may_repeat(self.method, self.request.headers or (), self.request.idempotent)

    def restart(self) -> None:
        """Go back to the request itself, for another attempt."""
        self.url = self.request.url
        self.prepared = self.first
        self.history = []
        self.steps = set()
        self.fresh = False
        self.route = None


class Transport(Protocol):
    """What a worker sends through. Every method may be called by many threads, `send` and `follow` by workers only."""

    def open_session(self) -> Any:
        """Make the calling worker's session, before its first request."""

    def settle_session(self, session: Any) -> None:
        """Take note that the session is set up: the user's initializer has run."""

    def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        """Send `exchange` once and read the response; raises a `RequestError` whose cause is the library's error.

        `timeout.total` is what is left of the attempt's time.
        """

    def follow(self, session: Any, exchange: Exchange, response: Response) -> bool:
        """Point `exchange` at where `response` redirects to; False if it does not, or should not be followed."""

    def can_repeat(self, exchange: Exchange) -> bool:
        """Whether the request's body can be sent again."""

    def warm(self, session: Any, url: str, host: str) -> bool:
        """Open a socket for `url` and keep it idle; False if the budget, of `host` or in all, has no place for it."""

    def counts(self) -> SocketCounts:
        """Count the sockets."""

    def close(self) -> None:
        """Close every idle socket, and each other one when it is done."""

    def abandon(self) -> None:
        """In a forked child: let go of the parent's sockets without telling the servers."""


class Carried(Protocol):
    """A plain request that was sent, and whose answer nobody waits for: whoever carries it looks at its socket."""

    @property
    def sock(self) -> Any:
        """What is to be looked at: something can be read from it when it is time to go on."""

    @property
    def expires_at(self) -> float:
        """When to go on at the latest, `time.monotonic` seconds."""

    needs_thread: bool
    """Whether somebody has to go on who may wait."""

    def close(self) -> None:
        """Give it up."""


class CarryingTransport(Transport, Protocol):
    """A transport that can send without waiting for the answer, so that one thread carries many requests at once.

    `carried`: what its own `begin` has returned.
    """

    def begin(self, session: Any, exchange: Exchange, timeout: Timeout, *, connects: bool) -> Carried | None:
        """Send `exchange`, and do not wait for the answer; None if that is not possible. Raises as `send`.

        `connects`: over a new connection, for which this waits; otherwise over one that is idle.
        """

    def go_on(self, session: Any, exchange: Exchange, carried: Any, *, is_late: bool) -> Response | None:
        """Read what has come, without waiting, on any worker's thread; None if that is not all. Raises as `send`.

        `is_late`: the answer's time is over.
        """

    def finish(self, session: Any, exchange: Exchange, carried: Any) -> Response:
        """Go on as `send` does, on a thread that may wait. Raises as `send`."""

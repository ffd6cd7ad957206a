"""The ways of a request that must not differ: plain requests, a pool on requests' own path, the pool's fast path, and
that path where a thread carries the request: it sends without waiting, and waits for the socket by poll.

One thread each, but for the last: what the carrier cannot do, another thread does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import requests

from tests.wire import pictures
from tests.wire.answers import PATIENCE, Case
from tests.wire.pictures import Picture
from tests.wire.scripted import ScriptedServer, Visit
from workerpool import Outcome, Request, WorkerPool
from workerpool.errors import TimedOut
from workerpool.transport import Carried, RequestsTransport

SECONDS = 20.0
"""Timeout of what ends by itself."""

Run = Callable[[ScriptedServer, Case], Picture]


def plain(server: ScriptedServer, case: Case) -> Picture:
    """Send the case's request by a session of its own; what came of it."""
    with server.visit() as visit, requests.Session() as session:
        session.trust_env = False
        if case.used:
            session.get(server.url("/before"), timeout=SECONDS)
        try:
            response = session.request(
                case.method,
                server.url(),
                headers=case.headers,
                data=case.data,
                timeout=PATIENCE if case.waits else SECONDS,
                allow_redirects=case.method.upper() != "HEAD",
            )
        except Exception as error:
            return {**pictures.of_error(error), **_sent(visit)}
        return {**pictures.of_response(response), **_sent(visit)}


def through(pool: WorkerPool) -> Run:
    """Send cases through `pool`, and after each a request that shows whether its socket is in step."""

    def run(server: ScriptedServer, case: Case) -> Picture:
        with server.visit() as visit:
            if case.used:
                _one(pool, Request(server.url("/before"), timeout=SECONDS))
            outcome = _one(
                pool,
                Request(
                    server.url(),
                    case.method,
                    headers=case.headers,
                    data=case.data,
                    timeout=PATIENCE if case.waits == "everyone" else SECONDS,
                ),
            )
            seen = {**of_outcome(outcome), **_sent(visit)}
            visit.await_rest()
            after = _one(pool, Request(server.url("/after"), timeout=SECONDS))
            content = after.response and after.response.content
            seen["after"] = (after.status, content, str(after.error), visit.arrivals[-1].connection)
            return seen

    return run


class Witness(RequestsTransport):
    """A pool's own transport; `carried`: how many requests were begun, by URL, and `finished`: those that then needed a
    thread that waits."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.carried: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()

    def begin(self, session: Any, exchange: Any, timeout: Any, *, connects: bool) -> Carried | None:
        carried = super().begin(session, exchange, timeout, connects=connects)
        self.carried[exchange.url] += carried is not None
        return carried

    def finish(self, session: Any, exchange: Any, carried: Carried) -> Any:
        self.finished[exchange.url] += 1
        return super().finish(session, exchange, carried)


def carried_by(pool: WorkerPool) -> Run:
    """As `through`, over a connection that one request has gone over already: else there is nothing to carry."""
    run = through(pool)
    witness: Any = pool._transport

    def warmed(server: ScriptedServer, case: Case) -> Picture:
        seen = run(server, replace(case, used=True))
        if not case.used:
            assert seen["arrivals"][0][1].startswith(b"GET /before ")
            del seen["arrivals"][0]
        seen["carried"] = witness.carried[server.url()] > 0
        return seen

    return warmed


def of_outcome(outcome: Outcome) -> Picture:
    """A picture that compares with plain requests', and what is our own: the error's class and words."""
    ours = {"outcome": outcome.error and (type(outcome.error).__name__, str(outcome.error))}
    if outcome.response is not None:
        return {**pictures.of_response(outcome.response), **ours}
    assert outcome.error is not None
    if isinstance(outcome.error, TimedOut):  # by the deadline, or by the socket's own time, which ends with it
        return {**pictures.of_error(requests.ReadTimeout()), **ours}
    return {**pictures.of_error(outcome.error.__cause__ or outcome.error), **ours}


def _one(pool: WorkerPool, request: Request) -> Outcome:
    (outcome,) = pool.stream([request])
    return outcome


def _sent(visit: Visit) -> Picture:
    return {"arrivals": [(arrival.connection, arrival.head, arrival.body) for arrival in visit.arrivals]}


OURS_ALONE = ("outcome", "after", "carried")
"""What plain requests has no counterpart of."""


def slow_pool() -> WorkerPool:
    """A pool on requests' own path that sends each request once."""
    return WorkerPool(1, retry=None, fast_path=False)


def fast_pool() -> WorkerPool:
    """A pool as it is by default, but for retries."""
    return WorkerPool(1, retry=None)


def carrying_pool(workers: int = 2) -> WorkerPool:
    """One whose threads carry requests, for `carried_by`."""
    return WorkerPool(workers, retry=None, transport=Witness)


POOLS = {"slow": slow_pool, "fast": fast_pool}

WAYS: dict[str, tuple[Callable[[], WorkerPool], Callable[[WorkerPool], Run]]] = {
    "slow": (slow_pool, through),
    "fast": (fast_pool, through),
    "carried": (carrying_pool, carried_by),
}
"""All ways through a pool: what makes it, and what sends a case through it."""

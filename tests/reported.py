"""What the tests of histories and reports share: outcomes, figures and histories of our own making."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from requests import Response

from workerpool.config import Budgets
from workerpool.errors import RequestError, StatusError
from workerpool.history import History, Limits
from workerpool.model import Attempt, Outcome, Request, Timings
from workerpool.rate import Rate
from workerpool.statistics import Hosts, HostState, PoolStatistics, Waits

BEGAN = 1_700_000_000.0
LIMITS = Limits(workers=8, budgets=Budgets(rate=Rate(50), max_connections=24), attempts=4)


def outcome(
    url: str = "http://a.test/1",
    *,
    at: float = 0.0,
    elapsed: float = 0.1,
    error: RequestError | None = None,
    tries: int = 1,
    statuses: tuple[int | None, ...] = (),
    timings: Timings = Timings(first_byte=0.08, body=0.02),  # noqa: B008  frozen
) -> Outcome:
    """One whose attempts begin a second after each other, the first one `at` seconds after `BEGAN`."""
    status = error.status if isinstance(error, StatusError) else 200 if error is None else None
    response = None
    if status is not None:
        response = Response()
        response.status_code, response._content = status, b"12345"
    made = statuses or (*[503] * (tries - 1), status)
    attempts = tuple(
        Attempt(started_at=BEGAN + at + number, elapsed=elapsed, status=each, timings=timings)
        for number, each in enumerate(made)
    )
    waited = replace(timings, parked=float(len(attempts) - 1))
    whole = len(attempts) - 1 + elapsed
    return Outcome(Request(url, source="urls.txt", ordinal=7), response, error, attempts, whole, waited)


def figures(*, paused: tuple[tuple[str, float], ...] = (), waits: Waits | None = None, **counts: Any) -> PoolStatistics:
    some = tuple(HostState(host, "paused", queued=1, in_flight=0, rest=left) for host, left in paused)
    return PoolStatistics(waits=waits or Waits(), by_state=Hosts(paused=len(some), some=some), **counts)


def history(*outcomes: Outcome, seconds: float = 10.0) -> History:
    """A history with one execution of so many seconds, looked at each quarter of one."""
    made = History()
    made.begin(BEGAN, LIMITS, cores=2)
    made.add(outcomes)
    for look in range(int(seconds * 4)):
        past = (look + 1) / 4
        waits = Waits(rate=past * 0.7, host_sockets=past * 0.3)
        seen = figures(waits=waits, sent=look, sockets_opened=2, sockets_reused=look, sockets_open=2, in_flight=1)
        made.look(seen, BEGAN + past, past, past / 10)
    return made

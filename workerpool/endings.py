"""What outcomes say of how a request ended: sentences, and the errors made of them. Values, any thread."""

from __future__ import annotations

import http
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from workerpool.errors import CircuitOpen, HostPaused, RequestError, StatusError
from workerpool.model import Attempt, Outcome, Request
from workerpool.redact import printable, redact

if TYPE_CHECKING:
    from requests import Response

END_OF_TIME = 253_402_300_799.0
"""The last second since the epoch that has a date: of the year 9999."""

GIVEN_UP = "its pool or its stream was told to end"
"""Why a request that was sent is not sent again."""

LONGEST_PHRASE = 100
"""Characters of a status line's own words that are repeated in an error."""

OK = "ok"
"""How a request has ended that was answered as it should be."""


def unsent(request: Request, error: RequestError, attempts: tuple[Attempt, ...] | None = None) -> Outcome:
    """The outcome of a request that ends with `error`, by no answer. `attempts`: made so far; None: its `earlier`."""
    made = request.earlier if attempts is None else attempts
    error.key, error.attempts = redact(request.label), len(made)
    return Outcome(request, None, error, made)


def status_error(response: Response) -> StatusError:
    try:
        phrase = response.reason or http.HTTPStatus(response.status_code).phrase
    except ValueError:
        phrase = ""
    phrase = printable(phrase[:LONGEST_PHRASE])  # a server may have written anything there
    return StatusError(f"HTTP {response.status_code} {phrase}".rstrip(), status=response.status_code)


def is_good(status: int) -> bool:
    """Whether an answer with this status is what was asked for; 101 is the beginning of another protocol."""
    return 200 <= status < 400


def paused_error(wait: float, wall_time: float, most: float) -> HostPaused:
    """A host wants no request for `wait` seconds from `wall_time` on; `most`: seconds that would be waited for."""
    until = wall_time + wait
    told = f"the host asked for a pause of {wait:.0f} s, until {utc(until)}; at most {most:g} s are waited for"
    return HostPaused(told, until=until)


def circuit_error(host: str, wait: float, wall_time: float) -> CircuitOpen:
    """A host's circuit breaker lets no request through for `wait` seconds from `wall_time` on."""
    until = wall_time + wait
    told = f"{host} keeps failing, so nothing is sent to it for {wait:.0f} s, until {utc(until)}"
    return CircuitOpen(told, until=until)


def in_short(error: RequestError) -> str:
    """Name how a request failed in a word or two: a status with its phrase, or the error's own reason."""
    if not isinstance(error, StatusError):
        return error.reason
    try:
        return f"{error.status} {http.HTTPStatus(error.status).phrase}"
    except ValueError:
        return f"{error.status} status"


def explain(error: RequestError, more: str) -> None:
    """Add to what an error says."""
    error.args = (f"{error.args[0]} ({more})", *error.args[1:])


def history(attempts: Sequence[Attempt]) -> str:
    """Put the errors of attempts into one clause, equal ones counted: ``2 × HTTP 503, 1 × timed out``."""
    counts: dict[str, int] = {}
    for attempt in attempts:
        if attempt.error:
            counts[attempt.error] = counts.get(attempt.error, 0) + 1
    return ", ".join(f"{n} × {error}" for error, n in counts.items())


def told_before(error: str, before: Sequence[Attempt]) -> str:
    """Say how the attempts before the last one ended, which ended with `error`."""
    attempts = len(before) + 1
    if all(earlier.error == error for earlier in before):
        return f"{attempts} attempts, all alike"
    return f"attempt {attempts}, after {history(before)}"


def utc(wall_time: float) -> str:
    return datetime.fromtimestamp(min(wall_time, END_OF_TIME), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

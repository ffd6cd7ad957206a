"""What a job does to a request before it is sent: what is known of its URL, and a key that lets it be repeated.

The run's thread. Nothing of a request is kept but a hash of it.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workerpool.batch.canonical import canonical
from workerpool.batch.job.ledger import Ledger, Seen
from workerpool.batch.job.states import State, state_of
from workerpool.config import IDEMPOTENT_METHODS, RetryPolicy
from workerpool.model import Attempt, Outcome, Request
from workerpool.transport import has_header

NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """`conditional`: ask only for what has changed. `skip_recent`: seconds for which an ok answer is good, None never.

    `keys`: what ``Idempotency-Key`` headers are made of, None to send none.
    """

    conditional: bool = True
    skip_recent: float | None = None
    keys: str | None = None


class Preparation:
    """Makes requests ready by what the ledger knows of earlier ones."""

    def __init__(self, ledger: Ledger, habits: Habits) -> None:
        self._ledger = ledger
        self._habits = habits
        self._knows = (habits.conditional or habits.skip_recent is not None) and ledger.has_seen()
        self._namespace = None if habits.keys is None else uuid.uuid5(uuid.NAMESPACE_URL, habits.keys)

    def prepare(self, request: Request) -> Request | Outcome:
        """Return the request as it is to be sent, or the outcome of one that need not be."""
        if request.problem is not None:
            return request
        if self._namespace is not None and request.method.upper() not in IDEMPOTENT_METHODS:
            return self._with_key(request, self._namespace)
        if self._knows and is_plain(request):
            seen = self._ledger.seen(hash_of(request))
            if seen is not None:
                return self._with_seen(request, seen)
        return request

    def state_of(self, outcome: Outcome) -> State:
        """Name what has become of a request of this job."""
        if not outcome.attempts and outcome.error is None:
            return State.SKIPPED
        state = state_of(outcome, is_unchanged=outcome.status == NOT_MODIFIED)
        if state is State.SPENT and outcome.status is not None and not _may_repeat(outcome.request):
            return State.FAILED  # the server has had it: a round of retries must not send it again
        return state

    def seen(self, outcome: Outcome, state: State) -> Seen | None:
        """What to remember of an outcome, if anything."""
        request, response = outcome.request, outcome.response
        if state not in (State.OK, State.UNCHANGED) or response is None or not is_plain(request):
            return None
        etag = modified = None
        if has_header(response, "etag", "last-modified"):
            etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        if state is State.UNCHANGED:
            etag, modified = (
                etag or _header(request, "If-None-Match"),
                modified or _header(request, "If-Modified-Since"),
            )
        return Seen(hash_of(request), int(time.time()), etag, modified)

    def _with_seen(self, request: Request, seen: Seen) -> Request | Outcome:
        recent = self._habits.skip_recent
        if recent is not None and 0 <= time.time() - seen.ok_at < recent:
            return Outcome(request)
        if not self._habits.conditional or _header(request, "If-None-Match") or _header(request, "If-Modified-Since"):
            return request
        conditions = {"If-None-Match": seen.etag, "If-Modified-Since": seen.modified}
        given = {name: value for name, value in conditions.items() if value is not None}
        return replace(request, headers={**(request.headers or {}), **given}) if given else request

    def _with_key(self, request: Request, namespace: uuid.UUID) -> Request:
        if _header(request, "Idempotency-Key") is not None:
            return request
        key = str(uuid.uuid5(namespace, f"{request.ordinal} {request.source}"))
        return replace(request, headers={**(request.headers or {}), "Idempotency-Key": key})


def hash_of(request: Request) -> int:
    """Hash what makes two requests the same: method, canonical URL, parameters, headers. 63 bits, so that of ten
    million requests two are mistaken for each other once in 180,000 batches.

    Conditions are left out: they are ours, or about the same thing.
    """
    text = f"{request.method.upper()} {canonical(request.url)}"
    if request.params or request.headers:
        headers = {name.lower(): value for name, value in (request.headers or {}).items()}
        headers.pop("if-none-match", None)
        headers.pop("if-modified-since", None)
        text += f"\0{_sorted(request.params)}\0{_sorted(headers)}" if request.params or headers else ""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _may_repeat(request: Request) -> bool:
    """Whether it may be sent again although the server has had it."""
    return RetryPolicy().may_repeat(request.method, request.headers or (), request.idempotent)


def _sorted(value: object) -> str:
    return "" if not value else json.dumps(value, sort_keys=True, default=str)


def is_plain(request: Request) -> bool:
    """Whether it only asks for something, so that an earlier answer says something about it."""
    return request.method.upper() in ("GET", "HEAD") and not (request.data or request.json or request.files)


def _header(request: Request, name: str) -> str | None:
    headers: Mapping[str, str] = request.headers or {}
    return next((value for given, value in headers.items() if given.lower() == name.lower()), None)


def attempts_to(attempts: Sequence[Attempt]) -> str:
    """Write attempts down: when, how long, and how each ended."""
    return json.dumps([[one.started_at, one.elapsed, one.status, one.error, one.hops] for one in attempts])


def attempts_from(text: str) -> tuple[Attempt, ...]:
    """Read what `attempts_to` wrote."""
    return tuple(
        Attempt(began, elapsed, status, error, hops) for began, elapsed, status, error, hops in json.loads(text)
    )

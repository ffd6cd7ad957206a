"""What a job does to a request before it is sent: what is known of its URL, and a key that lets it be repeated.

The run's thread. Nothing of a request is kept but a hash of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import Seen
from workerpool.batch.job.states import Identity, State, state_of
from workerpool.canonical import canonical
from workerpool.config import IDEMPOTENT_METHODS, RetryPolicy
from workerpool.model import Attempt, Outcome, Request
from workerpool.transport import has_header

NOT_MODIFIED = 304

_ETAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]{0,1000}"')  # RFC 9110, section 8.8.3; "*" would match whatever is there
_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")  # section 5.6.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """`conditional`: ask only for what has changed. `skip_recent`: seconds for which an ok answer is good, None never.

    `keys`: what ``Idempotency-Key`` headers are made of, None to send none.
    """

    conditional: bool = True
    skip_recent: float | None = None
    keys: str | None = None


class Preparation:
    """Makes requests ready by what the ledger knows of those of earlier runs. `identity` gives that of a request."""

    def __init__(self, ledger: LedgerReader, habits: Habits, identity: Callable[[Request], Identity]) -> None:
        self._ledger = ledger
        self._habits = habits
        self._identity = identity
        self._knows = (habits.conditional or habits.skip_recent is not None) and ledger.has_seen()
        self._namespace = None if habits.keys is None else uuid.uuid5(uuid.NAMESPACE_URL, habits.keys)

    def prepare(self, request: Request) -> Request | Outcome:
        """Return the request as it is to be sent, or the outcome of one that need not be."""
        if request.problem is not None:
            return request
        if self._namespace is not None and request.method.upper() not in IDEMPOTENT_METHODS:
            return self._with_key(request, self._namespace)
        hashed = hash_of(request) if self._knows else None
        seen = None if hashed is None else self._ledger.seen(hashed)
        return request if seen is None else self._with_seen(request, seen)

    def state_of(self, outcome: Outcome) -> State:
        """Name what has become of a request of this job."""
        if not outcome.attempts and outcome.error is None:
            return State.SKIPPED
        state = state_of(outcome, is_unchanged=outcome.status == NOT_MODIFIED and _is_about_it(outcome))
        if state is State.SPENT and outcome.status is not None and not _may_repeat(outcome.request):
            return State.FAILED  # the server has had it: a round of retries must not send it again
        return state

    def seen(self, outcome: Outcome, state: State) -> Seen | None:
        """What to remember of an outcome, if anything."""
        request, response = outcome.request, outcome.response
        if state not in (State.OK, State.UNCHANGED) or response is None:
            return None
        hashed = hash_of(request)
        if hashed is None:
            return None
        etag = modified = None
        if has_header(response, "etag", "last-modified") and not _was_redirected(outcome):
            etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
        if state is State.UNCHANGED:
            etag = etag or _header(request, "If-None-Match")
            modified = modified or _header(request, "If-Modified-Since")
        return Seen(hashed, int(time.time()), _valid(_ETAG, etag), _valid(_DATE, modified))

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
        source, ordinal = self._identity(request)  # not by name: that may be another from another directory
        key = str(uuid.uuid5(namespace, f"{ordinal} {source}"))
        return replace(request, headers={**(request.headers or {}), "Idempotency-Key": key})


def hash_of(request: Request) -> int | None:
    """Hash what makes two requests the same: method, canonical URL, and all that decides about the answer. 63 bits, so
    that of ten million requests two are mistaken for each other once in 180,000 batches.

    Conditions are left out: they are ours, or about the same thing. None for a request that does more than ask, so that
    an earlier answer says nothing about it, and for one that carries what cannot be compared, such as an auth's object.
    """
    method = request.method.upper()
    if method not in ("GET", "HEAD") or request.data or request.json is not None or request.files:
        return None
    text = f"{method} {canonical(request.url)}"
    if any(value is not None for value in map(request.__getattribute__, _DECIDING)) or request.stream:
        details = _details(request)
        if details is None:
            return None
        text += details
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _may_repeat(request: Request) -> bool:
    """Whether it may be sent again although the server has had it."""
    return RetryPolicy().may_repeat(request.method, request.headers or (), request.idempotent)


_DECIDING = ("params", "headers", "auth", "cookies", "allow_redirects", "proxies", "verify", "cert", "hooks", "sha256")


def _details(request: Request) -> str | None:
    """Write down what else decides about an answer; "" for nothing, None if it cannot be compared."""
    if request.hooks or request.stream:
        return None
    try:
        headers = sorted((name.lower(), value) for name, value in (request.headers or {}).items())
        headers = [(name, value) for name, value in headers if name not in ("if-none-match", "if-modified-since")]
        details = [request.params or None, headers or None, request.auth, request.cookies or None]
        details += [request.allow_redirects, request.proxies or None, request.verify, request.cert]
        details += [request.sha256]
        return "" if details.count(None) == len(details) else f"\0{json.dumps(details)}"
    except (TypeError, ValueError):
        return None


def _is_about_it(outcome: Outcome) -> bool:
    """Whether a 304 says that the request's own URL is as it was: it was asked so, and led nowhere else.

    What it led to may be another thing than before, whose ETag happens to be the same. And a server that says 304
    without being asked says nothing.
    """
    request = outcome.request
    was_asked = _header(request, "If-None-Match") or _header(request, "If-Modified-Since")
    return bool(was_asked) and not _was_redirected(outcome)


def _was_redirected(outcome: Outcome) -> bool:
    return bool(outcome.attempts) and outcome.attempts[-1].hops > 0


def _valid(pattern: re.Pattern[str], value: str | None) -> str | None:
    """What can be sent back to the server; junk is forgotten."""
    return value if value is not None and pattern.fullmatch(value) else None


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

"""What an examination found: frozen values, and their form as JSON. No I/O, any thread. Durations are seconds."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from workerpool.doctor.ratelimits import RateLimit
from workerpool.redact import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request of the examination, redirects included.

    `reused`: whether its last send went over a used socket; `resumed`: whether its new socket's TLS session was;
    `closes`: whether the answer said that the connection ends; `was_asked`: whether the request had asked for that.
    `answer`: from the request's first byte to the answer's last one. `hops`: redirects, whose times are in the others.
    """

    reused: bool | None
    resumed: bool | None
    closes: bool
    was_asked: bool = False
    hops: int = 0
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    answer: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there was no answer: a stable word, as errors have it, and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered. `redirects`: the URLs that led there. `http`: its version, as ``HTTP/1.1``."""

    status: int
    phrase: str
    http: str
    redirects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Whether connections are reused.

    `reused`: None if that could not be told. `sends`: of so many requests that could have gone over a used connection,
    `over_used` did. `why`: a word where they did not: ``close`` (it says Connection: close), ``http10``, ``silent`` (it
    closes without a word), ``limit`` (after some requests). `requests`: so many requests a connection took before the
    server ended it; `requests_said`: what ``Keep-Alive: max=`` says.
    """

    reused: bool | None
    sends: int
    over_used: int
    why: str | None = None
    requests: int | None = None
    requests_said: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleLimit:
    """How long an idle connection stays. `source`: ``said`` (Keep-Alive: timeout=), ``seen``, or None if not found.

    `waited`: for so long it was looked for. `why_not`: why it was not, if it was not.
    """

    seconds: float | None = None
    source: str | None = None
    waited: float = 0.0
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What TLS is spoken. `resumed`: whether a later connection resumed the session, None if there was none.

    `protocol`: what the server chose when HTTP/2 and HTTP/1.1 were offered. `days_left`: of its certificate, None if
    that was not verified. `handshake`: its seconds. `why_not`: a sentence if there was no look at the handshake.
    """

    version: str | None = None
    cipher: str | None = None
    protocol: str | None = None
    resumed: bool | None = None
    expires_at: float | None = None
    days_left: int | None = None
    issuer: str | None = None
    handshake: float | None = None
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """`encoding`: what the body came in, None if plain. Bytes: `sent` over the wire, `size` of the body itself.

    `gzipped`: what gzip would make of a plain body, None if that was not tried.
    """

    encoding: str | None
    sent: int
    size: int
    gzipped: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a new connection costs, and what an answer takes: medians, None where there was nothing to measure.

    `dns`: of the first connection; later ones find the name in the cache. `tls`: a full handshake; `tls_resumed`: a
    resumed one. `answer`: from the request's first byte to the answer's last.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    tls_resumed: float | None = None
    answer: float | None = None

    @property
    def connection(self) -> float | None:
        """A new connection's typical cost: the name known, the session resumed where it is."""
        if self.connect is None:
            return None
        return self.connect + ((self.tls if self.tls_resumed is None else self.tls_resumed) or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found at `url`; parts are None that were not looked at, or could not be.

    `final_url`: where redirects led, which is what was examined. `requests`: how many were sent, redirects included;
    `connections`: how many were opened; `elapsed`: seconds in all. `stopped`: a sentence if it ended early; `refused`:
    the status with which the server refused another request. `alt_svc`: the header that offers HTTP/3, if one came.
    `only_heads`: whether HEAD was used, the body being large. `proxy`: host and port of the one that it went through.
    """

    url: str
    final_url: str
    requests: int
    connections: int
    elapsed: float
    interrupted: bool = False
    stopped: str | None = None
    refused: int | None = None
    failure: Failure | None = None
    answer: Answer | None = None
    reuse: Reuse | None = None
    idle: IdleLimit | None = None
    tls: Tls | None = None
    compression: Compression | None = None
    cost: Cost | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    alt_svc: str | None = None
    only_heads: bool = False
    proxy: str | None = None
    advice: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return one object for `json.dumps`, without secrets; docs/reference/cli.md lists its fields."""
        values: dict[str, Any] = asdict(self)
        if self.cost is not None:
            values["cost"]["connection"] = self.cost.connection
        cleaned = _cleaned(values)
        assert isinstance(cleaned, dict)
        return cleaned


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value


def reuse_of(samples: Sequence[Sample], said: int | None, *, is_http10: bool) -> Reuse:
    """Say from the samples whether connections are reused, and if not, why; `said` is of ``Keep-Alive: max=``."""
    kept = [sample for sample in samples if not sample.was_asked]
    chances = [after for before, after in itertools.pairwise(samples) if not before.was_asked]
    over_used = sum(after.reused is True for after in chances)
    lives = _lives(samples)
    why = None
    if lives and not over_used:
        why = "http10" if is_http10 else "close" if any(sample.closes for sample in kept) else "silent"
    elif lives:
        why = "limit"
    return Reuse(
        reused=over_used > 0 if chances else False if any(sample.closes for sample in kept) else None,
        sends=len(chances),
        over_used=over_used,
        why=why or ("close" if not chances and any(sample.closes for sample in kept) else None),
        requests=max(lives) if lives else None,
        requests_said=said,
    )


def _lives(samples: Sequence[Sample]) -> list[int]:
    """How many requests each connection took that the server ended: from its first one, if that was seen."""
    lives: list[int] = []
    count: int | None = None
    for sample, after in zip(samples, [*samples[1:], None], strict=True):
        count = 1 if sample.reused is False else None if count is None else count + 1
        ended = sample.closes or (after is not None and after.reused is False)
        if ended and count is not None and not sample.was_asked:
            lives.append(count)
        if ended:
            count = None
    return lives


def cost_of(samples: Sequence[Sample], handshake: float | None = None) -> Cost:
    """Work out the medians. Samples with redirects are left out: their times are of several sends together.

    `handshake`: what a full TLS handshake by itself took, where one was looked at; the first one of a pool, often its
    only full one, also reads the authorities' file.
    """
    clean = [sample for sample in samples if not sample.hops] or [*samples]
    new = [sample for sample in clean if sample.reused is False]
    used = [sample for sample in clean if sample.reused]
    return Cost(
        dns=new[0].dns if new and new[0] is samples[0] else None,
        connect=_median([sample.connect for sample in new]),
        tls=_median([sample.tls for sample in new if sample.resumed is False]) if handshake is None else handshake,
        tls_resumed=_median([sample.tls for sample in new if sample.resumed]),
        answer=_median([sample.answer for sample in used or clean]),
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None

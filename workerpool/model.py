"""The nouns of a batch: `Request`, `Attempt`, `Timings`, `Outcome`. Values, frozen; no clock, no I/O, any thread."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from workerpool.errors import RequestError
from workerpool.redact import redact

if TYPE_CHECKING:
    from requests import Response

    from workerpool.saving import Save, Saved

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_PORTS = {"http": 80, "https": 443}


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """Return a constructor of `cls`, a frozen dataclass with slots, that takes a third of the time of its own.

    A frozen dataclass sets each field by a call, 0.07 µs a field. Here a draft that is not frozen, with the same slots,
    sets them as any class does, and then becomes what it is a draft of.
    """
    copied = [
        (one.name, one.type, field(default=one.default))
        if one.default_factory is MISSING
        else (one.name, one.type, field(default_factory=one.default_factory))
        for one in fields(cls)  # type: ignore[arg-type]
    ]
    draft = make_dataclass("Draft", copied, slots=True)

    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        made = draft(*args, **kwargs)
        made.__class__ = cls
        return made  # type: ignore[no-any-return]

    return make


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One thing to fetch.

    Every field up to `cert` means what it means to `requests.request`. `allow_redirects` None follows them, except
    for HEAD, as requests' own methods do; `timeout` None is the pool's.

    `key`: a label of the user's; None is the URL. It may repeat.
    `idempotent`: True or False overrides what the method says about repeating it; None asks the method.
    `weight`: slots that one send of it spends; at most the burst.
    `save`: the file that the body goes to, instead of into memory. `sha256`: of the body, in hexadecimal: one that has
    another fails as `WrongChecksum`.
    `source`, `ordinal`: where it came from (a file's name; a line or row, from 1): its identity in a batch.
    `page`: which page of its input it is, from 1, where pages are followed; 0 where they are not.
    `problem`: why this input is no request that can be sent, as its source found; it is an outcome at once, unsent.
    `earlier`: the attempts that an earlier run has made. Those of this run follow them, in numbers, in the outcome and
    in errors' texts; times are this run's alone.
    """

    url: str
    method: str = "GET"
    params: Any = None
    headers: Mapping[str, str] | None = None
    data: Any = None
    json: Any = None
    files: Any = None
    auth: Any = None
    cookies: Any = None
    timeout: float | tuple[float | None, float | None] | None = None
    allow_redirects: bool | None = None
    proxies: Mapping[str, str] | None = None
    hooks: Mapping[str, Iterable[Callable[..., Any]] | Callable[..., Any]] | None = None
    stream: bool = False
    verify: bool | str | None = None
    cert: str | tuple[str, str] | None = None
    key: str | None = None
    idempotent: bool | None = None
    weight: int = 1
    save: Save | None = None
    sha256: str | None = None
    source: str = ""
    ordinal: int = 0
    page: int = 0
    problem: str | None = None
    earlier: tuple[Attempt, ...] = ()

    def __repr__(self) -> str:
        """Without headers, body, auth and cookies: a repr ends up in logs."""
        key = "" if self.key is None else f" key={redact(self.key)!r}"
        return f"<Request {self.method} {redact(str(self.url))}{key}>"

    @property
    def label(self) -> str:
        """The key, or the URL where there is none."""
        return self.url if self.key is None else self.key

    @property
    def follows_redirects(self) -> bool:
        """Whether redirects are followed: as it says, or as requests does for its method."""
        return self.method.upper() != "HEAD" if self.allow_redirects is None else self.allow_redirects


new_request = maker(Request)


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in seconds, of an attempt, or summed over a request's attempts.

    `queued`: waiting for its turn, for a worker and for a place in the connection budget. `slot`: at the head of its
    host's queue, waiting for the rate budget or for the end of the host's pause. `parked`: between attempts, for
    backoff and ``Retry-After``; 0 for an attempt by itself. `dns`: finding the address, `connect`: the TCP handshake,
    `tls`: the TLS handshake, a proxy's tunnel included; each 0 over a socket that was open. `first_byte`: from the
    request's first byte to the end of the response's headers. `body`: reading the response's body.
    """

    queued: float = 0.0
    slot: float = 0.0
    parked: float = 0.0
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    first_byte: float = 0.0
    body: float = 0.0

    def __add__(self, other: Timings) -> Timings:
        return Timings(
            self.queued + other.queued,
            self.slot + other.slot,
            self.parked + other.parked,
            self.dns + other.dns,
            self.connect + other.connect,
            self.tls + other.tls,
            self.first_byte + other.first_byte,
            self.body + other.body,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a request: a send, with its redirect hops.

    `started_at`: seconds since the epoch. `elapsed`: seconds from the first send to the last byte or the error,
    without the wait for slots of redirect hops. `status` is the final hop's, None where no response came.
    `error`: a sentence, None where a response came. `hops`: redirects followed. `timings`: of all its hops together.

    Of the last send: `reused`: whether it went over a socket that had been used before; `resumed`: whether the TLS
    handshake of its new socket resumed an earlier session; `fast_path`: whether it was sent and read by the fast path,
    not by requests' own code. None where there was none, or the transport cannot tell.
    """

    started_at: float
    elapsed: float
    status: int | None = None
    error: str | None = None
    hops: int = 0
    reused: bool | None = None
    resumed: bool | None = None
    fast_path: bool | None = None
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """How a request ended after all attempts: exactly one for each request, success or failure, never raised.

    `response`: the last one that came, also a failing one; None if none did. `error`: None if `ok`. `elapsed`:
    seconds from the first send to the end, waits between attempts included. `attempts` begins with
    those of an earlier run (`Request.earlier`), and is empty if nothing was ever sent. `following`: the request for the
    page after this one, which is made without being asked for; None if this is the last one, or no page.
    """

    request: Request
    response: Response | None = None
    error: RequestError | None = None
    attempts: tuple[Attempt, ...] = ()
    elapsed: float = 0.0
    timings: Timings = field(default_factory=Timings)
    following: Request | None = None

    def __repr__(self) -> str:
        ended = f"status={self.status}" if self.ok else f"error={redact(str(self.error))!r}"
        return f"<Outcome {ended} attempts={len(self.attempts)} of {self.request!r}>"

    @property
    def ok(self) -> bool:
        """Whether it ended with a status of 200–399."""
        return self.error is None

    @property
    def status(self) -> int | None:
        """The last response's status code, None if none came."""
        return None if self.response is None else self.response.status_code

    @property
    def saved(self) -> Saved | None:
        """The file that the body went to; None if it went to none."""
        # Asked by getattr for what is not there, a lazy response would look for a way to make it.
        return None if self.response is None else vars(self.response).get("saved")

    @property
    def size(self) -> int:
        """Bytes of the body as read, also where it went to a file, or was left out by the worker that had it."""
        if self.response is None:
            return 0
        saved = self.saved
        if saved is not None:
            return saved.size
        return vars(self.response).get("left_out", 0) or len(self.response.content or b"")

    @property
    def url(self) -> str:
        """The request's URL, as given."""
        return self.request.url


@dataclass(frozen=True, slots=True)
class Underway:
    """A request that was sent and has not ended: it goes on after a backoff, a redirect or a dead socket.

    `attempts`: those that have ended so far; an attempt that goes on after a redirect is not among them.
    """

    request: Request
    attempts: tuple[Attempt, ...]


class Idle:
    """What a source of requests may yield instead of waiting for its next one; see `IDLE`."""

    def __repr__(self) -> str:
        return "IDLE"


IDLE = Idle()
"""Yielded by a source that has nothing yet: a stream then takes outcomes for a moment before it asks again."""


def origin(url: str) -> str:
    """Return the origin of `url` (RFC 6454): ``scheme://host:port``, lower case, the default port spelled out.

    A URL without a host gives its own text, so that odd inputs share no lane with real hosts. Raises nothing.
    """
    plain = _PLAIN_SITE.match(url)
    if plain is not None:
        return plain[0] + _PORT_OF[plain[1]]
    return _site_origin("/".join(url.split("/", 3)[:3])) or url


_PLAIN_SITE = re.compile(r"(https?)://[a-z0-9.-]+(?![^/?#])")
"""What most URLs begin with: nothing to decode, and no port. It costs the same for any number of hosts."""

_PORT_OF = {scheme: f":{port}" for scheme, port in DEFAULT_PORTS.items()}


@functools.lru_cache(4096)
def _site_origin(site: str) -> str | None:
    """The origin of a URL that was cut after its host; None without one. Remembered: parsing takes 10 µs."""
    try:
        parts = urlsplit(site)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}:{port or DEFAULT_PORTS.get(scheme, 0)}"


def problem_of(url: str) -> str | None:
    """Say in a sentence why `url` cannot be fetched over HTTP, or None if nothing speaks against it."""
    if any(character.isspace() for character in url.strip()) or "\0" in url:
        return "a URL has no spaces or line breaks in it: percent-encode them (%20)"
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        return f"the URL does not parse: {error}"
    if parts.scheme not in DEFAULT_PORTS:
        return "a URL starts with http:// or https://"
    if not parts.hostname:
        return "the URL names no host"
    return None

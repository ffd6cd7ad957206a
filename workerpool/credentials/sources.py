"""Where tokens come from: `BearerToken`, a function or a text, and `ClientCredentials`, a token server (RFC 6749, 4.4).

A source is a value: pools and processes may share it, and each keeps what it has fetched in a `Login` of its own. It
sends nothing: it says which request is to be sent, and reads the answer. No text of it shows a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote_plus, urlencode

from workerpool.checks import check_flag, check_items, is_number
from workerpool.config import RETRIED_STATUSES
from workerpool.errors import OptionError, RequestError, TokenFailed
from workerpool.model import DEFAULT_PORTS, Outcome, Request, problem_of
from workerpool.redact import printable, redact

T = TypeVar("T")

TOKEN_SOURCE = "token_source"
"""An attribute of a prepared request: where the token comes from that whoever sends it adds."""

LONGEST_REASON = 200
"""Characters of a token server's own words that are repeated."""

_SITE = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d+))?(?=[/?#]|\Z)", re.IGNORECASE)
"""What a URL begins with if nobody can read it in two ways: no login, no other alphabet."""
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d+)?", re.IGNORECASE)
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Token:
    """What a fetch has brought. `value`: what is sent; `expires_in`: seconds that it is good for, None if nobody knows.

    `kind`: what stands before it in ``Authorization`` (RFC 6750). Raises `OptionError` for what cannot be sent.
    """

    value: str = field(repr=False)
    expires_in: float | None = None
    kind: str = "Bearer"

    def __post_init__(self) -> None:
        for name in ("value", "kind"):
            text = getattr(self, name)
            if not isinstance(text, str) or not _TOKEN.fullmatch(text):
                raise OptionError(f"Token.{name} must be a text of ASCII characters without spaces or line breaks")
        if self.expires_in is not None and not (is_number(self.expires_in) and math.isfinite(self.expires_in)):
            raise OptionError(f"Token.expires_in={self.expires_in!r} must be seconds, or None if nobody knows")

    @property
    def header(self) -> str:
        """What ``Authorization`` says."""
        return f"{self.kind} {self.value}"


class TokenSource:
    """Something that gives tokens. `hosts`: the only ones that they are sent to; None is wherever requests are sent.

    As the `auth` of a request it is for `WorkerPool` only, `pool.session` included: it fetches nothing by itself.
    """

    __slots__ = ()
    hosts: tuple[str, ...] | None
    renews: ClassVar[bool] = True
    """Whether another token may be had when one is refused."""

    @property
    def label(self) -> str:
        """What messages call it."""
        raise NotImplementedError

    def request(self) -> Request | None:
        """The request that a token comes of; None if `fetch` is to be called instead, as it may take a while."""
        return None

    def read(self, outcome: Outcome) -> Token:
        """The token that has come of `request`; raises `TokenFailed`."""
        raise NotImplementedError

    def fetch(self) -> Token:
        """Get a token, however long that takes; raises `TokenFailed`."""
        raise NotImplementedError

    def covers(self, url: str) -> bool:
        """Whether a token may be sent to `url`."""
        return self.hosts is None or any(_matches(pattern, url) for pattern in self.hosts)

    def __call__(self, prepared: T) -> T:
        """What requests calls: note that a token is wanted; whoever sends the request adds it."""
        if "Authorization" not in prepared.headers:  # type: ignore[attr-defined]
            setattr(prepared, TOKEN_SOURCE, self)
        return prepared


@dataclass(frozen=True, slots=True)
class BearerToken(TokenSource):
    """Tokens from a function of yours; or one that is always the same, given as a text.

    `fetch`: returns a `Token`, or its text if nobody knows how long it is good for. It is called on a worker's thread
        before the first request that needs a token, shortly before the token ends, and when it is refused with a 401:
        once, however many requests wait for it. It may use `pool.session`, which is under the pool's budgets.
    `hosts`: the only hosts that the token is sent to: ``"api.example.com"``, ``"*.example.com"``, ``"localhost:8080"``;
        None is that of each request. It is never sent to where a redirect leads, if that is another origin.
    """

    source: Callable[[], Token | str] | str = field(repr=False)
    hosts: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.source, str):
            Token(self.source)
        elif self.source is None or not callable(self.source):
            raise OptionError("BearerToken takes a function that returns a Token, or a token's text")
        object.__setattr__(self, "hosts", _checked_hosts(self.hosts))

    @property
    def renews(self) -> bool:  # type: ignore[override]
        """Whether another token may be had when one is refused."""
        return not isinstance(self.source, str)

    @property
    def label(self) -> str:
        return "a text" if isinstance(self.source, str) else getattr(self.source, "__name__", "a function")

    def fetch(self) -> Token:
        if isinstance(self.source, str):
            return Token(self.source)
        try:
            given = self.source()
            return given if isinstance(given, Token) else Token(given)
        except Exception as error:
            helps = getattr(error, "retry_helps", not isinstance(error, OptionError))
            told = redact(f"no token: {self.label} has failed: {type(error).__name__}: {error}")
            raise TokenFailed(told, retry_helps=helps) from error


@dataclass(frozen=True, slots=True)
class ClientCredentials(TokenSource):
    """Tokens of a token server, for a client's own name and secret (OAuth 2.0: RFC 6749, section 4.4).

    The request for one is a request like others: it has its slots, its deadline, its retries, and goes by the pool's
    proxies. Redirects are not followed, as they would take the secret along.

    `token_url`: where tokens are asked for. `client_id`, `client_secret`: who asks.
    `scope`, `audience`: what the token is to be good for, if the server wants to know.
    `in_body`: send name and secret in the request's body, not as HTTP Basic, for servers that want that.
    `more`: further fields of the request, as ``resource``.
    `hosts`: see `BearerToken`.
    """

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = field(default=None, kw_only=True)
    audience: str | None = field(default=None, kw_only=True)
    in_body: bool = field(default=False, kw_only=True)
    more: Mapping[str, str] | None = field(default=None, kw_only=True, repr=False, hash=False)
    hosts: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("token_url", "client_id", "client_secret"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise OptionError(f"ClientCredentials: {name} must be a text")
        problem = problem_of(self.token_url)
        if problem is not None:
            raise OptionError(f"ClientCredentials: token_url={redact(self.token_url)!r}: {problem}")
        check_flag("in_body", self.in_body)
        object.__setattr__(self, "hosts", _checked_hosts(self.hosts))

    @property
    def label(self) -> str:
        return redact(self.token_url)

    def __repr__(self) -> str:
        """Without the secret."""
        return f"ClientCredentials({self.label!r}, {self.client_id!r})"

    def request(self) -> Request:
        fields = {"grant_type": "client_credentials", "scope": self.scope, "audience": self.audience}
        fields.update(self.more or {})
        auth: Any = (quote_plus(self.client_id), quote_plus(self.client_secret))  # RFC 6749, section 2.3.1
        if self.in_body:
            fields.update(client_id=self.client_id, client_secret=self.client_secret)
            auth = as_it_is
        return Request(
            self.token_url,
            "POST",
            data=urlencode({name: value for name, value in fields.items() if value is not None}),
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            auth=auth,
            allow_redirects=False,
            idempotent=True,
            key=f"a token of {self.label}",
        )

    def read(self, outcome: Outcome) -> Token:
        response = outcome.response
        if response is None:
            raise self._failed(str(outcome.error), outcome.error)
        try:
            said = response.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            said = {}
        if not 200 <= response.status_code < 300:
            raise self._failed(f"HTTP {response.status_code}{_reason(said)}", outcome.error, response.status_code)
        try:
            return _token_of(said)
        except OptionError as error:
            raise self._failed(f"its answer is no token: {error}", None) from None

    def _failed(self, why: str, error: RequestError | None, status: int | None = None) -> TokenFailed:
        helps = status in RETRIED_STATUSES if status is not None else error is not None and error.retry_helps
        failed = TokenFailed(redact(f"no token from {self.label}: {why}"), retry_helps=helps)
        failed.__cause__ = None if error is None else error.__cause__
        return failed


def as_it_is(prepared: T) -> T:
    """An `auth` that adds nothing, and keeps requests from looking for another one."""
    return prepared


def _token_of(said: Mapping[str, Any]) -> Token:
    """Read a token server's answer (RFC 6749, section 5.1)."""
    kind, life = said.get("token_type", "Bearer"), said.get("expires_in")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise OptionError("its token_type is not Bearer")
    if isinstance(life, str):
        life = float(life) if life.replace(".", "", 1).isdecimal() else None  # some servers write numbers as texts
    return Token(said.get("access_token") or "", life)


def _reason(said: Mapping[str, Any]) -> str:
    """What a token server says went wrong (RFC 6749, section 5.2)."""
    words = [printable(str(said[name])[:LONGEST_REASON]) for name in ("error", "error_description") if said.get(name)]
    return f", {': '.join(words)}" if words else ""


def _checked_hosts(hosts: Any) -> tuple[str, ...] | None:
    if hosts is None:
        return None
    patterns = check_items("hosts", hosts, str, "hosts, as in ['api.example.com', '*.example.org']")
    for pattern in patterns:
        if not _HOST.fullmatch(pattern):
            raise OptionError(
                f"hosts={pattern!r} is no host: write 'api.example.com', '*.example.com' or 'a.test:8443'"
            )
    return tuple(sorted(pattern.lower() for pattern in patterns))


def _matches(pattern: str, url: str) -> bool:
    found = _SITE.match(url)
    if found is None:
        return False
    scheme, host, port = found[1].lower(), found[2].lower(), found[3]
    name, port_wanted = _port_of(pattern)
    if port_wanted and port_wanted != (port or str(DEFAULT_PORTS[scheme])):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _port_of(pattern: str) -> tuple[str, str]:
    """A pattern's host, and its port if it names one."""
    host, colon, port = pattern.rpartition(":")
    return (host, port) if colon and port.isdecimal() and not pattern.endswith("]") else (pattern, "")

"""What a pool may be told: timeouts, the retry policy, budgets. Parsed and checked here, frozen ever after.

Nothing here reads the environment or keeps state; every class may be shared between threads and pools.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal

from workerpool.checks import check_callable, check_count, check_flag, check_items, is_number, is_positive
from workerpool.errors import OptionError
from workerpool.proxies import ProxyList
from workerpool.rate import Rate

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""The methods that may be repeated without asking (RFC 9110, section 9.2.2)."""

UNNOTICED = 1_000
"""A batch of up to so many requests never runs out of retry tokens."""

ROBOTS_REDIRECTS = 5
"""So many redirects to a robots.txt have to be followed (RFC 9309, section 2.3.1.2)."""

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses that another try may mend."""

CookieMode = Literal["none", "worker", "shared"]

AUTO = "auto"
"""In place of a budget: find out what a host takes."""

_HOST_PATTERN = re.compile(r"(?:\*\.)?[^\s/*:@\[\]]+(?::\d+)?|\[[0-9a-fA-F:.]+\](?::\d+)?")


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long one attempt may take, in seconds; None means no limit.

    `connect` is for finding the address, connecting and the TLS handshake; `read` for the longest silence between two
    bytes, as in requests. `total` is for all of the attempt, from its first send to its last byte, redirects included,
    without the waits for slots; requests has nothing like it.
    """

    connect: float | None = 30.0
    read: float | None = 30.0
    total: float | None = 30.0

    def __post_init__(self) -> None:
        for name in ("connect", "read", "total"):
            value = getattr(self, name)
            if value is not None and not is_positive(value):
                raise OptionError(f"timeout.{name}={value!r} must be seconds above zero, or None for no limit")

    @classmethod
    def of(cls, value: Any, option: str = "timeout", *, total: float | None = None) -> Timeout:
        """Read seconds for the whole attempt, a ``(connect, read)`` pair as requests takes it, or None.

        A pair leaves the `total` as it is given here. Raises `OptionError`.
        """
        if isinstance(value, Timeout):
            return value
        parts = (*value, total) if isinstance(value, tuple) else (value, value, value)
        if len(parts) != 3 or not all(part is None or is_positive(part) for part in parts):
            raise OptionError(f"{option}={value!r}: give seconds above zero, a pair (connect, read) of them, or None")
        return cls(*parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How many retries there may be beside the first tries, so that an outage never multiplies the load.

    Tokens, of which each retry spends one, for each host and for the pool (Finagle's `RetryBudget`; Google, "Site
    Reliability Engineering", chapter 21). A retry for which there is none waits until there is; it is never given up
    for that, and the wait does not count against `RetryPolicy.total`.

    `share`: tokens that each first try brings: 0.2 lets one in five be retried in the long run.
    `per_second`: tokens that time brings, so that what waits gets its turn.
    `floor`: tokens at the beginning, and the most that are saved up; None is every retry of 1,000 requests (or ten each
        where the policy has a `stop` of its own), so that smaller batches never notice.

    In any time a host is sent at most ``floor + share * first tries + per_second * seconds`` retries. The pool's own
    budget has four times the floor and the tokens of time, so that one host cannot take what the others need.
    """

    share: float = 0.2
    per_second: float = 10.0
    floor: int | None = None

    def __post_init__(self) -> None:
        if not is_number(self.share) or not 0 <= self.share <= 10:
            raise OptionError(f"retry.budget.share={self.share!r} must be a number from 0 to 10: 0.2 is one in five")
        if not is_positive(self.per_second):
            raise OptionError(
                f"retry.budget.per_second={self.per_second!r} must be above zero, or retries wait for ever"
            )
        if self.floor is not None:
            check_count("retry.budget.floor", self.floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a host that keeps failing is left alone for a while (Nygard, "Release It!", 2007).

    A failure is a send without an answer, or one with a status of 500 and more. `failures`: so many in a row open the
    circuit. `share`: so does this share of the last `window` sends; None does not count shares.
    `open_for`: seconds until one request at a time is sent as a probe. If that fails, the circuit stays open for twice
    as long, up to `longest`; an answer closes it.
    `fails_fast`: end the host's requests unsent, as `CircuitOpen`, while it is open; otherwise they wait.
    """

    failures: int = 10
    share: float | None = None
    window: int = 20
    open_for: float = 30.0
    longest: float = 300.0
    fails_fast: bool = False

    def __post_init__(self) -> None:
        check_count("breaker.failures", self.failures)
        check_count("breaker.window", self.window)
        if self.share is not None and not (is_positive(self.share) and self.share <= 1):
            raise OptionError(f"breaker.share={self.share!r} must be above 0 and at most 1, or None")
        for name in ("open_for", "longest"):
            if not is_positive(getattr(self, name)):
                raise OptionError(f"breaker.{name}={getattr(self, name)!r} must be seconds above zero")
        if self.open_for > self.longest:
            raise OptionError(f"breaker.open_for={self.open_for!r} is above longest={self.longest!r}: raise that, too")
        check_flag("breaker.fails_fast", self.fails_fast)

    @classmethod
    def of(cls, value: Breaker | int | None) -> Breaker | None:
        """Read a `Breaker`, a number of failures in a row, or None for no breaker; raises `OptionError`."""
        if value is None or isinstance(value, Breaker):
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise OptionError(f"breaker={value!r} must be a Breaker, a whole number of failures in a row, or None")
        return cls(failures=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another one, and when that comes.

    `attempts`: tries in all, the first included: with 4, up to three retries.
    `backoff`: the upper end, in seconds, of the first wait; each further one doubles it. The wait is drawn evenly from
        zero up to that end ("full jitter": AWS Architecture Blog, "Exponential Backoff And Jitter", 2015), so the first
        retry comes within 0.5 s.
    `backoff_max`: the longest wait that is drawn, in seconds.
    `total`: seconds from a request's first send after which it is over: no further attempt begins that could not end by
        then, and one under way is ended. None for no limit.
    `retry_after_max`: the longest `Retry-After`, in seconds, that is waited for. Beyond it the request fails at once,
        with the time in its error.
    `budget`: how many retries there may be beside the first tries, a `RetryBudget`; None for no limit.
    `statuses`: the statuses that are retried.
    `methods`: the methods that are retried; another one is if its request says `idempotent=True` or carries an
        `Idempotency-Key` header.
    `retry`: a tenacity strategy of your own in place of `statuses` and `methods`. It sees the `requests.Response`, or
        requests' exception, as `retry_state.outcome`.
    `stop`: a tenacity strategy of your own in place of `attempts`.
    `wait`: a tenacity strategy of your own in place of `backoff`.
    """

    attempts: int = 4
    backoff: float = 0.5
    backoff_max: float = 30.0
    total: float | None = 600.0
    retry_after_max: float = 120.0
    budget: RetryBudget | None = field(default_factory=RetryBudget)
    statuses: Collection[int] = RETRIED_STATUSES
    methods: Collection[str] = IDEMPOTENT_METHODS
    retry: Callable[[Any], bool] | None = None
    stop: Callable[[Any], bool] | None = None
    wait: Callable[[Any], float] | None = None

    def __post_init__(self) -> None:
        check_count("retry.attempts", self.attempts)
        for name in ("backoff", "backoff_max", "retry_after_max"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise OptionError(f"retry.{name}={value!r} must be seconds, zero or more")
        if self.total is not None and not is_positive(self.total):
            raise OptionError(f"retry.total={self.total!r} must be seconds above zero, or None for no limit")
        if self.budget is not None and not isinstance(self.budget, RetryBudget):
            raise OptionError(f"retry.budget={self.budget!r} must be a RetryBudget, or None for no limit")
        statuses = check_items("retry.statuses", self.statuses, int, "statuses as numbers, as in {500, 503}")
        methods = check_items("retry.methods", self.methods, str, "methods, as in {'GET', 'PUT'}")
        object.__setattr__(self, "statuses", statuses)
        object.__setattr__(self, "methods", frozenset(method.upper() for method in methods))
        for name in ("retry", "stop", "wait"):
            check_callable(f"retry.{name}", getattr(self, name), "a strategy of tenacity's, or a function like one")

    @property
    def budget_floor(self) -> int:
        """Tokens that a host's retry budget begins with: every retry of `UNNOTICED` requests, unless it says."""
        if self.budget is not None and self.budget.floor is not None:
            return self.budget.floor
        return UNNOTICED * (max(1, self.attempts - 1) if self.stop is None else 10)

    def may_repeat(self, method: str, headers: Iterable[str], idempotent: bool | None = None) -> bool:
        """Whether a request may be sent twice: by what it says itself, its method, or an ``Idempotency-Key`` header."""
        if idempotent is not None:
            return idempotent
        return method.upper() in self.methods or any(name.lower() == "idempotency-key" for name in headers)

    @classmethod
    def of(cls, value: RetryPolicy | int | None) -> RetryPolicy:
        """Read a policy, a number of attempts in all, or None for a single attempt; raises `OptionError`."""
        if isinstance(value, RetryPolicy):
            return value
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise OptionError(f"retry={value!r} must be a RetryPolicy, a whole number of attempts in all, or None")
        return cls(attempts=1 if value is None else value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What the pool may spend: sends a second and open sockets, in all and per host.

    `burst`: slots that may be spent at once after a rest, of every rate alike. `key_rate`: for each of the user's keys
    by itself. `learns_rate`, `learns_connections`: find out what each host takes, up to `host_rate` and
    `host_connections`. `slow_start`: begin with one request at a time at each host.
    """

    rate: Rate | None = None
    host_rate: Rate | None = None
    key_rate: Rate | None = None
    burst: int = 1
    max_connections: int = 64
    host_connections: int = 6
    learns_rate: bool = False
    learns_connections: bool = False
    slow_start: bool = False

    def __post_init__(self) -> None:
        check_count("burst", self.burst)
        check_count("max_connections", self.max_connections)
        check_count("host_connections", self.host_connections)
        check_flag("slow_start", self.slow_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRules:
    """Where requests may go, redirects included.

    `allow_hosts`: host names, each as it is, as ``*.example.com`` for all below it, or with a ``:port``; None allows
        all. `deny_private`: no address that is not public (RFC 6890: private, loopback, link-local, …), by the address
        that is connected to. `trust_proxy`: leave that check to the proxy where one is used; else it is an error.
    """

    allow_hosts: tuple[str, ...] | None = None
    deny_private: bool = False
    trust_proxy: bool = False

    def __post_init__(self) -> None:
        check_flag("deny_private", self.deny_private)
        check_flag("trust_proxy", self.trust_proxy)
        for pattern in self.allow_hosts or ():
            if not isinstance(pattern, str) or pattern.startswith(".") or not _HOST_PATTERN.fullmatch(pattern):
                raise OptionError(
                    f"allow_hosts={pattern!r} is no host: write 'example.com', '*.example.com' or 'example.com:8443'"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the parts of a pool are told, checked; `WorkerPool`'s own docstring explains each.

    `host_of`: gives a URL's host, whose budgets it counts against; `key_of` a request's key, None if it has none.
    """

    workers: int
    budgets: Budgets
    retry: RetryPolicy
    timeout: Timeout
    cookies: CookieMode
    guard: GuardRules
    max_body: int | None
    max_redirects: int
    auth: Any = field(repr=False)
    proxies: Mapping[str, str] | ProxyList | None = field(repr=False)
    verify: bool | str
    cert: str | tuple[str, str] | None
    fast_path: bool
    breaker: Breaker | None
    user_agent: str | None
    robots: bool
    host_of: Callable[[str], str]
    key_of: Callable[[Any], str | None] | None

    def __post_init__(self) -> None:
        check_flag("fast_path", self.fast_path)
        check_flag("robots", self.robots)
        if self.cookies not in ("none", "worker", "shared"):
            raise OptionError(f"cookies={self.cookies!r} is unknown: write 'none', 'worker' or 'shared'")
        if self.max_body is not None:
            check_count("max_body", self.max_body)
        check_count("max_redirects", self.max_redirects, least=0)
        if self.robots and self.user_agent is None:
            raise OptionError(
                "robots=True needs contact=, so that a site can say what is wrong instead of shutting you out: "
                "say contact='https://example.com/bot' or contact='me@example.com'"
            )
        if self.robots and self.max_redirects < ROBOTS_REDIRECTS:
            raise OptionError(
                f"max_redirects={self.max_redirects} with robots=True: a robots.txt may be {ROBOTS_REDIRECTS} redirects"
                f" away (RFC 9309), so allow {ROBOTS_REDIRECTS} or more"
            )
        if self.proxies is not None and not isinstance(self.proxies, ProxyList) and not _are_proxies(self.proxies):
            raise OptionError(
                "proxies= must map schemes to URLs, as in {'https': 'http://proxy:3128'}, or be a ProxyList of URLs"
            )
        if not isinstance(self.verify, (bool, str, os.PathLike)):
            raise OptionError(
                f"verify={self.verify!r} must be True, False, or the path of a file or directory of authorities"
            )
        if self.cert is not None and not _is_cert(self.cert):
            raise OptionError(
                f"cert={self.cert!r} must be the path of a PEM file that holds certificate and key, or a pair of paths"
            )
        if self.proxies and self.guard.deny_private and not self.guard.trust_proxy:
            raise OptionError(
                "deny_private=True with proxies=: the proxy connects wherever it likes, so nothing would be checked; "
                "say trust_proxy=True if the proxy keeps private addresses out itself"
            )

    @property
    def listens(self) -> bool:
        """Whether anybody learns from answers."""
        return self.budgets.learns_rate or self.budgets.learns_connections or self.breaker is not None


def _are_proxies(proxies: object) -> bool:
    """As requests takes them, where None is no proxy."""
    return isinstance(proxies, Mapping) and all(
        isinstance(key, str) and isinstance(url, (str, NoneType)) for key, url in proxies.items()
    )


def _is_cert(cert: object) -> bool:
    """As requests takes it: a path, or the paths of certificate and key."""
    parts = cert if isinstance(cert, (tuple, list)) and len(cert) == 2 else (cert,)
    return all(isinstance(part, str) for part in parts)

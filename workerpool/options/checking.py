"""What a pool is given, checked: from the arguments of `WorkerPool`, by their names, to `Options`.

Pure functions, any thread, but for two things that they ask of the process: how many files it may open, and how many
cores there are. An error writes an option as in a call, ``name=value``; the command line has its own words for that.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping
from typing import Any

from workerpool.agent import check_contact, user_agent
from workerpool.checks import check_callable, check_count
from workerpool.config import AUTO, Breaker, Budgets, GuardRules, Options, RetryPolicy, Timeout
from workerpool.errors import OptionError
from workerpool.keys import key_function
from workerpool.model import origin
from workerpool.rate import Rate

_AS_GIVEN = ("cookies", "max_body", "max_redirects", "auth", "proxies", "verify", "cert", "fast_path", "robots")

_CALLED = {
    "session_factory": "a function that makes a requests.Session",
    "host_key": "a function of a URL",
    "transport": "a function that makes a transport",
}


def checked(given: Mapping[str, Any]) -> Options:
    """Check all arguments of a `WorkerPool`; raises `OptionError`.

    `budget` and `redis` are checked by who opens the budget, `trace` by who makes the spans; `session_factory`, `clock`
    and `transport` are for the pool alone.
    """
    _check_threads(given)
    for name, what in _CALLED.items():
        check_callable(name, given[name], what)
    clock, limit_by, contact = given["clock"], given["limit_by"], given["contact"]
    if clock is not None and not callable(getattr(clock, "wait", None)):
        raise OptionError(f"clock={clock!r} must have now(), time() and wait(), as workerpool.clock.Clock says")
    if (given["key_rate"] is None) != (limit_by is None):
        raise OptionError("key_rate= and limit_by= go together: what may be sent for each key, and what the key is")
    of_sessions = given["proxies"] or given["verify"] is not True or given["cert"] or given["auth"] is not None
    if given["session_factory"] is not None and of_sessions:
        raise OptionError(
            "auth=, proxies=, verify= and cert= are not for sessions of a session_factory=: set them on the sessions "
            "there, and a source of tokens on each Request"
        )
    _check_auth(given["auth"])
    check_redis(given["budget"], given["redis"])
    workers = _workers(given["max_workers"])
    return Options(
        workers=workers,
        budgets=_budgets(workers, given),
        retry=RetryPolicy.of(given["retry"]),
        breaker=Breaker.of(given["breaker"]),
        timeout=Timeout.of(given["timeout"]),
        guard=GuardRules(
            allow_hosts=_hosts(given["allow_hosts"]),
            deny_private=given["deny_private"],
            trust_proxy=given["trust_proxy"],
        ),
        user_agent=None if contact is None else user_agent(check_contact(contact)),
        host_of=given["host_key"] or origin,
        key_of=None if limit_by is None else key_function(limit_by),
        **{name: given[name] for name in _AS_GIVEN},
    )


def check_redis(budget: Any, redis: Any) -> None:
    """Raise `OptionError` for a server without the name of a budget there."""
    if redis is not None and budget is None:
        raise OptionError("redis= needs budget=: the name that all who are to share the budget on that server give")


def default_connections(workers: int) -> int:
    """Sockets for so many workers: twice as many, at least 64, but under half of what the process may open."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(1, descriptors // 2 - 1) if descriptors != resource.RLIM_INFINITY else 2 * workers + 64
    return min(max(64, 2 * workers), most)


def _budgets(workers: int, given: Mapping[str, Any]) -> Budgets:
    rate, host_rate, key_rate = given["rate"], given["host_rate"], given["key_rate"]
    most, per_host = given["max_connections"], given["host_connections"]
    learns_connections = AUTO in (most, per_host)
    most = check_count("max_connections", default_connections(workers) if most in (None, AUTO) else most)
    if learns_connections:  # the default's number is nobody's upper end
        is_said = per_host not in (AUTO, Budgets().host_connections)
        per_host = min(workers, most, check_count("host_connections", per_host) if is_said else workers)
    return Budgets(
        rate=None if rate in (None, AUTO) else Rate.of(rate),
        host_rate=None if host_rate in (None, AUTO) else Rate.of(host_rate, "host_rate"),
        key_rate=None if key_rate is None else Rate.of(key_rate, "key_rate"),
        burst=given["burst"],
        max_connections=most,
        host_connections=per_host,
        learns_rate=AUTO in (rate, host_rate),
        learns_connections=learns_connections,
        slow_start=given["slow_start"],
    )


def _check_auth(auth: Any) -> None:
    """Raise `OptionError` for what requests would not take either. What it is may be a secret, and is not told."""
    is_login = isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, (str, bytes)) for part in auth)
    if auth is not None and not is_login and not callable(auth):
        raise OptionError(
            f"auth= is a {type(auth).__name__}: give a pair (user, password), an auth object of requests', "
            "a BearerToken or ClientCredentials"
        )


def _hosts(hosts: Any) -> tuple[str, ...] | None:
    if isinstance(hosts, str) or not isinstance(hosts, Iterable | None):
        example = hosts if isinstance(hosts, str) else "example.com"
        raise OptionError(f"allow_hosts={hosts!r} must be a list of hosts: write [{example!r}]")
    return None if hosts is None else tuple(hosts)


def _check_threads(given: Mapping[str, Any]) -> None:
    """Check what `ThreadPoolExecutor` is given, as far as it would not do that at once."""
    if given["initializer"] is not None and not callable(given["initializer"]):
        raise TypeError("initializer must be a callable")  # which is the executor's own error
    if not isinstance(given["thread_name_prefix"], str):
        raise OptionError(f"thread_name_prefix={given['thread_name_prefix']!r} must be a text")
    if not isinstance(given["initargs"], Iterable):
        raise OptionError(f"initargs={given['initargs']!r} must be a tuple of what the initializer is called with")


def _workers(max_workers: int | None) -> int:
    if max_workers is None:
        return min(32, (os.cpu_count() or 1) + 4)  # as ThreadPoolExecutor
    if (
        not isinstance(max_workers, int) or max_workers <= 0
    ):  # in the words of ThreadPoolExecutor, whose tests read them
        raise OptionError(f"max_workers={max_workers!r}: max_workers must be greater than 0, a whole number")
    return max_workers

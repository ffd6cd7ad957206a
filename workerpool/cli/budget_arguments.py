"""The options that say how much may be sent, which `run` and `plan` share: their help, and their check."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from workerpool.config import AUTO, Breaker, Budgets, Rate, RetryBudget, check_count
from workerpool.errors import OptionError
from workerpool.keys import LimitBy, read_limit_by
from workerpool.pool import options_of

Limit = Rate | Literal["auto"] | None
Sockets = int | Literal["auto"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """How much may be sent, as it was told, checked. "auto" is what is to be found out.

    `retries`: tries after the first. `breaker` and `retry_budget` are None where there is none.
    """

    workers: int
    rate: Limit
    host_rate: Limit
    key_rate: Rate | None
    limit_by: LimitBy | None
    burst: int
    connections: Sockets
    host_connections: Sockets
    budget: str | None
    slow_start: bool
    retries: int
    retry_budget: RetryBudget | None
    breaker: Breaker | None

    def of_pool(self) -> dict[str, Any]:
        """The arguments for `WorkerPool`, those for its retries and its workers apart."""
        return {**self._of_budgets(), "limit_by": self.limit_by, "breaker": self.breaker, "budget": self.budget}

    def budgets(self) -> Budgets:
        """The budgets that the pool will have."""
        return options_of(max_workers=self.workers, **self._of_budgets(), limit_by=self.limit_by).budgets

    def _of_budgets(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "host_rate": self.host_rate,
            "key_rate": self.key_rate,
            "burst": self.burst,
            "max_connections": self.connections,
            "host_connections": self.host_connections,
            "slow_start": self.slow_start,
        }


def add_budgets(add: Callable[..., Any]) -> None:
    """Add the options by `add`, an argument group's `add_argument`."""
    add(
        "--rate",
        metavar="RATE",
        help="sends in all, retries and redirects included: 50/s, 100/min, 30/5min, 10/s and 1000/h, or auto, "
        "which finds out what each host takes; default: no limit",
    )
    add("--host-rate", metavar="RATE", help="the same for each host; with --rate auto, at most that; default: no limit")
    add("--key-rate", metavar="RATE", help="the same for each key of --limit-by, over all hosts; default: no limit")
    add(
        "--limit-by",
        metavar="KEY",
        help="what --key-rate counts by: domain (example.co.uk; the extra [crawl]), or header:NAME (header:X-Api-Key)",
    )
    add("--burst", metavar="N", default="1", help="sends at once after a rest; default: %(default)s")
    add("--slow-start", action="store_true", help="begin with one request at a time at each host")
    add(
        "--connections",
        metavar="N",
        help="open sockets in all, or auto: find out for each host; default: 64 or twice --workers",
    )
    add(
        "--host-connections",
        metavar="N",
        default="6",
        help="open sockets to one host, or auto; default: %(default)s",
    )
    add(
        "--budget",
        metavar="NAME",
        help="share these limits, and pauses, with every other program of this user's on this machine that gives the "
        "same name; of different limits the strictest holds",
    )
    add("--workers", metavar="N", default="16", help="requests in flight at once; default: %(default)s")


def add_failing(add: Callable[..., Any]) -> None:
    """Add the options that say what is done when hosts fail."""
    add("--retries", metavar="N", default="3", help="tries after the first; default: %(default)s")
    add(
        "--retry-budget",
        metavar="SHARE",
        default="20%",
        help="retries beside first tries in the long run, or none for no limit; what is beyond waits; "
        "default: 20%%, and every retry of the first 1,000 requests",
    )
    add("--breaker", metavar="N", help="leave a host alone for a while after N failures in a row; default: never")
    add(
        "--fail-fast", action="store_true", help="with --breaker: end its requests unsent meanwhile; default: they wait"
    )


def budget_settings_of(said: argparse.Namespace) -> BudgetSettings:
    """Check what was said; raises `OptionError`."""
    return BudgetSettings(
        workers=count("--workers", said.workers),
        rate=_limit("--rate", said.rate),
        host_rate=_limit("--host-rate", said.host_rate),
        key_rate=None if said.key_rate is None else Rate.of(said.key_rate, "--key-rate"),
        limit_by=_limit_by(said),
        burst=count("--burst", said.burst),
        connections=_sockets("--connections", said.connections),
        host_connections=_sockets("--host-connections", said.host_connections),
        budget=said.budget,
        slow_start=said.slow_start,
        retries=count("--retries", said.retries, least=0),
        retry_budget=_retry_budget(said.retry_budget),
        breaker=_breaker(said),
    )


def count(option: str, text: str, least: int = 1) -> int:
    """Read a whole number of at least `least`; raises `OptionError` naming `option`."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise OptionError(f"{option}={text!r} must be a whole number, {least} or more")
    return number if least == 0 else check_count(option, number)


def _limit(option: str, text: str | None) -> Limit:
    if text is None or text == AUTO:
        return text  # type: ignore[return-value]  # which is AUTO, the literal
    return Rate.of(text, option)


def _limit_by(said: argparse.Namespace) -> LimitBy | None:
    if (said.limit_by is None) != (said.key_rate is None):
        needs = "--limit-by needs --key-rate RATE" if said.key_rate is None else "--key-rate needs --limit-by KEY"
        raise OptionError(f"{needs} with it: what is counted by, and what may be sent for each")
    return None if said.limit_by is None else read_limit_by(said.limit_by)


def _sockets(option: str, text: str | None) -> Sockets:
    if text is None or text == AUTO:
        return text  # type: ignore[return-value]  # which is AUTO, the literal
    try:
        return count(option, text)
    except OptionError as error:
        raise OptionError(f"{error}, or auto") from None


def _retry_budget(text: str) -> RetryBudget | None:
    if text == "none":
        return None
    try:
        return RetryBudget(share=float(text[:-1]) / 100 if text.endswith("%") else float(text))
    except ValueError as error:  # OptionError is one, too
        raise OptionError(
            f"--retry-budget={text!r} must be a share from 0 to 10 such as 20% or 0.2, or none"
        ) from error


def _breaker(said: argparse.Namespace) -> Breaker | None:
    if said.breaker is None:
        if said.fail_fast:
            raise OptionError("--fail-fast says what to do while a host is left alone: give --breaker N with it")
        return None
    breaker = Breaker(failures=count("--breaker", said.breaker))
    return replace(breaker, fails_fast=said.fail_fast)

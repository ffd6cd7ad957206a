"""The least time that each budget lets a batch take, and how many workers it asks for. Pure arithmetic, any thread.

What is done to a host is its load: how many sends, and for how many seconds in all one of them is under way. A rate
bounds the time by the sends, sockets and workers by the seconds: n of them can be busy for n seconds in each second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workerpool.plan.setting import Budget, Setting
from workerpool.rate import Rate

SLACK = 0.001
"""Work so small that no further worker is asked for it: n sends at a rate take only n - 1 intervals."""


@dataclass(slots=True)
class Load:
    """What is done to a host, or to several: `sends`, and seconds in which these are under way, added up."""

    sends: float = 0.0
    busy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The batch takes `seconds` at least, because of one budget. `host`: which host's, where each has its own."""

    budget: Budget
    seconds: float
    host: str | None = None


def bounds_of(hosts: Mapping[str, Load], others: Load, setting: Setting, largest_key: float = 0) -> list[Bound]:
    """Return the bound by each budget that is set, the longest first.

    `others`: hosts that are not known one by one. They count for the budgets of the pool alone. `largest_key`: the
    sends of the key that has the most.
    """
    budgets = setting.options.budgets
    sends = sum(load.sends for load in hosts.values()) + others.sends
    busy = sum(load.busy for load in hosts.values()) + others.busy
    bounds = [Bound(budget="workers", seconds=busy / setting.options.workers)]
    if setting.has_connections or budgets.max_connections < setting.options.workers:
        bounds.append(Bound(budget="connections", seconds=busy / budgets.max_connections))
    if budgets.rate is not None:
        bounds.append(Bound(budget="rate", seconds=least_time(budgets.rate, sends, budgets.burst)))
    if budgets.key_rate is not None:
        bounds.append(Bound(budget="key-rate", seconds=least_time(budgets.key_rate, largest_key, budgets.burst)))
    if hosts:
        busiest = max(hosts, key=lambda host: hosts[host].busy)
        seconds = hosts[busiest].busy / budgets.host_connections
        bounds.append(Bound(budget="host-connections", seconds=seconds, host=busiest))
        if budgets.host_rate is not None:
            largest = max(hosts, key=lambda host: hosts[host].sends)
            seconds = least_time(budgets.host_rate, hosts[largest].sends, budgets.burst)
            bounds.append(Bound(budget="host-rate", seconds=seconds, host=largest))
    return sorted(bounds, key=lambda bound: -bound.seconds)


def least_time(rate: Rate, sends: float, burst: int) -> float:
    """Seconds from the first to the last of so many sends at `rate`, quotas included."""
    spread = max(0.0, sends - burst) / rate.per_second
    return max(spread, *(max(0.0, math.ceil(sends / quota.count) - 1) * quota.seconds for quota in rate.quotas), 0.0)


def workers_asked_for(bounds: Sequence[Bound], load: Load) -> int:
    """How many workers suffice for what the other budgets allow, where `load` is all that is to be done.

    That is Little's law, L = λW (Little, "A Proof for the Queuing Formula L = λW", Operations Research, 1961): as many
    are busy on average as requests are sent in a second, times the seconds that each takes.
    """
    seconds = least_without_workers(bounds, load)
    return max(1, math.ceil((1 - SLACK) * load.busy / seconds)) if seconds else 1


def least_without_workers(bounds: Sequence[Bound], load: Load) -> float:
    """Seconds that it takes at least with any number of workers: the longest other bound, or a send if that is more."""
    a_send = load.busy / load.sends if load.sends else 0.0
    return max(a_send, *(bound.seconds for bound in bounds if bound.budget != "workers"), 0.0)

"""How the hosts are, for people who watch a pool. Reads the hosts, and changes nothing.

Only the scheduler enters, under the lock of its caller, so what is looked at is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heappush, heappushpop
from itertools import islice

from workerpool.scheduler.hosts import Host
from workerpool.statistics import LARGEST, STATES, Hosts, HostState, most_telling

LOOKED_AT = 10_000
"""Hosts that are looked at, which takes some milliseconds: what is beyond is not counted."""

LIMITED_FROM = 1.0
"""Seconds to its slot from which on a host is called limited: with a few requests a second it always waits for one."""

_RANK = {state: rank for rank, state in enumerate(STATES)}


def survey(hosts: Iterable[Host], now: float) -> Hosts:
    """Count the hosts by state, and tell of those that are held up, or have most to do."""
    counts = Counter[str]()
    kept: list[tuple[int, int, str, HostState]] = []  # a heap, the least telling first
    for host in islice(hosts, LOOKED_AT):
        state = state_of(host, now)
        if state is None:
            continue
        counts[state.state] += 1
        entry = (_RANK[state.state], state.queued + state.in_flight, state.host, state)
        if len(kept) < LARGEST:
            heappush(kept, entry)
        elif entry > kept[0]:
            heappushpop(kept, entry)
    return Hosts(**counts, some=most_telling(entry[-1] for entry in kept))


def state_of(host: Host, now: float) -> HostState | None:
    """How a host is; None if there is nothing to say of it."""
    until = max(host.not_before, host.refused_until)
    if until > now:
        is_broken = host.is_broken or (host.circuit is not None and not host.circuit.is_closed)
        return HostState(host.name, "broken" if is_broken else "paused", host.queued, host.in_flight, until - now)
    if not (host.queued or host.in_flight):
        return None
    rest = 0.0
    if host.queued and host.limiters:
        rest = max(0.0, host.opens_at(1) - now)
    if rest >= LIMITED_FROM:
        return HostState(host.name, "limited", host.queued, host.in_flight, rest)
    return HostState(host.name, "running" if host.in_flight else "waiting", host.queued, host.in_flight)

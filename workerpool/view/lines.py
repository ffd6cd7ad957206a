"""A moment of a run in words. Pure functions."""

from __future__ import annotations

from math import ceil

from workerpool.batch.progress import Moment
from workerpool.saving import Download
from workerpool.statistics import HostState, PoolStatistics
from workerpool.wording import duration, number, plural, size

BLOCKS = "▁▂▃▄▅▆▇█"


def plain_line(moment: Moment) -> str:
    """Write a moment as one line."""
    return f"{clock(moment.elapsed)}  {head_of(moment)} · {figures_of(moment)}"


def head_of(moment: Moment) -> str:
    """Say how far the run is."""
    time_left = left_of(moment)
    return how_far(moment) + (f"  {time_left}" if time_left else "")


def how_far(moment: Moment) -> str:
    """Say how many requests have ended: 500 of 1,500  33%."""
    total = moment.total
    if total is None:
        return f"{moment.done:,} done"
    return f"{moment.done:,} of {total:,}  {min(1.0, moment.done / total) if total else 1.0:.0%}"


def left_of(moment: Moment) -> str:
    """Say how much time is left, if that can be told."""
    return "" if moment.left is None or moment.is_draining else f"{clock(moment.left)} left"


def figures_of(moment: Moment) -> str:
    """Say how it goes."""
    pool = moment.pool
    parts = [f"{moment.ok:,} ok", f"{moment.failed:,} failed", f"{moment.rate:,.1f}/s", f"{pool.in_flight} in flight"]
    if pool.bytes_saved:
        parts.append(saved_of(moment))
    if pool.parked:
        parts.append(f"{pool.parked:,} parked")
    if moment.cancelled:
        parts.append(f"{moment.cancelled:,} cancelled")
    if pool.budget_away:
        parts.append(f"{duration(pool.budget_away)} without the budget's server")
    if moment.is_draining:
        parts.append("draining")
    return " · ".join(parts)


def saved_of(moment: Moment) -> str:
    """Say how much of bodies has gone to files: 1.2 GB, 10.0 MB/s."""
    return f"{size(moment.pool.bytes_saved)}, {size(int(moment.saving_rate))}/s"


def work_of(pool: PoolStatistics) -> str:
    """Say what the pool is at."""
    parts = [f"{pool.in_flight:,} in flight, {plural(pool.workers, 'worker')}", f"{pool.queued:,} queued"]
    if pool.parked:
        parts.append(f"{pool.parked:,} parked")
    return " · ".join(parts)


def sockets_of(pool: PoolStatistics) -> str:
    """Say how many sockets are open, and how often one was used again."""
    reused = pool.sockets_reused / (pool.sockets_reused + pool.sockets_opened) if pool.sockets_opened else 0.0
    lost = f" · {pool.sockets_lost:,} lost" if pool.sockets_lost else ""
    opened = f"{pool.sockets_opened:,} opened, {reused:.1%} reused"
    return f"{pool.sockets_open:,} open, {pool.sockets_idle:,} idle · {opened}{lost}"


def hosts_of(pool: PoolStatistics) -> str:
    """Say how many hosts there are, and how they are: 48 running · 2 limited · 1 paused."""
    return " · ".join(f"{count:,} {state}" for state, count in pool.by_state.counts.items() if count) or "none"


def state_of(host: HostState) -> str:
    """Say how one host is, and for how long: paused, 12 s."""
    return f"{host.state}, {duration(host.rest)}" if host.rest else host.state


def rate_of(moment: Moment) -> str:
    """Say how fast it goes, and how fast it may: 198/s of 200/s."""
    of = "" if moment.allowed is None else f" of {number(moment.allowed)}/s"
    return f"{number(moment.rate)}/s{of}"


def sparkline(history: tuple[float, ...], top: float | None, width: int) -> str:
    """Draw rates as blocks, the latest last: a full one for `top`, or else for the highest."""
    shown = history[-width:]
    most = max([top or 0.0, *shown])
    if not most:
        return ""
    return "".join(BLOCKS[max(0, ceil(rate / most * len(BLOCKS)) - 1)] for rate in shown)


def last_of(label: str) -> str:
    """What tells a URL from its neighbours: its last piece."""
    return label.partition("?")[0].rstrip("/").rpartition("/")[2] or label


def received_of(download: Download, now: float) -> str:
    """Say how far one is: 120.0 MB of 1.2 GB, 10.0 MB/s."""
    pace = size(int((download.received - download.there) / max(now - download.began, 1e-3)))
    of = "" if download.total is None else f" of {size(download.total)}"
    return f"{size(download.received)}{of}  {pace}/s"


def clock(seconds: float) -> str:
    """Write a duration as a clock does: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

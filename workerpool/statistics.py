"""`PoolStatistics`: a pool at one moment, and in it `Waits`: what its time went to, by `Wait`. Values, any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workerpool.saving import Download

LARGEST = 10
"""Shares of single hosts that are told."""


class Wait(IntEnum):
    """What kept a pool from sending one request more; the fields of `Waits` have the same names."""

    READY = 0
    WORKERS = 1
    HOST_SOCKETS = 2
    SOCKETS = 3
    HOST_RATE = 4
    KEY_RATE = 5
    RATE = 6
    SHARED = 7
    PAUSE = 8
    BREAKER = 9
    BACKOFF = 10
    RETRY_BUDGET = 11
    ROBOTS = 12
    TOKEN = 13
    WINDOW = 14
    SOURCE = 15
    SINK = 16
    ANSWERS = 17
    IDLE = 18


Reasons = Mapping[tuple[Wait, str], float]
"""How many requests wait for what: a reason, and the host whose it is, "" for the pool's."""


@dataclass(frozen=True, slots=True)
class HostWait:
    """Seconds of one of the `Waits`, by name, that were one host's."""

    wait: str
    host: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Waits:
    """Why a pool did not send one request more, in seconds of its life.

    At any time one of these holds, or several share it, so together they are the pool's age. Where hosts are held up by
    different things, each counts by the requests that wait for it.

    `ready`: one could be sent, and a thread was on its way to it: the pool's own work. `workers`: all were busy.
    `host_sockets`, `sockets`: as many requests were in flight to a host, or in all, as may be. `host_rate`, `key_rate`,
    `rate`: a slot had not come, of a host's budget, a key's or the pool's; `shared`: or of one that processes share.
    `pause`: a host had asked for a pause, or its requests began again one by one after it; `breaker`: or its circuit
    breaker had opened. `backoff`: only retries were left, and their time had not come; `retry_budget`: or it had, and
    there was no token for them. `robots`: a host's robots.txt was still to come, or asked for a delay. `token`: a token
    to send requests with was still to come. `window`: all that may be in memory waited for one request. `source`: the
    source was asked, and had given nothing yet. `sink`: the
    consumer of a stream was at work, and had not asked for more. `answers`: there was nothing left to send, and the
    last answers were still to come. `idle`: nothing had been given to the pool.

    `hosts`: the largest shares of single hosts in these.
    """

    ready: float = 0.0
    workers: float = 0.0
    host_sockets: float = 0.0
    sockets: float = 0.0
    host_rate: float = 0.0
    key_rate: float = 0.0
    rate: float = 0.0
    shared: float = 0.0
    pause: float = 0.0
    breaker: float = 0.0
    backoff: float = 0.0
    retry_budget: float = 0.0
    robots: float = 0.0
    token: float = 0.0
    window: float = 0.0
    source: float = 0.0
    sink: float = 0.0
    answers: float = 0.0
    idle: float = 0.0
    hosts: tuple[HostWait, ...] = ()

    def __add__(self, other: Waits) -> Waits:
        """Those of two pools together."""
        seconds = {one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        by_host: Counter[tuple[str, str]] = Counter()
        for each in seconds.pop("hosts"):
            by_host[each.wait, each.host] += each.seconds
        hosts = (HostWait(wait, host, value) for (wait, host), value in by_host.most_common(LARGEST))
        return Waits(**seconds, hosts=tuple(hosts))


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment.

    `workers`: threads at most. `active`: of these, sending or running a callable. `callables_queued`: from
    `submit()`. `queued`, `parked`, `in_flight`: requests waiting for their turn, waiting for a time, being sent.
    `hosts`: with something queued, in flight, paused or limited. Over the pool's life: `requests` that ended, of which
    `ok`; `sent`, slots spent; `retries`; `redirects` followed; `resent`, sends repeated because their socket had died
    idle, or their token had ended, or by another proxy; `sent_fast`, of all these sends and `pool.session`'s, those by
    the fast path; `sockets_opened`;
    `sockets_reused`, sends over a used socket; `sockets_retired`, closed before their server would have;
    `sockets_lost`, closed by their server while idle; `tls_handshakes`, of which `tls_resumed`. `sockets_open`, of
    which `sockets_idle`: now. `bytes_saved`: of bodies that were received for files, also of those that broke off.
    `downloads`: the ones that are being received now, the longest first. `waits`: what the pool's time went to.
    `paused`: hosts that get nothing now, as they refused or kept failing, each with the seconds until that ends.
    `budget_away`: seconds for which the server of a shared budget could not be asked, so far.
    """

    workers: int
    active: int
    callables_queued: int
    queued: int
    parked: int
    in_flight: int
    hosts: int
    requests: int
    ok: int
    sent: int
    retries: int
    redirects: int
    resent: int
    sent_fast: int
    sockets_open: int
    sockets_idle: int
    sockets_opened: int
    sockets_reused: int
    sockets_retired: int
    sockets_lost: int
    tls_handshakes: int
    tls_resumed: int
    bytes_saved: int = 0
    downloads: tuple[Download, ...] = ()
    paused: tuple[tuple[str, float], ...] = ()
    waits: Waits = field(default_factory=Waits)
    budget_away: float = 0.0

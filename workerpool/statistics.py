"""`PoolStatistics`: a pool at one moment. In it `Waits`, what its time went to, and `Hosts`, how its hosts are.

Values, any thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from heapq import nlargest
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


STATES = ("waiting", "running", "limited", "paused", "broken")
"""What a host may be at; who is told of few hosts is told of the last of these first."""


@dataclass(frozen=True, slots=True)
class HostState:
    """One host at one moment.

    `state`: "running", something is being sent; "waiting", for the pool's threads, places or rate; "limited", its own
    rate lets nothing be sent for a second or more; "paused", as it has asked for, or for robots.txt; "broken", by its
    circuit breaker. `queued` and `in_flight` are requests. `rest`: seconds until it may be sent to, 0 if it may now.
    """

    host: str
    state: str
    queued: int
    in_flight: int
    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class Hosts:
    """How many hosts are in each state, see `HostState`, and some of them: the ones held up, and the largest."""

    waiting: int = 0
    running: int = 0
    limited: int = 0
    paused: int = 0
    broken: int = 0
    some: tuple[HostState, ...] = ()

    def __add__(self, other: Hosts) -> Hosts:
        """Those of two pools together."""
        counts = Counter(self.counts) + Counter(other.counts)
        return Hosts(**counts, some=most_telling([*self.some, *other.some]))

    @property
    def counts(self) -> dict[str, int]:
        """How many there are, by state."""
        return {
            "running": self.running,
            "waiting": self.waiting,
            "limited": self.limited,
            "paused": self.paused,
            "broken": self.broken,
        }


def most_telling(hosts: Iterable[HostState]) -> tuple[HostState, ...]:
    """Those to tell of where there is no room for all."""
    return tuple(nlargest(LARGEST, hosts, key=_weight))


def _weight(one: HostState) -> tuple[int, int, str]:
    return (STATES.index(one.state), one.queued + one.in_flight, one.host)


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
    `budget_away`: seconds for which the server of a shared budget could not be asked, so far. `by_state`: how its hosts
    are.
    """

    workers: int = 0
    active: int = 0
    callables_queued: int = 0
    queued: int = 0
    parked: int = 0
    in_flight: int = 0
    hosts: int = 0
    requests: int = 0
    ok: int = 0
    sent: int = 0
    retries: int = 0
    redirects: int = 0
    resent: int = 0
    sent_fast: int = 0
    sockets_open: int = 0
    sockets_idle: int = 0
    sockets_opened: int = 0
    sockets_reused: int = 0
    sockets_retired: int = 0
    sockets_lost: int = 0
    tls_handshakes: int = 0
    tls_resumed: int = 0
    bytes_saved: int = 0
    downloads: tuple[Download, ...] = ()
    waits: Waits = field(default_factory=Waits)
    budget_away: float = 0.0
    by_state: Hosts = field(default_factory=Hosts)

"""`PoolStatistics`: a pool at one moment. A value, any thread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A pool at one moment.

    `workers`: threads at most. `active`: of these, sending or running a callable. `callables_queued`: from
    `submit()`. `queued`, `parked`, `in_flight`: requests waiting for their turn, waiting for a time, being sent.
    `hosts`: with something queued, in flight, paused or limited. Over the pool's life: `requests` that ended, of which
    `ok`; `sent`, slots spent; `retries`; `redirects` followed; `resent`, sends repeated because their socket had died
    idle; `sent_fast`, of all these sends and `pool.session`'s, those by the fast path; `sockets_opened`;
    `sockets_reused`, sends over a used socket; `sockets_retired`, closed before their server would have;
    `sockets_lost`, closed by their server while idle; `tls_handshakes`, of which `tls_resumed`. `sockets_open`, of
    which `sockets_idle`: now.
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

"""nginx with a limit of its own, for benchmarks and for tests, and what its log says that it accepted and refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import nginx
from benchmarks.side_by_side.servers import delaying_port
from workerpool.testing.origin import Answers, Records, Sockets
from workerpool.testing.origin.records import REFUSALS

HOST = "127.0.0.1"
LOG = "counts.log"

# The log's $connections_active are all clients' connections, idle ones included.
SERVER = """
{zone}
log_format counts '$msec $request_time $status $connections_active';
upstream backend {{ server {host}:{backend}; keepalive 64; }}
keepalive_requests 1000000000;
server {{
    listen {host}:{port}; access_log {folder}/{log} counts;
    location / {{
        {limit} error_page 503 @refused;
        proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
    location @refused {{ {hint} return 503 "too many"; }}
}}
"""


@dataclass(frozen=True, slots=True)
class LimitedNginx:
    """nginx as it runs; every path of `url` is the same."""

    url: str
    folder: Path

    def records(self) -> Records:
        """Return what it has answered until now; requests count from when they came, by `time.monotonic`.

        nginx notes a request when its answer is out: while it runs, what a client has just heard of may be missing.
        """
        since = time.time() - time.monotonic()
        times, refusals, seconds, open_now = [], [], 0.0, [0]
        for line in (self.folder / LOG).read_text().splitlines():
            ended, took, status, connections = line.split()
            came = float(ended) - float(took) - since
            times.append(came)
            if int(status) in REFUSALS:
                refusals.append(came)
            seconds += float(took)
            open_now.append(int(connections))
        return Records(
            len(times),
            Sockets(open=open_now[-1], peak=max(open_now)),
            times_at={HOST: sorted(times)},
            answers=Answers(len(times) - len(refusals), len(refusals), seconds=seconds),
            refusals_at={HOST: sorted(refusals)},
        )


@contextmanager
def limiting_rate(
    binary: str, folder: Path, *, rate: int = 50, burst: int = 5, retry_after: int | None = None, delay: float = 0.01
) -> Iterator[LimitedNginx]:
    """Run nginx that refuses with a 503 what comes above `rate` a second and a `burst`.

    `retry_after`: seconds that its refusals ask for, None for nothing. `delay`: seconds that other answers take.
    """
    zone = f"limit_req_zone $binary_remote_addr zone=clients:1m rate={rate}r/s;"
    with _limiting(
        binary, folder, zone, f"limit_req zone=clients burst={burst} nodelay;", retry_after, delay
    ) as server:
        yield server


@contextmanager
def limiting_connections(
    binary: str, folder: Path, *, most: int = 8, retry_after: int | None = None, delay: float = 0.05
) -> Iterator[LimitedNginx]:
    """Run nginx that refuses with a 503 what comes while `most` connections have a request that is being answered."""
    zone = "limit_conn_zone $binary_remote_addr zone=clients:1m;"
    with _limiting(binary, folder, zone, f"limit_conn clients {most};", retry_after, delay) as server:
        yield server


@contextmanager
def _limiting(
    binary: str, folder: Path, zone: str, limit: str, retry_after: int | None, delay: float
) -> Iterator[LimitedNginx]:
    port = nginx.free_port()
    hint = "" if retry_after is None else f"add_header Retry-After {retry_after} always;"
    with delaying_port(delay) as backend:
        config = SERVER.format(
            zone=zone, limit=limit, hint=hint, host=HOST, port=port, backend=backend, folder=folder, log=LOG
        )
        with nginx.running(binary, folder, config, (HOST, port)):
            yield LimitedNginx(f"http://{HOST}:{port}/", folder)

"""What a request costs the pool itself: CPU per request with a transport that does nothing.

    python benchmarks/pool_cost.py [--requests 100000] [--rounds 5] [--hosts 1 100 10000] [--windows 1000 100000]

For each number of hosts and each window (requests in memory at once), with 16 workers and no rate limit, prints the
CPU time of the whole process per request, in microseconds: the median of some rounds, and the least of them. `stream`
takes outcomes from `pool.stream`; `futures` calls `pool.get`, and takes the oldest result whenever as many futures as
the window are out.

What costs the same without a pool is measured, too: the source of URLs and the transport (`nothing`), which is
subtracted; and with `futures`, a bare `concurrent.futures.Future` for each request (`future`), which is not.

Instructions are steadier than times: run one case under ``valgrind --tool=callgrind`` with
``--cases stream --hosts 1 --windows 1000 --rounds 1`` and two numbers of requests, and divide the difference.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from requests import Response

from workerpool import Request, Timeout, WorkerPool
from workerpool.testing import ScriptedTransport
from workerpool.transport import Exchange

WORKERS = 16
TIMEOUT = Timeout(total=30.0)
EXCHANGE = Exchange(Request("http://host.test/"), "http://host.test/")


class NullTransport(ScriptedTransport):
    """Answers everything at once with the same empty 200."""

    def __init__(self) -> None:
        super().__init__()
        self._response = Response()
        self._response.status_code = 200
        self._response._content = b""

    def open_session(self) -> Any:
        return self

    def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        return self._response


def urls(requests: int, hosts: int) -> Iterator[str]:
    return (f"http://host{number % hosts}.test/{number}" for number in range(requests))


def by_stream(pool: WorkerPool, requests: int, hosts: int, window: int) -> int:
    return sum(outcome.ok for outcome in pool.stream(urls(requests, hosts), window=window))


def by_futures(pool: WorkerPool, requests: int, hosts: int, window: int) -> int:
    ended = 0
    waiting: deque[Future[Response]] = deque()
    for url in urls(requests, hosts):
        waiting.append(pool.get(url))
        if len(waiting) >= window:
            ended += waiting.popleft().result().status_code == 200
    return ended + sum(future.result().status_code == 200 for future in waiting)


CASES: dict[str, Callable[[WorkerPool, int, int, int], int]] = {"stream": by_stream, "futures": by_futures}


def nothing(requests: int, hosts: int) -> float:
    """CPU seconds for the source's URLs and the transport's answers alone."""
    transport = NullTransport()
    began = time.process_time()
    for _url in urls(requests, hosts):
        transport.send(transport, EXCHANGE, TIMEOUT)
    return time.process_time() - began


def bare_futures(requests: int, window: int) -> float:
    """CPU seconds for futures by themselves, as many at once as the window holds, without a thread."""
    gc.collect()
    began = time.process_time()
    waiting: deque[Future[int]] = deque()
    for number in range(requests):
        future: Future[int] = Future()
        waiting.append(future)
        future.set_running_or_notify_cancel()
        future.set_result(number)
        if len(waiting) >= window:
            waiting.popleft().result()
    for future in waiting:
        future.result()
    return time.process_time() - began


def cost(case: str, requests: int, hosts: int, window: int) -> float:
    """CPU seconds of one batch, the pool's start and end included."""
    gc.collect()
    with WorkerPool(WORKERS, max_connections=64, host_connections=WORKERS, transport=NullTransport()) as pool:
        began = time.process_time()
        ok = CASES[case](pool, requests, hosts, window)
        took = time.process_time() - began
    assert ok == requests, f"{ok} of {requests}"
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 100, 10_000])
    parser.add_argument("--windows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--cases", choices=[*CASES], nargs="+", default=[*CASES])
    options = parser.parse_args()
    names = " ".join(f"{name:>9}" for name in ("median", "least", "nothing", "future"))
    print(f"{'case':<8} {'hosts':>7} {'window':>8} {names}   (CPU µs per request)")
    for case, hosts, window in itertools.product(options.cases, options.hosts, options.windows):
        least = min(nothing(options.requests, hosts) for _ in range(3))
        rounds = [cost(case, options.requests, hosts, window) - least for _ in range(options.rounds)]
        future = [min(bare_futures(options.requests, window) for _ in range(3))] if case == "futures" else []
        figures = [statistics.median(rounds), min(rounds), least, *future]
        per_request = " ".join(f"{1e6 * seconds / options.requests:9.1f}" for seconds in figures)
        print(f"{case:<8} {hosts:7,} {window:8,} {per_request}", flush=True)


if __name__ == "__main__":
    main()

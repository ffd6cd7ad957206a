"""A soak: very many requests to very many hosts that misbehave in every way they can, each outcome checked.

    python benchmarks/soak.py [--requests 200000] [--hosts 200] [--workers 32] [--connections 128]

The hosts are loopback addresses of four servers in processes of their own. Three close idle connections without a
word, after 50 to 200 ms drawn for each, two of them also after some requests; one says its limit and keeps it. What a
request meets is drawn from its number, so it is the same in every run: most get a body (whole, chunked, gzip, deflate)
or a redirect to another host; some a reset before or inside the answer, a body cut off, a stall beyond their timeout,
a 503 once or for ever, with a Retry-After or without, a 404. Each kind says how such a request must end, and with what
body.

Ends with 1 unless all of this holds: no outcome lost, duplicated or wrong; no host with more sockets than allowed, nor
any server, by their own count, nor this process over all, by its descriptors, looked at many times a second; nothing
left in CLOSE_WAIT; descriptors and threads as before; memory flat from the second quarter to the last: in the first
one, the allocator has not yet been asked for the most that is ever held at once.
"""

import argparse
import contextlib
import gc
import logging
import os
import resource
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from workerpool import Outcome, Request, RetryPolicy, WorkerPool
from workerpool.testing import OriginProcess

ATTEMPTS = 3
STALL = 0.4  # seconds that a request to a stalling server has
RUN = 8  # requests in a row to one host
WINDOW = 400  # requests in memory: about as many hosts at once as there are sockets for
LOOK = 0.02  # seconds between two looks at descriptors
BELL = 2  # descriptors that a pool has for itself
SETTLE = 10.0  # seconds in which sockets and threads must be gone at the end
GROWTH = 4 * 2**20  # bytes by which memory may differ between quarters: what allocators do

MANNERS: list[dict[str, Any]] = [
    {"idle_timeout": 0.05, "idle_timeout_max": 0.2},
    {"idle_timeout": 0.05, "idle_timeout_max": 0.2, "requests_per_connection": 20},
    {"idle_timeout": 0.05, "idle_timeout_max": 0.2, "requests_per_connection": 3},
    {"idle_timeout": 1.0, "advertise_idle_timeout": True},
]
LINE = b"The quick brown fox jumps over the lazy dog.\n"


def text(size: int) -> bytes:
    return (LINE * (size // len(LINE) + 1))[:size]


def octets(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@dataclass(frozen=True)
class Kind:
    """What a request meets. `share`: of a thousand. `path`: of the request; `size` is drawn, `away` is another host's.

    How it must end: with `status` and the `body` of that size, or with an error for `reason`; after `attempts`, where
    nothing else could have gone wrong.
    """

    name: str
    share: float
    path: str
    body: Callable[[int], bytes] | None = None
    status: int | None = 200
    reason: str | None = None
    attempts: int = 1
    timeout: float | None = None
    hops: int = 0


KINDS = [
    Kind("chunked", 100, "/chunked?bytes={size}", text),
    Kind("gzip", 100, "/gzip?bytes={size}", text),
    Kind("deflate", 50, "/deflate?bytes={size}", text),
    Kind("redirect", 60, "/redirect-to?url={away}", octets, hops=1),
    Kind("reset before", 4, "/reset?after=0", status=None, reason="connection", attempts=ATTEMPTS),
    Kind("reset in head", 4, "/reset?after=30", status=None, reason="connection", attempts=ATTEMPTS),
    Kind("reset in body", 4, "/reset?after=500", status=None, reason="connection", attempts=ATTEMPTS),
    Kind("truncated", 4, "/truncate?bytes=1000", status=None, reason="connection", attempts=ATTEMPTS),
    Kind("stall", 1, "/delay/3?", status=None, reason="timeout", attempts=ATTEMPTS, timeout=STALL),
    Kind("503 once", 3, "/flaky/1?status=503", lambda size: b"ok\n", attempts=2),
    Kind("503 always", 1, "/status/503?", lambda size: b"status 503\n", 503, "status", ATTEMPTS),
    Kind("later, now", 3, "/retry-after/0?status=503", lambda size: b"ok\n", attempts=2),
    Kind("later, in 1 s", 0.5, "/retry-after/1?status=503", lambda size: b"ok\n", attempts=2),
    Kind("404", 10, "/status/404?", lambda size: b"status 404\n", 404, "status"),
]
PLAIN = Kind("plain", 0, "/bytes/{size}?", octets)


class Plan:
    """What request number n is, and how it must end: drawn from n alone.

    Hosts come in short runs, as in most lists of URLs: so sockets are used again, and are idle when a run is over.
    """

    def __init__(self, hosts: list[tuple[OriginProcess, str]]) -> None:
        self._hosts = hosts

    def draw(self, number: int) -> tuple[Kind, int]:
        chance = Random(number)
        left = chance.random() * 1000
        size = chance.choice([0, 1, 300, 1000, 1000, 3000, 20_000]) + chance.randrange(100)
        for kind in KINDS:
            left -= kind.share
            if left < 0:
                return kind, size
        return PLAIN, size

    def request(self, number: int) -> Request:
        kind, size = self.draw(number)
        server, address = self._hosts[number // RUN % len(self._hosts)]
        elsewhere, there = self._hosts[(number * 7 + 1) % len(self._hosts)]
        away = quote(elsewhere.url(f"/bytes/{size}", there), safe="")
        path = kind.path.format(size=size, away=away)
        return Request(
            server.url(f"{path}{'' if path.endswith('?') else '&'}n={number}", address),
            key=str(number),
            timeout=kind.timeout,
        )

    def complaint(self, number: int, outcome: Outcome) -> str | None:
        """What is wrong with how a request ended, None if nothing is."""
        kind, size = self.draw(number)
        got = (outcome.status, None if outcome.error is None else outcome.error.reason)
        if got != (kind.status, kind.reason):
            return f"{kind.name}: ended with {got}, not {(kind.status, kind.reason)}: {outcome.error}"
        if len(outcome.attempts) < kind.attempts or (kind.reason and len(outcome.attempts) > kind.attempts):
            return f"{kind.name}: {len(outcome.attempts)} attempts, not {kind.attempts}"
        if kind.body is not None and outcome.response is not None:
            if outcome.response.content != kind.body(size):
                return f"{kind.name}: {len(outcome.response.content)} bytes of another body, {size} were asked for"
            if len(outcome.response.history) != kind.hops:
                return f"{kind.name}: {len(outcome.response.history)} redirects, not {kind.hops}"
        return None


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Watcher:
    """Looks at this process all the time: its most descriptors, and its memory by how many requests have ended."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")
        self.ended = 0
        self.most = 0
        self.memory: list[tuple[int, int]] = []

    def _run(self) -> None:
        while not self._done.wait(LOOK):
            self.most = max(self.most, descriptors())
            self.memory.append((self.ended, memory()))

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()

    def quarter(self, number: int, total: int) -> float:
        """The median of memory while that quarter of the requests ended, the first is 0."""
        low, high = total * number / 4, total * (number + 1) / 4
        return statistics.median([size for ended, size in self.memory if low <= ended <= high] or [0])


@dataclass
class Findings:
    """What the soak found: lines to print, and what must not be."""

    lines: list[tuple[str, object]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def note(self, name: str, value: object) -> None:
        self.lines.append((name, value))

    def hold(self, name: str, value: Any, holds: bool, wanted: object) -> None:
        self.note(name, f"{value}   ({wanted})")
        if not holds:
            self.faults.append(f"{name}: {value}, not {wanted}")


def settles(holds: Callable[[], bool]) -> bool:
    """Whether something comes about in the time that it has."""
    deadline = time.monotonic() + SETTLE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True


def states(ports: set[int]) -> Counter[str]:
    """This process's connections to `ports`, by state, as the kernel has them."""
    mine = psutil.Process().net_connections("tcp")
    return Counter(each.status for each in mine if each.raddr and each.raddr.port in ports)


def run(options: argparse.Namespace, servers: list[OriginProcess], plan: Plan, found: Findings) -> None:
    total = options.requests
    seen, kinds = bytearray(total), Counter[str]()
    complaints: list[str] = []
    attempts = 0
    fds, threads, began = descriptors(), threading.active_count(), time.monotonic()
    pool = WorkerPool(
        options.workers,
        max_connections=options.connections,
        host_connections=options.host_connections,
        retry=RetryPolicy(attempts=ATTEMPTS, backoff=0.05, backoff_max=0.2),
        timeout=30.0,
    )
    with Watcher() as watcher, pool:
        for outcome in pool.stream((plan.request(number) for number in range(total)), window=WINDOW):
            number = int(outcome.request.key or -1)
            seen[number] = min(255, seen[number] + 1)
            attempts += len(outcome.attempts)
            complaint = plan.complaint(number, outcome)
            kinds["wrong" if complaint else plan.draw(number)[0].name] += 1
            if complaint and len(complaints) < 20:
                complaints.append(f"{outcome.url}: {complaint}")
            watcher.ended += 1
        seconds = time.monotonic() - began
        ports = {server.port for server in servers}
        is_empty = settles(lambda: pool.statistics().sockets_open == 0)
        found.hold("sockets open in the end", pool.statistics().sockets_open, is_empty, "0, with the pool still there")
        found.hold("in CLOSE_WAIT at the end", states(ports)["CLOSE_WAIT"], not states(ports)["CLOSE_WAIT"], "0")
        figures = pool.statistics()
    del outcome
    gc.collect()
    found.note("requests a second", f"{total / seconds:,.0f}, {seconds:.0f} s in all")
    found.hold("lost", seen.count(0), seen.count(0) == 0, "0")
    found.hold("duplicated", total - seen.count(0) - seen.count(1), max(seen) <= 1, "0")
    found.hold("wrong", kinds["wrong"], not kinds["wrong"], "0")
    found.faults += complaints
    found.hold("descriptors before, after", f"{fds}, {descriptors()}", settles(lambda: descriptors() <= fds), "equal")
    is_calm = settles(lambda: threading.active_count() <= threads)
    found.hold("threads before, after", f"{threads}, {threading.active_count()}", is_calm, "equal")
    sockets = watcher.most - fds - BELL
    found.hold("most descriptors at once", sockets, sockets <= options.connections, f"at most {options.connections}")
    for server, manners in zip(servers, MANNERS, strict=True):
        records = server.records()
        most = max(each.peak for each in records.sockets_at.values())
        name = ", ".join(f"{key}={value}" for key, value in manners.items())
        found.note(f"server {server.port}", name)
        found.note("  requests, connections", f"{records.requests}, {records.sockets.opened}")
        found.hold("  most sockets", records.sockets.peak, records.sockets.peak <= options.connections, "by its count")
        found.hold("  of one host", most, most <= options.host_connections, f"at most {options.host_connections}")
    second, last = watcher.quarter(1, total), watcher.quarter(3, total)
    growth = f"{second / 2**20:.1f} MiB, {last / 2**20:.1f} MiB"
    found.hold(
        "memory, second and last quarter", growth, abs(last - second) <= GROWTH, f"within {GROWTH / 2**20:.0f} MiB"
    )
    found.note("attempts, sends, free sends", f"{attempts}, {figures.sent}, {figures.resent}")
    found.note(
        "sockets opened, lost, retired", f"{figures.sockets_opened}, {figures.sockets_lost}, {figures.sockets_retired}"
    )
    found.note("sends over a used socket", figures.sockets_reused)
    found.note("kinds", ", ".join(f"{name} {count}" for name, count in kinds.most_common()))


@contextlib.contextmanager
def hosts(count: int) -> Iterator[tuple[list[OriginProcess], Plan]]:
    """Start the servers, each with its share of `count` addresses."""
    addresses = [f"127.{1 + n // 200}.0.{n % 200 + 1}" for n in range(count)]
    with ExitStack() as stack:
        shares = [addresses[number :: len(MANNERS)] for number in range(len(MANNERS))]
        servers = [
            stack.enter_context(OriginProcess(share, record=False, **manners))
            for share, manners in zip(shares, MANNERS, strict=True)
        ]
        yield servers, Plan([(servers[n % len(servers)], address) for n, address in enumerate(addresses)])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200_000, help="in all (200,000)")
    parser.add_argument("--hosts", type=int, default=200, help="loopback addresses, 4 or more (200)")
    parser.add_argument("--workers", type=int, default=32, help="threads (32)")
    parser.add_argument("--connections", type=int, default=128, help="sockets open at once, at most (128)")
    parser.add_argument("--host-connections", type=int, default=4, help="of these to one host (4)")
    options = parser.parse_args()
    logging.getLogger("workerpool").setLevel(logging.ERROR)  # thousands of failures are meant
    found = Findings()
    with hosts(options.hosts) as (servers, plan):
        run(options, servers, plan, found)
    print(f"{options.requests} requests, {options.hosts} hosts, {options.workers} workers")
    for name, value in found.lines:
        print(f"{name:34}{value}")
    for fault in found.faults:
        print(f"FAULT {fault}")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""What sick hosts cost the others: 50 hosts of which 5 are dead, 5 limited and 5 slow, and how long the other 35 take.

    python -m benchmarks.fifty_hosts [--rounds 5] [--requests 100] [--order mixed] [--options '{"max_workers": 64}']

A dead host refuses connections (three of them) or does not answer to them at all (two). A limited one takes two
requests a second, and asks the others to come back in 5 s. A slow one answers after 2 s, the others after 50 ms. In
each round the 35 are fetched once alone and once with the others, by a pool in a process of its own; the ratio of these
times is what is printed, and the median of the rounds. Each sick host gets as many requests as each of the 35, in turn,
or (``--order sick-first``) all of them before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.side_by_side.environment import ROOT, clean_environment
from workerpool import WorkerPool
from workerpool.testing import OriginProcess

WELL, LIMITED, SLOW, REFUSING, SILENT = 35, 5, 5, 3, 2
WELL_PATH, SLOW_PATH, LIMITED_PATH = "/delay/0.05?n=", "/delay/2?n=", "/limit?rate=2&burst=2&hint=5&n="
KINDS = ("limited", "slow", "refusing", "silent")
TIMEOUT = 300.0
"""Seconds after which a pool that does not come to the end of the 35 is given up."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """What their URLs begin with; anything may follow. `sick` is by kind, one of `KINDS`."""

    well: list[str]
    sick: dict[str, list[str]]

    def urls(self, requests: int, kinds: Sequence[str], order: str = "mixed") -> Iterator[str]:
        """Give so many URLs of each of the 35, and of each sick host of these kinds."""
        sick = [prefix for kind in kinds for prefix in self.sick[kind]]
        if order == "sick-first":
            return itertools.chain(_in_turn(sick, requests), _in_turn(self.well, requests))
        return _in_turn([*sick, *self.well], requests)


def _in_turn(prefixes: Sequence[str], requests: int) -> Iterator[str]:
    return (f"{prefix}{number}" for number in range(requests) for prefix in prefixes)


@contextmanager
def silent(address: str) -> Iterator[int]:
    """Listen at a loopback address where nobody is let in any more, so that connecting there gets no answer.

    Linux drops what asks for a connection while a listener's queue is full; gives the port.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextmanager
def fifty_hosts() -> Iterator[Hosts]:
    """Run all of them, each with a loopback address of its own."""
    addresses = [f"127.0.4.{number}" for number in range(1, WELL + LIMITED + SLOW + 1)]
    with ExitStack() as stack:
        origin = stack.enter_context(OriginProcess(addresses))
        paths = WELL * [WELL_PATH] + LIMITED * [LIMITED_PATH] + SLOW * [SLOW_PATH]
        answering = [origin.url(path, address) for path, address in zip(paths, addresses, strict=True)]
        refusing = [f"http://127.0.5.{number}:{origin.port}/" for number in range(1, REFUSING + 1)]
        quiet = []
        for number in range(1, SILENT + 1):
            address = f"127.0.6.{number}"
            quiet.append(f"http://{address}:{stack.enter_context(silent(address))}/")
        yield Hosts(
            well=answering[:WELL],
            sick={
                "limited": answering[WELL : WELL + LIMITED],
                "slow": answering[WELL + LIMITED :],
                "refusing": refusing,
                "silent": quiet,
            },
        )


def seconds_for_the_well(pool: WorkerPool, hosts: Hosts, urls: Iterator[str], requests: int) -> float:
    """Return how long it takes until each request to the 35 has ended well, whatever has become of the others."""
    left = requests * len(hosts.well)
    well = tuple(hosts.well)
    began = time.monotonic()
    outcomes = pool.stream(urls)
    for outcome in outcomes:
        if outcome.url.startswith(well):
            assert outcome.ok, outcome.error
            left -= 1
            if not left:
                break
    took = time.monotonic() - began
    outcomes.close()
    return took


def measure(
    hosts: Hosts,
    requests: int,
    kinds: Sequence[str],
    *,
    order: str = "mixed",
    options: dict[str, Any],
    timeout: float = TIMEOUT,
) -> float:
    """Return the seconds that the 35 take in a process of its own, which is ended then: its sick hosts are not.

    Raises `subprocess.TimeoutExpired` after `timeout` seconds, `subprocess.CalledProcessError` if one of the 35 failed.
    """
    spec = json.dumps([hosts.well, hosts.sick, requests, kinds, order, options])
    command = [sys.executable, "-m", "benchmarks.fifty_hosts", "--client", spec]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True, timeout=timeout, check=True
    )
    return float(done.stdout)


def client(spec: str) -> None:
    well, sick, requests, kinds, order, options = json.loads(spec)
    hosts = Hosts(well, sick)
    pool = WorkerPool(**options)
    took = seconds_for_the_well(pool, hosts, hosts.urls(requests, kinds, order), requests)
    print(took, flush=True)
    os._exit(0)  # a pool that is left waits for what is being sent, and some of that for a long time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=100, help="to each host (100)")
    parser.add_argument("--order", choices=("mixed", "sick-first"), default="mixed")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of sick hosts (all)")
    parser.add_argument("--options", type=json.loads, default={}, help="of the pool, as JSON")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client is not None:
        client(options.client)
    ratios = []
    with fifty_hosts() as hosts:
        for number in range(options.rounds):
            took = {
                kinds: measure(hosts, options.requests, kinds, order=options.order, options=options.options)
                for kinds in ((), tuple(options.kinds))[:: 1 if number % 2 else -1]
            }
            alone, together = took[()], took[tuple(options.kinds)]
            ratios.append(together / alone)
            print(f"alone {alone:6.2f} s, together {together:6.2f} s: {ratios[-1]:.2f} ×", flush=True)
    print(f"median {statistics.median(ratios):.2f} × ({min(ratios):.2f}–{max(ratios):.2f})")


if __name__ == "__main__":
    main()

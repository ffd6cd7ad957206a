"""How a pool that does not know a host's limit gets through: requests, attempts and time, against an origin of ours.

    python benchmarks/refusing_host.py [--requests 400] [--limit 50] [--burst 5]

The origin answers 429 without a Retry-After beyond its limit. Prints, for the pool's defaults, for a pool that finds
the limit out, and for one that was told it, how long the batch took against the least that the limit allows, and how
many attempts requests needed.
"""

from __future__ import annotations

import argparse
import collections
import time
from typing import Any

from workerpool import WorkerPool
from workerpool.testing import OriginProcess


def measure(label: str, urls: list[str], least: float, options: dict[str, Any]) -> None:
    began = time.monotonic()
    with WorkerPool(16, **options) as pool:
        outcomes = [*pool.stream(urls)]
    took = time.monotonic() - began
    attempts = collections.Counter(len(outcome.attempts) for outcome in outcomes)
    spread = ", ".join(f"{count} × {number}" for number, count in sorted(attempts.items()))
    ok = sum(outcome.ok for outcome in outcomes)
    print(f"{label:<15} {ok}/{len(urls)} ok in {took:5.1f} s ({took / least:.1f} × the least); attempts: {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--limit", type=int, default=50, help="requests a second that the host takes")
    parser.add_argument("--burst", type=int, default=5)
    options = parser.parse_args()
    least = options.requests / options.limit
    for label, told in (
        ("not told", {}),
        ("rate=auto", {"rate": "auto"}),
        ("host_rate given", {"host_rate": f"{options.limit}/s"}),
    ):
        with OriginProcess() as origin:
            path = f"/limit?rate={options.limit}&burst={options.burst}&hint=no&id="
            urls = [origin.url(f"{path}{number}") for number in range(options.requests)]
            measure(label, urls, least, told)


if __name__ == "__main__":
    main()

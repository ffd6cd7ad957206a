"""What a cluster adds: requests a second of four workers and of one, where servers take their time.

    python -m benchmarks.cluster [--requests 4000] [--delay 0.1] [--threads 4] [--workers 4]
    python -m benchmarks.cluster --kills 8 [--requests 20000]

Each answer is delayed by so many seconds, so that threads wait and no CPU binds. `local[1]` and `local[N]` fetch URLs
of 16 hosts, each by so many threads for each worker; the time is from the first outcome on, as processes take seconds
to start. With `--kills`, a job of so many inputs has a random worker killed so many times; said is how many records
inputs have in the output, and how many sends are known. Ends with 1 if that is not one for each.

Everything is on one machine: the server and the process that writes have their part of its cores. With two of these,
more than some thousand requests a second say nothing about a cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from workerpool import ClusterPool, Job
from workerpool.testing.origin.process import OriginProcess

HOSTS = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=0)
    said = parser.parse_args()
    addresses = [f"127.0.0.{number}" for number in range(1, HOSTS + 1)]
    with OriginProcess(addresses=addresses) as origin:
        count = said.requests or (20_000 if said.kills else 4_000)
        path = f"/delay/{0.002 if said.kills else said.delay}"
        urls = [origin.url(f"{path}?n={number}", address=addresses[number % HOSTS]) for number in range(count)]
        if said.kills:
            return kill(urls, said.workers, said.threads, said.kills)
        one = rate(urls[: count // said.workers], 1, said.threads)
        more = rate(urls, said.workers, said.threads)
    print(f"  1 worker    {one:8,.1f}/s\n{said.workers:3} workers   {more:8,.1f}/s   {more / one:.2f} ×")
    return 0


def rate(urls: list[str], workers: int, threads: int) -> float:
    """Outcomes a second from the first one on."""
    began, count = 0.0, 0
    with ClusterPool(f"local[{workers}]", threads) as pool:
        list(pool.stream(urls[: 8 * workers * threads]))  # all workers are there by then
        for outcome in pool.stream(urls):
            began = began or time.monotonic()
            count += outcome.ok
    return count / (time.monotonic() - began)


def kill(urls: list[str], workers: int, threads: int, kills: int) -> int:
    """Kill workers while a job runs; returns the exit code."""
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory() as directory,
        LocalCluster(
            n_workers=workers, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        at = sorted(random.sample(range(len(urls) * 9 // 10), kills))
        seen = 0

        def observe(outcome: object) -> None:
            nonlocal seen
            seen += 1
            if at and seen >= at[0]:
                at.pop(0)
                threading.Thread(target=kill_one).start()

        def kill_one() -> None:
            pids = [*client.run(os.getpid, on_error="ignore").values()]
            os.kill(random.choice(pids), signal.SIGKILL)

        output = Path(directory, "out.jsonl")
        began = time.monotonic()
        result = Job(Path(directory, "a.job"), requests=urls, output=output).run(
            cluster=client, max_workers=threads, observe=observe
        )
        took = time.monotonic() - began
        times = Counter(Counter(json.loads(line)["url"] for line in output.read_text().splitlines()).values())
        sent = result.sent
    print(
        f"{result}\n{kills - len(at)} kills, {took:.1f} s; records for each input: {dict(times)}; sends known: {sent:,}"
    )
    return 0 if times == {1: len(urls)} else 1


if __name__ == "__main__":
    sys.exit(main())

"""What several processes add: requests a second of one and of two, for many small answers of nginx on loopback.

    python -m benchmarks.processes [--requests 20000] [--rounds 5] [--processes 2] [--hosts 16] [--workers 32]

Each round fetches URLs in pairs of ways, one after the other: a stream of a `WorkerPool` and one of a `ShardedPool`,
each pool warm, once by the fast path and once by requests' own code (a fifth of the URLs), which takes several times
the CPU; `workerpool run` and `workerpool run --processes N`, each a command of its own with all that takes, its start
included. Prints requests a second of each, the median of the rounds, and the ratios of a round, their median with the
least and the greatest. CPU time is that of the client's processes together, per request.

nginx takes part of the cores that the processes share, and the process that reads the source and writes the results
another part. With as many cores as processes the ratio is far below the number of processes; it says what a machine
like this one gains, and nothing about larger ones.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import nginx
from workerpool import ShardedPool, WorkerPool

BODY = 1024
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Turn:
    """One way's part of a round: requests a second, and CPU microseconds a request."""

    rate: float
    cost: float


def stream(pool: WorkerPool, urls: Sequence[str]) -> Turn:
    began, cpu = time.perf_counter(), _cpu_of(pool)
    ok = sum(outcome.ok for outcome in pool.stream(urls))
    took, spent = time.perf_counter() - began, _cpu_of(pool) - cpu
    assert ok == len(urls), f"{len(urls) - ok} requests failed"
    return Turn(len(urls) / took, 1e6 * spent / len(urls))


def command(directory: Path, count: int, *words: str) -> Turn:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    argv = [sys.executable, "-m", "workerpool", "run", "urls.txt", "-o", "out.jsonl", "--overwrite", "--quiet", *words]
    subprocess.run(argv, cwd=directory, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Turn(count / took, 1e6 * spent / count)


def _cpu_of(pool: WorkerPool) -> float:
    """CPU seconds of this process, and of the pool's own."""
    ticks = 0
    for pid in pool.pids if isinstance(pool, ShardedPool) else []:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def tell(turns: dict[str, list[Turn]]) -> None:
    print(f"{'':42}{'requests/s':>12}{'CPU µs each':>13}")
    for name, of_one in turns.items():
        rate, cost = (statistics.median(getattr(turn, part) for turn in of_one) for part in ("rate", "cost"))
        print(f"{name:42}{rate:12,.0f}{cost:13.0f}")
    names = [*turns]
    for one, several in zip(names[::2], names[1::2], strict=True):
        ratios = [two.rate / first.rate for first, two in zip(turns[one], turns[several], strict=True)]
        median = statistics.median(ratios)
        print(f"{several} ÷ {one}: {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hosts", type=int, default=16)
    parser.add_argument("--workers", type=int, default=32)
    said = parser.parse_args()
    binary = nginx.find()
    if binary is None:
        raise SystemExit("nginx is not installed (on Debian: apt-get install nginx-light)")
    with tempfile.TemporaryDirectory() as folder:
        directory, port = Path(folder), nginx.free_port("0.0.0.0")
        (directory / "small").write_bytes(BODY * b"x")
        server = f"server {{ listen 0.0.0.0:{port}; root {directory}; keepalive_requests 1000000; }}"
        urls = [f"http://127.0.0.{1 + n % said.hosts}:{port}/small?{n}" for n in range(said.requests)]
        (directory / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
        options = ("--workers", str(said.workers))
        several = f"{said.processes} processes"
        some = urls[: said.requests // 5]
        with (
            nginx.running(binary, directory, server, ("127.0.0.1", port)),
            WorkerPool(said.workers) as one,
            ShardedPool(said.processes, said.workers) as more,
            WorkerPool(said.workers, fast_path=False) as slow,
            ShardedPool(said.processes, said.workers, fast_path=False) as slow_more,
        ):
            ways: dict[str, Callable[[], Turn]] = {
                "stream": lambda: stream(one, urls),
                f"stream, {several}": lambda: stream(more, urls),
                "requests' own code": lambda: stream(slow, some),
                f"requests' own code, {several}": lambda: stream(slow_more, some),
                "run": lambda: command(directory, len(urls), *options),
                f"run, {several}": lambda: command(directory, len(urls), *options, "--processes", str(said.processes)),
            }
            for pool in (one, more, slow, slow_more):
                stream(pool, urls[:1000])
            turns: dict[str, list[Turn]] = {name: [] for name in ways}
            for _ in range(said.rounds):
                for name, way in ways.items():
                    turns[name].append(way())
    tell(turns)
    print(
        f"{os.cpu_count()} cores, {said.requests:,} requests, {said.hosts} hosts, {said.workers} workers, {BODY} bytes"
    )


if __name__ == "__main__":
    main()

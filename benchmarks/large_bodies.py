"""What a large body costs: into memory and into a file, beside urllib3 and requests, in one run.

    python -m benchmarks.large_bodies [--mebibytes 256] [--rounds 5]

The server is nginx on loopback. Each way is a process of its own, which fetches the body three times over one
connection and counts the last two: its CPU and time for a body, and the most memory that it had over that of its start.
Processes take turns; figures are medians of the rounds, and a ratio is that of the ratios within a round. "Into a file"
is /dev/null, so that no disk is measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests
import urllib3

from benchmarks import nginx
from benchmarks.side_by_side.environment import ROOT, clean_environment
from workerpool import Request, WorkerPool

HOST = "127.0.0.1"
PIECE = 1024 * 1024
FETCHES = 3

Fetch = Callable[[str], int]
"""Fetch this URL, and return how many bytes came."""


def urllib3_memory() -> Fetch:
    pool = urllib3.PoolManager()
    return lambda url: len(pool.request("GET", url).data)


def urllib3_file() -> Fetch:
    pool = urllib3.PoolManager()

    def fetch(url: str) -> int:
        response = pool.request("GET", url, preload_content=False)
        with open("/dev/null", "wb") as file:
            return sum(file.write(piece) for piece in response.stream(PIECE))

    return fetch


def requests_memory() -> Fetch:
    session = requests.Session()
    return lambda url: len(session.get(url).content)


def requests_file() -> Fetch:
    session = requests.Session()

    def fetch(url: str) -> int:
        with session.get(url, stream=True) as response, open("/dev/null", "wb") as file:
            return sum(file.write(piece) for piece in response.iter_content(PIECE))

    return fetch


def workerpool_memory() -> Fetch:
    pool = WorkerPool(1, retry=None)
    return lambda url: len(pool.get(url).result().content)


def workerpool_file() -> Fetch:
    pool = WorkerPool(1, retry=None)

    def fetch(url: str) -> int:
        (outcome,) = pool.stream([Request(url, stream=True)])
        assert outcome.response is not None
        with outcome.response as response, open("/dev/null", "wb") as file:
            return sum(file.write(piece) for piece in response.iter_content(PIECE))

    return fetch


WAYS: dict[str, Callable[[], Fetch]] = {
    "urllib3, memory": urllib3_memory,
    "requests, memory": requests_memory,
    "workerpool, memory": workerpool_memory,
    "urllib3, file": urllib3_file,
    "requests, file": requests_file,
    "workerpool, file": workerpool_file,
}


def fetch_here(way: str, url: str, size: int) -> None:
    """Fetch in this process, and print what it took as JSON: seconds, CPU seconds and MiB."""
    fetch = WAYS[way]()
    before = _peak()
    seconds = cpu = 0.0
    for number in range(FETCHES):
        began, cpu_began = time.perf_counter(), time.process_time()
        if fetch(url) != size:
            raise SystemExit(f"{way}: not all of the body came")
        if number:
            seconds += time.perf_counter() - began
            cpu += time.process_time() - cpu_began
    print(json.dumps([seconds / (FETCHES - 1), cpu / (FETCHES - 1), _peak() - before]))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(url: str, size: int, rounds: int) -> dict[str, list[list[float]]]:
    figures: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.large_bodies", "--way", way, "--url", url, "--size", str(size)]
            done = subprocess.run(
                command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
            )
            figures[way].append(json.loads(done.stdout))
    return figures


def show(figures: dict[str, list[list[float]]]) -> None:
    print(f"{'way':22}{'s':>8}{'CPU s':>8}{'MiB more':>10}{'of urllib3: time':>18}{'CPU':>7}")
    for way, rows in figures.items():
        base = figures[f"urllib3,{way.partition(',')[2]}"]
        seconds, cpu, memory = (statistics.median(column) for column in zip(*rows, strict=True))
        slower, dearer = (
            statistics.median(row[part] / its[part] for row, its in zip(rows, base, strict=True)) for part in (0, 1)
        )
        print(f"{way:22}{seconds:8.2f}{cpu:8.2f}{memory:10.0f}{slower:16.2f} x{dearer:5.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure large bodies beside urllib3 and requests, in one run.")
    parser.add_argument("--mebibytes", type=int, default=256, help="of the body (256)")
    parser.add_argument("--rounds", type=int, default=5, help="of every way (5)")
    for hidden in ("--way", "--url", "--size"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        fetch_here(options.way, options.url, int(options.size))
        return
    binary = nginx.find()
    if binary is None:
        raise SystemExit("nginx is not installed (on Debian: apt-get install nginx-light)")
    size, port = options.mebibytes * 1024 * 1024, nginx.free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open(folder / "body", "wb") as file:
            file.truncate(size)
        with nginx.running(binary, folder, f"server {{ listen {HOST}:{port}; root {folder}; }}", (HOST, port)):
            show(measure(f"http://{HOST}:{port}/body", size, options.rounds))


if __name__ == "__main__":
    main()

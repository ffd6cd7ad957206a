"""What a job costs: the command line with `--job` and without, in turns, in one run.

    python -m benchmarks.job_cost [--rounds 5] [--requests 20000] [--delay 0.0055] [--workers 16] [--output out.jsonl]

The server answers each request after a delay, 5.5 ms, so that 16 workers get about 2,000 answers a second: a request
counts as being sent until it is in the ledger, so every moment until then is missing from the next one. Prints the
outcomes a second of both, the medians of the rounds, and the ratio, the median of the rounds' ratios; the same for the
CPU time of an outcome. `--delay 0` is for the cost at full speed.

Runs are whole processes, from their start to their exit. With `--check`, ends with 1 if the job takes more than a tenth
of the throughput away.
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
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.environment import ROOT, clean_environment
from benchmarks.side_by_side.servers import HOST, delaying_port

MOST = 0.1
"""The share of the throughput that a job may cost."""


@dataclass(frozen=True)
class Turn:
    """A run: outcomes a second, and microseconds of CPU time for each."""

    rate: float
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--delay", type=float, default=0.0055)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--output", default="out.jsonl", help="its name says the format")
    parser.add_argument("--check", action="store_true")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, delaying_port(said.delay) as port:
        source = Path(folder) / "urls.txt"
        source.write_text("".join(f"http://{HOST}:{port}/{n}\n" for n in range(said.requests)))
        pairs = [_pair(source, said, number) for number in range(said.rounds)]
    for name, turns in (("without", [plain for plain, _ in pairs]), ("with a job", [job for _, job in pairs])):
        rate, cpu = statistics.median(turn.rate for turn in turns), statistics.median(turn.cpu for turn in turns)
        print(f"{name:<11}{rate:>8,.0f} outcomes/s{cpu:>8.0f} µs of CPU each")
    ratio = statistics.median(job.rate / plain.rate for plain, job in pairs)
    print(f"with a job ÷ without: {ratio:.3f} of the throughput", end=", ")
    print(f"{statistics.median(job.cpu / plain.cpu for plain, job in pairs):.2f} × the CPU time")
    return int(said.check and ratio < 1 - MOST)


def _pair(source: Path, said: argparse.Namespace, number: int) -> tuple[Turn, Turn]:
    """One run without and one with a job; who begins takes turns."""
    turns = {with_job: _turn(source, said, with_job) for with_job in sorted((False, True), reverse=bool(number % 2))}
    return turns[False], turns[True]


def _turn(source: Path, said: argparse.Namespace, with_job: bool) -> Turn:
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        command = [
            *(sys.executable, "-m", "workerpool", "run", str(source), "-o", os.path.join(folder, said.output)),
            *("--workers", str(said.workers), "--host-connections", str(said.workers), "--quiet"),
            *(("--job", os.path.join(folder, "job")) if with_job else ()),
        ]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=clean_environment(), check=True)
        elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Turn(said.requests / elapsed, spent / said.requests * 1e6)


if __name__ == "__main__":
    sys.exit(main())

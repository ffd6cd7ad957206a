"""What a job of very many inputs takes: memory, disk, and time to go on.

    python -m benchmarks.job_size [--inputs 10000000]

A file of that many URLs becomes a job whose requests are answered at once, without a server. Half of it is done in one
process, which is then killed; another goes on with the rest. Prints, now and then, how many outcomes there are, the
memory that is resident, and the size of the ledger; then how long the second process took until its first request.
Ends with 1 if memory grew by more than 16 MiB from the first tenth to the last, or an input has no record.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from workerpool import Job
from workerpool.model import Outcome
from workerpool.testing import ScriptedTransport

GROWTH = 16 * 2**20
LINE = "http://host-{host}.test/{number}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "STOP"), help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.child:
        return _carry_out(Path(said.child[0]), said.inputs, int(said.child[1]))
    with tempfile.TemporaryDirectory() as folder:
        with open(Path(folder) / "urls.txt", "w") as file:
            file.writelines(LINE.format(host=n % 100, number=n) for n in range(said.inputs))
        command = [sys.executable, "-m", "benchmarks.job_size", "--inputs", str(said.inputs), "--child", folder]
        first = subprocess.run([*command, str(said.inputs // 2)], check=False)
        print(f"killed ({first.returncode})")
        second = subprocess.run([*command, "-1"], check=False)
        with open(Path(folder) / "out.jsonl", "rb") as output:
            records = sum(1 for _ in output)
        print(f"{records:,} records, the output has {os.stat(output.name).st_size / 1e6:,.0f} MB")
    return int(second.returncode != 0 or records != said.inputs)


def _carry_out(folder: Path, inputs: int, stop: int) -> int:
    """Go on with the job; kill this process after `stop` outcomes, unless that is negative."""
    process, began, seen = psutil.Process(), time.perf_counter(), 0
    resident: list[int] = []
    every = max(1, inputs // 20)

    def look(outcome: Outcome) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            print(f"the first outcome after {time.perf_counter() - began:.2f} s", flush=True)
        if seen == stop:
            process.kill()
        if seen % every == 0:
            resident.append(process.memory_info().rss)
            ledger = sum(file.stat().st_size for file in (folder / "job").glob("ledger.sqlite*"))
            rate = seen / (time.perf_counter() - began)
            print(
                f"{seen:>12,} {resident[-1] / 2**20:6.0f} MiB  ledger {ledger / 1e6:6.0f} MB {rate:8,.0f}/s", flush=True
            )

    job = Job(folder / "job", [folder / "urls.txt"], folder / "out.jsonl")
    result = job.run(observe=look, transport=ScriptedTransport())
    assert result.is_whole, result
    return int(max(resident) - resident[0] > GROWTH)


if __name__ == "__main__":
    sys.exit(main())

"""How near `workerpool plan --from` comes: a job's records predict it, and what other settings come to.

    python -m benchmarks.plan_accuracy [--requests 2000]

Answers of a loopback origin take 20 to 200 ms. A job runs with some settings; from its records alone the time of these
and of others is predicted, and then each of the others is run. Prints predicted ÷ measured. Run by itself: it compares
seconds of simulated time, which no other process slows, with seconds of this machine.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workerpool.testing import OriginProcess

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SHARES = (6, 3, 1)
DELAYS = (0.02, 0.05, 0.05, 0.2)

RUN = ("--workers", "8")
OTHERS: tuple[tuple[str, ...], ...] = (
    ("--workers", "16"),
    ("--workers", "4"),
    ("--workers", "16", "--host-connections", "2"),
    ("--workers", "32", "--host-rate", "40/s"),
    ("--workers", "16", "--rate", "60/s"),
)


@dataclass(frozen=True)
class Row:
    """What was predicted and measured of a setting, in seconds."""

    setting: tuple[str, ...]
    predicted: float
    measured: float
    binds: str | None

    @property
    def ratio(self) -> float:
        return self.predicted / self.measured


def measure(requests: int, run: Sequence[str], others: Sequence[tuple[str, ...]]) -> list[Row]:
    """Run `run`, plan it and the others, and run these."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, OriginProcess(ADDRESSES, record=False) as origin:
        place = Path(folder)
        source = place / "urls.txt"
        hosts = draw.choices(ADDRESSES, SHARES, k=requests)
        urls = (origin.url(f"/delay/{draw.choice(DELAYS)}?n={n}", host) for n, host in enumerate(hosts))
        source.write_text("".join(f"{url}\n" for url in urls))
        took = _took(place, "first", run)
        compared = [word for other in others for word in ("--compare", " ".join(other))]
        said = _command("plan", str(source), "--from", str(place / "first"), "--json", *run, *compared)
        plans = json.loads(said)["settings"]
        times = [took, *(_took(place, f"other{number}", other) for number, other in enumerate(others))]
        settings = [tuple(run), *others]
        return [
            Row(setting, plan["seconds"], time, plan["binds"])
            for setting, plan, time in zip(settings, plans, times, strict=True)
        ]


def _took(place: Path, name: str, options: Sequence[str]) -> float:
    """Run a job with these options, and return its seconds, as the job itself tells."""
    job = str(place / name)
    _command("run", str(place / "urls.txt"), "-o", f"{job}.jsonl", "--job", job, "--quiet", *options)
    status = json.loads(_command("status", job, "--json"))
    return float(status["ended"] - status["began"])


def _command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "workerpool", *words], capture_output=True, text=True, timeout=600, check=True
    )
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    options = parser.parse_args()
    print(f"{'setting':<44}{'predicted':>10}{'measured':>10}{'ratio':>7}  what binds")
    for row in measure(options.requests, RUN, OTHERS):
        figures = f"{row.predicted:>8.1f} s{row.measured:>8.1f} s{row.ratio:>7.2f}"
        print(f"{' '.join(row.setting):<44}{figures}  {row.binds}", flush=True)


if __name__ == "__main__":
    main()

"""The command lines: a file of URLs in, a record of each out, from start to exit.

Records hold no bodies, which is our default and reqstorm's `--body none`. It gets 16 requests at once as we do: its own
100 are slower here (measured, reqstorm 2.5). curl makes no records; it is what a fetch costs without Python.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.environment import clean_environment
from benchmarks.side_by_side.results import Turn
from benchmarks.side_by_side.turns import TurnFailed

TIMEOUT = 300.0
LAUNCHER = Path(__file__).with_name("launcher.py")
OUTPUT = "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class Command:
    """`arguments`: of the program, for a file of URLs, a file of records, and so many requests at once."""

    name: str
    label: str
    program: str
    arguments: Callable[[Path, Path, int], Sequence[str]]
    makes_records: bool = True
    obstacle: Callable[[], str | None] = lambda: None

    def missing(self) -> str | None:
        """Why it cannot run here; None if it can."""
        return self.obstacle() if self.path() else f"{self.program} not installed"

    def path(self) -> str | None:
        """Prefer what belongs to this interpreter to another one of the same name."""
        return shutil.which(self.program, path=str(Path(sys.executable).parent)) or shutil.which(self.program)


class Run:
    """One command with its files, which takes turns; every turn is a process."""

    def __init__(self, command: Command, folder: Path, url: str, concurrency: int) -> None:
        self.client = command
        self._folder = folder
        self._url = url
        self._concurrency = concurrency

    def turn(self, requests: int) -> Turn:
        """Fetch so many URLs; raises `TurnFailed`."""
        source, output, errors = (self._folder / name for name in ("urls.txt", OUTPUT, "errors"))
        source.write_text("".join(f"{self._url}?item={number}\n" for number in range(requests)))
        output.unlink(missing_ok=True)
        program = self.client.path()
        arguments = self.client.arguments(source, output, self._concurrency)
        launch = [sys.executable, "-IS", str(LAUNCHER), str(errors), str(program), *arguments]
        environment = clean_environment()
        done = subprocess.run(launch, capture_output=True, text=True, check=True, timeout=TIMEOUT, env=environment)
        code, seconds, cpu, peak = done.stdout.split()
        if int(code) != 0 or (self.client.makes_records and not _are_whole(output, requests)):
            raise TurnFailed(f"{self.client.label} ended with {code}, records missing: {errors.read_text()[-2000:]}")
        return Turn(requests=requests, seconds=float(seconds), cpu=float(cpu), peak=int(peak))


def _are_whole(output: Path, requests: int) -> bool:
    """Whether there is a record for every request, each with status 200."""
    with open(output) as records:
        statuses = [json.loads(record)["status"] for record in records]
    return statuses == [200] * requests


def _workerpool(source: Path, output: Path, concurrency: int) -> Sequence[str]:
    budgets = [f"--{what}={concurrency}" for what in ("workers", "connections", "host-connections")]
    return ["run", str(source), "--output", str(output), *budgets]


def _slow_path(source: Path, output: Path, concurrency: int) -> Sequence[str]:
    return [*_workerpool(source, output, concurrency), "--no-fast-path"]


def _no_choice_of_paths() -> str | None:
    command = [sys.executable, "-m", "workerpool", "run", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return None if "--no-fast-path" in said.stdout else "there is one path"


def _reqstorm(source: Path, output: Path, concurrency: int) -> Sequence[str]:
    return [str(source), "--output", str(output), "--concurrency", str(concurrency), "--body", "none"]


def _curl(source: Path, output: Path, concurrency: int) -> Sequence[str]:
    """`--fail` makes a status of 400 or more its exit code."""
    config = source.with_suffix(".curl")
    config.write_text("".join(f'url = "{url}"\noutput = "/dev/null"\n' for url in source.read_text().split()))
    parallel = ["--parallel", "--parallel-max", str(concurrency)]
    return [*parallel, "--fail", "--silent", "--show-error", "--config", str(config)]


COMMANDS = (
    Command(name="workerpool-cli", label="workerpool run", program="workerpool", arguments=_workerpool),
    Command(name="reqstorm-cli", label="reqstorm", program="reqstorm", arguments=_reqstorm),
    Command(
        name="workerpool-cli-slow",
        label="workerpool run --no-fast-path",
        program="workerpool",
        arguments=_slow_path,
        obstacle=_no_choice_of_paths,
    ),
    Command(name="curl", label="curl -Z (no records)", program="curl", arguments=_curl, makes_records=False),
)

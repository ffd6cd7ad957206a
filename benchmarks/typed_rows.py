"""Typed rows out of JSON, from a file of URLs to a table in SQLite: our command line beside reqstorm's, in one run.

    python -m benchmarks.typed_rows [--requests 5000] [--rounds 5]

nginx gives each URL the same 20 items on loopback. Both make a checked row of seven columns of each item, and are given
16 requests at once; a job, which survives `kill -9`, is measured beside them. Each turn is a process, and they take
turns; figures are medians of the rounds, and a ratio is that of the ratios within a round. The rows in the table are
counted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks import nginx
from benchmarks.side_by_side.commands import LAUNCHER, TIMEOUT
from benchmarks.side_by_side.environment import clean_environment

HOST = "127.0.0.1"
ITEMS = 20
CONCURRENCY = 16
ANSWER = {
    "meta": {"page": 1},
    "items": [
        {
            "id": number,
            "name": f"item {number}",
            "pricing": {"amount": number + 0.25, "currency": "EUR"},
            "stock": None if number % 5 == 0 else number,
            "tags": ["a", "b"],
            "updated_at": "2026-01-02T03:04:05Z",
        }
        for number in range(ITEMS)
    ],
}

OUR_SCHEMA = """
explode = "items"

[columns]
item = { path = "id", type = "int", required = true }
name = { type = "string", required = true }
price = { path = "pricing.amount", type = "float" }
stock = "int"
tags = "json"
updated = { path = "updated_at", type = "timestamp" }
page = { from = "root", path = "meta.page", type = "int" }
"""

ITS_SCHEMA = {
    "item": {"path": "id", "type": "int", "required": True},
    "name": {"path": "name", "type": "str", "required": True},
    "price": {"path": "pricing.amount", "type": "float"},
    "stock": {"path": "stock", "type": "int"},
    "tags": {"path": "tags", "type": "json"},
    "updated": {"path": "updated_at", "type": "datetime"},
    "page": {"path": "$.meta.page", "type": "int"},
}


@dataclass(frozen=True)
class Way:
    """`words`: the command in a folder; the first one is its program."""

    name: str
    output: str
    words: Callable[[Path], Sequence[str]]


@dataclass(frozen=True)
class Turn:
    """What one took: seconds, seconds of CPU, bytes that were resident at most, and the rows that it made."""

    seconds: float
    cpu: float
    peak: int
    rows: int


def _ours(folder: Path, *more: str) -> Sequence[str]:
    budgets = [f"--{what}={CONCURRENCY}" for what in ("workers", "connections", "host-connections")]
    return [
        _program("workerpool"),
        "run",
        str(folder / "urls.txt"),
        "--schema",
        str(folder / "ours.toml"),
        *budgets,
        *more,
    ]


def _its(folder: Path) -> Sequence[str]:
    schema = ["--schema", str(folder / "its.json"), "--explode", "items"]
    return [
        *(_program("reqstorm"), str(folder / "urls.txt"), "--output", str(folder / "its.db")),
        *("--concurrency", str(CONCURRENCY), *schema),
    ]


WAYS = (
    Way("workerpool run", "ours.sqlite", lambda folder: _ours(folder, "-o", str(folder / "ours.sqlite"))),
    Way(
        "workerpool run --job",
        "job.sqlite",
        lambda folder: _ours(folder, "-o", str(folder / "job.sqlite"), "--job", str(folder / "job")),
    ),
    Way("reqstorm", "its.db", _its),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    binary = nginx.find()
    if binary is None:
        sys.exit("nginx is not installed (on Debian: apt-get install nginx-light)")
    port = nginx.free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.json").write_text(json.dumps(ANSWER))
        (folder / "ours.toml").write_text(OUR_SCHEMA)
        (folder / "its.json").write_text(json.dumps(ITS_SCHEMA))
        urls = (f"http://{HOST}:{port}/page.json?request={number}\n" for number in range(options.requests))
        (folder / "urls.txt").write_text("".join(urls))
        server = f"server {{ listen {HOST}:{port}; root {folder}; keepalive_requests 1000000; }}"
        with nginx.running(binary, folder, server, (HOST, port)):
            rounds = [{way.name: _turn(way, folder) for way in WAYS} for _ in range(options.rounds)]
    _print(rounds, options.requests)


def _turn(way: Way, folder: Path) -> Turn:
    for left in folder.glob(f"{way.output}*"):
        left.unlink()
    shutil.rmtree(folder / "job", ignore_errors=True)
    launch = [sys.executable, "-IS", str(LAUNCHER), str(folder / "errors"), *way.words(folder)]
    done = subprocess.run(
        launch, capture_output=True, text=True, check=True, timeout=TIMEOUT, env=clean_environment(), cwd=folder
    )
    code, seconds, cpu, peak = done.stdout.split()
    if code != "0":
        sys.exit(f"{way.name} ended with {code}: {(folder / 'errors').read_text()[-2000:]}")
    with closing(sqlite3.connect(folder / way.output)) as database:
        tables = database.execute(
            "SELECT one.name FROM sqlite_master AS one, pragma_table_info(one.name) AS its WHERE its.name = 'item'"
        )
        ((table,),) = tables
        ((rows,),) = database.execute(f'SELECT count(*) FROM "{table}"')
    return Turn(float(seconds), float(cpu), int(peak), rows)


def _print(rounds: Sequence[Mapping[str, Turn]], requests: int) -> None:
    print(f"{requests:,} URLs, {requests * ITEMS:,} items, {len(rounds)} rounds; x: reqstorm's over this one's")
    print(f"{'':22}{'seconds':>9}{'CPU s':>8}{'MiB':>8}{'rows':>10}{'time':>8}{'CPU':>7}{'memory':>8}")
    for way in WAYS:
        turns = [turns[way.name] for turns in rounds]
        others = [turns[WAYS[-1].name] for turns in rounds]
        medians = [statistics.median(getattr(turn, name) for turn in turns) for name in ("seconds", "cpu", "peak")]
        ratios = [
            statistics.median(
                getattr(other, name) / getattr(turn, name) for other, turn in zip(others, turns, strict=True)
            )
            for name in ("seconds", "cpu", "peak")
        ]
        rows = {turn.rows for turn in turns}
        print(
            f"{way.name:22}{medians[0]:9.2f}{medians[1]:8.2f}{medians[2] / 2**20:8.1f}{_rows(rows):>10}"
            f"{ratios[0]:7.2f}x{ratios[1]:6.2f}x{ratios[2]:7.2f}x"
        )


def _rows(found: set[int]) -> str:
    return " ".join(f"{rows:,}" for rows in sorted(found))


def _program(name: str) -> str:
    """Prefer what belongs to this interpreter to another one of the same name."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed: make bench installs what is measured")
    return found


if __name__ == "__main__":
    main()

"""Instructions for each request, by valgrind: figures that a busy machine does not move.

A client's whole process runs under callgrind twice, with a few hundred requests more the second time; the difference of
what it counted belongs to those requests, so that imports and connections cancel out. It counts what the process
itself executes, of all threads, one at a time; not the kernel's work for it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

from benchmarks.side_by_side import turns
from benchmarks.side_by_side.cases import Case
from benchmarks.side_by_side.clients import Client
from benchmarks.side_by_side.environment import ROOT, clean_environment
from benchmarks.side_by_side.measuring import setup_of
from benchmarks.side_by_side.results import CaseResult
from benchmarks.side_by_side.servers import Servers

CASES = ("http",)
WARM_UP, FEW, MANY = 64, 128, 528
TIMEOUT = 600.0
MISSING = "Instructions were not counted: valgrind is not installed (on Debian: apt-get install valgrind)."

COLLECTED = re.compile(r"Collected : (\d+)")


def valgrind() -> str | None:
    return shutil.which("valgrind")


def count(case: Case, result: CaseResult, servers: Servers, say: Callable[[str], None]) -> None:
    """Fill in the instructions of every library that was measured."""
    for client in case.clients:
        if isinstance(client, Client) and client.name in result.rows:
            say(f"{case.name}: counting the instructions of {client.label}")
            few, many = (_count(case, client, servers, requests) for requests in (FEW, MANY))
            result.rows[client.name].instructions = round((many - few) / (MANY - FEW))


def _count(case: Case, client: Client, servers: Servers, requests: int) -> int:
    command = turns.command(client, setup_of(case, servers), case.url(servers))
    done = subprocess.run(
        [str(valgrind()), "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        input=f"{WARM_UP}\n{requests}\n",
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONHASHSEED": "0"},
    )
    collected = COLLECTED.search(done.stderr)
    if done.returncode != 0 or collected is None:
        raise turns.TurnFailed(f"{client.label} under valgrind: {done.stderr[-2000:]}")
    return int(collected[1])

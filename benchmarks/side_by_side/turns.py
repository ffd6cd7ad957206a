"""One client in a process of its own: `Seat` is our end, and `main` the other one.

Started with a client's name, a URL and its setup; then reads how many requests to make, line by line, and says what
each turn took. Its standard error is ours.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType

from benchmarks.side_by_side.clients import CLIENTS, Client, Setup
from benchmarks.side_by_side.environment import start_client
from benchmarks.side_by_side.results import Turn

STOP_TIMEOUT = 30.0


class TurnFailed(Exception):
    """A client failed, or not every request came back whole: figures of it would mean nothing."""


def command(client: Client, setup: Setup, url: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.side_by_side.turns", client.name, url, json.dumps(asdict(setup))]


class Seat:
    """A client's process, which does nothing between its turns."""

    def __init__(self, client: Client, setup: Setup, url: str) -> None:
        self.client = client
        self._process = start_client(command(client, setup, url))

    def __enter__(self) -> Seat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        try:
            self._process.communicate(timeout=STOP_TIMEOUT)  # closes its input, which ends it
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            if error is None:
                raise TurnFailed(f"{self.client.label} did not end") from None

    def turn(self, requests: int) -> Turn:
        """Let it make so many requests; raises `TurnFailed`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{requests}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise TurnFailed(f"{self.client.label} ended")
        ok, seconds, cpu = json.loads(answer)
        if ok != requests:
            raise TurnFailed(f"{self.client.label}: {requests - ok} of {requests} requests failed")
        return Turn(requests=requests, seconds=seconds, cpu=cpu)


def main(arguments: Sequence[str]) -> None:
    name, url, setup = arguments
    (client,) = (client for client in CLIENTS if client.name == name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a client prints is no answer
    with client.open(Setup(**json.loads(setup))) as fetch:
        number = 0
        for line in sys.stdin:
            urls = [f"{url}?item={n}" for n in range(number, number + int(line))]
            number += len(urls)
            gc.collect()  # what the last turn left behind
            began, cpu = time.perf_counter(), time.process_time()
            ok = fetch(urls)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            print(json.dumps([ok, seconds, cpu]), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The clients, and one of them in a process of its own: `main` is that process, `Seat` our end of it.

A client fetches URLs that are all different until its time is over, and then leaves. Peers have the settings that their
documentation recommends to those who do not know a limit, and as many retries as a pool of ours has by default.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from benchmarks.manners.hidden import Hidden
from benchmarks.side_by_side.environment import start_client

RETRIES = 3
STOP_TIMEOUT = 30.0
"""Seconds that a client may take to leave when its time is over."""


class ClientFailed(Exception):
    """A client ended or hung: there are no figures of it."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """`fetch`: its function in the process. `options`: what it is told of a hidden limit; None: it cannot be told."""

    name: str
    label: str
    fetch: str
    options: Callable[[Hidden], dict[str, Any]]
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Why it cannot run here; None if it can."""
        absent = [module for module in self.needs if importlib.util.find_spec(module) is None]
        return f"{' and '.join(absent)} not installed" if absent else None


def _ours_auto(hidden: Hidden) -> dict[str, Any]:
    return {"rate": "auto"} if hidden.of == "rate" else {"host_connections": "auto"}


def _peers_auto(hidden: Hidden) -> dict[str, Any]:
    """`rate_limit="auto"` if "you don't know the limit", else `concurrency="auto"`, which picks its own number."""
    return {"rate_limit": "auto", "concurrency": hidden.demand} if hidden.of == "rate" else {"concurrency": "auto"}


TOLD = "told"
CLIENTS = (
    Client(name=TOLD, label="workerpool, told", fetch="workerpool", options=lambda hidden: hidden.told),
    Client(name="auto", label="workerpool, auto", fetch="workerpool", options=_ours_auto),
    Client(
        name="all-auto",
        label="workerpool, both auto",
        fetch="workerpool",
        options=lambda hidden: {"rate": "auto", "host_connections": "auto"},
    ),
    Client(name="plain", label="workerpool, defaults", fetch="workerpool", options=lambda hidden: {}),
    Client(name="reqstorm", label="reqstorm, auto", fetch="reqstorm", options=_peers_auto, needs=("reqstorm",)),
    Client(
        name="reqstorm-both",
        label="reqstorm, both auto",
        fetch="reqstorm",
        options=lambda hidden: {"rate_limit": "auto", "concurrency": "auto"},
        needs=("reqstorm",),
    ),
)


@dataclass(frozen=True)
class Ended:
    """How a client's requests ended, by itself: `ok`, `failed` for good, and the rest when its time was over."""

    ok: int = 0
    failed: int = 0


def _workerpool(urls: Iterator[str], deadline: float, demand: int, options: dict[str, Any]) -> Ended:
    from workerpool import WorkerPool

    ok = failed = 0
    with WorkerPool(demand, **options) as pool:
        timer = threading.Timer(
            deadline - time.monotonic(), pool.drain
        )  # so that outcomes come, if only cancelled ones
        timer.start()
        for outcome in pool.stream(urls):
            if time.monotonic() >= deadline:
                break
            ok += outcome.ok
            failed += not outcome.ok
        timer.join()
    return Ended(ok, failed)


def _reqstorm(urls: Iterator[str], deadline: float, demand: int, options: dict[str, Any]) -> Ended:
    import reqstorm

    async def fetch() -> Ended:
        ok = failed = 0
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                async for result in reqstorm.stream(urls, retries=RETRIES, **options):
                    ok += result.ok
                    failed += not result.ok
        except TimeoutError:
            pass
        return Ended(ok, failed)

    return asyncio.run(fetch())


FETCHES = {"workerpool": _workerpool, "reqstorm": _reqstorm}


class Seat:
    """A client's process, from when it is ready until it has left."""

    def __init__(self, client: Client, hidden: Hidden, url: str, seconds: float) -> None:
        self.client = client
        self._seconds = seconds
        arguments = [client.fetch, url, str(seconds), str(hidden.demand), json.dumps(client.options(hidden))]
        self._process = start_client([sys.executable, "-m", "benchmarks.manners.clients", *arguments])

    def __enter__(self) -> Seat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def await_ready(self) -> None:
        if self._stdout.readline() != "ready\n":
            raise ClientFailed(f"{self.client.label} ended before it began")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def leave(self) -> Ended:
        """Wait until it has left; raises `ClientFailed`."""
        killer = threading.Timer(self._seconds + STOP_TIMEOUT, self._process.kill)
        killer.start()
        said = self._stdout.readline()
        killer.cancel()
        if not said:
            raise ClientFailed(f"{self.client.label} broke, or did not end {STOP_TIMEOUT:g} s after its time was over")
        return Ended(*json.loads(said))

    @property
    def _stdout(self) -> Any:
        assert self._process.stdout is not None
        return self._process.stdout


def main(fetch: str, url: str, seconds: str, demand: str, options: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a client prints is no answer
    __import__(fetch)
    print("ready", file=answers, flush=True)
    sys.stdin.readline()
    deadline = time.monotonic() + float(seconds)
    numbers = itertools.takewhile(lambda number: time.monotonic() < deadline, itertools.count())
    ended = FETCHES[fetch]((f"{url}{number}" for number in numbers), deadline, int(demand), json.loads(options))
    print(json.dumps([ended.ok, ended.failed]), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A process that uses a shared budget until it is ended, killed, or done: `Client` starts it, `main` is what it does.

The order: `path`, the budget's file, or `redis`, its server's URL; `options`, of the pool; `url`, whose query
gets ``client=NAME``; `name`; `seconds` or `count`, how long or how often to fetch it, as fast as the budget lets it;
`workers`. With `slots` instead of a URL it takes slots and places by itself, without sending anything, and writes each
slot's time as a line. It ends when its line to the other process does. In the end it tells how many were sent.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.forked import CONTEXT
from workerpool import WorkerPool
from workerpool.clock import SystemClock
from workerpool.config import Budgets
from workerpool.limits.file import FileBudget
from workerpool.rate import Rate


class Client:
    """It, from without."""

    def __init__(self, **order: Any) -> None:
        self._line, its = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=main, args=(order, its))
        self._process.start()
        its.close()
        assert self._line.recv() == "started"

    def kill(self) -> None:
        self._process.kill()
        self._process.join(10)

    def end(self, timeout: float = 60) -> int:
        """Wait until it has done what it was told; returns how many it has sent."""
        assert self._line.poll(timeout)
        sent: int = self._line.recv()
        self._process.join(timeout)
        assert self._process.exitcode == 0
        return sent

    def leave_nothing(self) -> None:
        """End it if it runs, whatever has become of it."""
        self.kill()
        self._line.close()
        self._process.close()


def main(order: dict[str, Any], line: Connection) -> None:
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    line.send("started")
    line.send((_take_slots if "slots" in order else _fetch)(order))


def _end_with(line: Connection) -> None:
    try:
        line.recv()
    except (EOFError, OSError):
        os._exit(1)


def _urls(order: dict[str, Any]) -> Iterator[str]:
    until = time.monotonic() + order.get("seconds", 3600)
    for number in range(order.get("count", 10**9)):
        if time.monotonic() > until:
            return
        yield f"{order['url']}{'&' if '?' in order['url'] else '?'}client={order['name']}&n={number}"


def _fetch(order: dict[str, Any]) -> int:
    budget = {"budget": "fleet", "redis": order["redis"]} if "redis" in order else {"budget": Path(order["path"])}
    with WorkerPool(order.get("workers", 4), **budget, **order.get("options", {})) as pool:
        return sum(outcome.ok for outcome in pool.stream(_urls(order), window=8))


def _take_slots(order: dict[str, Any]) -> int:
    """As a scheduler does, without anything behind it."""
    options = order.get("options", {})
    budgets = Budgets(**{**options, "rate": Rate.of(options["rate"])} if "rate" in options else options)
    budget = FileBudget(order["path"], budgets, SystemClock(), serves_sockets=True)
    out = os.open(order["slots"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    until, waits = time.monotonic() + order["seconds"], threading.Condition()
    since, number, next_look, sent = time.monotonic(), 0, 0.0, 0
    with waits:
        while (now := time.monotonic()) < until:
            if now > next_look:
                budget.tidy({})
                next_look = now + 0.1
            host = f"http://h{number % order.get('hosts', 1)}.test:80"
            number += 1
            taken = budget.try_take(host, 1, now, since=since)
            if taken is not None:
                os.write(out, f"{taken:.9f}\n".encode())
                budget.give_back(host, time.monotonic())
                sent += 1
            elif not order.get("spins"):
                waits.wait(min(max(0.0, budget.next_at(host, 1, now) - time.monotonic()), 0.05))
    budget.leave()
    return sent

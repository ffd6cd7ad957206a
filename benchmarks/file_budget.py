"""What a budget that processes share costs, and how evenly they share it.

    python -m benchmarks.file_budget [--rounds 200] [--seconds 8] [--rate 100]

First the cost of an acquire, `try_take` and `give_back` together, with nobody else there, and of a look (`next_at`):
microseconds, the median of many short rounds in turn, and the least. `MemoryLimiter`, which has slots and no places,
and a bare pair of `flock` calls are measured beside them. Then three processes want all they can get, the third of
them from half of the time on: how much of the rate is used, and what each gets once there are three.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_UN, flock

from workerpool.clock import SystemClock
from workerpool.config import Budgets
from workerpool.limits import MemoryLimiter
from workerpool.limits.file import FileBudget
from workerpool.rate import Rate

CALLS = 100
HOST = "http://example.test:80"
ENDLESS = Rate(1e7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--hungry", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hungry:
        print(take_all(options.hungry, options.rate, options.seconds))
        return
    with tempfile.TemporaryDirectory() as directory:
        show_costs(directory, options.rounds)
        show_shares(os.path.join(directory, "shares"), options.rate, options.seconds)


def show_costs(directory: str, rounds: int) -> None:
    cases = costs(directory)
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, act in cases.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                act()
            spent[name].append((time.perf_counter() - began) / CALLS * 1e6)
    print(f"{'':42}median   least   (us)")
    for name, each in spent.items():
        print(f"{name:40}{statistics.median(each):8.2f}{min(each):8.2f}")


def costs(directory: str) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    memory = MemoryLimiter(ENDLESS)
    file = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT)
    budgets = {
        "sockets only": Budgets(),
        "and a rate": Budgets(rate=ENDLESS),
        "and a rate for each host": Budgets(rate=ENDLESS, host_rate=ENDLESS),
    }
    opened = {
        name: FileBudget(os.path.join(directory, f"budget-{number}"), terms, SystemClock())
        for number, (name, terms) in enumerate(budgets.items())
    }
    now = time.monotonic

    def lock() -> None:
        flock(file, LOCK_EX)
        flock(file, LOCK_UN)

    def acquire(budget: FileBudget) -> Callable[[], None]:
        def act() -> None:
            taken = budget.try_take(HOST, 1, now(), since=None)
            assert taken is not None
            budget.give_back(HOST, now())

        return act

    last = opened["and a rate for each host"]
    return {
        "MemoryLimiter.try_take": lambda: memory.try_take(now()),
        "flock, twice": lock,
        **{f"FileBudget, {name}": acquire(budget) for name, budget in opened.items()},
        "FileBudget.next_at": lambda: last.next_at(HOST, 1, now()),
    }


def show_shares(path: str, rate: float, seconds: float) -> None:
    command = [sys.executable, "-m", "benchmarks.file_budget", "--hungry", path, "--rate", str(rate), "--seconds"]
    began = time.monotonic()
    children = [subprocess.Popen([*command, str(seconds)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threading.Event().wait(seconds / 2)
    children.append(subprocess.Popen([*command, str(seconds / 2)], stdout=subprocess.PIPE, text=True))
    times = [[*map(float, child.communicate()[0].split())] for child in children]
    every = sorted(moment for each in times for moment in each)
    until = min(each[-1] for each in times)  # while all of them were there
    used = sum(moment <= until for moment in every) / (rate * (until - every[0]) + 1)
    print(f"\n{rate:g}/s over {until - began:.1f} s: {used:.1%} used")
    both = [sum(times[2][0] <= moment <= until for moment in each) for each in times]
    print(f"of {sum(both)} slots since the third process began: " + ", ".join(f"{n / sum(both):.1%}" for n in both))


def take_all(path: str, rate: float, seconds: float) -> str:
    """Take every slot that one gets; returns their times."""
    budget = FileBudget(path, Budgets(rate=Rate(rate)), SystemClock())
    waits = threading.Condition()
    since = time.monotonic()
    times = []
    with waits:
        while (now := time.monotonic()) < since + seconds:
            taken = budget.try_take(HOST, 1, now, since=since)
            if taken is not None:
                times.append(taken)
                budget.give_back(HOST, now)
            waits.wait(max(0.0, budget.next_at(HOST, 1, now) - time.monotonic()))
    budget.leave()
    return " ".join(f"{moment:.6f}" for moment in times)


if __name__ == "__main__":
    main()

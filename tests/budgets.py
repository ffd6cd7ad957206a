"""Members of a budget in a file, all in one process, on a machine that boots as it is told."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

from workerpool.config import Budgets
from workerpool.errors import BudgetError
from workerpool.limits.file import FileBudget
from workerpool.limits.file.machine import Machine
from workerpool.rate import Rate
from workerpool.testing import ManualClock

HOST = "http://a.test:80"
OTHER = "http://b.test:80"


class Trial:
    """A file, a clock, and a machine whose processes may be declared dead; `open` is a member of its own each time.

    `sockets`: whether the member's sockets are told by `tidy`.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path / "trial.budget")
        self.clock = ManualClock(1000.0, epoch=0.0)
        self.machine = Fake()
        self.members: list[FileBudget] = []

    def open(self, pid: int | None = None, *, sockets: bool = True, **budgets: object) -> FileBudget:
        for option in ("rate", "host_rate"):
            if option in budgets:
                budgets[option] = Rate.of(budgets[option])  # type: ignore[arg-type]
        self.machine.own = pid or os.getpid()
        terms = Budgets(**budgets)  # type: ignore[arg-type]
        self.members.append(FileBudget(self.path, terms, self.clock, self.machine, serves_sockets=sockets))
        return self.members[-1]

    def close(self) -> None:
        """Leave with all members, also those that a test has left to themselves: each has the file open."""
        for member in self.members:
            with suppress(BudgetError):  # one that was declared dead need not agree with those that came since
                member.leave()

    def take(self, budget: FileBudget, host: str = HOST, weight: int = 1) -> bool:
        now = self.clock.now()
        taken = budget.try_take(host, weight, now, since=None)
        if taken is None and budget.next_at(host, weight, now) <= now:  # to ask in vain may have changed something
            taken = budget.try_take(host, weight, now, since=None)
        return taken is not None

    def waits(self, budget: FileBudget, host: str = HOST) -> float:
        """For how long a member waits that has asked in vain."""
        assert not self.take(budget, host)
        return budget.next_at(host, 1, self.clock.now()) - self.clock.now()

    def take_all(self, budget: FileBudget, host: str = HOST, most: int = 100) -> int:
        return sum(itertools.takewhile(bool, (self.take(budget, host) for _ in range(most))))

    def end(self, budget: FileBudget, times: int = 1, host: str = HOST) -> None:
        for _ in range(times):
            budget.give_back(host, self.clock.now())


class Fake(Machine):
    """A machine that boots, and whose processes die, as it is told."""

    def __init__(self) -> None:
        self.name = b"boot one"
        self.dead: set[int] = set()
        self.own = os.getpid()

    def boot(self) -> bytes:
        return self.name

    def started_at(self, pid: int) -> int | None:
        return None if pid in self.dead else 7 + pid

    def pid(self) -> int:
        return self.own

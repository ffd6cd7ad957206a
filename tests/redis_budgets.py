"""Members of a budget in Redis, all in one process, with the model in place of the server, on a clock by hand."""

from __future__ import annotations

from workerpool.clock import Clock
from workerpool.config import Budgets
from workerpool.limits.redis.budget import RedisBudget
from workerpool.limits.redis.link import Away
from workerpool.limits.redis.model import Budget
from workerpool.limits.redis.terms import SECOND, Answer, Call
from workerpool.rate import Rate
from workerpool.testing import ManualClock

HOST = "http://a.test:80"
OTHER = "http://b.test:80"
EPOCH = 1_700_000_000 * SECOND


class InModel:
    """A link to a server that is the model. `is_away`: it cannot be asked; `forget` is a crash without a disk.

    `ahead`: seconds by which its clock differs from what it would show; a smaller number sets it back.
    """

    where = "redis://model"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.budget = Budget()
        self.is_away = False
        self.ahead = 0.0
        self.calls: list[Call] = []

    def call(self, call: Call) -> Answer:
        if self.is_away:
            raise Away("connection refused")
        self.calls.append(call)
        return self.budget.answer(call, EPOCH + round((self._clock.now() + self.ahead) * SECOND))

    def forget(self) -> None:
        self.budget = Budget()

    def close(self) -> None: ...

    def disown(self) -> None: ...


class Members:
    """Members that ask when `pass_time` says so, each at its time, as their keepers would."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0, epoch=0.0)
        self.server = InModel(self.clock)
        self.all: list[RedisBudget] = []

    def open(self, **budgets: object) -> RedisBudget:
        for option in ("rate", "host_rate"):
            if option in budgets:
                budgets[option] = Rate.of(budgets[option])  # type: ignore[arg-type]
        terms = Budgets(**budgets)  # type: ignore[arg-type]
        self.all.append(RedisBudget(self.server, "trial", terms, self.clock, keeps=False))
        return self.all[-1]

    def take(self, budget: RedisBudget, host: str = HOST, weight: int = 1) -> bool:
        now = self.clock.now()
        return budget.try_take(host, weight, now, since=now - 0.01) is not None

    def pass_time(self, seconds: float, *busy: RedisBudget, host: str = HOST, holds: bool = False) -> dict[int, int]:
        """Let time pass, in steps of five milliseconds; returns how much each that is `busy` has taken.

        They take all they get, and end it at once, unless they are to keep it.
        """
        taken = dict.fromkeys(range(len(busy)), 0)
        for _ in range(round(seconds * 200)):
            self.clock.advance(0.005)
            now = self.clock.now()
            for budget in self.all:
                if not budget._is_leaving and budget._calls_at() <= now:
                    budget.exchange()
            for number, budget in enumerate(busy):
                for _ in range(20):  # where there is no rate there is no end of it
                    if not self.take(budget, host):
                        break
                    taken[number] += 1
                    if not holds:
                        budget.give_back(host, now)
        return taken

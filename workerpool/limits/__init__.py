"""How often, and how many at once, may be sent: budgets that are given, and budgets that are learned from answers.

Arithmetic that is told the time: a rate (`bucket`), quotas (`windows`), retries (`tokens`), a circuit breaker
(`circuit`). What is not given is learned of each `answer`: a rate (`adaptive`), how many requests at once a host bears
(`connections`), both told by `learning`; `announced` keeps within what hosts say in their `headers`. `memory` is the
home of a given rate. `file` and `redis` keep what several processes share. Nothing else here reads a clock, waits, or
has a lock: whoever asks holds one for all of it (the crew does).
"""

from __future__ import annotations

from typing import Protocol

from workerpool.limits.adaptive import AdaptiveRate
from workerpool.limits.answer import PAUSING_STATUSES, Answer, answer_of
from workerpool.limits.bucket import LATENESS, LeakyBucket
from workerpool.limits.circuit import Circuit
from workerpool.limits.connections import AdaptiveConnections
from workerpool.limits.headers import Allowance, allowance, retry_after
from workerpool.limits.learning import tell
from workerpool.limits.memory import MemoryLimiter
from workerpool.limits.tokens import RetryTokens

__all__ = [
    "LATENESS",
    "PAUSING_STATUSES",
    "AdaptiveConnections",
    "AdaptiveRate",
    "Allowance",
    "Answer",
    "Circuit",
    "LeakyBucket",
    "Limiter",
    "MemoryLimiter",
    "RetryTokens",
    "SharedBudget",
    "allowance",
    "answer_of",
    "retry_after",
    "tell",
]


class Limiter(Protocol):
    """Gives slots; `MemoryLimiter` explains each method."""

    def next_at(self, weight: int = 1) -> float: ...

    def try_take(self, now: float, weight: int = 1, *, since: float | None = None) -> float | None: ...

    @property
    def rests_at(self) -> float: ...


class SharedBudget(Protocol):
    """A budget that several processes share: the pool's rate, each host's, the sockets, pauses.

    Another process may change it at any time, so what `next_at` says is a good guess, and only `try_take` is sure. Both
    are called under the crew's lock: they never wait for a network, and once the budget is made they raise nothing.
    Times are those of this process's clock.
    """

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        """The earliest time at which it is worth asking `try_take`, told the same; in the past if that is now.

        None asks for what holds for all hosts alike: what is shared in all. To look changes nothing.
        """

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        """Take the pool's slot, the host's, and a place for one more send, all or none; returns the slot's time.

        Where something is missing, this process waits for it from now on, which others may take into account.
        `has_place`: the send has a place already, and needs slots only.
        """

    def give_back(self, host: str, now: float) -> None:
        """Give back the place of a send that has ended."""

    def pause(self, host: str, until: float, now: float) -> None:
        """Let nobody send to `host` before `until`."""

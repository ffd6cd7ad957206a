"""One execution of a run, and what it had to keep to. Values; one thread writes an execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from workerpool.config import Budgets, Options
from workerpool.rate import Rate
from workerpool.statistics import HostWait, PoolStatistics, Waits

COUNTED = (
    "sent", "retries", "redirects", "resent", "sent_fast", "sockets_opened", "sockets_reused", "sockets_retired",
    "sockets_lost", "tls_handshakes", "tls_resumed", "budget_away",
)  # fmt: skip
"""What is kept of a pool's figures."""

_RATES = ("rate", "host_rate", "key_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an execution had to keep to: `processes` and `ordered` as in a batch, `attempts` of a request, at most."""

    workers: int
    budgets: Budgets
    attempts: int = 1
    processes: int | None = None
    ordered: bool = False

    @classmethod
    def of(cls, options: Options, *, processes: int | None = None, ordered: bool = False) -> Limits:
        return cls(
            workers=options.workers,
            budgets=options.budgets,
            attempts=options.retry.attempts,
            processes=processes,
            ordered=ordered,
        )

    def as_json(self) -> dict[str, Any]:
        budgets = {one.name: getattr(self.budgets, one.name) for one in fields(Budgets)}
        spelled = {name: None if budgets[name] is None else str(budgets[name]) for name in _RATES}
        more = {"attempts": self.attempts, "processes": self.processes, "ordered": self.ordered}
        return {"workers": self.workers, "budgets": {**budgets, **spelled}, **more}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Limits:
        rates = {name: Rate.of(said["budgets"][name]) for name in _RATES if said["budgets"].get(name) is not None}
        return cls(**{**said, "budgets": Budgets(**{**said["budgets"], **rates})})


@dataclass(slots=True, kw_only=True)
class Execution:
    """A process that carried out the run, or a part of it.

    `began`: seconds since the epoch. `seconds`: how long it has gone on; `cpu`: for how long its processes had the CPU,
    on a machine with `cores`. `waits`, `figures`: of its pool, as `COUNTED`.
    """

    began: float
    limits: Limits | None = None
    seconds: float = 0.0
    cpu: float = 0.0
    cores: int = 1
    waits: Waits = field(default_factory=Waits)
    figures: dict[str, float] = field(default_factory=dict)

    def take(self, figures: PoolStatistics) -> None:
        self.waits = figures.waits
        self.figures = {name: getattr(figures, name) for name in COUNTED}

    def as_json(self) -> dict[str, Any]:
        limits = None if self.limits is None else self.limits.as_json()
        own = {name: getattr(self, name) for name in ("began", "seconds", "cpu", "cores", "figures")}
        return {**own, "limits": limits, "waits": asdict(self.waits)}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Execution:
        limits = None if said["limits"] is None else Limits.from_json(said["limits"])
        waits = {**said["waits"], "hosts": tuple(HostWait(**host) for host in said["waits"]["hosts"])}
        return cls(**{**said, "limits": limits, "waits": Waits(**waits)})


def together(executions: Iterable[Execution]) -> Execution | None:
    """All as one, with the limits of the last; None if there are none."""
    total: Execution | None = None
    for one in executions:
        if total is None:
            total = replace(one)
            continue
        total = Execution(
            began=total.began,
            limits=one.limits,
            seconds=total.seconds + one.seconds,
            cpu=total.cpu + one.cpu,
            cores=one.cores,
            waits=total.waits + one.waits,
            figures={name: total.figures.get(name, 0) + one.figures.get(name, 0) for name in COUNTED},
        )
    return total

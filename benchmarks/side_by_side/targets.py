"""What the pool wants to reach beside its peers, as ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.side_by_side.results import CPU, MEMORY, SPEED, Metric, Results, Spread


@dataclass(frozen=True, kw_only=True)
class Target:
    """`ours` has at least, or at most, `bound` times what `peer` has of `metric`; both are names of clients."""

    case: str
    ours: str
    peer: str
    metric: Metric
    bound: float
    at_most: bool = False

    def is_met(self, ratio: Spread) -> bool:
        """Whether the median is on the right side of the bound."""
        return ratio.median <= self.bound if self.at_most else ratio.median >= self.bound


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`title`: of the case; `what`: which two are compared, and what they have of what."""

    title: str
    what: str
    target: Target
    ratio: Spread

    @property
    def is_met(self) -> bool:
        return self.target.is_met(self.ratio)


TARGETS = (
    Target(case="http", ours="workerpool", peer="aiohttp", metric=SPEED, bound=1.2),
    Target(case="https", ours="workerpool", peer="aiohttp", metric=SPEED, bound=1.2),
    Target(case="http", ours="workerpool", peer="requests-futures", metric=SPEED, bound=8),
    Target(case="https", ours="workerpool", peer="requests-futures", metric=SPEED, bound=8),
    Target(case="delay", ours="workerpool", peer="aiohttp-uvloop", metric=SPEED, bound=0.95),
    Target(case="large", ours="workerpool", peer="aiohttp", metric=SPEED, bound=1.2),
    Target(case="commands", ours="workerpool-cli", peer="reqstorm-cli", metric=SPEED, bound=1.5),
    Target(case="commands", ours="workerpool-cli", peer="reqstorm-cli", metric=MEMORY, bound=1, at_most=True),
    Target(case="http", ours="workerpool-run", peer="workerpool", metric=CPU, bound=1.3, at_most=True),
)


def verdicts(results: Results) -> list[Verdict]:
    """Return how the targets fared whose clients were measured."""
    found = []
    for target in TARGETS:
        case = results.cases.get(target.case)
        if case is None or target.ours not in case.rows or target.peer not in case.rows:
            continue
        ours, peer = case.rows[target.ours], case.rows[target.peer]
        what = f"{target.metric.name}, {ours.label} ÷ {peer.label}"
        ratio = ours.ratio(target.metric, peer)
        found.append(Verdict(title=case.title, what=what, target=target, ratio=ratio))
    return found

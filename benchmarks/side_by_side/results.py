"""What a run measured, as values and as JSON. Turns are kept; medians and ratios are taken from them when asked for."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "results.json"

DIGITS = 5
"""Of a time in seconds, behind the point: 10 µs of turns that take half a second."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One client's part of a round. `seconds` and `cpu`: in all; `peak`: bytes resident at most, where it is known."""

    requests: int
    seconds: float
    cpu: float
    peak: int | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    of: Callable[[Turn], float]
    name: str


SPEED = Metric(of=lambda turn: turn.requests / turn.seconds, name="speed")
CPU = Metric(of=lambda turn: turn.cpu / turn.requests, name="CPU time")
MEMORY = Metric(of=lambda turn: float(turn.peak or 0), name="memory")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of some figures, and the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: list[float]) -> Spread:
        return cls(median=statistics.median(figures), least=min(figures), most=max(figures))


@dataclass(kw_only=True)
class Row:
    """One client in one case; `instructions`: for each request, if they were counted."""

    label: str
    turns: list[Turn] = field(default_factory=list)
    instructions: int | None = None

    def median(self, metric: Metric) -> float:
        return statistics.median(map(metric.of, self.turns))

    def ratio(self, metric: Metric, peer: Row) -> Spread:
        """What it has of `metric` to one of `peer`'s, within each round."""
        pairs = zip(self.turns, peer.turns, strict=True)
        return Spread.of([metric.of(mine) / metric.of(its) for mine, its in pairs])


@dataclass(kw_only=True)
class CaseResult:
    """`rows` by the names of clients; `left_out`: what others lack."""

    title: str
    rows: dict[str, Row] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Results:
    """`cases` by their names; `machine`: cores, system and versions; `notes`: what could not be measured, and why."""

    date: str
    machine: dict[str, str]
    cases: dict[str, CaseResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n")


def load(file: Path) -> Results:
    saved: dict[str, Any] = json.loads(file.read_text())
    saved["cases"] = {name: _case(case) for name, case in saved["cases"].items()}
    return Results(**saved)


def _case(saved: dict[str, Any]) -> CaseResult:
    rows = {
        name: Row(**{**row, "turns": [Turn(**turn) for turn in row["turns"]]}) for name, row in saved["rows"].items()
    }
    return CaseResult(**{**saved, "rows": rows})


def _rounded(value: Any) -> Any:
    """Cut the digits that are noise, and leave out what is None."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value

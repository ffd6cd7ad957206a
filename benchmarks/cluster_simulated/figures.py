"""What the course of a batch comes to: rates, shares, traffic, time lost. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from benchmarks.cluster_simulated.course import CELL, Found

SECOND = round(1 / CELL)


@dataclass(frozen=True)
class Figures:
    """Of one course.

    `ideal`: seconds at the rate alone. `began`: when nine tenths of the rate were reached, `most_ended` when 99.9 % of
    the URLs had ended. `used`: the share of the rate, in the middle half of `ideal`. `busiest`: the most in any second
    against the rate. `least`, `most`: sends of a worker against the mean, slow ones aside; `near`: the share of
    these workers that are within a tenth of it. `repeated`: sends that
    were made again, as a worker had died.
    """

    ideal: float
    seconds: float
    began: int
    read: float
    most_ended: int
    used: float
    busiest: float
    least: float
    most: float
    near: float
    tasks: float
    dask: float
    calls: float
    call_bytes: float
    repeated: int

    @property
    def lost(self) -> float:
        """Seconds beyond those at the rate alone."""
        return self.seconds - self.ideal


def figures(found: Found) -> Figures:
    setting, rate = found.setting, found.setting.rate
    ideal = setting.urls / rate
    sums = [0, *accumulate(found.sends)]
    by_seconds = [sums[min(at + SECOND, len(sums) - 1)] - sums[at] for at in range(0, len(sums) - 1, SECOND)]
    ended = [*accumulate(found.ended)]
    middle = by_seconds[int(ideal / 4) : max(int(ideal / 4) + 1, int(ideal * 3 / 4))]
    mean = fmean(found.shares)
    return Figures(
        ideal=ideal,
        seconds=found.seconds,
        began=next((at for at, sends in enumerate(by_seconds) if sends >= 0.9 * rate), 0),
        read=found.read_at,
        most_ended=next(at for at, count in enumerate(ended) if count >= 0.999 * setting.urls) + 1,
        used=fmean(middle) / rate,
        busiest=busiest(sums) / rate,
        least=min(found.shares) / mean,
        most=max(found.shares) / mean,
        near=fmean(0.9 * mean <= share <= 1.1 * mean for share in found.shares),
        tasks=found.tasks / found.seconds,
        dask=found.dask / found.seconds,
        calls=found.calls / found.seconds,
        call_bytes=found.asked / max(1, found.calls),
        repeated=sums[-1] - setting.urls,
    )


def busiest(sums: list[int]) -> int:
    """The most sends in any second, of sums up to each cell."""
    return max(later - sooner for sooner, later in zip(sums, sums[SECOND:] or sums[-1:], strict=False))

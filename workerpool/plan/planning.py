"""Plans: what a batch will take with each of some settings, by arithmetic or by a run on simulated time. One thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workerpool.plan.bounds import Bound, Load, bounds_of, least_without_workers, workers_asked_for
from workerpool.plan.profile import Profile
from workerpool.plan.records import Records
from workerpool.plan.setting import Setting
from workerpool.plan.simulation import Simulation
from workerpool.plan.workload import Workload
from workerpool.redact import redact

BINDS = 0.7
"""Share of the time from which on a budget is what the batch waits for; below, it is for single requests' retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a batch comes to with one setting. Times are seconds; the bounds' and `seconds` are of the whole batch.

    `is_least`: `seconds` is what it takes at least; else it is what it will take. `busy`: how many requests are under
    way on average; `most_at_once`: how many at most. `workers`: how many Little's law asks for. `unsent`: requests that
    a circuit breaker would end.
    """

    setting: Setting
    seconds: float
    is_least: bool
    sends: float
    busy: float
    most_at_once: int
    workers: int
    bounds: Sequence[Bound]
    failed: float = 0.0
    unsent: float = 0.0

    @property
    def rate(self) -> float:
        """Sends a second."""
        return self.sends / self.seconds if self.seconds else 0.0

    @property
    def unbound(self) -> float:
        """Seconds that it takes at least with any number of workers."""
        return least_without_workers(self.bounds, Load(self.sends, self.busy * self.seconds))

    @property
    def binding(self) -> Bound | None:
        """The budget that the batch waits for most, None if it is none."""
        longest = self.bounds[0]
        return longest if longest.seconds and longest.seconds >= BINDS * self.seconds else None

    def as_json(self) -> dict[str, Any]:
        setting, binding = self.setting, self.binding
        return {
            "setting": setting.label,
            "seconds": self.seconds,
            "at_least": self.is_least,
            "sends": round(self.sends),
            "per_second": self.rate,
            "busy": self.busy,
            "most_at_once": self.most_at_once,
            "workers": setting.options.workers,
            "workers_asked_for": self.workers,
            "failed": round(self.failed),
            "unsent": round(self.unsent),
            "binds": None if binding is None else binding.budget,
            "bounds": [
                {
                    "budget": bound.budget,
                    "option": setting.words(bound.budget),
                    "seconds": bound.seconds,
                    "host": None if bound.host is None else redact(bound.host),
                }
                for bound in self.bounds
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A workload, and a prediction for each setting. `latency`: the seconds that an answer was taken to take, None if
    they are drawn from records, `records` in number, of `source`, whose run took `took` seconds if that is known.

    `notes`: sentences about what was assumed, and what is not known.
    """

    workload: Workload
    predictions: Sequence[Prediction]
    latency: float | None = None
    source: str = ""
    records: int = 0
    took: float | None = None
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        workload = self.workload
        largest = max(workload.hosts.items(), key=lambda item: item[1], default=(None, 0))
        return {
            "requests": workload.requests,
            "hosts": len(workload.hosts),
            "largest_host": None if largest[0] is None else redact(largest[0]),
            "largest_host_requests": largest[1],
            "other_hosts_requests": workload.others,
            "largest_key_requests": workload.largest_key,
            "no_requests": workload.problems,
            "no_requests_examples": list(workload.examples),
            "latency": self.latency,
            "records": self.records,
            "took_before": self.took,
            "notes": list(self.notes),
            "settings": [prediction.as_json() for prediction in self.predictions],
        }


def estimate(workload: Workload, settings: Sequence[Setting], latency: float) -> Plan:
    """Say how long the batch takes at least if each answer takes `latency` seconds, and nothing fails."""
    predictions = [_least(workload, setting, latency) for setting in settings]
    notes = [
        "Retries and redirects are sends, too, and not known before: with records of a run, --from counts them.",
        *_notes(workload, settings),
    ]
    return Plan(workload=workload, predictions=predictions, latency=latency, notes=notes)


def simulate(workload: Workload, settings: Sequence[Setting], records: Records, *, seed: int = 0) -> Plan:
    """Run the batch with each setting on simulated time; requests take as long as those of `records`.

    The same for an equal `seed`. Raises `JobError` where there are no records.
    """
    profile = Profile(records, seed)
    profile.check(records.name)
    predictions = [_simulated(workload, setting, profile, seed) for setting in settings]
    notes = [*_record_notes(workload, profile), *_notes(workload, settings)]
    return Plan(
        workload=workload,
        predictions=predictions,
        source=records.name,
        records=profile.records,
        took=records.took,
        notes=notes,
    )


def _least(workload: Workload, setting: Setting, latency: float) -> Prediction:
    loads = {host: Load(sends, sends * latency) for host, sends in workload.hosts.items()}
    others = Load(workload.others, workload.others * latency)
    bounds = bounds_of(loads, others, setting, workload.largest_key)
    load = Load(workload.requests, workload.requests * latency)
    seconds = max(bounds[0].seconds, latency if workload.requests else 0.0)
    budgets = setting.options.budgets
    sockets = sum(min(sends, budgets.host_connections) for sends in workload.hosts.values()) + workload.others
    return Prediction(
        setting=setting,
        seconds=seconds,
        is_least=True,
        sends=workload.requests,
        busy=load.busy / seconds if seconds else 0.0,
        most_at_once=min(setting.options.workers, budgets.max_connections, sockets),
        workers=workers_asked_for(bounds, load),
        bounds=bounds,
    )


def _simulated(workload: Workload, setting: Setting, profile: Profile, seed: int) -> Prediction:
    """Run the sample, and stretch it: the time until all are sent grows with their number, the rest does not."""
    course = Simulation(setting, workload.sample(), profile.draws(seed), seed=seed).run()
    scale = workload.scale
    loads = {host: Load(load.sends * scale, load.busy * scale) for host, load in course.hosts.items()}
    bounds = bounds_of(loads, Load(), setting, max(course.keys.values(), default=0) * scale)
    load = Load(sum(load.sends for load in loads.values()), sum(load.busy for load in loads.values()))
    seconds = course.seconds
    if scale > 1:
        seconds = max(bounds[0].seconds, scale * course.admitted + course.seconds - course.admitted)
    return Prediction(
        setting=setting,
        seconds=seconds,
        is_least=False,
        sends=load.sends,
        busy=load.busy / seconds if seconds else 0.0,
        most_at_once=course.most_at_once,
        workers=workers_asked_for(bounds, load),
        bounds=bounds,
        failed=course.failed * scale,
        unsent=course.unsent * scale,
    )


def _notes(workload: Workload, settings: Sequence[Setting]) -> list[str]:
    notes = []
    if workload.others:
        notes.append(
            f"Hosts past the first {len(workload.hosts):,} are counted together, {workload.others:,} requests in all."
        )
    if any(setting.options.budgets.learns_rate for setting in settings):
        notes.append("What a rate of auto finds depends on the server, which is taken to refuse nothing.")
    if any(setting.options.budgets.learns_connections for setting in settings):
        notes.append("How many connections auto finds depends on the server, which is taken to get no slower.")
    return notes


def _record_notes(workload: Workload, profile: Profile) -> list[str]:
    notes = ["A server is taken to answer as fast as it did then, whatever the load."]
    if workload.scale > 1:
        notes.append(f"Simulated were {len(workload.order):,} of the requests, chosen at random, and stretched to all.")
    unknown = {host: sends for host, sends in workload.hosts.items() if not profile.knows(host)}
    if unknown:
        notes.append(
            f"Of {len(unknown):,} hosts, with {sum(unknown.values()):,} requests, there are no records: they are taken "
            "to be like all the others together."
        )
    if profile.retried:
        notes.append(
            f"{profile.retried:,} of {profile.records:,} requests were tried again then. Records do not tell how long "
            "each attempt took, nor what a server would refuse at another rate."
        )
    return notes

"""`Report`: what is told of a run, as plain values, and how a history becomes one. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from heapq import nlargest
from typing import Any

from workerpool.endings import OK
from workerpool.history import Execution, Histogram, History, Pause, Sample
from workerpool.history.execution import Limits
from workerpool.history.fold import HOSTS, PHASES, HostFold, Times
from workerpool.model import Timings
from workerpool.report.reading import Told, inputs_of
from workerpool.report.timeline import Timeline, timeline_of
from workerpool.report.why import WAITS, Allowed, Course, advise_on_all, split

BAR = 10
"""Buckets of a histogram that a bar stands for: each ends 22 % above the one before."""

MOST_HOSTS = 200
"""Hosts that are told of, at most: those with the most requests, failures and seconds."""

_MOST_PAUSES = 400

SENDING = ("dns", "connect", "tls", "first_byte", "body")
"""The phases of a send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long something took, in seconds: how often it was measured, in all, and percentiles, right within 1 %."""

    count: int
    total: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    longest: float

    @classmethod
    def of(cls, histogram: Histogram) -> Spread:
        return cls(
            count=histogram.count,
            total=histogram.total,
            mean=histogram.mean,
            p50=histogram.quantile(0.5),
            p90=histogram.quantile(0.9),
            p95=histogram.quantile(0.95),
            p99=histogram.quantile(0.99),
            longest=histogram.largest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """One host. `mean` and `longest` are seconds of its attempts. `reasons`: how often it failed how.

    `latency`, `phases` and `bars` (where each ends, and how many attempts are in it): None and empty where there are
    too many hosts. `pauses` of it, and for how many seconds in all.
    """

    host: str
    requests: int
    failed: int
    attempts: int
    mean: float
    longest: float
    bytes: int
    reasons: Mapping[str, int]
    latency: Spread | None
    phases: Mapping[str, Spread]
    bars: Sequence[tuple[float, int]]
    pauses: int = 0
    paused: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """How many requests failed for one reason, and a sample of them."""

    reason: str
    count: int
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A run's figures, to be compared with those of another one. None is what is not known; times are seconds."""

    requests: int
    ok: int
    failed: int
    seconds: float
    sent: int
    rate: float
    retries: int | None
    p50: float
    p95: float
    p99: float
    bytes: int
    opened: int | None
    reused: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is told of a run. Times are seconds, moments seconds since the epoch.

    `state`: as `JobStatus` has it, None without a job. `inputs`: by what has become of them. `figures`, and those of
    the run `before`, which `before_name` names. `answers`: how attempts ended. `latency` of attempts, with its `bars`;
    `whole`: of requests, waits between attempts included. `hosts`: up to `MOST_HOSTS` of `host_count`. `notes`: what
    it does not tell. Only a job's history tells of `limits`, `executions`, `sockets`, `waits` (what kept it from
    sending more, by name, as shares of the time), `why` (what binds, and what to change) and `pauses`.
    """

    name: str
    run: int | None
    state: str | None
    began: float | None
    ended: float | None
    inputs: Mapping[str, int] | None
    figures: Figures
    before: Figures | None
    before_name: str | None
    limits: Limits | None
    executions: Sequence[Execution]
    answers: Mapping[str, int]
    reasons: Mapping[str, int]
    failures: Sequence[Failures]
    latency: Spread
    bars: Sequence[tuple[float, int]]
    whole: Spread
    phases: Mapping[str, Spread]
    hosts: Sequence[HostReport]
    host_count: int
    sockets: Mapping[str, float]
    waits: Mapping[str, float]
    why: Sequence[str]
    pauses: Sequence[Pause]
    timeline: Timeline
    notes: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        told = {name: getattr(self, name) for name in self.__slots__}
        told["limits"] = None if self.limits is None else self.limits.as_json()
        told["executions"] = [one.as_json() for one in self.executions]
        for name in ("figures", "before", "latency", "whole", "timeline"):
            told[name] = None if told[name] is None else asdict(told[name])
        for name in ("failures", "hosts", "pauses"):
            told[name] = [asdict(one) for one in told[name]]
        told["phases"] = {name: asdict(each) for name, each in self.phases.items()}
        return told


def make_report(told: Told, against: Told | None = None) -> Report:
    """Make a report of what there is. `against`: the run to compare with, in place of the one before."""
    history, status, fold = told.history, told.status, told.history.fold
    before = against or told.before
    course, times = history.course, fold.times
    timeline = timeline_of(history)
    return Report(
        name=told.name,
        run=told.run,
        state=None if status is None else status.state,
        began=status.began if status is not None else timeline.began,
        ended=status.ended if status is not None else timeline.ended,
        inputs=inputs_of(status),
        figures=figures_of(history, times.latency),
        before=None if before is None else figures_of(before.history, before.history.fold.times.latency),
        before_name=None if before is None else before.name,
        limits=None if course is None else course.limits,
        executions=history.executions,
        answers={"no answer" if status is None else str(status): count for status, count in fold.answers.most_common()},
        reasons=dict(fold.reasons.most_common()),
        failures=_failures(history),
        latency=Spread.of(times.latency),
        bars=times.latency.bars(BAR),
        whole=Spread.of(fold.whole),
        phases=_spreads(times.phases),
        hosts=_hosts(history),
        host_count=len(fold.hosts),
        sockets={} if course is None else dict(course.figures),
        waits={}
        if course is None
        else {part.name: part.share for part in split(_course(history, course, times)).parts},
        why=() if course is None else _why(_course(history, course, times), course),
        pauses=history.pauses[:_MOST_PAUSES],
        timeline=timeline,
        notes=_notes(told),
    )


def figures_of(history: History, latency: Histogram) -> Figures:
    """What runs are compared by."""
    fold, course = history.fold, history.course
    timeline = timeline_of(history)
    seconds = timeline.seconds if course is None else course.seconds
    ok = fold.reasons.get(OK, 0)
    counts: Mapping[str, float] = {} if course is None else course.figures
    sent = int(counts.get("sent", fold.attempts + fold.hops))
    return Figures(
        requests=fold.requests,
        ok=ok,
        failed=fold.requests - ok,
        seconds=seconds,
        sent=sent,
        rate=sent / seconds if seconds else 0.0,
        retries=_count(counts, "retries"),
        p50=latency.quantile(0.5),
        p95=latency.quantile(0.95),
        p99=latency.quantile(0.99),
        bytes=fold.bytes,
        opened=_count(counts, "sockets_opened"),
        reused=_count(counts, "sockets_reused"),
    )


def words_of(wait: str) -> str:
    """What one of the `Waits` is called."""
    return WAITS[wait][0]


def _count(counts: Mapping[str, float], name: str) -> int | None:
    return int(counts[name]) if name in counts else None


def _spreads(histograms: Mapping[str, Histogram]) -> dict[str, Spread]:
    return {name: Spread.of(histograms[name]) for name in PHASES if name in histograms and histograms[name].count}


def _failures(history: History) -> tuple[Failures, ...]:
    fold = history.fold
    return tuple(
        Failures(reason=reason, count=count, samples=_sorted(fold.samples.get(reason, ())))
        for reason, count in fold.reasons.most_common()
        if reason != OK
    )


def _sorted(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple(sorted(samples, key=lambda one: (one.at or 0.0, one.url)))


def _hosts(history: History) -> tuple[HostReport, ...]:
    """The hosts that most is to be said of, those with the most requests first."""
    hosts = history.fold.hosts
    share = MOST_HOSTS // 4
    chosen: dict[str, HostFold] = {}
    for name in ("requests", "failed", "seconds", "longest"):
        chosen.update(nlargest(share, hosts.items(), key=lambda item, name=name: getattr(item[1], name)))  # type: ignore[misc]
    ordered = sorted(chosen.items(), key=lambda item: (-item[1].requests, item[0]))
    return tuple(_host(name, host, history.paused.get(name, [0, 0.0])) for name, host in ordered)


def _host(name: str, host: HostFold, paused: Sequence[float]) -> HostReport:
    times = host.times
    return HostReport(
        host=name,
        requests=host.requests,
        failed=host.failed,
        attempts=host.attempts,
        mean=host.seconds / host.attempts if host.attempts else 0.0,
        longest=host.longest,
        bytes=host.bytes,
        reasons=dict(host.reasons.most_common()),
        latency=None if times is None or not times.latency.count else Spread.of(times.latency),
        phases={} if times is None else _spreads(times.phases),
        bars=() if times is None else tuple(times.latency.bars(BAR)),
        pauses=int(paused[0]),
        paused=paused[1],
    )


def _course(history: History, course: Execution, times: Times) -> Course:
    waited = sum(getattr(course.waits, name) for name in WAITS)
    sent = int(course.figures.get("sent", 0))
    return Course(
        elapsed=course.seconds,
        cpu=course.cpu,
        cores=course.cores,
        waits=course.waits,
        spent=Timings(**{name: times.phases[name].total for name in SENDING if name in times.phases}),
        sends=sent,
        opened=int(course.figures.get("sockets_opened", 0)),
        hosts=len(history.fold.hosts),
        reached=sent / course.seconds if course.seconds else None,
        pools=max(1, round(waited / course.seconds)) if course.seconds else 1,  # each has waited all the time
    )


def _why(course: Course, execution: Execution) -> tuple[str, ...]:
    limits = execution.limits
    if limits is None or not course.sends:
        return ()
    allowed = Allowed(
        workers=limits.workers, budgets=limits.budgets, ordered=limits.ordered, processes=limits.processes
    )
    return advise_on_all(course, allowed)


def _notes(told: Told) -> tuple[str, ...]:
    notes = list(told.notes)
    if len(told.history.fold.hosts) >= HOSTS:
        notes.append(f"Hosts past the first {HOSTS:,} are counted together, as others.")
    if told.status is not None and told.status.state == "running":
        notes.append("The run goes on: this is how it was a few seconds ago.")
    return tuple(notes)

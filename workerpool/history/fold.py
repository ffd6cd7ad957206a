"""Folds outcomes, or records of them, into counts, histograms and samples, in memory that does not grow. One thread.

Hosts are counted one by one up to `HOSTS`, and the later ones together; the first `DETAILED` of them have histograms of
their own, and the others share some. Those of all are made of these when they are asked for, so that each number is
counted once. Of what failed a random sample is kept for each reason, and its count is exact.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any

from workerpool.endings import OK, in_short
from workerpool.history.histogram import AT_ONCE, Histogram
from workerpool.history.series import PLACE, Series
from workerpool.model import Attempt, Outcome, origin
from workerpool.redact import printable, redact
from workerpool.wording import shown_host

HOSTS = 10_000
"""Hosts that are counted one by one: some 5 MB."""

DETAILED = 100
"""Hosts with histograms of their own: 10 MB at most."""

REASONS = 50
"""Reasons that are told apart; later ones are `OTHERS`."""

SAMPLES = 50
"""Failures that are kept of each reason."""

OTHERS = "others"

PHASES = ("queued", "slot", "parked", "dns", "connect", "tls", "first_byte", "body")
"""What a request's time goes to, as `Timings` has it."""

_OF_TIMINGS = tuple((name, attrgetter(name)) for name in PHASES if name != "parked")
"""Those of attempts; between attempts a request is parked."""

REFUSALS = frozenset({429, 503})
NO_HOST = "no host"

_LONGEST_URL = 300
_LONGEST_ERROR = 300
_SENT, _RETRIED, _REFUSED = PLACE["sent"], PLACE["retried"], PLACE["refused"]
_OK, _FAILED = PLACE["ok"], PLACE["failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A request that failed, without secrets. `at`: when it was first sent, seconds since the epoch; None if never."""

    url: str
    host: str
    error: str
    attempts: int
    elapsed: float
    at: float | None
    input: str = ""


class Times:
    """What attempts took, and in it their phases, in seconds."""

    __slots__ = ("_latency", "_new", "_phases")

    def __init__(self) -> None:
        self._latency = Histogram()
        self._phases: dict[str, Histogram] = {}
        self._new: list[Attempt] = []  # that are not counted yet: many at once take a third of the time

    def add(self, attempt: Attempt) -> None:
        new = self._new
        new.append(attempt)
        if len(new) >= AT_ONCE:
            self._enter()

    def add_latency(self, seconds: float) -> None:
        """Count an attempt of which no more is known."""
        self._latency.add(seconds)

    def add_phase(self, name: str, values: list[float]) -> None:
        """Count what several took for a phase; there is one at least."""
        phase = self._phases.get(name)
        if phase is None:
            phase = self._phases[name] = Histogram()
        phase.add_all(values)

    def _enter(self) -> None:
        new, self._new = self._new, []
        if not new:
            return
        self._latency.add_all([attempt.elapsed for attempt in new])
        timings = [attempt.timings for attempt in new]
        for name, seconds_of in _OF_TIMINGS:
            if values := [seconds for seconds in map(seconds_of, timings) if seconds > 0]:
                self.add_phase(name, values)

    @property
    def latency(self) -> Histogram:
        """What attempts took in all."""
        self._enter()
        return self._latency

    @property
    def phases(self) -> dict[str, Histogram]:
        """What their phases took, by name."""
        self._enter()
        return self._phases

    def take(self, other: Times) -> None:
        """Count what another one has, too."""
        self.latency.take(other.latency)
        for name, phase in other.phases.items():
            self._phases.setdefault(name, Histogram()).take(phase)

    def as_json(self) -> list[Any]:
        return [self.latency.as_json(), {name: each.as_json() for name, each in self.phases.items()}]

    @classmethod
    def from_json(cls, said: list[Any]) -> Times:
        latency, phases = said
        made = cls()
        made._latency = Histogram.from_json(latency)
        made._phases = {name: Histogram.from_json(each) for name, each in phases.items()}
        return made


@dataclass(slots=True)
class HostFold:
    """What became of one host's requests. `seconds` are of its attempts, the slowest of which took `longest`."""

    requests: int = 0
    failed: int = 0
    attempts: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # but for `OK`
    times: Times | None = None

    def as_json(self) -> list[Any]:
        times = None if self.times is None else self.times.as_json()
        counts = [self.requests, self.failed, self.attempts, round(self.seconds, 6), round(self.longest, 6), self.bytes]
        return [*counts, dict(self.reasons), times]

    @classmethod
    def from_json(cls, said: list[Any]) -> HostFold:
        requests, failed, attempts, seconds, longest, size, reasons, times = said
        return cls(
            requests=requests,
            failed=failed,
            attempts=attempts,
            seconds=seconds,
            longest=longest,
            bytes=size,
            reasons=Counter(reasons),
            times=None if times is None else Times.from_json(times),
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a record tells of an outcome. `at`: seconds since the epoch, None if nothing was sent."""

    url: str
    reason: str
    error: str | None
    status: int | None
    attempts: int
    elapsed: float
    bytes: int
    at: float | None


class Fold:
    """What outcomes come to. `series` has what happened when.

    `whole`: what requests took, waits between attempts included. `answers`: how attempts ended, by status, None where
    no answer came.
    """

    def __init__(self) -> None:
        self.requests = self.attempts = self.hops = self.bytes = 0
        self.reasons: Counter[str] = Counter()
        self.answers: Counter[int | None] = Counter()
        self.whole = Histogram()
        self._others = Times()  # of hosts that have none of their own
        self.hosts: dict[str, HostFold] = {}
        self.samples: dict[str, list[Sample]] = {}
        self.series = Series()
        self._fronts: dict[str, tuple[str, HostFold]] = {}  # by the part of a URL up to its path
        self._draw = random.Random(0)

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def add(self, outcome: Outcome) -> None:
        """Count one outcome; it is not kept."""
        url, error, attempts = outcome.request.url, outcome.error, outcome.attempts
        reason = OK if error is None else self._known(in_short(error))
        name, host = self._host(url)
        self._count(reason, host, outcome.size)
        for number, attempt in enumerate(attempts):
            self._add_attempt(attempt, host, is_first=not number)
        if outcome.timings.parked > 0:
            (host.times or self._others).add_phase("parked", [outcome.timings.parked])
        if attempts:
            self.whole.add(outcome.elapsed)
            last = attempts[-1]
            self.series.at(last.started_at + last.elapsed)[_OK if error is None else _FAILED] += 1
        if error is not None and (place := self._place_of_sample(reason)) is not None:
            request, began = outcome.request, attempts[0].started_at if attempts else None
            where = f"{request.source}:{request.ordinal}" if request.source else str(request.ordinal or "")
            self._keep(reason, place, _sample(url, name, str(error), len(attempts), outcome.elapsed, began, where))

    def _add_attempt(self, attempt: Attempt, host: HostFold, *, is_first: bool) -> None:
        self.attempts += 1
        self.hops += attempt.hops
        self.answers[attempt.status] += 1
        row = self.series.at(attempt.started_at)
        row[_SENT] += 1
        if not is_first:
            row[_RETRIED] += 1
        if attempt.status in REFUSALS:
            row[_REFUSED] += 1
        _count_attempt(host, attempt.elapsed)
        (host.times or self._others).add(attempt)

    # -- records ------------------------------------------------------------------------------------------------------

    def add_record(self, one: Recorded) -> None:
        """Count what a record tells. Of several attempts it does not tell when each was, nor how long it took."""
        reason = self._known(one.reason)
        name, host = self._host(one.url)
        self._count(reason, host, one.bytes)
        self.attempts += one.attempts
        if one.at is not None and one.attempts:
            self.series.at(one.at)[_SENT] += 1
            self.series.at(one.at + one.elapsed)[_OK if reason == OK else _FAILED] += 1
            self.whole.add(one.elapsed)
            self.answers[one.status] += 1
        if one.attempts == 1:
            _count_attempt(host, one.elapsed)
            (host.times or self._others).add_latency(one.elapsed)
        if reason != OK and (place := self._place_of_sample(reason)) is not None:
            sample = _sample(one.url, name, one.error or "", one.attempts, one.elapsed, one.at, "")
            self._keep(reason, place, sample)

    @property
    def times(self) -> Times:
        """What the attempts of all hosts took; worked out anew each time."""
        found = Times()
        for times in (self._others, *(host.times for host in self.hosts.values())):
            if times is not None:
                found.take(times)
        return found

    # -- both ---------------------------------------------------------------------------------------------------------

    def _count(self, reason: str, host: HostFold, size: int) -> None:
        self.requests += 1
        self.bytes += size
        self.reasons[reason] += 1
        host.requests += 1
        host.bytes += size
        if reason != OK:
            host.failed += 1
            host.reasons[reason] += 1

    def _known(self, reason: str) -> str:
        return reason if reason in self.reasons or len(self.reasons) < REASONS else OTHERS

    def _host(self, url: str) -> tuple[str, HostFold]:
        path = url.find("/", 8)
        front = url if path < 0 else url[:path]
        found = self._fronts.get(front)
        if found is None:
            if len(self._fronts) >= 2 * HOSTS:
                self._fronts.clear()
            site = origin(url)
            name = printable(shown_host(site))[:_LONGEST_URL] if "://" in site else NO_HOST
            if name not in self.hosts and len(self.hosts) >= HOSTS:
                name = OTHERS
            host = self.hosts.get(name)
            if host is None:
                host = self.hosts[name] = HostFold()
                host.times = Times() if len(self.hosts) <= DETAILED else None
            found = self._fronts[front] = name, host
        return found

    def _place_of_sample(self, reason: str) -> int | None:
        """Where this failure goes among its reason's samples, so that each is as likely to be one; None: nowhere."""
        count = self.reasons[reason]
        place = count - 1 if count <= SAMPLES else int(self._draw.random() * count)
        return place if place < SAMPLES else None

    def _keep(self, reason: str, place: int, sample: Sample) -> None:
        kept = self.samples.setdefault(reason, [])
        kept[place : place + 1] = [sample]

    # -- to a file and back -------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes a fold of."""
        return {
            "counts": [self.requests, self.attempts, self.hops, self.bytes],
            "reasons": dict(self.reasons),
            "answers": [*self.answers.items()],
            "whole": self.whole.as_json(),
            "others": self._others.as_json(),
            "hosts": {name: host.as_json() for name, host in self.hosts.items()},
            "samples": {reason: [asdict(one) for one in kept] for reason, kept in self.samples.items()},
            "series": self.series.as_json(),
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Fold:
        """Raises `ValueError`, `KeyError` or `TypeError` for what `as_json` has not written."""
        made = cls()
        made.requests, made.attempts, made.hops, made.bytes = said["counts"]
        made.reasons = Counter(said["reasons"])
        made.answers = Counter(dict(said["answers"]))
        made.whole, made._others = Histogram.from_json(said["whole"]), Times.from_json(said["others"])
        made.hosts = {name: HostFold.from_json(host) for name, host in said["hosts"].items()}
        made.samples = {reason: [Sample(**one) for one in kept] for reason, kept in said["samples"].items()}
        made.series = Series.from_json(said["series"])
        return made


def _count_attempt(host: HostFold, seconds: float) -> None:
    host.attempts += 1
    host.seconds += seconds
    if seconds > host.longest:
        host.longest = seconds


def _sample(url: str, host: str, error: str, attempts: int, elapsed: float, at: float | None, where: str) -> Sample:
    return Sample(
        url=printable(redact(url[: 2 * _LONGEST_URL]))[:_LONGEST_URL],
        host=host,
        error=printable(redact(error[: 2 * _LONGEST_ERROR]))[:_LONGEST_ERROR],
        attempts=attempts,
        elapsed=round(elapsed, 6),
        at=at,
        input=printable(redact(where))[-_LONGEST_URL:],
    )

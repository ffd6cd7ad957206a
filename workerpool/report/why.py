"""Why a batch took as long as it did: its time shared out, what binds, and what to change. Pure functions, any thread.

At each moment of a run something keeps it from sending one request more (`workerpool.statistics.Waits`). These parts
add up to the run's time. While sockets or workers are what is waited for, the run waits for what the requests in flight
do, so that time is shared out once more, over connecting, the first byte and so on, as the sends spent it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workerpool.config import Budgets
from workerpool.model import Timings
from workerpool.rate import Rate
from workerpool.statistics import Waits
from workerpool.wording import shown_host

PHASES = {"dns": "DNS", "connect": "connecting", "tls": "TLS", "first_byte": "first byte", "body": "body"}

IN_FLIGHT = frozenset({"workers", "host_sockets", "sockets", "window", "answers"})
"""The waits during which the run waits for what requests in flight do."""

CPU_BOUND = 0.85
"""From this share of CPU time on, the CPU is what binds: the rest is lost in switching between threads."""

MAIN = 0.5
"""A phase with more than this share of the time in flight is called most of it."""

HARDLY = 1.05
"""The gain below which a change is not worth making."""

NOT_SMALL = 0.2
"""From this share of the time on, something is worth a sentence beside what binds."""

ALONE = 0.8
"""The share of a part beyond which the host that it is due to is named."""

_OWN_WORK = IN_FLIGHT | {"ready"}
_OPENING = ("dns", "connect", "tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a batch had to keep to.

    `ordered`: whether outcomes had to come in their order. `processes`: how many shared the work, by the option for
    that; None where there is no such option.
    """

    workers: int
    budgets: Budgets
    ordered: bool = False
    processes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a run went, as far as its time is concerned.

    `elapsed`: its seconds; `cpu`: seconds that its process had the CPU, on all cores together; `cores`: how many there
    are. `waits`: of the pool, which did nothing before the run began, or of all `pools` together. `spent`: what its
    sends took, in all. `sends`, of which `opened` needed a new socket; `reached`: sends per second, None if that says
    nothing. `hosts`: how many.
    """

    elapsed: float
    cpu: float
    cores: int
    waits: Waits
    spent: Timings
    sends: int
    opened: int
    hosts: int
    reached: float | None = None
    pools: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run's time: one of the `Waits` or a phase of `Timings`, by name, and the share from 0 to 1."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Split:
    """A run's time, largest parts first. `parts` add up to 1; `phases` to those of the parts that are `IN_FLIGHT`."""

    parts: tuple[Part, ...]
    phases: tuple[Part, ...]


def split(course: Course) -> Split:
    """Share out a run's time.

    The time in which nothing had been given to the pool is the output's: a run opens it before the first request, and
    completes it after the last one.
    """
    waits = course.waits
    seconds = {name: float(getattr(waits, name)) for name in WAITS}
    seconds["sink"] += max(0.0, course.elapsed * course.pools - sum(seconds.values()))
    total = sum(seconds.values()) or 1.0
    in_flight = sum(seconds[name] for name in IN_FLIGHT) / total
    spent = {name: float(getattr(course.spent, name)) for name in PHASES}
    sends = sum(spent.values())
    return Split(
        parts=_largest_first({name: each / total for name, each in seconds.items()}),
        phases=_largest_first({name: in_flight * each / sends for name, each in spent.items()}) if sends else (),
    )


def describe(parts: Split) -> str:
    """Write the parts as percentages that add up to 100."""
    percents = _percents(parts.parts, 100)
    text = ", ".join(f"{WAITS[name][0]} {percent}%" for name, percent in percents)
    flying = sum(percent for name, percent in percents if name in IN_FLIGHT)
    phases = ", ".join(f"{PHASES[name]} {percent}%" for name, percent in _percents(parts.phases, flying))
    return f"{text}; of this, in flight: {phases}" if phases else text


def advise(course: Course, allowed: Allowed) -> str:
    """Say in one sentence what binds, and what to change."""
    parts = split(course)
    case = _Case(course, allowed, parts, parts.parts[0])
    if case.part.name in _OWN_WORK and case.cpu >= CPU_BOUND:
        return _on_cpu(case)
    _, sentence = WAITS[case.part.name]
    return sentence(case)


def advise_on_all(course: Course, allowed: Allowed) -> tuple[str, ...]:
    """The same, and after it a sentence on each other part of the time that is not small."""
    parts = split(course)
    first = advise(course, allowed)
    others = [part for part in parts.parts[1:] if part.share >= NOT_SMALL]
    sentences = [WAITS[part.name][1](_Case(course, allowed, parts, part)) for part in others]
    return first, *sentences


def _largest_first(shares: Mapping[str, float]) -> tuple[Part, ...]:
    return tuple(
        sorted((Part(name, share) for name, share in shares.items() if share > 0), key=lambda part: -part.share)
    )


def _percents(parts: Sequence[Part], total: int) -> list[tuple[str, int]]:
    """Round shares to whole numbers that add up to `total`, the largest remainders up, and leave out the zeros."""
    whole = sum(part.share for part in parts)
    if not whole:
        return []
    exact = [part.share / whole * total for part in parts]
    rounded = [math.floor(each) for each in exact]
    by_remainder = sorted(range(len(parts)), key=lambda n: rounded[n] - exact[n])
    for n in by_remainder[: total - sum(rounded)]:
        rounded[n] += 1
    return [(part.name, percent) for part, percent in zip(parts, rounded, strict=True) if percent]


# -- sentences --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """A run, and the part of its time that binds."""

    course: Course
    allowed: Allowed
    split: Split
    part: Part

    @property
    def share(self) -> str:
        return f"{dict(_percents(self.split.parts, 100))[self.part.name]}% of the time"

    @property
    def cpu(self) -> float:
        """The share of the time that each process had a core."""
        course = self.course
        return course.cpu / course.elapsed / course.pools if course.elapsed else 0.0

    @property
    def host(self) -> str | None:
        """The host that most of the part is due to, for people; None if it is due to many."""
        mine = [each for each in self.course.waits.hosts if each.wait == self.part.name]
        if not mine:
            return None
        largest = max(mine, key=lambda each: each.seconds)
        of = getattr(self.course.waits, self.part.name)
        return shown_host(largest.host) if largest.seconds > ALONE * of else None

    @property
    def mostly(self) -> str:
        """What requests in flight did for most of their time, as the end of a clause."""
        shares = {part.name: part.share for part in self.split.phases}
        total = sum(shares.values())
        if shares.get("first_byte", 0.0) > MAIN * total:
            return ", mostly waiting for the first byte"
        if shares.get("body", 0.0) > MAIN * total:
            return ", mostly reading bodies"
        if self.connects_in_vain:
            return ", mostly trying to open connections, of which none was made"
        if self.is_opening:
            course = self.course
            return f", mostly opening connections, as {course.opened:,} of {course.sends:,} sends needed a new one"
        return ""

    @property
    def connects_in_vain(self) -> bool:
        """Whether it was opening connections, and none came about."""
        return self.is_opening and not self.course.opened

    @property
    def is_opening(self) -> bool:
        """Whether requests in flight were opening connections for most of their time."""
        shares = {part.name: part.share for part in self.split.phases}
        total = sum(shares.values())
        return bool(total) and sum(shares.get(name, 0.0) for name in _OPENING) > MAIN * total

    def gain(self, options: str, provided: str = "") -> str:
        """How much more `options`, twice as many places, would let through, at most; what comes next may bind before.

        `provided`: how the sentence ends, if they would help.
        """
        if self.connects_in_vain:
            return "see what their errors say"
        budgets, reached = self.allowed.budgets, self.course.reached
        caps = [(2.0, "")]
        if self.cpu > 0:
            caps.append((1 / self.cpu, "the CPU"))
        rates = [budgets.rate, budgets.host_rate] if self.course.hosts == 1 else [budgets.rate]
        caps += [(rate.sustained / reached, _named(rate)) for rate in rates if rate and reached]
        most, then = min(caps)
        if most < HARDLY:
            return f"{options} would hardly help, as {then} is what binds then"
        more = "twice as much" if most >= 1.95 else f"{most:.1f} times as much"
        return f"{options} would allow up to {more}" + (f", before {then} is what binds" if then else "") + provided


def _more(case: _Case, *, per_host: int, in_all: int, first: str) -> str:
    """The options that allow so many sends at once, to a host and in all; the one that binds now comes first."""
    budgets = case.allowed.budgets
    wanted = [
        ("--workers", in_all, case.allowed.workers),
        ("--host-connections", per_host, budgets.host_connections),
        ("--connections", in_all, budgets.max_connections),
    ]
    wanted.sort(key=lambda option: option[0] != first)
    return " ".join(f"{name} {number}" for name, number, now in wanted if number > now)


def _on_host_sockets(case: _Case) -> str:
    places = case.allowed.budgets.host_connections
    if case.allowed.budgets.learns_connections:
        return (
            f"the sockets that {case.host or 'each host'} was found to take were busy {case.share}{case.mostly}: more "
            "would be for the server to bear"
        )
    busy = (
        f"the {places} sockets to {case.host} were" if case.host else f"the {places} sockets that a host may have were"
    )
    if places == 1:
        busy = f"the one socket to {case.host} was" if case.host else "the one socket that a host may have was"
    options = _more(case, per_host=2 * places, in_all=2 * places, first="--host-connections")
    return f"{busy} busy {case.share}{case.mostly}: {case.gain(options, ', if the server bears it')}"


def _on_places(case: _Case) -> str:
    allowed, hosts = case.allowed, max(1, case.course.hosts)
    is_workers = case.part.name == "workers"
    places, what, option = (
        (allowed.workers, "worker", "--workers")
        if is_workers
        else (allowed.budgets.max_connections, "socket", "--connections")
    )
    busy = f"all {places} {what}s were" if places > 1 else f"the one {what} was"
    options = _more(case, per_host=math.ceil(2 * places / hosts), in_all=2 * places, first=option)
    return f"{busy} busy {case.share}{case.mostly}: {case.gain(options)}"


def _named(rate: Rate | None) -> str:
    return "the rate" if rate is None else f"the rate of {rate}"


def _on_rate(case: _Case) -> str:
    rate = case.allowed.budgets.rate
    return f"{_named(rate)} in all held it up {case.share}: a higher --rate, if the servers allow it"


def _on_host_rate(case: _Case) -> str:
    at = f" at {case.host}" if case.host else ""
    budgets = case.allowed.budgets
    if budgets.learns_rate:
        return f"the rate that was learned{at} held it up {case.share}: it is what the server took"
    rate = _named(budgets.host_rate)
    return f"{rate} per host held it up {case.share}{at}: a higher --host-rate, if the server allows it"


def _on_key_rate(case: _Case) -> str:
    return f"{_named(case.allowed.budgets.key_rate)} for a key held it up {case.share}: only a higher one would help"


def _on_shared(case: _Case) -> str:
    return f"the budget that processes share held it up {case.share}: raise it for all, or let fewer run at once"


def _on_pause(case: _Case) -> str:
    change = "a --host-rate that it bears" if case.host else "a --host-rate that they bear"
    if not case.allowed.budgets.learns_rate:
        change = f"--rate auto, or {change},"
    who = case.host or "hosts"
    return f"{who} refused, and had to be left alone, {case.share}: {change} would keep that from happening"


def _on_backoff(case: _Case) -> str:
    return f"only retries were left {case.share}, and waited out their backoff: fewer --retries would give up sooner"


def _on_breaker(case: _Case) -> str:
    return f"{case.host or 'hosts'} kept failing, and the circuit breaker kept requests back {case.share}"


def _on_retry_budget(case: _Case) -> str:
    return (
        f"only retries were left {case.share}, and had no token of the retry budget: so many failed that more would be "
        "added load"
    )


def _on_robots(case: _Case) -> str:
    whose = f"the robots.txt of {case.host}" if case.host else "hosts' robots.txt"
    return f"{whose} held it up {case.share}: it was still to come, or asks for a delay between requests"


def _on_token(case: _Case) -> str:
    return f"a token to send requests with was still to come {case.share}: only a faster token server would help"


def _on_window(case: _Case) -> str:
    if case.allowed.ordered:
        return (
            f"--ordered held later results back {case.share}, until an earlier one had come{case.mostly}: leave it out "
            "if their order does not matter"
        )
    return f"all requests that may be in memory were in flight {case.share}{case.mostly}: a larger window would help"


def _on_source(case: _Case) -> str:
    return f"the source gave nothing {case.share}, while there was room for more: only a faster source would help"


def _on_sink(case: _Case) -> str:
    return f"results were being written {case.share}, and all else waited: only a faster output would help"


def _on_answers(case: _Case) -> str:
    return (
        f"nothing was left to send {case.share}, and the last answers were waited for{case.mostly}: only faster "
        "answers, or a shorter --timeout, would help"
    )


def _on_ready(case: _Case) -> str:
    return (
        f"requests could be sent {case.share}, and this program did not get to it, with a CPU for {case.cpu:.0%} of "
        "the time: the machine is busy with other things"
    )


def _on_cpu(case: _Case) -> str:
    more, processes = "", case.allowed.processes
    if processes is not None and case.course.cores > processes:
        more = f"; --processes {min(case.course.cores, case.allowed.workers)} would share the work among cores"
    return f"the program's own CPU was busy {case.cpu:.0%} of the time: more workers or sockets would not help{more}"


WAITS: Mapping[str, tuple[str, Callable[[_Case], str]]] = {
    "ready": ("this program", _on_ready),
    "workers": ("workers", _on_places),
    "host_sockets": ("sockets to a host", _on_host_sockets),
    "sockets": ("sockets in all", _on_places),
    "host_rate": ("a host's rate", _on_host_rate),
    "key_rate": ("a key's rate", _on_key_rate),
    "rate": ("the rate", _on_rate),
    "shared": ("the shared budget", _on_shared),
    "pause": ("a host's pause", _on_pause),
    "breaker": ("a circuit breaker", _on_breaker),
    "backoff": ("backoff", _on_backoff),
    "retry_budget": ("the retry budget", _on_retry_budget),
    "robots": ("robots.txt", _on_robots),
    "token": ("a token", _on_token),
    "window": ("the window", _on_window),
    "source": ("the source", _on_source),
    "sink": ("the output", _on_sink),
    "answers": ("the last answers", _on_answers),
}
"""What each of the `Waits` is called here, and what is said where it binds."""

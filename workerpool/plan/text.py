"""A plan as text for a terminal of 80 columns: no colours, no secrets. Pure functions, any thread."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from workerpool.plan.bounds import Bound
from workerpool.plan.planning import Plan, Prediction
from workerpool.plan.workload import Workload
from workerpool.redact import printable
from workerpool.wording import cut, duration, number, plural, row, shown_host, wrapped

_FEWER = 0.01
"""Share of the longest bound below which another one is not worth a line."""


def as_text(plan: Plan) -> str:
    """Render what was found: the first setting in full, and all of them in a table if there are several."""
    return "\n".join(map(printable, _lines(plan)))


def _lines(plan: Plan) -> Iterator[str]:
    first = plan.predictions[0]
    yield _headline(plan, first)
    if plan.workload.requests:
        yield from _prediction(plan.workload, first)
        yield from row("taken from", _source(plan))
        if plan.took is not None:
            yield from row("took then", f"{duration(plan.took)}, with settings that are not kept")
    if plan.workload.problems:
        yield from _problems(plan.workload)
    if len(plan.predictions) > 1 and plan.workload.requests:
        yield from _table(plan)
    for note in plan.notes if plan.workload.requests else ():
        yield from wrapped(f"· {note}", "  ", "    ")


def _headline(plan: Plan, first: Prediction) -> str:
    workload = plan.workload
    more = "more than " * bool(workload.others)
    what = f"{plural(workload.requests, 'request')} to {more}{plural(len(workload.hosts), 'host')}"
    if not workload.requests:
        return "No requests: nothing is to be sent"
    return f"{what}: {_time(first)}"


def _time(prediction: Prediction) -> str:
    return f"{'at least' if prediction.is_least else 'about'} {duration(prediction.seconds)}"


def _prediction(workload: Workload, found: Prediction) -> Iterator[str]:
    yield from row("what binds", _binding(workload, found))
    worth = [bound for bound in found.bounds if bound.seconds > _FEWER * found.bounds[0].seconds]
    width = max((len(duration(bound.seconds)) for bound in worth), default=0)
    for place, bound in enumerate(worth):
        where = "" if bound.host is None else f" at {_host(bound.host)}"
        text = f"{duration(bound.seconds):>{width}}  {found.setting.words(bound.budget)}{where}"
        yield from row("" if place else "least time", text, deeper=width + 2)
    yield from row("rate", f"{number(found.rate)}/s on average, {plural(round(found.sends), 'send')}")
    yield from row("in flight", f"{number(found.busy)} on average, {found.most_at_once:,} at most")
    yield from row("workers", _workers(found))
    if found.failed or found.unsent:
        unsent = f", {round(found.unsent):,} end unsent" if found.unsent else ""
        yield from row("failures", f"{round(found.failed):,} fail{unsent}")


def _binding(workload: Workload, found: Prediction) -> str:
    bound = found.binding
    if bound is None and found.is_least:
        return "no budget: it takes as long as a single answer"
    if bound is None:
        return (
            "no budget: the time goes into single requests that take long, and into waits before they are tried again"
        )
    words = found.setting.words(bound.budget)
    after = _next(found, bound)
    if bound.host is not None:
        share = workload.hosts.get(bound.host)
        of_all = f" has {share:,} of {plural(workload.requests, 'request')}, and" if share else ""
        return f"{words}: {_host(bound.host)}{of_all} takes {duration(bound.seconds)} by itself{after}"
    if bound.budget == "key-rate":
        of_all = f"{workload.largest_key:,} of {plural(workload.requests, 'request')}"
        return f"{words}: one key has {of_all}, and takes {duration(bound.seconds)} by itself{after}"
    if bound.budget == "workers":
        return f"{words}: with {found.workers:,} of them, the next would bind{after}"
    return f"{words}{after}"


def _next(found: Prediction, bound: Bound) -> str:
    """What would bind without the one that does."""
    others = [other for other in found.bounds if other is not bound]
    if not others or not others[0].seconds:
        return ""
    other = others[0]
    return f". After it comes {found.setting.words(other.budget)}, at {duration(other.seconds)}"


def _workers(found: Prediction) -> str:
    given = found.setting.options.workers
    verdict = "suffice" if found.workers <= given else "are asked for"
    if not found.unbound:
        return f"{found.workers:,} {verdict}, {given:,} are there"
    law = f"{number(found.sends / found.unbound)}/s × {duration(found.busy * found.seconds / found.sends)}"
    return f"{found.workers:,} {verdict} by Little's law ({law}), {given:,} are there"


def _source(plan: Plan) -> str:
    if plan.latency is not None:
        return f"an assumption: each answer takes {duration(plan.latency)} (--latency), and nothing fails"
    return f"{plural(plan.records, 'record')} of {plan.source}"


def _problems(workload: Workload) -> Iterator[str]:
    more = f", and {workload.problems - len(workload.examples):,} more" * (workload.problems > len(workload.examples))
    count = plural(workload.problems, "input")
    yield from row("no requests", f"{count} that cannot be sent{':' if workload.examples else ''}")
    for place, example in enumerate(workload.examples):
        is_last = place == len(workload.examples) - 1
        yield from row("", f"{example}{more if is_last else ''}", deeper=2)


def _table(plan: Plan) -> Iterator[str]:
    labels = [_label(place, found) for place, found in enumerate(plan.predictions)]
    width = min(30, max(map(len, labels)))
    kind = "at least" if plan.predictions[0].is_least else "time"
    yield f"  {'compared':<{width + 2}}{kind:>12}{'sends/s':>9}{'in flight':>11}  what binds"
    for label, found in zip(labels, plan.predictions, strict=True):
        lines = textwrap.wrap(label, width, break_on_hyphens=False, subsequent_indent="  ") or [""]
        binding = found.binding
        figures = f"{duration(found.seconds):>12}{number(found.rate):>9}{number(found.busy):>11}"
        yield f"    {lines[0]:<{width}}{figures}  {'' if binding is None else f'--{binding.budget}'}".rstrip()
        yield from (f"    {line}" for line in lines[1:])


def _label(place: int, found: Prediction) -> str:
    return found.setting.label or ("as said" if not place else "as said, again")


def _host(name: str) -> str:
    return cut(shown_host(name), 40)

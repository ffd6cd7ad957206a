"""`workerpool status`, `top`, `reconcile` and `jobs`: look at jobs, and print what they say, as text or JSON.

The answer goes to standard output, errors go to standard error. The main thread does everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial

from workerpool import wording
from workerpool.batch.codes import FAILED, HELD, NOT_WRITTEN, OK
from workerpool.batch.job.reconcile import Reconciliation, reconcile
from workerpool.batch.job.status import JobStatus, find_jobs, look_at
from workerpool.batch.job.terms import when
from workerpool.cli.looking_arguments import LookSettings
from workerpool.cli.speaker import put_out
from workerpool.errors import JobHeld, WorkerPoolError
from workerpool.view.speech import speak
from workerpool.wording import duration, plural, wrapped

_row = partial(wording.row, width=16)

_COUNTED = ("ok", "unchanged", "skipped", "failed", "unknown", "deferred", "queued")
"""The counts that a line names, if there are any."""


def look(settings: LookSettings) -> int:
    """Carry out the command and return its exit code; raises `WorkerPoolError` where there is nothing to look at."""
    return {"status": _status, "top": _top, "reconcile": _reconcile, "jobs": _jobs}[settings.command](settings)


def _top(settings: LookSettings) -> int:
    from workerpool.cli.top import top

    return top(settings.directories[0], once=settings.once)


# -- status -----------------------------------------------------------------------------------------------------------


def _status(settings: LookSettings) -> int:
    status = look_at(settings.directories[0])
    text = json.dumps(status.as_json(), indent=2) if settings.as_json else "\n".join(_status_lines(status))
    return OK if put_out(text, "the status") else NOT_WRITTEN


def _status_lines(status: JobStatus) -> Iterator[str]:
    run = "no run yet" if status.run is None else f"run {status.run}"
    yield f"{status.directory}: {run}, {_state(status)}"
    if status.run is not None:
        yield from _run_lines(status)
    yield from _row("next", status.next)


def _run_lines(status: JobStatus) -> Iterator[str]:
    again = f", went on {plural(status.continued, 'time')}" if status.continued else ""
    yield from _row("began", f"{_time(status.began)}{again}")
    if status.ended is not None:
        yield from _row("finished", _time(status.ended))
    yield from _row("output", status.output or "")
    yield from _row("inputs", _counts(status, " · ") or "none has ended yet")
    if status.queued is None:
        yield from _row("", "how many more there are cannot be told now")
    if status.pages is not None:
        yield from _row(
            "pages", f"{status.pages:,} have a record, in the inputs that have ended and in those that go on"
        )
    if status.waiting:
        kept = f", {status.kept:,} of them failures that are written last" if status.kept else ""
        yield from _row("on their way", f"{plural(status.waiting, 'record')} to the output{kept}")
    if status.rows is not None:
        yield from _row("rows", f"{status.rows:,} made of the answers, {status.rejects or 0:,} rejected")
    if status.last is not None:
        yield from _row("last execution", f"ended {_time(status.last_at)}: {_reason(status.last)}")
    elif status.state in ("interrupted", "closing"):
        yield from _row("last execution", "ended without a word: it was killed, or the machine went down")
    if status.heartbeat_age is not None:
        yield from _row("heartbeat", f"{duration(status.heartbeat_age)} ago")


def _state(status: JobStatus) -> str:
    if status.state == "running":
        return f"running ({status.holder})" if status.holder else "running"
    return {"closing": "interrupted while closing", "new": "not begun"}.get(status.state, status.state)


def _counts(status: JobStatus, between: str) -> str:
    counts = {name: getattr(status, name) for name in _COUNTED}
    return between.join(f"{count:,} {name}" for name, count in counts.items() if count)


def _reason(last: str) -> str:
    return {"deadline": "stopped at the deadline", "finished": "the run was finished"}.get(last, last)


# -- jobs -------------------------------------------------------------------------------------------------------------


def _jobs(settings: LookSettings) -> int:
    rows: list[JobStatus | tuple[str, str]] = []
    for directory in find_jobs(settings.directories):
        try:
            rows.append(look_at(directory))
        except WorkerPoolError as error:  # one that cannot be read does not hide the others
            rows.append((directory, str(error)))
    if settings.as_json:
        objects = [{"directory": row[0], "error": row[1]} if isinstance(row, tuple) else row.as_json() for row in rows]
        text = json.dumps(objects, indent=2)
    else:
        text = "\n".join(_job_lines(rows)) or f"No job in {', '.join(settings.directories)}."
    return OK if put_out(text, "the list") else NOT_WRITTEN


def _job_lines(rows: Sequence[JobStatus | tuple[str, str]]) -> Iterator[str]:
    names = [row[0] if isinstance(row, tuple) else row.directory for row in rows]
    width = max(map(len, names), default=0)
    for name, row in zip(names, rows, strict=True):
        if isinstance(row, tuple):
            yield f"{name:<{width}}  unreadable   {row[1]}"
        else:
            began = "" if row.began is None else f"run {row.run}, {when(row.began)}"
            yield f"{name:<{width}}  {row.state:<11}  {began}  {_counts(row, ', ')}".rstrip()


# -- reconcile --------------------------------------------------------------------------------------------------------


def _reconcile(settings: LookSettings) -> int:
    directory = settings.directories[0]
    try:
        found = reconcile(directory, settings.output)
    except JobHeld as error:
        said = str(error).partition(": ")[0]
        speak(f"workerpool: {said}: nothing can be proven before it has ended; see workerpool status {directory}")
        return HELD
    text = json.dumps(_as_json(found), indent=2) if settings.as_json else "\n".join(_reconcile_lines(found))
    if not put_out(text, "the proof"):
        return NOT_WRITTEN
    return OK if found.is_proven else FAILED


def _as_json(found: Reconciliation) -> Mapping[str, object]:
    return {"proven": found.is_proven, **asdict(found)}


def _reconcile_lines(found: Reconciliation) -> Iterator[str]:
    verdict = "proven" if found.is_proven else "wrong" if found.wrong else "not proven"
    run = "" if found.run is None else f", run {found.run}"
    yield f"{found.directory}{run}: {verdict}"
    if found.run is not None:
        yield from _row("inputs", f"{found.inputs:,}")
        by_state = [f"{count:,} {name}" for name, count in _named(found.counts).items() if count]
        yield from _row("outcomes", f"{found.ended:,}" + (f" ({', '.join(by_state)})" if by_state else ""))
        if found.rows is not None:
            yield from _row("rows", f"{found.rows:,} made of the answers, {found.rejects or 0:,} rejected")
        if found.records is not None:
            held = f", and {found.held:,} in the ledger" if found.held else ""
            yield from _row("records", f"{found.records:,} in {found.output}{held}")
    for sentence in (*found.wrong, *found.unproven, *found.notes):
        yield from wrapped(f"- {sentence}", rest="  ")


def _named(counts: Mapping[str, int]) -> dict[str, int]:
    """The ends alone, failures of both kinds together."""
    kinds = {name: counts.get(name, 0) for name in ("ok", "unchanged", "skipped", "failed", "unknown")}
    kinds["failed"] += counts.get("spent", 0)
    return kinds


# -- both -------------------------------------------------------------------------------------------------------------


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")

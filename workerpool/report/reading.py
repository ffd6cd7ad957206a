"""What there is to report on: the history that a job has kept, or the records of an output. It only reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workerpool.batch.job.history import read_history
from workerpool.batch.job.status import JobStatus, has_job, look_at
from workerpool.batch.reading_back import RecordsBack
from workerpool.endings import OK, in_short
from workerpool.errors import JobError, StatusError
from workerpool.history import History
from workerpool.history.fold import Recorded
from workerpool.redact import redact
from workerpool.wording import plural

FIELDS = ("url", "ok", "status", "error", "attempts", "elapsed", "bytes", "started_at")

NOT_IN_RECORDS = (
    "Records tell of a request when it was sent first, how often, and how long it took in all. What each attempt, DNS, "
    "connecting or waiting took, sockets, pauses and the budgets are not in them: a run with --job keeps these."
)
NO_HISTORY = (
    "The job has no history of this run that can be read, as runs of earlier versions have none, so this is told from "
    "its records."
)

_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""No request ended then, in seconds since the epoch; much later times cannot be written."""

_ENDED = ("ok", "unchanged", "skipped", "failed", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What there is. `status`: of the job, None for records by themselves. `notes`: what it cannot tell, as sentences.

    `before`: of the same job's run before this one.
    """

    name: str
    history: History
    status: JobStatus | None = None
    run: int | None = None
    notes: tuple[str, ...] = ()
    before: Told | None = field(default=None, repr=False)


def tell(path: str) -> Told:
    """Read what is at `path`: a job's directory, or an output of a run. Raises `JobError` where nothing can be told."""
    if not has_job(path):
        return _of_records(path)
    status = look_at(path)
    if status.run is None:
        raise JobError(f"{redact(path)}: no run of this job has begun, so there is nothing to report")
    history = read_history(path, status.run)
    if history is None or not history.executions:
        return _of_records(path, status)
    return Told(
        name=redact(path),
        history=history,
        status=status,
        run=status.run,
        notes=_missing(history, status),
        before=_before(path, status.run - 1),
    )


def _before(path: str, run: int) -> Told | None:
    history = read_history(path, run)
    return None if history is None else Told(name=f"run {run}", history=history, run=run)


def _missing(history: History, status: JobStatus) -> tuple[str, ...]:
    """What the history lacks, or has twice, beside the states of the inputs."""
    ended = sum(getattr(status, name) for name in _ENDED)
    requests = history.fold.requests
    if status.state == "running" or status.pages is not None or requests == ended:
        return ()
    if requests > ended:
        return (
            f"{plural(requests - ended, 'outcome')} of failures that were fetched again, or of inputs whose process "
            "was killed before it could note them, are counted beside those that came later.",
        )
    return (
        f"{plural(ended - requests, 'outcome')} of {ended:,} are missing in all but the counts of inputs, as a process "
        "was killed: its history is written every few seconds.",
    )


# -- records ----------------------------------------------------------------------------------------------------------


def _of_records(path: str, status: JobStatus | None = None) -> Told:
    records = RecordsBack(path, FIELDS, _recorded, spares_damaged=True)
    history = History()
    history.fold_records(records)
    if not history.fold.requests:
        damaged = f", but for {plural(records.damaged, 'line')} that cannot be read" if records.damaged else ""
        damaged += ", as what is packed in it was cut off or damaged" if records.breaks_off else ""
        raise JobError(f"{records.name} has no records{damaged}: name the output of a run that has ended")
    notes = [NOT_IN_RECORDS]
    if status is not None:
        notes.insert(0, NO_HISTORY)
    if records.damaged:
        notes.append(f"{plural(records.damaged, 'line')} of the file cannot be read as records, and are left out.")
    if records.breaks_off:
        notes.append("The file was cut off or damaged: what is packed in it after these records cannot be read.")
    return Told(
        name=records.name,
        history=history,
        status=status,
        run=None if status is None else status.run,
        notes=tuple(notes),
    )


def _recorded(values: tuple[Any, ...]) -> Recorded:
    url, ok, status, error, attempts, elapsed, size, began = values
    number = None if status is None else int(status)
    seconds, at = float(elapsed), _seconds(began)
    if not 0 <= seconds <= (at or 0) + seconds < _LATEST:  # which no NaN is
        raise ValueError(f"no request takes {seconds} s from {began!r} on")
    return Recorded(
        url=str(url),
        reason=OK if ok else reason_in(number, error),
        error=None if error is None else str(error),
        status=number,
        attempts=int(attempts),
        elapsed=seconds,
        bytes=int(size or 0),
        at=at,
    )


_VARIES = re.compile(r"\(.*|\S*://\S+|\S*\d\S*|'[^']*'|\"[^\"]*\"")
"""What of an error's sentence is about one request: an address, a number, what is quoted, a remark in brackets."""

_PLACE = re.compile(r", (?:line|row) [\d,]+$")
"""How a sentence begins that is about a line of a source."""

_LONGEST = 60


def reason_in(status: int | None, error: object) -> str:
    """Name how a request failed, by its record: a status that says so, or the error's words but for what varies."""
    if status is not None and status >= 400:
        return in_short(StatusError("", status=status))
    parts = str(error or "").split(": ")
    cause = parts[1] if len(parts) > 1 and _PLACE.search(parts[0]) else parts[-1]
    words = re.sub(r"(?:…[\s,;:]*)+", "… ", _VARIES.sub("…", cause))
    return words.strip(" …")[:_LONGEST] or "failed"


def _seconds(began: object) -> float | None:
    """A record's time in seconds since the epoch, however its output has kept it."""
    if isinstance(began, str):
        began = datetime.fromisoformat(began)
    if isinstance(began, datetime):
        return (began if began.tzinfo else began.replace(tzinfo=UTC)).timestamp()
    return None


def inputs_of(status: JobStatus | None) -> Mapping[str, int] | None:
    """Inputs by what has become of them, in words; None without a job."""
    if status is None:
        return None
    counts = {name: getattr(status, name) for name in (*_ENDED, "deferred", "queued")}
    return {name: count for name, count in counts.items() if count}

"""What a job's directory says of it, also while a run holds the job: it is read, and nothing is written or held up.

`look_at` one job, `find_jobs` below a directory. Any thread.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from workerpool.batch.job.again import sources_again
from workerpool.batch.job.heartbeat import read_heartbeat
from workerpool.batch.job.inputs import count_inputs
from workerpool.batch.job.lock import holder_of
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import FILE, RunRow
from workerpool.batch.job.states import ENDED, State, told
from workerpool.batch.sources.base import STDIN
from workerpool.errors import JobError, WorkerPoolError

NEXT = {
    "new": "Its first run has not begun: run the command that is to make it.",
    "running": "A run holds it: wait for that, or end it with SIGTERM.",
    "interrupted": "Run the same command again, and it goes on.",
    "closing": "Every input has ended, and the last records are not in the output yet: run the same command again.",
    "finished": "The same command begins the next run; with --retry-failed it fetches what has failed.",
}
"""What to do, by the state of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job at one moment. Times are seconds since the epoch, ages seconds.

    `state`: "running" while a process holds it, which `holder` names; else "finished", "closing" (all inputs have
    ended, the output is not whole), "interrupted", or "new" (no run was begun). `continued`: executions after
    the first. `queued`: inputs that are still to be fetched and not put off, None where that cannot be told. `waiting`:
    records that are on their way to the output; `kept`: failures among them that are written last, as they may be tried
    again.
    `pages`: those that were entered, of all inputs; None where pages are not followed.
    `rows` and `rejects`: what a schema has made of the answers, None without one.
    `last`: how the last execution ended, None if nothing was noted: it goes on, or was killed.
    """

    directory: str
    state: str
    run: int | None = None
    began: float | None = None
    ended: float | None = None
    continued: int = 0
    holder: str | None = None
    output: str | None = None
    ok: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    unknown: int = 0
    deferred: int = 0
    queued: int | None = None
    waiting: int = 0
    kept: int = 0
    pages: int | None = None
    rows: int | None = None
    rejects: int | None = None
    last: str | None = None
    last_at: float | None = None
    heartbeat: float | None = None
    heartbeat_age: float | None = None

    @property
    def next(self) -> str:
        """What to do, as a sentence."""
        return NEXT[self.state]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "next": self.next}


def look_at(directory: str) -> JobStatus:
    """Say how the job in `directory` is; raises `JobError` if there is none, or it cannot be read."""
    check_job(directory)
    holder = holder_of(directory)  # before the ledger is read: a run that ends in between is shown as running
    with closing(LedgerReader(directory)) as ledger:
        run = ledger.run()
        if run is None:
            return JobStatus(directory=directory, state="new" if holder is None else "running", holder=holder)
        return _status(directory, holder, run, ledger)


def check_job(directory: str) -> None:
    """Raise `JobError` if there is no job in `directory`."""
    if not has_job(directory):
        raise JobError(f"{directory} holds no job: name one that was given to --job, or look with workerpool jobs")


def has_job(directory: str) -> bool:
    return os.path.isfile(os.path.join(directory, FILE))


def find_jobs(directories: Iterable[str]) -> Iterator[str]:
    """Yield every directory that holds a job: those that are named, and one or two levels below, each once."""
    found: set[str] = set()
    for top in directories:
        for directory in [top, *_below(top, 2)]:
            real = os.path.realpath(directory)
            if real not in found and has_job(directory):
                found.add(real)
                yield directory


def _below(directory: str, levels: int) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return
    for name in names:
        path = name if directory == "." else os.path.join(directory, name)
        yield path
        if levels > 1:
            yield from _below(path, levels - 1)


def _status(directory: str, holder: str | None, run: RunRow, ledger: LedgerReader) -> JobStatus:
    counts = count_inputs(ledger)
    waiting, kept = ledger.held()
    noted = run.last if run.last is not None and run.last.get("execution") == run.continued else None
    beat = read_heartbeat(directory)
    at = None if beat is None else float(beat["at"])
    has_schema = run.settings.get("--schema") is not None
    is_read = all(row.lines is not None for row in ledger.sources())
    return JobStatus(
        directory=directory,
        state=_state(holder, run),
        run=run.number,
        began=run.began,
        ended=run.ended,
        continued=run.continued,
        holder=holder,
        output=run.settings.get("--output"),
        **told(counts),
        queued=counts[State.QUEUED] if is_read else _queued(run, counts),
        waiting=waiting,
        kept=kept,
        pages=_pages(run, ledger, counts),
        rows=run.entered if has_schema else None,
        rejects=ledger.count_rejects() if has_schema else None,
        last=None if noted is None else str(noted["why"]),
        last_at=None if noted is None else noted["at"],
        heartbeat=at,
        heartbeat_age=None if at is None else max(0.0, time.time() - at),
    )


def _pages(run: RunRow, ledger: LedgerReader, counts: Counter[State]) -> int | None:
    if run.settings.get("--pages") is None:
        return None
    # Of an input that goes on, or is to be fetched again, the page that is asked for next is not there yet.
    return ledger.chains.further() + sum(counts[state] for state in (*ENDED, State.AGAIN))


def _state(holder: str | None, run: RunRow) -> str:
    if holder is not None:
        return "running"
    return run.phase if run.phase != "fetching" else "interrupted"


def _queued(run: RunRow, counts: Counter[State]) -> int | None:
    """Count what is left in sources that have not been read to their end, if that is soon done."""
    paths = run.settings.get("SOURCE") or []
    if STDIN in paths or run.settings.get("--query") is not None:
        return None
    try:
        total = sources_again(run, paths).count()
    except WorkerPoolError:
        return None
    others = sum(counts[state] for state in (*ENDED, State.DEFERRED, State.AGAIN))
    return None if total is None else max(0, total - others)

"""`workerpool top`: watch a run of a job from outside, by what it writes down every second.

Only its heartbeat and its lock are looked at, so the run is not disturbed. The main thread looks; on a terminal rich's
draws.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from workerpool.batch.codes import NOT_WRITTEN, OK
from workerpool.batch.job.heartbeat import read_heartbeat
from workerpool.batch.job.lock import holder_of
from workerpool.batch.job.status import check_job
from workerpool.batch.progress import Moment
from workerpool.cli.speaker import put_out
from workerpool.view.lines import plain_line
from workerpool.view.live import LiveProgress, may_draw
from workerpool.wording import duration

LOOK_EVERY = 0.5
"""Seconds between two looks at the job."""

LINE_EVERY = 10.0
"""Seconds between two plain lines."""

OLD = 5.0
"""Seconds from which on the age of what is shown is told."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to see of a job: `run` is its number, `moment` None where its run shows none, `at` seconds since
    the epoch. `is_running`: whether a process holds it."""

    is_running: bool
    run: int | None = None
    at: float = 0.0
    moment: Moment | None = None


def top(directory: str, *, once: bool) -> int:
    """Watch the job's run until it ends, or say `once` how it is; returns the exit code. Raises `JobError`."""
    check_job(directory)
    seen = look(directory)
    if not seen.is_running:
        return _end(f"{directory}: no run holds it: see workerpool status {directory}")
    if once:
        return _end(_line(seen))
    if may_draw(sys.stdout):
        _draw(directory, seen)
    elif not _list(directory, seen):
        return NOT_WRITTEN
    return _end(f"{directory}: run {seen.run} has ended: see workerpool status {directory}")


def _end(sentence: str) -> int:
    return OK if put_out(sentence, "the view") else NOT_WRITTEN


def look(directory: str) -> Seen:
    """See how a job is."""
    is_running = holder_of(directory) is not None
    beat = read_heartbeat(directory)
    if beat is None:
        return Seen(is_running)
    try:
        moment = Moment.from_json(beat["moment"])
    except (TypeError, KeyError, AttributeError):  # the run is at its beginning or its end, or of another version
        moment = None
    return Seen(is_running, beat.get("run"), float(beat["at"]), moment)


def _draw(directory: str, seen: Seen) -> None:
    """Show it on a screen of its own until it ends."""
    shown = [seen]
    display = LiveProgress(
        lambda: shown[0].moment or Moment(),
        f"{os.fspath(directory)}: run {seen.run or ''}",
        note=lambda: _age(shown[0]),
        is_alone=True,
    )
    display.start()
    try:
        while shown[0].is_running:
            time.sleep(LOOK_EVERY)
            shown[0] = look(directory)
    finally:
        display.stop()


def _list(directory: str, seen: Seen) -> bool:
    """Print a line now and then until it ends; whether that could be written."""
    next_line = 0.0
    while seen.is_running:
        if time.monotonic() >= next_line:
            if not put_out(_line(seen), "the view"):
                return False
            next_line = time.monotonic() + LINE_EVERY
        time.sleep(LOOK_EVERY)
        seen = look(directory)
    return True


def _line(seen: Seen) -> str:
    if seen.moment is None:
        return "nothing to see yet"
    age = _age(seen)
    return plain_line(seen.moment) + (f" · {age}" if age else "")


def _age(seen: Seen) -> str:
    if seen.moment is None:
        return "nothing to see yet"
    age = time.time() - seen.at
    return f"as it was {duration(age)} ago" if age >= OLD else ""

"""The history of a job's run, in a file in its directory: what a report is made of.

A run's housekeeper writes it every few seconds and at its end, as a whole, so a reader never sees half of one. What a
process that is killed had not written is missing there, and nowhere else: it decides nothing. One that cannot be
written, or read back, ends no run. Those of the last run and of the one before it are kept.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress

from workerpool.batch.run import Pool
from workerpool.errors import Cancelled
from workerpool.history import History, Limits
from workerpool.model import Outcome

EVERY = 5.0
"""Seconds between two writes."""

SELDOM = 100
"""How many times its CPU time it is from a look, or a write, to the next: with thousands of hosts it takes some."""

_NAME = re.compile(r"history-(\d+)\.json\.gz")
UNREADABLE = (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError)


class HistoryKeeper:
    """Keeps the history of one execution. The run's thread adds, and another one looks and writes."""

    def __init__(self, directory: str, run: int, limits: Limits | None) -> None:
        self._path = path_of(directory, run)
        found = read_history(directory, run)
        self._history = History() if found is None else found
        self._history.begin(time.time(), limits, os.cpu_count() or 1)
        self._began = time.monotonic()
        self._cpu = time.process_time()
        self._next_look = self._began
        self._next_write = self._began + EVERY
        _forget(directory, run)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count what has ended; what was given up ends another time."""
        self._history.add([outcome for outcome in outcomes if not isinstance(outcome.error, Cancelled)])

    def look(self, pool: Pool, *, is_last: bool = False) -> None:
        now, wall = time.monotonic(), time.time()
        if is_last or (now >= self._next_look and self._history.is_due(wall)):
            worked = time.thread_time()
            cpu = time.process_time() - self._cpu + getattr(pool, "cpu", 0.0)  # of other processes
            self._history.look(pool.statistics(), wall, now - self._began, cpu)
            self._next_look = now + SELDOM * (time.thread_time() - worked)
        if is_last or now >= self._next_write:
            worked = time.thread_time()
            self._write()
            self._next_write = now + max(EVERY, SELDOM * (time.thread_time() - worked))

    def _write(self) -> None:
        beside = f"{self._path}.new"
        try:
            with gzip.open(beside, "wt", compresslevel=1, encoding="utf-8") as file:
                file.write(json.dumps(self._history.as_json(), separators=(",", ":")))
            os.rename(beside, self._path)  # in place of the one before
        except OSError:
            with suppress(OSError):
                os.unlink(beside)


def path_of(directory: str, run: int) -> str:
    return os.path.join(directory, f"history-{run}.json.gz")


def read_history(directory: str, run: int) -> History | None:
    """The history of that run; None if there is none that can be read."""
    try:
        with gzip.open(path_of(directory, run), "rt", encoding="utf-8") as file:
            return History.from_json(json.load(file))
    except UNREADABLE:
        return None


def _forget(directory: str, run: int) -> None:
    """Remove the histories of runs that came before the one before `run`."""
    with suppress(OSError):
        for name in os.listdir(directory):
            found = _NAME.fullmatch(name)
            if found is not None and int(found[1]) < run - 1:
                os.unlink(os.path.join(directory, name))

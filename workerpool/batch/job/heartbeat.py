"""The heartbeat of a job: a small file that a run writes every second, so that others can look at its age, and at it.

It is replaced whole, so a reader never sees half of one. A run's housekeeper writes it, hence it also ages while the
sink holds that up. A heartbeat that cannot be written ends no run: what is wrong with the disk shows elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from workerpool.batch.progress import Moment

FILE = "heartbeat"

EVERY = 1.0
"""Seconds between two beats."""


class Heartbeat:
    """Writes the heartbeat of one execution. One thread at a time."""

    def __init__(self, directory: str, run: int) -> None:
        self._path = os.path.join(directory, FILE)
        self._run = run
        self._last = -EVERY

    def beat(
        self, phase: str, *, done: int, ok: int, pending: int = 0, look: Callable[[], Moment] | None = None
    ) -> None:
        """Write it, if it is time: the counts are inputs of this execution, `pending` those read and not ended.

        `look` shows the run to who watches it; None at its end, when it is time in any case.
        """
        now = time.monotonic()
        if now - self._last < EVERY and look is not None:
            return
        self._last = now
        said = {
            "at": time.time(),
            "pid": os.getpid(),
            "run": self._run,
            "phase": phase,
            "done": done,
            "ok": ok,
            "failed": done - ok,
            "pending": pending,
            "moment": None if look is None else look().as_json(),
        }
        beside = f"{self._path}.new"
        try:
            with open(beside, "w") as file:
                file.write(json.dumps(said) + "\n")
            os.rename(beside, self._path)  # in place of the one before
        except OSError:
            with suppress(OSError):
                os.unlink(beside)


def read_heartbeat(directory: str) -> dict[str, Any] | None:
    """Return the last heartbeat, its `at` in seconds since the epoch; None if there is none that can be read."""
    try:
        with open(os.path.join(directory, FILE)) as file:
            said = json.load(file)
        return said if isinstance(said, dict) and isinstance(said["at"], (int, float)) else None
    except (OSError, ValueError, KeyError):
        return None

"""The heartbeat of a job: a small file that a run writes every few seconds, so that a monitor can look at its age.

It is replaced whole, so a reader never sees half of one. A run's housekeeper writes it, hence it also ages while the
sink holds that up. A heartbeat that cannot be written ends no run: what is wrong with the disk shows elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import Any

FILE = "heartbeat"

EVERY = 5.0
"""Seconds between two beats."""


class Heartbeat:
    """Writes the heartbeat of one execution. One thread at a time."""

    def __init__(self, directory: str, run: int) -> None:
        self._path = os.path.join(directory, FILE)
        self._run = run
        self._last = -EVERY

    def beat(self, phase: str, *, done: int, ok: int, pending: int = 0, is_last: bool = False) -> None:
        """Write it, if it is time: the counts are inputs of this execution, `pending` those read and not ended.

        `is_last`: it is time.
        """
        now = time.monotonic()
        if now - self._last < EVERY and not is_last:
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

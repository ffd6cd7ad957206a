"""Whether the machine let the processes of a test run: only one with room can show what a rate reaches at least.

The kernel counts for each thread how long it was ready and no core was free. On a machine with nothing else to do that
comes to a few hundredths of the time; where other programs work, to a third and more, and then no slot is used in
time, by anybody. Upper bounds hold there all the same, and are asserted outright.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

MOST = 0.15
"""Seconds of waiting for a core, of all threads together, in a second, above which nobody can use what is allowed."""

_EVERY = 0.2
"""Seconds between two looks: what a thread waited after its last one is lost when it ends."""


class HeldBack:
    """Watches this process and its children while it is entered; `share` is what they waited, in seconds a second."""

    def __init__(self) -> None:
        self._waited: dict[tuple[int, str], int] = {}  # ns, of each thread since it was first seen
        self._first: dict[tuple[int, str], int] = {}
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> HeldBack:
        self._look()
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._watcher.join()

    @property
    def share(self) -> float:
        waited = sum(last - self._first[thread] for thread, last in [*self._waited.items()])
        return waited / 1e9 / (time.monotonic() - self._began)

    def expect(self, holds: bool, found: object) -> None:
        """Fail the test if it does not hold; skip it if the machine was so busy that this says nothing."""
        if holds:
            return
        if (share := self.share) > MOST:
            pytest.skip(f"the machine was busy, threads waited {share:.0%} of the time for a core: {found}")
        pytest.fail(f"threads waited {share:.1%} of the time for a core, and yet: {found}")

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        for pid in [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                        waited = int(file.read().split()[1])
                    self._waited[pid, task] = waited
                    self._first.setdefault((pid, task), waited)
            except OSError:  # it has ended meanwhile
                continue


def in_the_best_of_three(count: Callable[[], Any], holds: Callable[[Any], bool]) -> None:
    """For what needs threads that are woken in time; what has to hold in every run is checked by `count` itself."""
    counted = []
    with HeldBack() as held:
        for _ in range(3):
            counted.append(count())
            if holds(counted[-1]):
                return
        held.expect(False, f"in none of three runs: {counted}")

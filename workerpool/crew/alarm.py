"""The alarm: a thread that exists only while something waits for a time, and calls back when that has come.

It does no work of its own. It is no daemon: at the interpreter's end it sees parked requests through, as executors do
with what was submitted. Everything here happens under the lock that the alarm was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from workerpool.clock import NEVER, Clock
from workerpool.crew.locking import ChoreLock

LINGER = 0.2
"""Seconds for which the thread stays when nothing waits, so that steady limited work does not restart it."""


class Alarm:
    """Calls a function, under `lock`, at the earliest time that it was set to."""

    def __init__(self, lock: ChoreLock, clock: Clock) -> None:
        self._lock = lock  # guards every field below
        self._clock = clock
        self._changed = lock.condition()
        self._thread: threading.Thread | None = None
        self._at = NEVER  # the time that the thread waits for
        self._has_ended = False

    def set(self, at: float, ring: Callable[[], None]) -> None:
        """Call `ring` at `at` (seconds on the clock), unless an earlier time is set; `ring` then sets the next one.

        `ring` is given here, not kept: a pool that is dropped must not be held by its own alarm. Raises `RuntimeError`,
        and is not set, where no thread can be started.
        """
        if at >= self._at:
            return
        if self._thread is None:
            thread = threading.Thread(target=self._watch, args=(ring,), name="workerpool-alarm")
            thread.start()
            self._thread = thread
        else:
            self._changed.notify()
        self._at = at

    def look_again(self) -> None:
        """Ring now: what it waits for may be gone, and nothing else may wait."""
        self._changed.notify()

    def end(self) -> None:
        """Ring once more, and end, unless something sets it again."""
        self._has_ended = True
        self._changed.notify()

    def _watch(self, ring: Callable[[], None]) -> None:
        with self._lock:
            while True:
                self._at = NEVER
                ring()
                if self._at < NEVER:
                    self._clock.wait(self._changed, max(0.0, self._at - self._clock.now()))
                    continue
                if not self._has_ended:
                    self._changed.wait(LINGER)
                if self._at == NEVER:
                    self._thread = None
                    return

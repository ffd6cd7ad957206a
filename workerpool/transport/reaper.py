"""The reaper: a thread that looks after idle sockets, and exists only while there are any."""

from __future__ import annotations

import threading
from collections.abc import Callable

TICK = 0.5
"""Seconds between two looks: what a server has closed stays in CLOSE_WAIT no longer. A look at 64 sockets is one
system call."""


LEASES_TICK = 0.1
"""The same where other processes may wait for the places of idle sockets."""


class Reaper:
    """Calls `reap` every `tick` seconds, as long as that says that something is left."""

    def __init__(self, reap: Callable[[], bool], tick: float = TICK) -> None:
        self._reap = reap
        self._tick = tick
        self._changed = threading.Condition()  # guards the two fields below
        self._thread: threading.Thread | None = None
        self._was_called = False

    @property
    def is_running(self) -> bool:
        """Whether there is a thread, which is to look at least once more."""
        return self._thread is not None

    def call(self) -> None:
        """See to it that the thread runs: something is idle. Cheap if it does."""
        self._was_called = True
        if self._thread is not None:
            return
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="workerpool-reaper", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # no more threads, or the interpreter ends: idle sockets are looked at when they are taken
                self._thread = thread

    def look_again(self) -> None:
        """Look now: there may be nothing left."""
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._tick)
                self._was_called = False
            try:
                is_left = self._reap()
            except BaseException:
                self._thread = None  # the next call starts another one
                raise
            if is_left:
                continue
            with self._changed:
                # Order matters: first give up the thread, then read `_was_called`. `call` does it the other way round,
                # without the lock. So either it sees no thread and starts one, or this sees its call.
                thread, self._thread = self._thread, None
                if not self._was_called:
                    return
                self._thread = thread

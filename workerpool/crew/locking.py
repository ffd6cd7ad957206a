"""A lock that runs leftover work after each release: threads that must not wait for it (the garbage collector's) leave
that work in `chores`. And how many threads that want it all the time take it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sized
from typing import Any

CONTENDED = 0.0001
"""Seconds until a thread that finds the lock taken looks again. It is held for a few µs, so this is rare."""


class ChoreLock:
    """A lock, also for conditions, that calls a method after each release while `chores` has something in it.

    So a chore is never forgotten: whoever adds one finds the lock free, and does it, or finds a holder, who has yet to
    let go. The method is held weakly, as the lock belongs to its object.
    """

    def __init__(self, chores: Sized, do: Callable[[], None]) -> None:
        self._lock = threading.Lock()  # guards what its object says
        self._chores = chores
        self._do = weakref.WeakMethod(do)
        self.acquire = self._lock.acquire

    def take_as_one_of_many(self) -> None:
        """Take the lock as one of many threads, none of which waits in line for it.

        A thread in line is given the lock while it sleeps, before it has the interpreter: the next one finds the lock
        taken, sleeps, too, and from then on every turn of every thread takes a change of threads (a lock convoy; see
        decision 12).
        """
        while not self.acquire(blocking=False):
            time.sleep(CONTENDED)

    def release(self) -> None:
        self._lock.release()
        if self._chores and (do := self._do()) is not None:
            do()

    def condition(self) -> threading.Condition:
        """A condition of this lock. A thread that waits for it releases the lock as any other does."""
        lock: Any = self  # a `threading.Lock`, but for its type
        return threading.Condition(lock)

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

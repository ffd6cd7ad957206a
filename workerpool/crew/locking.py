"""A lock that runs leftover work after each release: threads that must not wait for it (the garbage collector's) leave
that work in `chores`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sized


class ChoreLock:
    """A lock, also for conditions, that calls a method after each release while `chores` has something in it.

    So a chore is never forgotten: whoever adds one finds the lock free, and does it, or finds a holder, who has yet to
    let go. The method is held weakly, as the lock belongs to its object.
    """

    def __init__(self, chores: Sized, do: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._chores = chores
        self._do = weakref.WeakMethod(do)
        self.acquire = self._lock.acquire

    def release(self) -> None:
        self._lock.release()
        if self._chores and (do := self._do()) is not None:
            do()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

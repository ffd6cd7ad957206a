"""A job's run on a thread of its own, so that whatever is raised in the thread that wants it drains it.

A library installs no signal handlers: they are the program's, or its host's. Python runs these in the main thread,
between any two of its steps, and they may raise there: `KeyboardInterrupt` at Ctrl-C, a scheduler's own error at its
SIGTERM, a time limit's at an alarm. In the middle of a transaction that would tear the run. So the thread that wants
the run only waits for it, and there nothing can be torn. In a thread that gets no signals this is as good.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

T = TypeVar("T")

LOOK = 1.0
"""Seconds between two steps of who waits. What another thread raises there (`PyThreadState_SetAsyncExc`, by which task
queues end what takes too long) comes between two steps of Python, and never while one takes its time."""

NAMES: dict[type[BaseException], str] = {KeyboardInterrupt: "SIGINT"}
"""What is said in place of an error's name."""


class Apart(Generic[T]):
    """Carries out `work` on a thread of its own, inside of `owned`, which that thread closes when the work has ended.

    `drain` is called with the name of what ends the work early, on another thread, as it takes locks that the
    interrupted one may hold.
    """

    def __init__(
        self, work: Callable[[], T], drain: Callable[[str], None], owned: AbstractContextManager[object]
    ) -> None:
        self._work = work
        self._drain = drain
        self._owned = owned
        self._claim = threading.Lock()  # guards nothing: who takes it first decides whether the work begins at all
        self._end = threading.Lock()  # guards nothing: the work holds it from its beginning to its end
        self._end.acquire()
        self._has_ended = False
        self._result: list[T] = []
        self._error: BaseException | None = None

    def result(self) -> T:
        """Return what the work returns, or raise what it raises.

        What is raised in this thread meanwhile drains the work, and is raised when that has ended; a second such thing
        is raised at once, and leaves the work to end by itself, with what it owns.
        """
        context = contextvars.copy_context()  # where a host keeps what its log lines are about
        # No daemon: an interpreter that ends waits until everything is in its place.
        thread = threading.Thread(target=context.run, args=(self._carry_out,), name="workerpool-job")
        try:
            thread.start()
            self._wait()
        except BaseException as error:
            self._end_early(NAMES.get(type(error)) or type(error).__name__)
            raise
        return self._take()

    def _end_early(self, reason: str) -> None:
        if self._claim.acquire(blocking=False):
            with self._owned:  # it has not begun, and never will
                return
        threading.Thread(target=self._drain, args=(reason,), name="workerpool-interrupt", daemon=True).start()
        self._wait()

    def _wait(self) -> None:
        """Wait for the end. It is noted before the lock is let go, so an interrupt right after that misses nothing."""
        while not self._has_ended:
            self._end.acquire(timeout=LOOK)

    def _take(self) -> T:
        error, self._error = self._error, None  # or its traceback, which knows this frame, would keep it
        if error is None:
            return self._result.pop()
        try:
            raise error
        finally:
            del error

    def _carry_out(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            with self._owned:
                self._result.append(self._work())
        except BaseException as error:  # whatever it is, it is the caller's
            self._error = error
        self._has_ended = True
        self._end.release()

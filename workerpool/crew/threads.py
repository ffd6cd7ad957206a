"""The executor's threads, and what they run: a `Turn` of the crew, and in it perhaps a `Call`, what was submitted.

Turns are counted from before the executor is asked for a thread: so nobody asks for one too many. Everything in
`Threads` happens under the crew's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from functools import partial
from typing import Any, TypeAlias

Hear: TypeAlias = Callable[[BaseException, bool], None]
"""Hears of a turn that has failed: the error, and whether it had begun."""


class Call:
    """A callable from `submit()` and the future of its result."""

    __slots__ = ("args", "fn", "future", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future: Future[Any] = Future()
        self.fn = fn
        self.args = args
        self.kwargs = kwargs

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        fn, args, kwargs = self.fn, self.args, self.kwargs
        # Who hears the result may have dropped these: this thread must not keep them until its next work comes.
        del self.fn, self.args, self.kwargs
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            del fn, args, kwargs
            self.future.set_exception(error)
            self = None  # type: ignore[assignment]  # breaks the cycle of error, its traceback and this frame
        else:
            del fn, args, kwargs
            self.future.set_result(result)


class Turn:
    """What the executor runs: one turn of the crew, unless it was called off."""

    __slots__ = ("_run", "has_begun", "is_off")

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self.is_off = self.has_begun = False

    def __call__(self) -> None:
        self.has_begun = True
        if not self.is_off:
            self._run()


class Threads:
    """How many threads do something, and how to get one more.

    `turns`: threads in a turn, or called to one; `called`: of these, not there yet. Each turn leaves `called` once,
    when it arrives or fails. `broken`: what made the pool unusable. `why_none`: why no thread could be started,
    when that last failed.
    """

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self.turns = 0
        self.called = 0
        self.broken: BaseException | None = None
        self.why_none = ""

    def call(self, run: Callable[[], None], hear: Hear) -> bool:
        """Call a thread to run a turn, and tell whether one will; `hear` is called, on another thread, if it fails.

        Both are given here, not kept: what they belong to must not be held by its own threads.
        """
        self.turns += 1
        self.called += 1
        turn = Turn(run)
        try:
            future = self._executor.submit(turn)
        except RuntimeError as error:
            # Perhaps it was queued all the same, where no further thread could be started: then it must not count.
            turn.is_off = True
            self.turns -= 1
            self.called -= 1
            if isinstance(error, BrokenThreadPool):
                self.broken = error
            # Otherwise the interpreter is ending, or the system allows no more threads: turns that still run, or the
            # alarm, finish the work.
            self.why_none = str(error)
            return False
        future.add_done_callback(partial(_notice_failure, turn, hear))
        return True

    def lose(self, error: BaseException, *, has_begun: bool) -> None:
        """Count out a turn that has failed, which makes the pool unusable."""
        self.broken = error
        self.turns -= 1
        if not has_begun:
            self.called -= 1

    def shutdown(self, *, wait: bool) -> None:
        """Let all threads end. Without the crew's lock."""
        self._executor.shutdown(wait=wait)


def _notice_failure(turn: Turn, hear: Hear, future: Future[None]) -> None:
    """Tell of a turn that never ran, because its thread could not be set up, or that a defect of ours has ended.

    `add_done_callback` may call this at once, while its caller holds the lock: so a new thread does the rest.
    """
    error = future.exception()
    if error is not None:
        threading.Thread(target=hear, args=(error, turn.has_begun), name="workerpool-broken").start()

"""What the executor's threads are given: a crew's `Turn`, and in it a `Call`, a callable from `submit()`.

Made on any thread, run on one worker.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


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

"""Signals that end a run: the first one drains it, the second one stops it now.

Python runs a handler between two steps of the main thread, which may hold any lock just then; so a handler only puts
the signal into a queue, and a thread of ours acts on it.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, calls `on_first` with the first signal and `on_second` with the second.

    Both are called in another thread. Entered outside the main thread, where Python takes no handlers, it does nothing.
    SIGHUP is left alone if it is ignored already, which is what ``nohup`` asks for.
    """

    def __init__(self, on_first: Callable[[int], None], on_second: Callable[[int], None]) -> None:
        self._steps = [on_first, on_second]
        # `put` of a SimpleQueue may interrupt itself, which is what a handler in the main thread may do to it.
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._before: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._act, name="workerpool-signals", daemon=True)
        self.received: int | None = None
        """The first signal that came."""

    def __enter__(self) -> Signals:
        self._thread.start()
        is_main = threading.current_thread() is threading.main_thread()
        for number in HANDLED if is_main else ():
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._queue.put(None)
        self._thread.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        self._queue.put(number)

    def _act(self) -> None:
        for step in self._steps:
            number = self._queue.get()
            if number is None:
                return
            step(number)


def exit_code(number: int) -> int:
    """Return the exit status for a signal, as shells count: 128 and its number."""
    return 128 + number


def name_of(number: int) -> str:
    return signal.Signals(number).name

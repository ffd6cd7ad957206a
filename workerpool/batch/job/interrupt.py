"""What Ctrl-C does to a job that a program runs: the run drains, and is gone on with the next time.

The handler runs in the main thread between any two of its steps, so it only puts into a queue; a thread of ours drains.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class DrainedByInterrupt:
    """While entered, calls `drain` at the first interrupt, in another thread; `KeyboardInterrupt` is raised at its end.

    The second one raises it at once. Entered outside the main thread, where Python takes no handlers, or where the
    program handles interrupts by itself, it does nothing.
    """

    def __init__(self, drain: Callable[[], None]) -> None:
        self._drain = drain
        self._queue: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._has_come = False

    def __enter__(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._thread = threading.Thread(target=self._act, name="workerpool-interrupt", daemon=True)
            self._thread.start()
            signal.signal(signal.SIGINT, self._handle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._queue.put(False)
        self._thread.join()
        if self._has_come and error is None:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._has_come:
            raise KeyboardInterrupt
        self._has_come = True
        self._queue.put(True)

    def _act(self) -> None:
        while self._queue.get():
            self._drain()

"""One process of a pool, from without: it is started, told things and heard, until it ends or is killed.

Two threads for each: one sends what is to be told, all that waits at once, so that a process which does not read keeps
nobody else waiting; one hears it, notices its end, and waits for it.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Pipe
from typing import Any

from workerpool.processes.child import IGNORED
from workerpool.processes.messages import Line

LOOK_AROUND = 1.0
"""Seconds between two looks whether it is still there, while it says nothing."""

GRACE = 2.0
"""Seconds in which a process whose line has ended gets to end by itself."""


class Process:
    """A child process that serves `processes.child.main`. Raises OSError if it cannot be started.

    `heard` is called with each message, and `lost` once when the line has ended and the process with it; both on a
    thread of this object's.
    """

    def __init__(self, heard: Callable[[Process, Any], None], lost: Callable[[Process], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.fault: Exception | None = None
        ours, its = Pipe()
        try:
            self._child = _start(its.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        self._line = Line(ours)

    def start(self) -> None:
        """Begin to tell and to hear it."""
        for act in (self._tell_all, self._hear_all):
            threading.Thread(target=act, name=f"workerpool-process-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """How it has ended: an exit status, a negative signal, or None if it has not."""
        return self._child.returncode

    def tell(self, message: Any) -> None:
        """Tell it something, soon and in order. Any thread, also in the middle of any other line of this one."""
        self._outbox.put(message)

    def kill(self) -> None:
        """End it now."""
        self._child.kill()

    def let_go(self) -> None:
        """End the line, which ends the process once it has heard that."""
        self._outbox.put(None)

    def disown(self) -> None:
        """In a forked child of this process: close what was inherited, and leave the process to its parent."""
        self._line.close()
        self._child.returncode = 0  # nothing waits for it here, which is no fault

    def _tell_all(self) -> None:
        while True:
            messages = [self._outbox.get()]
            try:
                while messages[-1] is not None:
                    messages.append(self._outbox.get_nowait())
            except queue.Empty:
                pass
            ends = messages[-1] is None
            try:
                self._line.send(messages[:-1] if ends else messages)
                if ends:
                    self._line.end()
            except OSError:  # it has gone: who hears it will notice
                return
            if ends:
                return
            del messages

    def _hear_all(self) -> None:
        try:
            while (messages := self._next()) is not None:
                for message in messages:
                    self._heard(self, message)
        except Exception as error:  # a defect of ours: it must not leave its requests waiting for ever
            self.fault = error
            self._child.kill()
        self._outbox.put(None)
        try:
            self._child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._lost(self)
        self._line.close()

    def _next(self) -> list[Any] | None:
        """What it says next; None if it has ended. Its line may outlive it, in a process that it forked."""
        try:
            while not self._line.has_more(LOOK_AROUND):
                if self._child.poll() is not None and not self._line.has_more(0.0):
                    return None
            return self._line.receive()
        except (EOFError, OSError):
            return None


def _start(descriptor: int) -> subprocess.Popen[bytes]:
    """Start a process that serves this one over an open socket, deaf to the signals of its group from the first on."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str))
    command = [
        *(sys.executable, *(f"-W{warning}" for warning in sys.warnoptions)),
        *("-P", "-c", f"from workerpool.processes.child import main; main({descriptor}, {os.getpid()})"),
    ]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)  # which is inherited
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], env={**os.environ, "PYTHONPATH": path}
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

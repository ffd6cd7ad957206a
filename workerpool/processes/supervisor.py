"""The lives of a fleet's processes: they are started, replaced where they end unasked, closed, and killed.

A process's own thread calls when it has ended (`processes.process`); `abandon` and `disown` may be called anywhere.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from workerpool.errors import ProcessesLost
from workerpool.processes.berths import Berth, tell_all
from workerpool.processes.messages import Begin, Close, log_levels
from workerpool.processes.process import Process
from workerpool.stream import HELD_BYTES

Orders: TypeAlias = tuple[Sequence[Mapping[str, bytes]], str | None]

MOST_ENDS, WITHIN = 5, 60.0
"""How many processes may end unasked in so many seconds, before the pool is given up. One that is killed now and then
is replaced for ever; a machine that kills each, or a request that ends each, is told of. Erlang's supervisors count so
("maximum restart intensity")."""


class Supervisor:
    """Keeps a process in each berth, from `start` on until all has ended, or the pool is given up.

    `make_options`: as `Fleet` has it. `changed`: of the fleet's lock, which guards everything here; told when a berth
    is left for good. `heard` is called with what a process tells. `hand_over` gives a process what is its berth's,
    under the lock, and returns what is to be done after that. `fail` gives the pool up.
    """

    def __init__(
        self,
        berths: Sequence[Berth],
        changed: threading.Condition,
        make_options: Callable[[], Orders],
        *,
        heard: Callable[[Berth, Process, Any], None],
        hand_over: Callable[[Berth], Callable[[], None]],
        fail: Callable[[ProcessesLost], None],
    ) -> None:
        self._berths = berths
        self._changed = changed
        self._make_options: Callable[[], Orders] | None = make_options
        self._heard = heard
        self._hand_over = hand_over
        self._fail = fail
        self._starting = threading.Lock()  # guards `_make_options`; taken before the other
        self._scratch: str | None = None
        self._ends: deque[float] = deque(maxlen=MOST_ENDS)
        self._is_abandoned = False
        self.is_closing = self.cancels = False
        self.failure: ProcessesLost | None = None

    def start(self) -> None:
        """Start the processes, if that has not been done.

        Raises `ProcessesLost` if the system does not allow that, and what `make_options` raises.
        """
        if self._make_options is None or self.is_closing:
            return
        with self._starting:
            if self._make_options is None:
                return
            options, self._scratch = self._make_options()
            self._make_options = None  # it leads to the pool, which threads of ours must not keep
            for berth, its in zip(self._berths, options, strict=True):
                berth.options = its
                try:
                    process = self._process_for(berth)
                except OSError as error:
                    self.abandon()
                    self.failure = ProcessesLost(f"no process could be started: {error}")
                    raise self.failure from error
                with self._changed:
                    after = self._man(berth, process)
                after()

    def check_open(self) -> None:
        """Raise what a new request is told: `RuntimeError` after `close`, `ProcessesLost` if the pool was given up."""
        if self.failure is not None:
            raise self.failure
        if self.is_closing:
            raise RuntimeError("cannot schedule new futures after shutdown")

    @property
    def pids(self) -> list[int]:
        with self._changed:
            return [berth.process.pid for berth in self._berths if berth.process is not None]

    def close(self, *, cancel: bool) -> None:
        """Let the processes end when all has ended, with `cancel` without what is not being sent."""
        with self._changed:
            self.is_closing = True
            self.cancels = self.cancels or cancel
            tell_all(self._berths, Close(cancel))

    def join(self) -> None:
        """Wait, after `close`, until all processes have ended."""
        with self._changed:
            while any(berth.process is not None for berth in self._berths):
                self._changed.wait()

    def abandon(self) -> None:
        """End all processes at once: nobody wants anything of them any more. Takes no lock."""
        self._is_abandoned = True
        for berth in self._berths:
            if (process := berth.process) is not None:
                process.kill()

    def disown(self) -> None:
        """In a forked child of this process: leave the processes to it. Takes no lock."""
        for berth in self._berths:
            if berth.process is not None:
                berth.process.disown()

    def _process_for(self, berth: Berth) -> Process:
        """Start a process; raises OSError. It is told and heard from `_man` on."""
        return Process(partial(self._heard, berth), partial(self._lost, berth))

    def _man(self, berth: Berth, process: Process) -> Callable[[], None]:
        """Put a process into a berth. Under the lock; returns what is to be done after it."""
        berth.process = process
        process.tell(Begin(dict(berth.options), HELD_BYTES // len(self._berths), log_levels(), self._scratch))
        after = self._hand_over(berth)
        if self.is_closing:
            process.tell(Close(self.cancels))
        try:
            process.start()
        except RuntimeError as error:  # no more threads: nobody would hear it
            process.kill()
            berth.process = None
            self._changed.notify_all()
            return partial(self._fail_after, after, ProcessesLost(f"a process could not be heard: {error}"))
        if self._is_abandoned:  # since it was looked at: `abandon` may not have seen this process
            process.kill()
        return after

    def _fail_after(self, after: Callable[[], None], failure: ProcessesLost) -> None:
        """Give the pool up once what has ended before is told."""
        after()
        self._fail(failure)

    # -- the end of a process: its own thread -------------------------------------------------------------------------

    def _lost(self, berth: Berth, process: Process) -> None:
        """Act on the end of a process: it was asked to, or another one takes its place."""
        following = self._successor(berth, process)
        with self._changed:
            if following is None:
                berth.process = None
                self._changed.notify_all()
            else:
                berth.count_in()
                after = self._man(berth, following)
        if following is not None:
            after()
        elif self._is_abandoned:
            self._fail(ProcessesLost("the pool was dropped without shutdown"))

    def _successor(self, berth: Berth, process: Process) -> Process | None:
        """Start the next process of a berth; None if nothing is left to do there, or the pool is given up."""
        while True:
            with self._changed:
                is_over = berth.is_done or (self.is_closing and not berth.given)
                if is_over or self._is_abandoned or self.failure is not None:
                    return None
                self._ends.append(time.monotonic())
                is_too_often = len(self._ends) == MOST_ENDS and self._ends[-1] - self._ends[0] < WITHIN
            if is_too_often:
                self._fail(ProcessesLost(_too_often(process)))
                return None
            try:
                return self._process_for(berth)
            except OSError as error:
                process.fault = error


def _too_often(process: Process) -> str:
    how = process.fault or process.returncode
    said = f"signal {-how}" if isinstance(how, int) and how < 0 else f"{how}"
    return (
        f"{MOST_ENDS} of its processes have ended unasked within {WITHIN:g} s, the last one by {said}: look whether "
        "the machine has run out of memory, or whether code that the requests carry ends its process"
    )

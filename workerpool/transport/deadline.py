"""Deadlines that hold: a socket that is not done in time is shut down, so that whoever waits on it goes on.

The timeouts of sockets are for one call: a server that drips a byte now and then never meets them. A `Watch` is one
thread's deadline; a `Watchdog` owns all of them and the one thread that looks at them, which exists only while some
deadline is set.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, overload

from workerpool.clock import LEAST
from workerpool.transport.sockets import shut_down

NEVER = float("inf")


@overload
def shortest(first: float, /, *others: float | None) -> float: ...
@overload
def shortest(*times: float | None) -> float | None: ...
def shortest(*times: float | None) -> float | None:
    """The shortest of some times in seconds; None, among them or as the answer, is no limit."""
    return min((seconds for seconds in times if seconds is not None), default=None)


class Watch:
    """One thread's deadline, and the socket that is shut down when it passes. `time.monotonic` seconds.

    The thread sets and clears it; the watchdog reads it, and bites. The lock keeps a bite that comes late from hitting
    the thread's next send: a socket is shut down only while the deadline that has passed is the one that is set.
    """

    __slots__ = ("__weakref__", "_kept", "_lock", "_outer", "_socket", "_watchdog", "deadline", "has_expired")

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._lock = threading.Lock()  # guards every field below; the last two are read without it
        self._socket: Any = None
        self._outer = NEVER  # the whole send's deadline, while that of connecting is set
        self._kept: float | None = None  # what was left when it was suspended
        self.deadline = NEVER
        self.has_expired = False

    @property
    def is_set(self) -> bool:
        return self.deadline != NEVER or self.has_expired

    def left(self) -> float | None:
        """Seconds until the deadline, at least a little, also when it has passed; None if there is none."""
        if self.has_expired:
            return LEAST
        return None if self.deadline == NEVER else max(LEAST, self.deadline - time.monotonic())

    def begin(self, seconds: float | None) -> None:
        """Set the deadline, `seconds` from now; None sets none."""
        with self._lock:
            self.has_expired = False
            self._socket = self._kept = None
            self.deadline = self._outer = NEVER if seconds is None else time.monotonic() + seconds
        self._watchdog.heed(self)

    def end(self) -> bool:
        """Clear the deadline; returns whether it has passed."""
        with self._lock:
            expired, self.has_expired = self.has_expired, False
            self._socket = self._kept = None
            self.deadline = self._outer = NEVER
        return expired

    def tighten(self, seconds: float | None) -> None:
        """Set an earlier deadline for a part of the send: making its connection."""
        if seconds is None:
            return
        with self._lock:
            self.deadline = min(self._outer, time.monotonic() + seconds)
        self._watchdog.heed(self)

    def relax(self) -> None:
        """Go back to the whole send's deadline."""
        with self._lock:
            self.deadline = self._outer

    def renew(self, seconds: float | None) -> bool:
        """Set the deadline anew, `seconds` from now, for what comes next over the same socket; None sets none.

        Returns False, and sets nothing, if it has passed: then what seemed to be the answer's end was not.
        """
        with self._lock:
            if self.has_expired:
                return False
            self.deadline = self._outer = NEVER if seconds is None else time.monotonic() + seconds
        self._watchdog.heed(self)
        return True

    def suspend(self) -> None:
        """Let the time stand still: the thread waits for leave to send, and nothing of it hangs on a socket."""
        with self._lock:
            self._kept = None if self.deadline == NEVER else self.deadline - time.monotonic()
            if self._kept is not None:
                self.deadline = self._outer = NEVER

    def resume(self) -> None:
        """Let the time go on; does nothing if it was not suspended."""
        with self._lock:
            if self._kept is None:
                return
            self.deadline = self._outer = time.monotonic() + self._kept
            self._kept = None
        self._watchdog.heed(self)

    def attach(self, sock: Any) -> None:
        """Say which socket the thread waits on from now on."""
        with self._lock:
            self._socket = sock
            if self.has_expired:
                shut_down(sock)

    def detach(self, sock: Any) -> bool:
        """Let go of `sock`, before another thread may use it; returns whether it is as it was, not shut down."""
        with self._lock:
            if self._socket is not sock:
                return True
            self._socket = None
            return not self.has_expired

    def bite(self, now: float) -> None:
        """Shut the socket down, if the deadline has passed. Called by the watchdog."""
        with self._lock:
            if now >= self.deadline:
                self.deadline = self._outer = NEVER
                self.has_expired = True
                if self._socket is not None:
                    shut_down(self._socket)


class Watchdog:
    """Watches over every thread's deadline."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._changed = threading.Condition()  # guards every field below, save where it says otherwise
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()  # a thread's goes with the thread
        self._thread: threading.Thread | None = None
        # When the thread looks next. Read without the lock, by `heed`: the thread sets it to NEVER before it looks at
        # the deadlines, and a deadline is set before this is read. So a deadline that is set too late to be seen finds
        # NEVER here, and calls the thread.
        self._looks_at = NEVER

    @property
    def watch(self) -> Watch:
        """The calling thread's watch."""
        try:
            watch: Watch = self._local.watch
        except AttributeError:
            watch = self._local.watch = Watch(self)
            with self._changed:
                self._watches.add(watch)
        return watch

    @property
    def is_running(self) -> bool:
        """Whether somebody looks at the deadlines that are set: not where no thread can be started."""
        return self._thread is not None

    def heed(self, watch: Watch) -> None:
        """See to it that the thread looks in time. Cheap where it does so anyway."""
        if watch.deadline >= self._looks_at:
            return
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="workerpool-watchdog", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # no more threads, or the interpreter ends: the sockets' own timeouts hold, call by call
                self._thread = thread
            self._changed.notify()

    def close(self) -> None:
        """Let the thread end now if no deadline is set."""
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._looks_at = NEVER
                watches = [*self._watches]
            now = time.monotonic()
            for watch in watches:
                if watch.deadline <= now:
                    watch.bite(now)
            with self._changed:
                earliest = min((watch.deadline for watch in self._watches), default=NEVER)
                if earliest == NEVER:
                    self._thread = None
                    return
                self._looks_at = earliest
                self._changed.wait(max(0.0, earliest - time.monotonic()))

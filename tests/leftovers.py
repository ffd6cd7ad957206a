"""What is left in this process when something is over: its descriptors, its sockets, and the threads begun since."""

from __future__ import annotations

import os
import threading
import time
import weakref


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def sockets() -> int:
    """Descriptors of sockets."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(name) and os.readlink(name).startswith("socket:") for name in names)


class Since:
    """Threads that began after this was made: those that other tests have left are no fault of the one that asks."""

    def __init__(self) -> None:
        self._before = weakref.WeakSet(threading.enumerate())

    def threads(self, *prefixes: str) -> list[threading.Thread]:
        """Those whose name begins with one of `prefixes`; without any, all."""
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._before and (not prefixes or thread.name.startswith(prefixes))
        ]

    def of_pools(self) -> list[threading.Thread]:
        return [thread for thread in self.threads("ThreadPool", "workerpool-") if "origin" not in thread.name]

    def cpu_of_pools(self) -> float:
        """The CPU time of the threads of pools that are there, in seconds."""
        ids = [thread.ident for thread in self.of_pools()]
        return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in ids if ident is not None)

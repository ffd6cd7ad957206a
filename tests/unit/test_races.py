"""Two threads that could miss each other, made to meet at the very line where they would.

Both owners read what the other side writes without a lock, in an order that their comments argue for. A property stands
in for the field that is read, and has the other side come right then.
"""

from __future__ import annotations

import threading

from tests.waiting import LONG, eventually
from workerpool.clock import NEVER
from workerpool.transport.deadline import Watch, Watchdog
from workerpool.transport.reaper import Reaper


class MetReaper(Reaper):
    """Something becomes idle right after the thread has read that nothing did."""

    flag = False
    has_met = False

    @property
    def _was_called(self) -> bool:
        value = self.flag
        if not value and not self.has_met:
            self.has_met = True
            self.call()
        return value

    @_was_called.setter
    def _was_called(self, value: bool) -> None:
        self.flag = value


def test_a_socket_that_becomes_idle_while_the_reaper_leaves_is_looked_at() -> None:
    looks = list[bool]()

    def reap() -> bool:
        looks.append(reaper.has_met)
        return False

    reaper = MetReaper(reap, tick=0.001)
    reaper.call()
    assert eventually(lambda: True in looks)


class MetWatchdog(Watchdog):
    """Another thread sets a deadline right after the earliest of all was found, when `meets` says so."""

    def __init__(self) -> None:
        self.at = NEVER
        self.meets, self.was_read = threading.Event(), threading.Event()
        self.late = threading.Thread(target=self.set_late, daemon=True)
        self.has_passed = False
        super().__init__()

    @property
    def _looks_at(self) -> float:
        at = self.at
        if threading.current_thread() is self.late:
            self.was_read.set()
        return at

    @_looks_at.setter
    def _looks_at(self, at: float) -> None:
        if at < NEVER and self.meets.is_set() and self.late.ident is None:
            self.late.start()
            assert self.was_read.wait(LONG)
        self.at = at

    def set_late(self) -> None:
        watch = Watch(self)  # not by `watch`, which would wait here for the thread that waits for this one
        self._watches.add(watch)
        watch.begin(0.01)
        self.has_passed = eventually(lambda: watch.has_expired)


def test_a_deadline_that_is_set_while_the_watchdog_looks_is_kept() -> None:
    """It looks when one deadline has passed, finds one that is far, and meets the next before it has said so."""
    watchdog = MetWatchdog()
    soon = watchdog.watch
    soon.begin(0.4)
    far = Watch(watchdog)
    watchdog._watches.add(far)
    far.begin(2 * LONG)
    assert eventually(lambda: watchdog.at == soon.deadline)
    watchdog.meets.set()
    assert eventually(lambda: watchdog.was_read.is_set())
    watchdog.late.join(LONG)
    assert watchdog.has_passed
    far.end()
    watchdog.close()

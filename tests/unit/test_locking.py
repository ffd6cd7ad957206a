"""A lock whose holder does, once it has let go, what others could not wait for."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import deque

from tests.waiting import LONG, eventually, in_a_thread
from workerpool.crew.locking import ChoreLock


class Chores:
    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.done: list[str] = []
        self.lock = ChoreLock(self.waiting, self.do)

    def leave(self, chore: str) -> None:
        self.waiting.append(chore)
        self.do()

    def do(self) -> None:
        while self.waiting and self.lock.acquire(blocking=False):
            try:
                self.done.append(self.waiting.popleft())
            finally:
                self.lock.release()


def test_a_chore_is_done_at_once_where_the_lock_is_free_and_else_by_its_holder_after_letting_go() -> None:
    chores = Chores()
    chores.leave("1")
    assert chores.done == ["1"]
    with chores.lock:
        in_a_thread(lambda: chores.leave("2"))
        chores.leave("3")  # as the garbage collector may, in the thread that holds it
        assert chores.done == ["1"]
    assert chores.done == ["1", "2", "3"]
    assert chores.lock.acquire(blocking=False)
    in_a_thread(lambda: chores.leave("4"))
    chores.lock.release()
    assert chores.done == ["1", "2", "3", "4"]


def test_a_chore_is_done_by_a_holder_that_begins_to_wait_for_a_condition() -> None:
    chores, waits = Chores(), threading.Event()
    condition = chores.lock.condition()

    def wait() -> None:
        with condition:
            chores.leave("1")
            assert chores.done == []
            waits.set()
            condition.wait(LONG)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert waits.wait(LONG)
    assert eventually(lambda: chores.done == ["1"])
    with condition:
        condition.notify()
    waiting.join(LONG)
    assert not waiting.is_alive()


def test_no_chore_is_forgotten_by_threads_that_contend(tiny_switch_interval: None) -> None:
    chores = Chores()

    def leave_some(number: int) -> None:
        for n in range(300):
            if n % 3:
                chores.leave(f"{number}-{n}")
            else:
                with chores.lock:
                    chores.leave(f"{number}-{n}")

    threads = [threading.Thread(target=leave_some, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert sorted(chores.done) == sorted(f"{number}-{n}" for number in range(4) for n in range(300))
    assert not chores.waiting


def test_a_lock_keeps_nobody_alive_whose_chores_it_does() -> None:
    chores = Chores()
    lock, gone = chores.lock, weakref.ref(chores)
    chores.waiting.append("1")
    del chores
    gc.collect()
    assert gone() is None
    with lock:
        pass

"""`ManualClock`: time that only tests move, and no wake-up lost on the way."""

from __future__ import annotations

import functools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from workerpool.clock import Clock
from workerpool.errors import OptionError
from workerpool.testing import ManualClock

LIMIT = 20.0
"""Real seconds after which something that should have happened counts as lost."""


def in_thread(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in threads), "a thread was never woken"


def waits(clock: ManualClock, condition: threading.Condition, seconds: float | None) -> threading.Thread:
    """Start a thread that waits once; it is in the wait when this returns."""

    def wait() -> None:
        with condition:
            clock.wait(condition, seconds)

    before = clock.waiting
    thread = in_thread(wait)
    clock.wait_until_waiting(before + 1)
    return thread


def test_it_is_a_clock() -> None:
    clock: Clock = ManualClock(start=5.0, epoch=100.0)
    assert (clock.now(), clock.time()) == (5.0, 105.0)


def test_time_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock()
    assert clock.now() == clock.now() == 0.0
    clock.advance(2.5)
    assert clock.now() == 2.5


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_it_refuses_to_go_back_or_to_no_known_time(seconds: float) -> None:
    with pytest.raises(OptionError, match="seconds="):
        ManualClock().advance(seconds)


def test_a_wait_ends_when_the_clock_reaches_its_end_and_not_before() -> None:
    clock, condition = ManualClock(), threading.Condition()
    ended_at: list[float] = []

    def wait() -> None:
        with condition:
            while clock.now() < 10.0:
                clock.wait(condition, 10.0 - clock.now())
            ended_at.append(clock.now())

    thread = in_thread(wait)
    clock.wait_until_waiting()
    clock.advance(9.0)
    assert clock.waiting == 1
    clock.advance(1.0)
    join(thread)
    assert ended_at == [10.0]


def test_rounding_errors_leave_no_wait_behind() -> None:
    clock, condition = ManualClock(start=0.3), threading.Condition()
    for end in (1.1, 2.3, 4.7, 10.1, 77.7):
        thread = waits(clock, condition, end - clock.now())
        while clock.now() < end:
            clock.advance(min(0.1, end - clock.now()))
        join(thread)
    clock = ManualClock()
    for _ in range(10):
        clock.advance(0.1)
    assert clock.now() == 1.0


def test_a_wait_ends_when_it_is_notified() -> None:
    clock, condition = ManualClock(), threading.Condition()
    thread = waits(clock, condition, 3600.0)
    with condition:
        condition.notify()
    join(thread)
    assert clock.now() == 0.0
    assert clock.waiting == 0


def test_a_wait_without_an_end_is_not_woken_by_time() -> None:
    clock, condition = ManualClock(), threading.Condition()
    thread = waits(clock, condition, None)
    clock.advance(1e9)
    assert clock.waiting == 1
    with condition:
        condition.notify()
    join(thread)


def test_a_wait_that_is_over_already_returns_without_an_advance() -> None:
    clock, condition = ManualClock(), threading.Condition()
    with condition:
        clock.wait(condition, 0.0)
        clock.wait(condition, -1.0)


@pytest.mark.parametrize("seconds", [None, 0.0, 5.0])
@pytest.mark.parametrize("auto", [True, False])
def test_waiting_on_a_condition_that_is_not_held_is_an_error(seconds: float | None, auto: bool) -> None:
    clock = ManualClock(auto=auto)
    with pytest.raises(RuntimeError):
        clock.wait(threading.Condition(), seconds)
    assert clock.waiting == 0


def test_advancing_to_the_next_end_wakes_the_earliest_only() -> None:
    clock = ManualClock()
    late = waits(clock, threading.Condition(), 30.0)
    early = waits(clock, threading.Condition(), 20.0)
    assert clock.advance_to_next() == 20.0
    join(early)
    assert clock.waiting == 1
    assert clock.advance_to_next() == 10.0
    join(late)
    with pytest.raises(RuntimeError, match="no thread waits"):
        clock.advance_to_next()


def test_waiting_for_waiters_gives_up_in_time() -> None:
    with pytest.raises(TimeoutError, match="0 threads wait on the clock"):
        ManualClock().wait_until_waiting(1, timeout=0.01)


def test_a_wait_counts_from_the_reading_that_its_seconds_were_worked_out_from() -> None:
    clock, condition = ManualClock(), threading.Condition()
    with condition:
        seconds = 10.0 - clock.now()
        mover = in_thread(lambda: clock.advance(10.0))
        join(mover)
        clock.wait(condition, seconds)
    assert clock.now() == 10.0


def test_a_reading_counts_for_one_wait_only() -> None:
    clock, condition = ManualClock(auto=True), threading.Condition()
    clock.now()
    clock.advance(100.0)
    with condition:
        clock.wait(condition, 5.0)
        assert clock.time() == 1_700_000_100.0
        clock.wait(condition, 5.0)
        clock.wait(condition, 5.0)
    assert clock.now() == 110.0


def test_an_automatic_clock_passes_an_hour_of_waits_in_no_time() -> None:
    clock, condition = ManualClock(auto=True), threading.Condition()
    began = time.monotonic()
    with condition:
        for _ in range(60):
            clock.wait(condition, 60.0)
    assert clock.now() == 3600.0
    assert time.monotonic() - began < 5.0


def test_an_automatic_wait_that_is_looped_on_lets_others_have_the_condition() -> None:
    clock, condition = ManualClock(auto=True), threading.Condition()
    is_done = False

    def finish() -> None:
        nonlocal is_done
        with condition:
            is_done = True
            condition.notify_all()

    with condition:
        thread = in_thread(finish)
        deadline = time.monotonic() + LIMIT
        while not is_done and time.monotonic() < deadline:
            clock.wait(condition, 1.0)
        assert is_done, "the loop never let go of the condition"
    join(thread)


def test_an_automatic_wait_without_an_end_waits_to_be_notified() -> None:
    clock, condition = ManualClock(auto=True), threading.Condition()
    thread = waits(clock, condition, None)
    with condition:
        condition.notify()
    join(thread)
    assert clock.now() == 0.0


def test_no_wake_up_is_lost_and_nothing_deadlocks_under_hammering() -> None:
    """Threads wait for moments on shared and own conditions while others advance and notify, without a pause."""
    clock = ManualClock()
    shared = threading.Condition(threading.Lock())

    def sleep_often(seed: int) -> None:
        chance = random.Random(seed)
        own = threading.Condition()
        for _ in range(150):
            condition = chance.choice((shared, own))
            with condition:
                end = clock.now() + chance.uniform(0.0, 3.0)
                while clock.now() < end:
                    clock.wait(condition, end - clock.now())

    def advance_often() -> None:
        while any(sleeper.is_alive() for sleeper in sleepers):
            clock.advance(0.5)

    def notify_often() -> None:
        while any(sleeper.is_alive() for sleeper in sleepers):
            with shared:
                shared.notify()

    sleepers = [in_thread(functools.partial(sleep_often, seed)) for seed in range(8)]
    movers = [in_thread(advance_often), in_thread(advance_often), in_thread(notify_often)]
    join(*sleepers, *movers)
    assert clock.waiting == 0


@pytest.fixture
def hasty_switching() -> Iterator[None]:
    """Let threads take turns after a microsecond, so that they meet in every gap between two locks."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_switching")
def test_one_advance_is_enough_however_it_falls_among_the_waits_that_begin() -> None:
    """A thread works out its end, then waits: an advance anywhere in between must not leave it waiting."""
    for _ in range(300):
        clock, condition, barrier = ManualClock(), threading.Condition(), threading.Barrier(4)
        sleep = functools.partial(_wait_until, clock, condition, 1.0, barrier)
        threads = [in_thread(sleep) for _ in range(3)]
        barrier.wait(LIMIT)
        clock.advance(1.0)
        join(*threads)


def _wait_until(clock: ManualClock, condition: threading.Condition, end: float, barrier: threading.Barrier) -> None:
    barrier.wait(LIMIT)
    with condition:
        while clock.now() < end:
            clock.wait(condition, end - clock.now())

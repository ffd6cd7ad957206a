"""A job's run apart from its caller: what is raised in the caller's thread drains it, and never comes in between."""

from __future__ import annotations

import contextvars
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import pytest

from tests.waiting import eventually
from workerpool.batch.job.apart import Apart

PATIENCE = 30.0


class TimeIsUp(Exception):
    """What a host's handler raises."""


class Work:
    """Goes on until it is drained; `on_drain` is what happens when it is."""

    def __init__(self, on_drain: Callable[[], None] = lambda: None) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.reasons: list[str] = []
        self.is_owned = True
        self._on_drain = on_drain

    def carry_out(self) -> str:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        assert self.is_owned
        return "the end"

    def drain(self, reason: str) -> None:
        self.reasons.append(reason)
        self._on_drain()

    def let_go(self) -> None:
        self.is_owned = False

    def apart(self) -> Apart[str]:
        owned = ExitStack()
        owned.callback(self.let_go)
        return Apart(self.carry_out, self.drain, owned)


@contextmanager
def handled(number: int, raises: type[BaseException]) -> Iterator[None]:
    """Have a signal raise an error in the main thread, as hosts of tasks do."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise raises

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def signal_once_begun(work: Work, number: int) -> threading.Thread:
    def send() -> None:
        assert work.begun.wait(PATIENCE)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_it_returns_what_the_work_returns_and_has_closed_what_it_owns() -> None:
    work = Work()
    work.may_end.set()
    assert work.apart().result() == "the end"
    assert not work.is_owned


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), SystemExit(3)])
def test_it_raises_what_the_work_raises(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        Apart(fail, lambda reason: None, ExitStack()).result()
    assert raised.value is error


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        (signal.SIGINT, KeyboardInterrupt, "SIGINT"),
        (signal.SIGTERM, TimeIsUp, "TimeIsUp"),
        (signal.SIGALRM, SystemExit, "SystemExit"),
    ],
)
def test_what_a_handler_raises_drains_the_work_and_is_raised_when_that_has_ended(
    number: int, error: type[BaseException], reason: str
) -> None:
    work = Work()
    work._on_drain = work.may_end.set
    with handled(number, error):
        sender = signal_once_begun(work, number)
        with pytest.raises(error):
            work.apart().result()
    sender.join()
    assert work.reasons == [reason]
    assert not work.is_owned


def test_a_second_one_is_raised_at_once_and_the_work_ends_behind_it() -> None:
    work = Work(on_drain=lambda: os.kill(os.getpid(), signal.SIGINT))
    with handled(signal.SIGINT, KeyboardInterrupt):
        sender = signal_once_begun(work, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            work.apart().result()
    sender.join()
    assert work.is_owned
    work.may_end.set()
    assert eventually(lambda: not work.is_owned)


def test_an_error_that_another_thread_raises_in_the_waiting_one_drains_the_work_too() -> None:
    work, raised = Work(), list[BaseException]()
    work._on_drain = work.may_end.set

    def run() -> None:
        try:
            work.apart().result()
        except TimeIsUp as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert work.begun.wait(PATIENCE)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeIsUp))
    thread.join(PATIENCE)
    assert (len(raised), work.reasons) == (1, ["TimeIsUp"])


def test_an_interrupt_before_the_work_begins_lets_go_of_what_it_owns_and_it_never_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work, started = Work(), list[threading.Thread]()

    def interrupted(thread: threading.Thread) -> None:
        started.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work.apart().result()
    assert not work.is_owned
    started[0].start()  # as one does that was interrupted while it waited for it
    started[0].join(PATIENCE)
    assert not work.begun.is_set()


def test_the_work_has_the_context_of_its_caller() -> None:
    task = contextvars.ContextVar("task", default="none")
    task.set("orders")
    assert Apart(task.get, lambda reason: None, ExitStack()).result() == "orders"

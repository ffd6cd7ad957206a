"""Pools whose threads cannot be started: what was asked for raises, or is done later. Nothing hangs, or ends twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

from tests.waiting import LONG, eventually
from workerpool import Request, WorkerPool
from workerpool.crew import Turns
from workerpool.errors import Cancelled
from workerpool.model import IDLE, Idle
from workerpool.testing import Answer, ScriptedTransport

Denies = Callable[[str, int], None]


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Denies:
    """A function that lets so many starts of threads fail, of those whose names begin like this."""
    start, left = threading.Thread.start, dict[str, int]()

    def start_perhaps(self: threading.Thread) -> None:
        for prefix, number in left.items():
            if self.name.startswith(prefix) and number:
                left[prefix] -= 1
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_perhaps)
    return left.__setitem__


LATE = """
import atexit
from workerpool import WorkerPool
from workerpool.testing import ScriptedTransport

pool = WorkerPool(2, transport=ScriptedTransport())

def late():
    for ask in (lambda: pool.get("http://a.test/").result(), lambda: list(pool.stream(["http://a.test/"]))):
        try:
            ask()
        except RuntimeError as error:
            print(error, flush=True)

atexit.register(late)
"""


def test_a_request_at_the_end_of_the_interpreter_is_refused() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["cannot schedule new futures after interpreter shutdown"] * 2


def test_a_request_without_a_thread_to_send_it_is_refused_and_the_next_one_is_sent(deny: Denies) -> None:
    with WorkerPool(2, "denied", transport=ScriptedTransport()) as pool:
        deny("denied", 1)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.get("http://a.test/")
        assert pool.statistics().queued == 0
        assert pool.get("http://a.test/").result(LONG).status_code == 200
    assert pool.statistics().requests == 1


def test_a_request_that_nobody_could_wait_for_is_refused(deny: Denies) -> None:
    with WorkerPool(2, rate=5, transport=ScriptedTransport()) as pool:
        assert pool.get("http://a.test/").result(LONG).status_code == 200
        assert eventually(lambda: not pool._crew._dispatcher.threads.turns)
        deny("workerpool-alarm", 1)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.get("http://a.test/")
        assert pool.get("http://a.test/").result(LONG).status_code == 200


def test_a_request_is_taken_although_another_process_frees_its_place_while_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with WorkerPool(2, transport=ScriptedTransport()) as pool:
        scheduler = pool._crew._dispatcher.scheduler
        asked, may_go, wakes_at = list[bool](), scheduler.has_ready, scheduler.wakes_at

        def may_go_later(now: float) -> bool:
            """What a shared budget says whose last place comes back as soon as it has been asked for."""
            asked.append(len(asked) > 0)
            return asked[-1] and may_go(now)

        monkeypatch.setattr(scheduler, "has_ready", may_go_later)
        monkeypatch.setattr(scheduler, "wakes_at", lambda now: now if asked == [False] else wakes_at(now))
        assert pool.get("http://a.test/").result(LONG).status_code == 200
    assert asked[:2] == [False, True]


def test_a_retry_is_made_although_no_thread_can_be_started_to_wait_for_it(deny: Denies) -> None:
    answers = iter([Answer(503), Answer(503), Answer(200)])
    deny("workerpool-alarm", 10_000)
    with WorkerPool(1, transport=ScriptedTransport(lambda request, url: next(answers))) as pool:
        assert pool.get("http://a.test/").result(LONG).status_code == 200


def test_what_breaks_a_pool_reaches_who_waits_for_it() -> None:
    def start() -> None:
        raise LookupError("no such place")

    pool = WorkerPool(1, initializer=start, transport=ScriptedTransport())
    (outcome,) = pool.stream(["http://a.test/"])
    assert "no such place" in str(outcome.error)
    assert outcome.error is not None
    broken = [outcome.error.__cause__]
    for ask in (lambda: pool.submit(pow, 2, 2), lambda: pool.get("http://a.test/")):
        with pytest.raises(BrokenThreadPool) as caught:
            ask()
        broken.append(caught.value)
    assert [type(each) for each in broken] == [BrokenThreadPool] * 3
    assert [str(each.__cause__) for each in broken if each is not None] == ["no such place"] * 3


def test_requests_that_a_broken_pool_does_not_take_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    goes, breaks, started = threading.Event(), threading.Event(), list[object]()

    def start() -> None:
        started.append(None)
        if len(started) > 1:
            raise LookupError("no second worker")

    def answer(request: Request, url: str) -> Answer:
        if url.endswith("/1"):
            assert goes.wait(LONG)
        return Answer()

    def note(turns: Turns, *args: Any) -> None:
        breaks.wait(LONG)
        end_all(turns, *args)

    def source() -> Iterator[str | Idle]:
        yield "http://a.test/1"
        while not pool.statistics().in_flight:
            yield IDLE
        yield "http://b.test/2"
        while not pool._crew._dispatcher.threads._executor._broken:  # type: ignore[attr-defined]
            yield IDLE
        yield "http://c.test/3"

    end_all = Turns.break_down
    monkeypatch.setattr(Turns, "break_down", note)
    pool = WorkerPool(4, initializer=start, transport=ScriptedTransport(answer))
    outcomes = pool.stream(source())
    refused = next(outcomes)
    assert (refused.url, type(refused.error)) == ("http://c.test/3", Cancelled)
    assert "initializer failed" in str(refused.error)
    goes.set()
    breaks.set()
    left = {next(outcomes).url, next(outcomes).url}
    assert left == {"http://a.test/1", "http://b.test/2"}
    with pytest.raises(BrokenThreadPool):
        next(outcomes)

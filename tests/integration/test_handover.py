"""Between workers and consumers: no outcome is lost, doubled or kept back, and no thread is woken for each of them."""

from __future__ import annotations

import itertools
import resource
import sys
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conftest import IN_FULL
from tests.held_back import HeldBack
from tests.waiting import let_pass
from workerpool import Request, WorkerPool, stream
from workerpool.testing import Answer, ScriptedTransport

WORKERS = 16


def pool_of(script: object = None, workers: int = WORKERS) -> WorkerPool:
    transport = ScriptedTransport(script)  # type: ignore[arg-type]
    return WorkerPool(workers, max_connections=64, host_connections=WORKERS, transport=transport)


def urls(count: int, label: str = "x") -> list[str]:
    return [f"http://h{number % 5}.test/{label}/{number}" for number in range(count)]


@pytest.mark.usefixtures("tiny_switch_interval")
@pytest.mark.parametrize("ordered", [False, True])
def test_many_streams_at_once_each_get_every_outcome_once(ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their windows are such that consumers nap, wait and read all at once; so little is held that streams are full."""
    monkeypatch.setattr(stream, "HELD_BYTES", 2_000)
    got: list[list[str]] = [[] for _ in range(6)]

    with pool_of(lambda request, url: Answer(body=b"x" * (len(url) * 7 % 300))) as pool:

        def consume(index: int) -> None:
            window = (1, 7, 80, 300, 300, 1000)[index]
            for outcome in pool.stream(urls(150, str(index)), window=window, ordered=ordered):
                got[index].append(outcome.url)

        consumers = [threading.Thread(target=consume, args=(index,)) for index in range(len(got))]
        for consumer in consumers:
            consumer.start()
        for consumer in consumers:
            consumer.join()
    for index, taken in enumerate(got):
        expected = urls(150, str(index))
        assert taken == expected if ordered else Counter(taken) == Counter(expected)


@pytest.mark.usefixtures("tiny_switch_interval")
def test_a_stream_that_is_drained_while_its_consumer_naps_ends_with_every_outcome() -> None:
    with pool_of() as pool:
        taken = Counter[str]()
        for number, outcome in enumerate(pool.stream(urls(2_000), window=400)):
            taken[outcome.url] += 1
            if number == 500:
                pool.drain()
    assert set(taken.values()) == {1}
    assert 500 < len(taken) < 2_000, "what had been read was to end, and no more to be read"


class Clock:
    """What `stream` takes of `time`: each reading is `step` seconds after the one before, and naps are counted."""

    def __init__(self, step: float) -> None:
        self._readings = itertools.count()
        self._step = step
        self.naps = 0

    def perf_counter(self) -> float:
        return next(self._readings) * self._step

    def sleep(self, seconds: float) -> None:
        assert seconds == stream.NAP
        self.naps += 1


@pytest.mark.parametrize(("seconds", "window", "naps"), [(0.0, 1000, True), (1.0, 1000, False), (0.0, 64, False)])
def test_a_consumer_naps_only_where_outcomes_come_fast_and_workers_have_enough_to_do(
    seconds: float, window: int, naps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 requests, four for each of 16 workers, are too few to sleep through; a second between outcomes is slow."""
    clock = Clock(seconds)
    monkeypatch.setattr(stream, "time", clock)

    def answer(request: Request, url: str) -> Answer:
        let_pass(1e-3)  # or they would all be there before the consumer first looks
        return Answer()

    with pool_of(answer) as pool:
        assert sum(outcome.ok for outcome in pool.stream(urls(1_000), window=window)) == 1_000
    assert (clock.naps > 0) == naps


def test_requests_are_sent_while_a_large_window_is_still_being_filled() -> None:
    sent = threading.Event()
    most = 300_000

    def answer(request: Request, url: str) -> Answer:
        sent.set()
        return Answer()

    def source() -> Iterator[str]:
        for url in itertools.islice(itertools.cycle(urls(100)), most):
            if sent.is_set():
                return
            yield url
        raise AssertionError("a whole window was read, and nothing sent")

    with pool_of(answer) as pool:
        assert all(outcome.ok for outcome in pool.stream(source(), window=4 * most))


def test_a_crowd_of_workers_at_the_lock_does_not_become_a_queue() -> None:
    """Threads that wait in line for a lock take turns at it forever: one change of threads for every request."""
    count = 10_000 if IN_FULL else 4_000
    with pool_of() as pool:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)  # sooner or later somebody is interrupted while holding the lock
        try:
            assert sum(outcome.ok for outcome in pool.stream(urls(1_000))) == 1_000
            batch = pool.stream(urls(count))
            first = [next(batch) for _ in range(1_000)]
        finally:
            sys.setswitchinterval(interval)
        with HeldBack() as held:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            assert len(first) + sum(outcome.ok for outcome in batch) == count
            switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
        held.expect(switches < count / 2, switches)

"""`pool.stream` is lazy and bounded, gives every input its outcome, and lets go of what it has yielded."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.conftest import IN_FULL, require
from tests.waiting import LONG, eventually, let_pass
from workerpool import Cancelled, InvalidRequest, Request, RetryPolicy, TooManyRedirects, WorkerPool, WrongThread
from workerpool.testing import Answer, ManualClock, Origin, ScriptedTransport


class Source:
    """An iterable that counts how many of its items were taken."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = next(self._items)
        self.read += 1
        return item


def endless(hosts: int = 50) -> Source:
    return Source(f"http://h{n % hosts}.test/{n}" for n in itertools.count())


def pool_of(script: Any = None, workers: int = 4, **options: Any) -> WorkerPool:
    return WorkerPool(workers, transport=ScriptedTransport(script), **options)


# -- laziness ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_no_more_is_read_than_the_window_and_what_was_yielded(ordered: bool) -> None:
    source = endless()
    with pool_of() as pool:
        outcomes = pool.stream(source, window=20, ordered=ordered)
        assert source.read == 0
        for yielded in range(1, 500):
            next(outcomes)
            assert source.read <= 20 + yielded
        outcomes.close()


def test_a_window_of_one_sends_one_request_at_a_time() -> None:
    flying, most = itertools.count(), [0]
    landed = itertools.count()

    def script(request: Request, url: str) -> Answer:
        most[0] = max(most[0], next(flying) + 1 - next(landed))
        return Answer()

    with pool_of(script) as pool:
        assert sum(outcome.ok for outcome in pool.stream(itertools.islice(endless(), 50), window=1)) == 50
    assert most[0] <= 1


def test_a_slow_host_alone_in_an_endless_source_is_not_read_far_ahead() -> None:
    """Reading past a host's share is for finding other hosts: it goes on in steps, while workers idle."""
    source = endless(hosts=1)

    def script(request: Request, url: str) -> Answer:
        let_pass(0.1)
        return Answer()

    with pool_of(script, workers=16) as pool:
        outcomes = pool.stream(source)
        began = time.monotonic()
        for _ in range(30):
            next(outcomes)
        took = time.monotonic() - began
        outcomes.close()
    assert source.read < 250_000  # twice in each of five rounds of 0.1 s, 20,000 at a time
    assert took < 4  # and no long reading in between


# -- outcomes ----------------------------------------------------------------------------------------------------------


def test_ordered_outcomes_come_as_given_and_others_as_they_complete() -> None:
    first_may_end = threading.Event()

    def script(request: Request, url: str) -> Answer:
        if url.endswith("/0"):
            assert first_may_end.wait(LONG)
        return Answer()

    urls = [f"http://a.test/{n}" for n in range(20)]
    with pool_of(script) as pool:
        outcomes = pool.stream(urls)
        early = [next(outcomes).url for _ in range(19)]
        assert sorted(early) == sorted(urls[1:])
        first_may_end.set()
        assert [outcome.url for outcome in outcomes] == urls[:1]
        assert [outcome.url for outcome in pool.stream(urls, ordered=True)] == urls


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("ordered", [False, True])
def test_every_junk_item_becomes_one_outcome_and_the_items_around_it_go_on(ordered: bool) -> None:
    good = [f"http://a.test/{n}" for n in range(5)]
    junk: list[Any] = [
        5,
        None,
        b"http://a.test/",
        "",
        "no url",
        "http://",
        "ftp://a.test/",
        "http://a.test:99999999/",
        "http://[::1",
        {"url": "http://a.test/"},
        Unprintable(),
        Request(5),  # type: ignore[arg-type]
        Request(None),  # type: ignore[arg-type]
        Request("http://127.0.0.1:9/", headers={"X": "a\nb"}),
        Request("http://127.0.0.1:9/", timeout=-1),
        Request("http://127.0.0.1:9/", weight=0),
        Request("http://127.0.0.1:9/", weight=99),
        Request("http://127.0.0.1:9/", problem="line 3 is no JSON"),
    ]
    with WorkerPool(4, rate=5000, burst=2, retry=1, timeout=5) as pool:
        outcomes = [*pool.stream(junk, ordered=ordered)]
    assert len(outcomes) == len(junk)
    assert not any(outcome.ok for outcome in outcomes)
    assert all(outcome.error is not None and str(outcome.error) for outcome in outcomes)
    assert sum("line 3 is no JSON" in str(outcome.error) for outcome in outcomes) == 1
    assert sum(isinstance(outcome.error, InvalidRequest) for outcome in outcomes) >= 12
    with pool_of() as pool:
        mixed = [*pool.stream([5, *good, None, Request("x", problem="bad")])]
    assert sorted(outcome.url for outcome in mixed if outcome.ok) == good
    assert len(mixed) == 8


def test_a_key_function_that_raises_makes_outcomes() -> None:
    def key(url: str) -> str:
        if "bad" in url:
            raise LookupError("no tenant")
        return url

    def script(request: Request, url: str) -> Answer:
        return Answer(302, headers={"Location": "http://a.test/bad"}) if "turn" in url else Answer()

    urls = ["http://a.test/bad", "http://a.test/good", "http://a.test/turn"]
    with pool_of(script, host_key=key) as pool:
        bad, good, turned = pool.stream(urls, ordered=True)
    assert good.ok
    assert "no tenant" in str(bad.error)
    assert "no tenant" in str(turned.error)


@pytest.mark.parametrize("ordered", [False, True])
def test_an_error_of_the_source_comes_out_after_the_outcomes_of_what_was_read(ordered: bool) -> None:
    def source() -> Iterator[str]:
        for n in range(5):
            yield f"http://a.test/{n}"
        raise OSError("the disk is gone")

    with pool_of() as pool:
        outcomes = pool.stream(source(), ordered=ordered)
        got = [next(outcomes).url for _ in range(5)]
        with pytest.raises(OSError, match="the disk is gone"):
            next(outcomes)
    assert sorted(got) == [f"http://a.test/{n}" for n in range(5)]


def test_a_failed_attempts_own_time_is_no_waiting_time() -> None:
    with Origin() as origin, WorkerPool(1, retry=1, timeout=0.3) as pool:
        (outcome,) = pool.stream([origin.url("/delay/30")])
    assert outcome.elapsed >= 0.3
    assert outcome.timings.parked < 0.1


def test_timings_say_where_the_time_went() -> None:
    clock = ManualClock(auto=True)
    answers = iter([Answer(503, headers={"Retry-After": "10"}), Answer()])
    with pool_of(lambda request, url: next(answers), clock=clock) as pool:
        (outcome,) = pool.stream(["http://a.test/"])
    assert [attempt.status for attempt in outcome.attempts] == [503, 200]
    assert 10 <= outcome.timings.parked <= outcome.elapsed <= 10.6


# -- leaving -----------------------------------------------------------------------------------------------------------


def test_leaving_early_cancels_what_is_left_as_the_server_sees() -> None:
    with Origin() as origin, WorkerPool(4, host_connections=4) as pool:
        for outcome in pool.stream(origin.url(f"/delay/0.05?{n}") for n in itertools.count()):
            assert outcome.ok
            break
        at_once = origin.requests
        pool.get(origin.url("/")).result(LONG)
        assert pool.get(origin.url("/delay/0.2")).result(LONG).ok  # time in which others would arrive
        assert origin.requests <= at_once + 4 + 2
        assert pool.statistics().queued == pool.statistics().parked == 0


def test_leaving_a_limited_stream_while_the_pool_shuts_down_ends_both() -> None:
    """What was left to do vanishes with nobody at work; shutdown notices all the same."""
    pool = pool_of(rate="2/s")
    outcomes = pool.stream(endless(), window=50)
    next(outcomes)
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    assert eventually(lambda: pool._crew.is_closing)
    outcomes.close()
    ending.join(5)
    assert not ending.is_alive()


def test_an_error_in_the_loop_leaves_the_pool_usable() -> None:
    with pool_of() as pool:
        try:
            for _ in pool.stream(endless()):
                raise KeyError
        except KeyError:
            pass
        assert pool.get("http://a.test/").result(LONG).ok


def test_drain_ends_a_stream_with_an_outcome_for_everything_that_was_handed_out() -> None:
    entered, go = threading.Event(), threading.Event()

    def script(request: Request, url: str) -> Answer:
        entered.set()
        assert go.wait(LONG)
        return Answer()

    source = endless()
    with pool_of(script, workers=2) as pool:
        got: list[Any] = []
        reader = threading.Thread(target=lambda: got.extend(pool.stream(source, window=30)), daemon=True)
        reader.start()
        assert entered.wait(LONG)
        pool.drain()
        pool.drain()
        assert eventually(lambda: pool.statistics().queued == 0)
        go.set()
        reader.join(LONG)
        assert not reader.is_alive()
        assert pool.statistics().requests == 30
    assert len(got) == source.read == 30
    assert sum(outcome.ok for outcome in got) <= 2
    assert all(outcome.ok or isinstance(outcome.error, Cancelled) for outcome in got)


def test_a_drained_request_that_wants_a_retry_ends_instead() -> None:
    entered, go = threading.Event(), threading.Event()

    def script(request: Request, url: str) -> Answer:
        entered.set()
        assert go.wait(LONG)
        return Answer(503, headers={"Retry-After": "100"})

    with pool_of(script, workers=1) as pool:
        got: list[Any] = []
        reader = threading.Thread(target=lambda: got.extend(pool.stream(["http://a.test/"])), daemon=True)
        reader.start()
        assert entered.wait(LONG)
        pool.drain()
        assert eventually(lambda: pool._streams and all(stream.is_over for stream in pool._streams))
        go.set()
        reader.join(LONG)
        assert [outcome.ok for outcome in got] == [False]


def test_a_stream_iterated_inside_a_worker_raises_instead_of_waiting_for_itself() -> None:
    with pool_of(workers=1) as pool:
        outcomes = pool.stream(["http://a.test/"])
        with pytest.raises(WrongThread):
            pool.submit(lambda: [*outcomes]).result(LONG)


def test_a_stream_that_is_garbage_holds_nobody_up() -> None:
    """The collector may end a stream in any thread, at any moment, even one that holds the pool's lock."""

    class CollectingClock:
        on = False

        def now(self) -> float:
            if self.on:
                gc.collect()
            return time.monotonic()

        time = staticmethod(time.time)

        def wait(self, condition: threading.Condition, seconds: float | None) -> None:
            condition.wait(seconds)

    class Loop:
        pass

    clock = CollectingClock()
    pool = pool_of(clock=clock)
    loop: Any = Loop()
    loop.stream, loop.itself = pool.stream(endless()), loop
    next(loop.stream)
    del loop
    clock.on = True
    thread = threading.Thread(target=lambda: pool.get("http://a.test/").result(LONG), daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()
    clock.on = False
    pool.shutdown()


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_a_body_is_freed_once_the_next_outcome_is_asked_for(ordered: bool) -> None:
    with pool_of() as pool:
        outcomes = pool.stream((f"http://h{n}.test/" for n in range(50)), ordered=ordered)
        alive: list[weakref.ref[Any]] = []
        for outcome in outcomes:
            alive.append(weakref.ref(outcome.response))
            del outcome
            if len(alive) > 5:
                assert alive[-5]() is None
    gc.collect()
    assert not any(ref() for ref in alive)


@pytest.mark.parametrize("ordered", [False, True])
def test_bodies_held_for_a_slow_consumer_are_bounded_in_bytes(ordered: bool) -> None:
    mebibyte = 1024 * 1024
    sends = itertools.count(1)
    sent = [0]

    def script(request: Request, url: str) -> Answer:
        sent[0] = next(sends)
        return Answer(body=bytes(mebibyte))

    with pool_of(script) as pool:
        outcomes = pool.stream((f"http://h{n % 50}.test/{n}" for n in range(1000)), ordered=ordered)
        for yielded in range(1, 40):
            next(outcomes)
            let_pass(0.005)  # the consumer is slow; the workers are not
            assert sent[0] - yielded <= 64 + 2 * 4 + 8
        outcomes.close()


MEASURE = """
import sys, psutil
from workerpool import WorkerPool
from workerpool.testing import ScriptedTransport
process = psutil.Process()
sys.setswitchinterval(0.02)  # two thirds of the time, the same memory
def resident(count):
    with WorkerPool(4, transport=ScriptedTransport()) as pool:
        ended = sum(1 for _ in pool.stream(f"http://h{n % 97}.test/{n}" for n in range(count)))
    assert ended == count, ended
    return process.memory_info().rss / 2**20
small = resident(10_000)
print(small, resident(int(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_urls_take_no_more_memory_than_ten_thousand() -> None:
    """By default 50,000: 60 bytes that are kept of each are seen as well."""
    require(importlib.util.find_spec("psutil"), "psutil is not installed (it is in the extra [test])")
    count = 1_000_000 if IN_FULL else 50_000
    done = subprocess.run([sys.executable, "-c", MEASURE, str(count)], capture_output=True, text=True, check=True)
    small, large = map(float, done.stdout.split())
    assert large - small < 60 * count / 1_000_000


def test_tens_of_thousands_of_urls_of_one_dead_host_are_passed_by_and_kept() -> None:
    """They wait in the backlog, and every one of them has its outcome in the end."""
    go = threading.Event()

    def script(request: Request, url: str) -> Answer:
        if "dead" in url:
            go.wait(60)
        return Answer()

    dead = (f"http://dead.test/{n}" for n in range(20_000))
    live = (f"http://h{n}.test/" for n in range(200))
    with pool_of(script, workers=16, retry=RetryPolicy(attempts=1)) as pool:
        seen: set[str] = set()
        outcomes = pool.stream(itertools.chain(dead, live))
        for outcome in outcomes:
            seen.add(outcome.url)
            if len(seen) == 200 and not go.is_set():
                assert not any("dead" in url for url in seen)
                go.set()
    assert len(seen) == 20_200


def test_a_script_follows_as_many_redirects_as_the_pool_allows() -> None:
    script = ScriptedTransport(lambda request, url: Answer(302, headers={"location": f"{url}x"}))
    with WorkerPool(1, transport=script, max_redirects=2, retry=1) as pool:
        (outcome,) = pool.stream(["http://a.test/"])
    assert isinstance(outcome.error, TooManyRedirects)
    assert script.sends == 3

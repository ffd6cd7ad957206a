"""Everything at once, from many threads: each request ends exactly once, and the counts add up."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
import requests

from tests.conftest import IN_FULL
from tests.waiting import LONG, eventually, let_pass
from workerpool import (
    Breaker,
    Cancelled,
    CircuitOpen,
    Outcome,
    Request,
    RetryBudget,
    RetryPolicy,
    UnexpectedError,
    WorkerPool,
)
from workerpool.testing import Answer, ScriptedTransport

HUGE = "9" * 10_000
ODD = [
    {"RateLimit-Policy": '"a";q=100000;w=1', "RateLimit": '"a";r=99999;t=1'},
    {"RateLimit": '"a";r=-5;t=-1'},
    {"X-RateLimit-Limit": HUGE, "X-RateLimit-Remaining": HUGE, "X-RateLimit-Reset": HUGE},
    {"X-RateLimit-Limit": "nan", "X-RateLimit-Remaining": "inf", "X-RateLimit-Reset": "-inf"},
    {"X-RateLimit-Remaining": "1000000000", "X-RateLimit-Reset": "0"},
    {"X-RateLimit-Remaining": "1000000000", "X-RateLimit-Reset": "1"},
    {"X-RateLimit-Remaining": "500000", "X-RateLimit-Reset": "100000000000000000"},
    {"RateLimit": '"' * 999, "RateLimit-Policy": "\xff;q=" + "1" * 17},
]
"""What hosts say of their limits that is odd, or no limit at all."""


def unruly(seed: int) -> Any:
    """A script in which a third of the answers are failures, redirects, limits or defects."""
    chance, lock = random.Random(seed), threading.Lock()

    def script(request: Request, url: str) -> Answer:
        with lock:
            draw = chance.random()
        if draw < 0.05:
            return Answer(503)
        if draw < 0.10:
            return Answer(302, headers={"Location": f"http://h{int(draw * 1e4) % 7}.test/moved"})
        if draw < 0.11:
            return Answer(429)
        if draw < 0.13:
            return Answer(429, headers={"Retry-After": "0.01"})
        if draw < 0.18:
            return Answer(error=requests.ConnectionError("gone"))
        if draw < 0.20:
            raise LookupError("a defect of the script")
        if draw < 0.25:
            return Answer(404)
        if draw < 0.40:
            return Answer(headers=ODD[int(draw * 1e4) % len(ODD)])
        return Answer(body=b"x" * 100)

    return script


def by_hundreds(request: Request) -> str | None:
    """A key for three in four, of which there are hundreds; sometimes a defect, where a redirect leads."""
    number = hash(request.url) % 400
    if request.url.endswith("/moved") and number < 40:
        raise LookupError("no key for that")
    return None if number < 100 else str(number)


class Counted:
    """Counts how often each future ended."""

    def __init__(self) -> None:
        self.ends: Counter[int] = Counter()
        self.lock = threading.Lock()
        self.futures: list[Future[Any]] = []

    def keep(self, future: Future[Any]) -> Future[Any]:
        with self.lock:
            self.futures.append(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Any]) -> None:
        with self.lock:
            self.ends[id(future)] += 1


def act(pool: WorkerPool, seed: int, counted: Counted, streamed: list[int], ends_at: float) -> None:
    chance = random.Random(seed)
    numbers = itertools.count()
    while time.monotonic() < ends_at:
        draw = chance.random()
        if pool.statistics().queued > 300:  # or shutdown would have thousands to see through
            let_pass(0.001)
            continue
        url = f"http://h{chance.randrange(7)}.test/{seed}/{next(numbers)}"
        try:
            if draw < 0.35:
                counted.keep(pool.get(url))
            elif draw < 0.45:
                counted.keep(pool.submit(pow, 2, 10))
            elif draw < 0.50:
                lists = [*pool.batches([url] * 5, receipts=True)]
                assert sum(isinstance(one, Outcome) for told in lists for one in told) == 5
            elif draw < 0.65:
                counted.keep(pool.get(url)).cancel()
            elif draw < 0.75:
                pool.statistics(), repr(pool)
            elif draw < 0.9:
                count = chance.randrange(60)
                outcomes = [*pool.stream([url] * count, ordered=draw < 0.8, window=chance.choice([1, 7, 1000]))]
                assert len(outcomes) == count
                streamed.append(count)
            else:
                left = pool.stream([url] * 50)
                for _ in itertools.islice(left, chance.randrange(50)):
                    pass
                left.close()
        except RuntimeError as error:
            assert "after shutdown" in str(error)  # noqa: PT017
            return


POOLS: list[tuple[int, dict[str, Any]]] = [
    (1, {}),
    (2, {"rate": 2000, "burst": 10, "host_connections": 2}),
    (3, {"host_rate": 500, "max_connections": 3}),
    (4, {"rate": 1500, "host_rate": 400, "burst": 5}),
    (5, {"rate": "auto", "host_connections": "auto"}),
    (6, {"key_rate": 400, "limit_by": by_hundreds, "host_rate": 500, "burst": 3}),
    (7, {"breaker": Breaker(failures=2, open_for=0.01, longest=0.05), "slow_start": True}),
    (8, {"breaker": Breaker(failures=2, share=0.5, window=4, open_for=0.01, longest=0.05, fails_fast=True)}),
    (9, {"rate": "auto", "key_rate": 300, "limit_by": by_hundreds, "breaker": 3, "slow_start": True}),
]


@pytest.mark.parametrize(
    ("seed", "options", "cancel"),
    [(seed, options, cancel) for seed, options in POOLS for cancel in (False, True) if IN_FULL or cancel == seed % 2],
)
def test_whatever_happens_every_future_ends_once(
    tiny_switch_interval: None, seed: int, options: dict[str, Any], cancel: bool
) -> None:
    """Shutdown comes in the middle of it, from one of the threads."""
    policy = RetryPolicy(attempts=3, backoff=0.005, budget=RetryBudget(share=0.1, per_second=300, floor=5))
    pool = WorkerPool(5, retry=policy, transport=ScriptedTransport(unruly(seed)), **options)
    counted, streamed, failures = Counted(), list[int](), list[BaseException]()
    ends_at = time.monotonic() + LONG

    def run(number: int) -> None:
        try:
            act(pool, seed * 100 + number, counted, streamed, ends_at)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    # What is learned of hosts that refuse at random is a rate at which hundreds would take minutes.
    is_slow = options.get("rate") == "auto"
    assert eventually(lambda: len(counted.futures) > (5 if is_slow else 300 if IN_FULL else 30), LONG)
    pool.shutdown(cancel_futures=cancel or is_slow)
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert not failures
    for future in counted.futures:
        assert future.done()
        if not future.cancelled():
            error = future.exception(0)
            allowed = (
                *(requests.ConnectionError, requests.TooManyRedirects, LookupError),
                *(Cancelled, CancelledError, CircuitOpen, UnexpectedError),
            )
            assert error is None or isinstance(error, allowed)
    assert set(counted.ends.values()) == {1}
    assert len(counted.ends) == len(counted.futures)
    now = pool.statistics()
    assert (now.active, now.queued, now.parked, now.in_flight, now.callables_queued) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("ordered", [False, True])
def test_the_counts_of_an_unruly_stream_add_up(tiny_switch_interval: None, ordered: bool) -> None:
    transport = ScriptedTransport(unruly(7))
    with WorkerPool(8, retry=RetryPolicy(attempts=3, backoff=0.001), transport=transport) as pool:
        urls = [f"http://h{n % 7}.test/{n}" for n in range(1500 if IN_FULL else 500)]
        outcomes = [*pool.stream(urls, ordered=ordered, window=100)]
    now = pool.statistics()
    got = [outcome.url for outcome in outcomes]
    assert got == urls if ordered else sorted(got) == sorted(urls)
    assert now.requests == len(urls)
    assert now.ok == sum(outcome.ok for outcome in outcomes)
    assert now.sent == transport.sends
    assert now.sent == now.requests + now.retries + now.redirects
    assert sum(len(outcome.attempts) for outcome in outcomes if outcome.attempts) <= now.requests + now.retries


def test_many_threads_stream_from_one_pool_at_once(tiny_switch_interval: None) -> None:
    results: dict[int, list[str]] = {}
    with WorkerPool(4, transport=ScriptedTransport()) as pool:

        def run(number: int) -> None:
            urls = [f"http://h{n % 5}.test/{number}/{n}" for n in range(100)]
            results[number] = [outcome.url for outcome in pool.stream(urls, ordered=True, window=30)]
            assert results[number] == urls

        threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
    assert [len(results[number]) for number in range(8)] == [100] * 8
    assert pool.statistics().requests == 800

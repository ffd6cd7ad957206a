"""A host that keeps failing is left alone, tried one request at a time, and comes back; others do not notice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from workerpool import Breaker, CircuitOpen, RetryPolicy, WorkerPool
from workerpool.model import Outcome
from workerpool.testing import Origin, Reply


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


def fetch(origin: Origin, breaker: Breaker | int | None, count: int, *, workers: int = 1) -> list[Outcome]:
    with WorkerPool(workers, retry=1, breaker=breaker) as pool:
        return [*pool.stream([origin.url(f"/{number}") for number in range(count)])]


def test_requests_to_a_host_that_keeps_failing_end_unsent_where_that_was_asked_for(origin: Origin) -> None:
    origin.default = Reply(status=500)
    outcomes = fetch(origin, Breaker(failures=3, fails_fast=True), 50)
    assert len(origin.arrivals) == 3
    unsent = [outcome for outcome in outcomes if isinstance(outcome.error, CircuitOpen)]
    assert len(unsent) == 47
    assert not any(outcome.attempts for outcome in unsent)
    assert "keeps failing" in str(unsent[0].error)


def test_without_a_breaker_every_request_is_sent(origin: Origin) -> None:
    origin.default = Reply(status=500)
    fetch(origin, None, 50)
    assert len(origin.arrivals) == 50


def test_a_refusal_for_too_many_requests_is_no_failure_of_the_host(origin: Origin) -> None:
    origin.default = Reply(status=404)
    fetch(origin, Breaker(failures=3, fails_fast=True), 20)
    assert len(origin.arrivals) == 20


def test_a_host_that_comes_back_is_probed_and_then_served(origin: Origin) -> None:
    """It fails three times and one probe; the circuit stays open for twice as long each time."""
    origin.script("/x", *[Reply(status=500)] * 4, Reply())
    with WorkerPool(1, retry=1, breaker=Breaker(failures=3, open_for=0.2, longest=1.0)) as pool:
        outcomes = [*pool.stream([origin.url("/x")] * 30)]
    assert [outcome.ok for outcome in outcomes].count(True) == 26
    at = [arrival.time for arrival in origin.arrivals]
    assert len(at) == 30, "its requests have waited, none has ended unsent"
    gaps = sorted((later - earlier for earlier, later in itertools.pairwise(at)), reverse=True)
    assert gaps[0] >= 0.39
    assert gaps[1] >= 0.19


def test_other_hosts_are_not_touched(origin: Origin) -> None:
    with Origin() as other:
        origin.default = Reply(status=503)
        other.default = Reply(body=b"fine")
        urls = [url for number in range(40) for url in (origin.url(f"/{number}"), other.url(f"/{number}"))]
        with WorkerPool(4, retry=1, breaker=Breaker(failures=2, fails_fast=True)) as pool:
            outcomes = [*pool.stream(urls)]
        assert sum(outcome.ok for outcome in outcomes) == 40
        assert len(origin.arrivals) <= 5  # two, and those that were in flight


def test_a_share_of_failures_opens_the_circuit_too(origin: Origin) -> None:
    origin.script("/x", *[Reply(status=500), Reply()] * 100)
    with WorkerPool(1, retry=1, breaker=Breaker(failures=5, share=0.5, window=10, fails_fast=True)) as pool:
        [*pool.stream([origin.url("/x")] * 50)]
    assert len(origin.arrivals) == 10


def test_a_callable_in_a_worker_meets_the_same_circuit(origin: Origin) -> None:
    origin.default = Reply(status=500)
    with WorkerPool(1, retry=RetryPolicy(attempts=1), breaker=Breaker(failures=2, fails_fast=True)) as pool:
        for _ in range(2):
            pool.submit(lambda: pool.session.get(origin.url("/"))).result()
        with pytest.raises(CircuitOpen, match="keeps failing"):
            pool.submit(lambda: pool.session.get(origin.url("/"))).result()
    assert len(origin.arrivals) == 2


def test_what_is_wrong_with_requests_is_no_failure_of_their_host(origin: Origin) -> None:
    origin.default = Reply(body=b"x" * 1000)
    with WorkerPool(1, retry=1, max_body=10, breaker=Breaker(failures=3, fails_fast=True)) as pool:
        outcomes = [*pool.stream([origin.url(f"/{number}") for number in range(5)])]
    assert {outcome.error.reason for outcome in outcomes if outcome.error} == {"size"}
    assert len(origin.arrivals) == 5


def test_a_circuit_may_stay_open_for_longer_than_there_are_dates(origin: Origin) -> None:
    origin.default = Reply(status=500)
    outcomes = fetch(origin, Breaker(failures=1, open_for=1e15, longest=1e15, fails_fast=True), 3)
    assert [type(outcome.error) for outcome in outcomes[1:]] == [CircuitOpen, CircuitOpen]


def test_threads_that_wait_for_a_host_hear_at_once_that_its_circuit_is_open(origin: Origin) -> None:
    origin.default = Reply(status=500)

    def fetch(pool: WorkerPool) -> int:
        return int(pool.session.get(origin.url("/")).status_code)

    with WorkerPool(6, retry=1, host_connections=1, breaker=Breaker(failures=1, fails_fast=True)) as pool:
        futures = [pool.submit(fetch, pool) for _ in range(6)]
        ended = [future.exception(10) for future in futures]
    assert sum(isinstance(error, CircuitOpen) for error in ended) == 5
    assert len(origin.arrivals) == 1

"""Limits by a key of the user's, several windows at once, and a slow start, as the server counts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from tests.waiting import LONG, eventually
from workerpool import OptionError, Rate, Request, RetryPolicy, WorkerPool
from workerpool.testing import Answer, ManualClock, Origin, ScriptedTransport

SLACK = 0.02
"""Seconds by which arrivals may be closer together than grants: threads wake up late."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


def most_in(times: list[float], seconds: float) -> int:
    """The most of `times`, sorted, in any window of so many seconds."""
    return max(sum(start <= time < start + seconds for time in times) for start in times)


def test_each_api_key_has_a_rate_of_its_own(origin: Origin) -> None:
    requests = [
        Request(origin.url(f"/{key}/{number}"), headers={"X-Api-Key": key}) for number in range(10) for key in "abc"
    ]
    with WorkerPool(8, key_rate="20/s", limit_by="x-api-key") as pool:
        assert len([*pool.stream(requests)]) == 30
    by_key: dict[str, list[float]] = {}
    for arrival in origin.arrivals:
        by_key.setdefault(arrival.headers["x-api-key"], []).append(arrival.time)
    assert {key: len(times) for key, times in by_key.items()} == {"a": 10, "b": 10, "c": 10}
    for times in by_key.values():
        assert most_in(times, 0.1 - SLACK) <= 3
        assert times[-1] - times[0] >= 9 / 20 - 5 * SLACK, "the first has a connection to make"
    assert origin.arrivals[-1].time - origin.arrivals[0].time < 0.8 * 29 / 20, "the keys do not wait for each other"


def test_a_tenant_whose_quota_is_spent_does_not_hold_up_the_others_of_its_host(origin: Origin) -> None:
    """Its requests come first in the source, and fill its lane for an hour."""
    requests = [Request(origin.url(f"/greedy/{n}"), key="greedy") for n in range(50)]
    requests += [Request(origin.url(f"/{n}"), key=f"tenant {n}") for n in range(50)]
    with WorkerPool(4, key_rate="1/h", limit_by=lambda request: request.key) as pool:
        stream = pool.stream(requests)
        assert {next(stream).request.key for _ in range(51)} == {"greedy", *(f"tenant {n}" for n in range(50))}
        stream.close()


def test_a_request_without_a_key_counts_against_none(origin: Origin) -> None:
    with WorkerPool(4, key_rate="1/h", limit_by="X-Api-Key") as pool:
        assert sum(outcome.ok for outcome in pool.stream([origin.url("/")] * 20)) == 20


def test_a_redirect_counts_against_the_key_of_where_it_leads() -> None:
    clock = ManualClock(auto=True)
    seen = list[tuple[float, str]]()

    def script(request: Request, url: str) -> Answer:
        seen.append((clock.now(), url))
        if url.endswith("/from"):
            return Answer(302, headers={"Location": url.replace("one", "two").replace("/from", "/to")})
        return Answer()

    with WorkerPool(
        4,
        key_rate="1/min",
        limit_by=lambda request: "two" if "two" in request.url else None,
        clock=clock,
        transport=ScriptedTransport(script),
    ) as pool:
        outcomes = [*pool.stream(["http://one.test/from"] * 3)]
    assert all(outcome.ok for outcome in outcomes)
    hops = [time for time, url in seen if url.endswith("/to")]
    assert [later - earlier for earlier, later in itertools.pairwise(hops)] == pytest.approx([60, 60], abs=0.1)


def test_a_key_function_that_fails_ends_its_request_alone(origin: Origin) -> None:
    def key(request: Request) -> str:
        if request.url.endswith("/bad"):
            raise LookupError("no tenant")
        return "k"

    with WorkerPool(2, key_rate="100/s", limit_by=key) as pool:
        outcomes = [*pool.stream([origin.url("/"), origin.url("/bad"), origin.url("/")])]
    assert sorted(outcome.ok for outcome in outcomes) == [False, True, True]
    assert "limit_by failed: no tenant" in next(str(outcome.error) for outcome in outcomes if not outcome.ok)


def test_what_belongs_together_is_asked_for_together() -> None:
    for options in ({"key_rate": "1/s"}, {"limit_by": "X-Api-Key"}):
        with pytest.raises(OptionError, match="go together"):
            WorkerPool(**options)  # type: ignore[arg-type]


def test_two_windows_hold_at_once(origin: Origin) -> None:
    """A pace, and a quota that the pace would spend in half of its window."""
    with WorkerPool(8, host_rate="40/0.5s and 30/1s") as pool:
        [*pool.stream([origin.url(f"/{n}") for n in range(75)])]
    times = [arrival.time for arrival in origin.arrivals]
    assert most_in(times, 1.0 - 5 * SLACK) <= 30, "more, though some that were let go may have come late"
    assert times[29] - times[0] < 0.6, "as fast as the pace allows, until the quota is spent"
    assert 1.9 <= times[-1] - times[0] <= 3.5


def test_a_quota_of_an_hour_on_a_clock_of_its_own() -> None:
    clock = ManualClock(auto=True)
    times = list[float]()

    def script(request: Request, url: str) -> Answer:
        times.append(clock.now())
        return Answer()

    with WorkerPool(
        4,
        rate=Rate.of("10/s and 100/h"),
        clock=clock,
        transport=ScriptedTransport(script),
    ) as pool:
        [*pool.stream(f"http://a.test/{n}" for n in range(250))]
    assert most_in(times, 3600.0) == 100
    assert times[99] - times[0] == pytest.approx(9.9, abs=0.2)
    assert times[-1] - times[0] < 2.1 * 3600


@pytest.mark.parametrize(("slow_start", "at_first"), [(True, 1), (False, 6)])
def test_a_fresh_host_gets_one_request_at_a_time_at_first(slow_start: bool, at_first: int) -> None:
    may_answer = threading.Event()

    def script(request: Request, url: str) -> Answer:
        assert may_answer.wait(LONG)
        return Answer()

    transport = ScriptedTransport(script)
    with WorkerPool(8, slow_start=slow_start, transport=transport) as pool:
        futures = [pool.get(f"http://a.test/{n}") for n in range(12)]
        assert eventually(lambda: transport.sends >= at_first)
        assert not eventually(lambda: transport.sends > at_first, 0.1)
        may_answer.set()
        assert all(future.result(LONG).ok for future in futures)


def test_a_request_that_was_redirected_counts_against_its_own_key_again_when_it_is_retried() -> None:
    """Its first attempt is led to another tenant, and fails there."""
    clock, sent = ManualClock(auto=True), list[tuple[str, float]]()

    def script(request: Request, url: str) -> Answer:
        sent.append((url, clock.now()))
        return {1: Answer(302, headers={"Location": "http://b.test/"}), 2: Answer(503)}.get(len(sent), Answer())

    def host(request: Request) -> str:
        return request.url.split("/")[2]

    with WorkerPool(
        2,
        key_rate="1/h",
        limit_by=host,
        clock=clock,
        retry=RetryPolicy(total=None),
        transport=ScriptedTransport(script),
    ) as pool:
        assert pool.get("http://a.test/").result(10).status_code == 200
        assert pool.get("http://b.test/").result(10).status_code == 200
    assert [url for url, _ in sent] == ["http://a.test/", "http://b.test/", "http://a.test/", "http://b.test/"]
    assert sent[2][1] - sent[0][1] >= 3600
    assert sent[3][1] - sent[2][1] < 60, "its own slot is an hour after the first attempt's, not after the second's"


def test_a_function_that_fails_where_a_redirect_leads_ends_that_request_only() -> None:
    def key(request: Request) -> str:
        if "moved" in request.url:
            raise LookupError("no such tenant")
        return "k"

    def script(request: Request, url: str) -> Answer:
        return Answer(302, headers={"Location": "/moved"}) if url.endswith("/1") else Answer()

    with WorkerPool(2, key_rate=1000, limit_by=key, transport=ScriptedTransport(script)) as pool:
        outcomes = [*pool.stream([f"http://a.test/{n}" for n in range(4)], ordered=True)]
        assert [outcome.ok for outcome in outcomes] == [True, False, True, True]
        assert "no such tenant" in str(outcomes[1].error)
        now = pool.statistics()
    assert (now.in_flight, now.queued, now.parked) == (0, 0, 0)

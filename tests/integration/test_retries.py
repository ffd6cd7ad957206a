"""Retries as the pool makes them: parked, bounded, told; an hour of waiting passes in milliseconds."""

from __future__ import annotations

import email.utils
import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import requests
import tenacity

from tests.waiting import LONG, eventually
from workerpool import (
    Attempt,
    HostPaused,
    Outcome,
    Request,
    RetryPolicy,
    StatusError,
    UnexpectedError,
    WorkerPool,
)
from workerpool.scheduler.hosts import BEGINS_SLOWLY
from workerpool.testing import Answer, ManualClock, Origin, ScriptedTransport


class World:
    """A pool on an automatic clock over a script, which notes when each send was made and to where."""

    def __init__(self, script: Callable[[Request, str], Answer], **options: Any) -> None:
        self.clock = ManualClock(auto=True)
        self.sends: list[tuple[float, str]] = []
        self._script = script
        self.pool = WorkerPool(4, clock=self.clock, transport=ScriptedTransport(self._answer), **options)

    def _answer(self, request: Request, url: str) -> Answer:
        self.sends.append((self.clock.now(), url))
        return self._script(request, url)

    def run(self, *requests: str | Request) -> list[Outcome]:
        with self.pool:
            return [*self.pool.stream(requests, ordered=True)]


def in_turn(*answers: Answer) -> Callable[[Request, str], Answer]:
    """Gives these answers one after the other, the last one ever after."""
    left = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda request, url: next(left)


def asked(value: str, status: int = 429) -> Answer:
    return Answer(status, headers={"Retry-After": value})


def test_attempts_are_bounded_and_the_last_error_keeps_its_history() -> None:
    world = World(in_turn(Answer(503), Answer(503), Answer(error=requests.ConnectionError("gone")), Answer(500)))
    (outcome,) = world.run("http://a.test/")
    assert [attempt.status for attempt in outcome.attempts] == [503, 503, None, 500]
    assert isinstance(outcome.error, StatusError)
    assert (outcome.error.status, outcome.error.attempts, outcome.status) == (500, 4, 500)
    text = str(outcome.error)
    assert text.startswith("HTTP 500")
    assert "attempt 4" in text
    assert "2 × HTTP 503" in text


def test_the_waits_between_attempts_are_within_the_jitters_bounds() -> None:
    world = World(in_turn(Answer(500)), retry=RetryPolicy(attempts=6))
    world.run("http://a.test/")
    times = [at for at, _ in world.sends]
    for wait, bound in zip((b - a for a, b in itertools.pairwise(times)), (0.5, 1, 2, 4, 8), strict=True):
        assert 0 <= wait <= bound + 0.01


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("100", 100.0), ("date", 60.0), ("epoch", 60.0)])
def test_retry_after_is_waited_for(value: str, seconds: float) -> None:
    epoch = ManualClock().time()
    value = {"date": email.utils.formatdate(epoch + 60, usegmt=True), "epoch": str(int(epoch) + 60)}.get(value, value)
    world = World(in_turn(asked(value), Answer()))
    (outcome,) = world.run("http://a.test/")
    assert outcome.ok
    assert seconds <= world.sends[1][0] <= seconds + 0.6


@pytest.mark.parametrize("value", ["0", "-7", "garbage", "Tue, 01 Jan 2019 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_leaves_it_to_the_backoff(value: str) -> None:
    world = World(in_turn(asked(value), Answer()))
    (outcome,) = world.run("http://a.test/")
    assert outcome.ok
    assert world.sends[1][0] <= 0.6


def test_retry_after_pauses_the_whole_host_and_no_other() -> None:
    limited = iter([asked("30")])

    def script(request: Request, url: str) -> Answer:
        return next(limited, Answer()) if "a.test" in url else Answer()

    world = World(script)
    outcomes = world.run("http://a.test/0", *[f"http://{host}.test/{n}" for n in range(1, 40) for host in "ab"])
    assert all(outcome.ok for outcome in outcomes)
    later = [at for at, url in world.sends if "a.test" in url][6:]  # all that did not fly together with the first
    assert min(later) >= 30
    assert sum("b.test" in url for _, url in world.sends) == 39


@pytest.mark.parametrize("value", ["3600", "1700003600", "1700003600000", "9999999999999"])
def test_a_retry_after_beyond_the_cap_fails_at_once_with_its_time_and_the_rest_unsent(value: str) -> None:
    world = World(in_turn(asked(value)), host_connections=1)
    outcomes = world.run(*[f"http://a.test/{n}" for n in range(20)])
    first, rest = outcomes[0], outcomes[1:]
    assert len(world.sends) == 1
    assert isinstance(first.error, HostPaused)
    assert first.error.until > world.clock.time()
    assert first.status == 429
    assert "UTC" in str(first.error) or "s" in str(first.error)
    assert all(isinstance(outcome.error, HostPaused) and not outcome.attempts for outcome in rest)
    assert world.clock.now() < 1


def test_a_refused_host_is_sent_to_again_once_its_time_has_come_and_is_then_forgotten() -> None:
    world = World(in_turn(asked("3600"), Answer()))
    with world.pool as pool:
        assert pool.get("http://a.test/").result(LONG).status_code == 429
        with pytest.raises(HostPaused):
            pool.get("http://a.test/").result(LONG)
        world.clock.advance(3601)
        assert pool.get("http://a.test/").result(LONG).ok
        world.clock.advance(BEGINS_SLOWLY)
        assert pool.get("http://b.test/").result(LONG).ok
        assert eventually(lambda: pool.statistics().active == 0)
        assert pool.statistics().hosts == 0


def test_pool_session_is_refused_by_the_same_host() -> None:
    with Origin() as origin, WorkerPool(1) as pool:
        assert pool.get(origin.url("/retry-after/3600")).result(LONG).status_code == 429
        with pytest.raises(HostPaused):
            pool.submit(lambda: pool.session.get(origin.url("/"))).result(LONG)
        assert origin.requests == 1


def test_the_total_time_is_bounded() -> None:
    world = World(in_turn(asked("50")), retry=RetryPolicy(attempts=99, total=120))
    (outcome,) = world.run("http://a.test/")
    assert len(outcome.attempts) == 3
    assert world.clock.now() <= 120
    assert "120 s" in str(outcome.error)


def test_a_post_is_sent_once_unless_it_may_be_repeated() -> None:
    def tries(**fields: Any) -> int:
        (outcome,) = World(in_turn(Answer(503))).run(Request("http://a.test/", **fields))
        assert len(outcome.attempts) == 4 or "not idempotent" in str(outcome.error)
        return len(outcome.attempts)

    assert tries(method="POST") == tries(method="PATCH") == 1
    assert tries(method="POST", idempotent=True) == 4
    assert tries(method="POST", headers={"Idempotency-Key": "7"}) == 4
    assert tries(method="GET", idempotent=False) == 1


@pytest.mark.parametrize(
    "body",
    [b"whole", "whole", {"a": "1"}, io.BytesIO(b"whole"), [("a", "1")]],
    ids=["bytes", "str", "form", "file", "pairs"],
)
def test_a_body_is_sent_again_whole(body: Any) -> None:
    with Origin() as origin, WorkerPool(1, retry=RetryPolicy(attempts=4, backoff=0)) as pool:
        assert pool.put(origin.url("/flaky/2"), data=body).result(LONG).ok
        bodies = {arrival.body for arrival in origin.arrivals}
    assert origin.requests == 3
    assert bodies in ({b"whole"}, {b"a=1"})


def test_a_file_is_sent_again_from_where_it_stood() -> None:
    file = io.BytesIO(b"head and body")
    file.seek(9)
    with Origin() as origin, WorkerPool(1, retry=RetryPolicy(attempts=2, backoff=0)) as pool:
        assert pool.put(origin.url("/flaky/1"), data=file).result(LONG).ok
        assert [arrival.body for arrival in origin.arrivals] == [b"body", b"body"]


def test_a_body_that_can_be_read_once_is_sent_once_and_the_error_says_why() -> None:
    def body() -> Iterator[bytes]:
        yield b"once"

    with Origin() as origin, WorkerPool(1) as pool:
        (outcome,) = pool.stream([Request(origin.url("/status/503"), "PUT", data=body())])
        assert origin.requests == 1
    assert "read only once" in str(outcome.error)


def test_users_strategies_decide_and_a_wait_parks() -> None:
    policy = RetryPolicy(
        retry=tenacity.retry_if_result(lambda response: response.status_code != 200),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_fixed(40),
    )
    world = World(in_turn(Answer(404), Answer(204), Answer(200)), retry=policy)
    (outcome,) = world.run(Request("http://a.test/", "POST"))
    assert [attempt.status for attempt in outcome.attempts] == [404, 204, 200]
    assert [at for at, _ in world.sends] == pytest.approx([0, 40, 80], abs=0.1)


def test_a_strategy_that_raises_ends_its_request_and_no_other() -> None:
    def rule(state: tenacity.RetryCallState) -> bool:
        raise LookupError("my rule")

    world = World(lambda request, url: Answer(503 if "bad" in url else 200), retry=RetryPolicy(wait=rule))
    bad, good = world.run("http://a.test/bad", "http://a.test/good")
    assert "my rule" in str(bad.error)
    assert good.ok


def test_what_was_sent_is_told_of_though_a_strategy_has_raised() -> None:
    def wait(state: tenacity.RetryCallState) -> float:
        if state.attempt_number > 2:
            raise LookupError("my wait")
        return 5.0

    before = (Attempt(0.0, 1.0, 500),)
    world = World(lambda request, url: Answer(503), retry=RetryPolicy(attempts=4, wait=wait))
    (outcome,) = world.run(Request("http://a.test/", earlier=before))
    assert [attempt.status for attempt in outcome.attempts] == [500, 503, 503]
    assert isinstance(outcome.error, UnexpectedError)
    assert outcome.error.attempts == 3
    assert outcome.elapsed == pytest.approx(5, abs=0.1)
    assert "my wait" in (outcome.attempts[-1].error or "")


def test_a_first_attempt_that_succeeds_meets_no_tenacity() -> None:
    with mock.patch.object(tenacity, "RetryCallState", side_effect=AssertionError) as state:
        outcomes = World(in_turn(Answer())).run(*[f"http://a.test/{n}" for n in range(50)])
    assert all(outcome.ok for outcome in outcomes)
    assert state.call_count == 0


def test_every_try_begins_at_the_requests_own_url_again() -> None:
    answers = iter([Answer(302, headers={"Location": "http://b.test/"}), Answer(503)])
    world = World(lambda request, url: next(answers, Answer()))
    (outcome,) = world.run("http://a.test/")
    assert [url for _, url in world.sends] == ["http://a.test/", "http://b.test/", "http://a.test/"]
    assert [attempt.hops for attempt in outcome.attempts] == [1, 0]


def test_hours_of_retries_of_many_hosts_pass_side_by_side() -> None:
    tries: dict[str, int] = {}

    def script(request: Request, url: str) -> Answer:
        tries[url] = tries.get(url, 0) + 1
        return Answer() if tries[url] == 3 else asked("100")

    world = World(script)
    outcomes = world.run(*[f"http://h{n}.test/" for n in range(200)])
    assert all(outcome.ok and len(outcome.attempts) == 3 for outcome in outcomes)
    assert 200 <= world.clock.now() <= 2000  # one after the other they would take 40,000 s

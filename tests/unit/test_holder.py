"""A worker of a cluster from within: its pool lives from one task to the next, and ends when nobody comes any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.waiting import LONG, eventually
from workerpool.cluster import holder
from workerpool.cluster.messages import Chunk, Errand, Harvest, packed, unpacked
from workerpool.crew import Crew
from workerpool.model import Outcome, Request
from workerpool.processes.options import packed_option
from workerpool.processes.parcels import unpack_outcome
from workerpool.statistics import Wait
from workerpool.testing import Origin

JOB = "job"


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    holder.close(JOB)


def errand(number: int, url: str, told: bytes | None = None) -> Errand:
    return Errand(number, 1, "host", (url, told))


def carry_out(
    *errands: Errand, seconds: float = LONG, low: int = 0, keeps_bodies: bool = True, **options: Any
) -> tuple[Harvest, dict[int, Outcome]]:
    """Have a chunk carried out; returns what is told, and the outcomes by their numbers."""
    told = {name: packed_option(name, value) for name, value in {"max_workers": 2, **options}.items()}
    chunk = Chunk(JOB, told, keeps_bodies, [*errands], seconds, low, Wait.ANSWERS)
    harvest: Harvest = unpacked(holder.fetch_chunk(packed(chunk)))
    outcomes = {number: unpack_outcome(parcel, Request("http://a.test/")) for number, parcel, _ in harvest.ended}
    assert len(outcomes) == len(harvest.ended)
    return harvest, outcomes


def test_what_has_not_ended_in_time_comes_with_a_later_task_and_is_sent_once(origin: Origin) -> None:
    slow = errand(2, origin.url("/delay/0.4"))
    first, fast = carry_out(errand(1, origin.url("/bytes/3")), slow, seconds=0.2)
    assert [*fast] == [1]
    assert first.left == 1
    second, rest = carry_out(slow)  # who does not know that it is here
    assert [*rest] == [2]
    assert second.pool == first.pool
    assert second.left == 0
    assert origin.requests == second.figures.requests == 2


def test_a_task_ends_early_where_little_is_left_and_there_is_more(origin: Origin) -> None:
    harvest, outcomes = carry_out(errand(1, origin.url("/bytes/3")), errand(2, origin.url("/delay/30")), low=2)
    assert [*outcomes] == [1]
    assert harvest.left == 1


def test_bodies_that_are_not_kept_are_told_by_their_length(origin: Origin) -> None:
    harvest, outcomes = carry_out(errand(1, origin.url("/bytes/300")), keeps_bodies=False)
    assert outcomes[1].response is not None
    assert outcomes[1].response.content == b""
    assert harvest.ended[0][2] == 300


def test_a_stream_that_is_stopped_ends_what_is_not_being_sent_now_and_later(origin: Origin) -> None:
    urls = [origin.url("/delay/0.3")] * 4
    carry_out(*(errand(number, url) for number, url in enumerate(urls)), seconds=0.1)
    holder.stop(JOB, 1)
    _, outcomes = carry_out(errand(9, origin.url("/bytes/3")))
    assert {number: outcome.ok for number, outcome in outcomes.items()} == {
        0: True, 1: True, 2: False, 3: False, 9: False,
    }  # fmt: skip
    assert "the batch was told to end" in str(outcomes[9].error)
    assert origin.requests == 2


def test_a_request_that_cannot_be_read_ends_by_itself(origin: Origin) -> None:
    _, outcomes = carry_out(errand(1, "http://a.test/", b"junk"), errand(2, origin.url("/bytes/3")))
    assert "the worker that was to send it cannot read what it carries" in str(outcomes[1].error)
    assert outcomes[2].ok


def test_a_pool_for_which_no_task_comes_ends_and_the_next_task_has_another_one(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "LEFT_ALONE", 0.2)
    first, _ = carry_out(errand(1, origin.url("/bytes/3")))
    assert eventually(lambda: origin.connections_open == 0)
    second, outcomes = carry_out(errand(2, origin.url("/bytes/3")))
    assert second.pool != first.pool
    assert outcomes[2].ok


def test_more_bodies_than_may_wait_stop_the_fetching_until_a_task_has_taken_them(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "AT_ONCE", 1000)
    monkeypatch.setattr(holder, "HELD_BYTES", 1000)
    seen: set[int] = set()
    errands = [errand(number, origin.url("/bytes/500")) for number in range(20)]
    harvest, outcomes = carry_out(*errands)
    assert len(outcomes) < 20
    assert origin.requests < 20
    while harvest.left or len(seen) < 20:
        seen |= {*outcomes}
        harvest, outcomes = carry_out()
        seen |= {*outcomes}
    assert seen == {*range(20)}


def test_requests_for_which_no_thread_could_be_started_are_fetched_when_they_come_again(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Crew, "add", add)
        with pytest.raises(RuntimeError, match="new thread"):
            carry_out(errand(1, origin.url("/bytes/3")))
    _, outcomes = carry_out(errand(1, origin.url("/bytes/3")))
    assert outcomes[1].ok

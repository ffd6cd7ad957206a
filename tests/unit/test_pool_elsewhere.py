"""What pools have in common whose workers are in other processes, with a crew that only notes what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from workerpool import events
from workerpool.errors import ProcessesLost, WrongThread
from workerpool.processes.elsewhere import PoolElsewhere
from workerpool.processes.figures import added
from workerpool.processes.scratch import Scratch
from workerpool.statistics import PoolStatistics


class Crew:
    failure: ProcessesLost | None = None
    scratch: Scratch | None = None
    cpu = 1.5

    def __init__(self) -> None:
        self.told: list[str] = []

    def look(self) -> PoolStatistics:
        return added([])

    def close(self, *, cancel: bool) -> None:
        self.told.append("cancel" if cancel else "close")

    def join(self) -> None:
        self.told.append("join")

    def abandon(self) -> None:
        self.told.append("abandon")


class Pool(PoolElsewhere):
    def _make_crew(self) -> Crew:
        self.crew = Crew()
        return self.crew


@pytest.fixture
def emitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(events, "emit", lambda name, **what: names.append(name))
    return names


def test_a_pool_that_is_told_to_end_says_once_that_it_has_when_it_is_waited_for(emitted: list[str]) -> None:
    with Pool(2) as pool:
        pool.shutdown(wait=False)
        assert emitted == ["pool.started"]
        pool.shutdown(cancel_futures=True)
    assert pool.crew.told == ["close", "cancel", "join", "close", "join"]
    assert emitted == ["pool.started", "pool.stopped"]


def test_a_pool_that_is_dropped_leaves_its_workers_and_one_that_was_shut_down_has_none() -> None:
    pool = Pool(2)
    crew = pool.crew
    del pool
    assert crew.told == ["abandon"]
    pool = Pool(2)
    pool.shutdown()
    crew = pool.crew
    del pool
    assert crew.told == ["close", "join"]
    pool = Pool(2)
    pool.shutdown(wait=False)
    crew = pool.crew
    del pool
    assert crew.told == ["close"], "they end by themselves, when they are done"


def test_what_needs_a_worker_here_is_refused_by_the_pools_own_name() -> None:
    pool: Any = Pool(2)
    with pytest.raises(WrongThread, match="a Pool runs no callables"):
        pool.submit(print)
    with pytest.raises(WrongThread, match="a Pool has its workers in other processes"):
        pool.session  # noqa: B018
    assert pool.warm(["http://a.test/"]) == 0
    assert (pool.cpu, pool._broken) == (1.5, False)
    pool.crew.failure = ProcessesLost("none could be started")
    assert pool._broken

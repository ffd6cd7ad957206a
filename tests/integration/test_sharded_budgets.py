"""Budgets, pauses, room and receipts hold over all processes of a `ShardedPool`."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import elsewhere
from tests.integration.test_receipts import Journal
from tests.sharded import WORKERS, is_still, origin_of_four, urls
from tests.sharded import forked_processes as forked_processes  # a fixture
from tests.waiting import LONG, eventually
from workerpool import (
    Cancelled,
    Outcome,
    Request,
    ShardedPool,
    Underway,
    WorkerPool,
)
from workerpool import stream as stream_module
from workerpool.processes import fleet as fleet_module
from workerpool.processes import supervisor as supervisor_module
from workerpool.testing import Arrival, Origin, Reply

pytestmark = pytest.mark.usefixtures("forked_processes")


@pytest.fixture
def origin() -> Iterator[Origin]:
    with origin_of_four() as made:
        yield made


@pytest.fixture(scope="module")
def pool() -> Iterator[ShardedPool]:
    """One for all tests that need no other: processes take a second to start."""
    with ShardedPool(2, WORKERS) as made:
        yield made


# -- what it costs others ----------------------------------------------------------------------------------------------


def test_a_host_that_hangs_delays_no_other(origin: Origin) -> None:
    """It comes first, and a quarter of the window is its, whichever process has it."""
    hanging = urls(origin, 400, "/delay/60")[::4]
    given = [*hanging, *(url for n, url in enumerate(urls(origin, 400)) if n % 4)]
    with ShardedPool(2, 16) as pool:
        outcomes = list(itertools.islice(pool.stream(given, window=40), 300))
        assert sum(outcome.ok for outcome in outcomes) == 300
        assert not any("delay" in outcome.url for outcome in outcomes)
        os.kill(pool.pids[0], 0)
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)  # nobody waits for a minute


def test_a_consumer_that_stalls_stops_what_is_fetched(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    size, most = 100_000, 2_000_000
    monkeypatch.setattr(stream_module, "HELD_BYTES", most)
    monkeypatch.setattr(supervisor_module, "HELD_BYTES", most)
    with ShardedPool(2, WORKERS) as pool:
        outcomes = pool.stream(urls(origin, 300, f"/bytes/{size}"))
        taken = [next(outcomes)]
        assert eventually(lambda: is_still(lambda: origin.requests))
        assert most < origin.requests * size < 4 * most  # here and there, twice, and what was in flight
        taken += outcomes
    assert len(taken) == 300


def test_processes_whose_outcomes_are_not_taken_in_stop_fetching(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, most, go_on, unpack = 100_000, 2_000_000, threading.Event(), fleet_module.unpack_outcome
    monkeypatch.setattr(supervisor_module, "HELD_BYTES", most)
    monkeypatch.setattr(fleet_module, "unpack_outcome", lambda *args: go_on.wait(LONG) and unpack(*args))
    with ShardedPool(2, WORKERS) as pool:
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(pool.stream(urls(origin, 300, f"/bytes/{size}"))))
        consumer.start()
        try:
            assert eventually(lambda: origin.requests * size > most)
            assert eventually(lambda: is_still(lambda: origin.requests))
            assert origin.requests * size < 3 * most
        finally:
            go_on.set()  # or the pool would not end
            consumer.join(LONG)
    assert len(outcomes) == 300


def test_an_outcome_whose_turn_it_is_comes_even_if_the_others_hold_all_the_room(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "HELD_BYTES", 300_000)
    monkeypatch.setattr(supervisor_module, "HELD_BYTES", 300_000)
    given = [origin.url("/delay/0.5"), *urls(origin, 200, "/bytes/50000")]
    with ShardedPool(2, 2) as pool:
        assert [outcome.url for outcome in pool.stream(given, ordered=True)] == given


def test_no_more_sockets_are_open_than_all_processes_may_have(origin: Origin) -> None:
    with ShardedPool(2, 8, max_connections=3) as pool:
        assert all(outcome.ok for outcome in pool.stream(urls(origin, 200, "/delay/0.005")))
    assert origin.connections_peak <= 3


def test_a_rate_is_that_of_all_processes_together_by_the_servers_count(origin: Origin) -> None:
    with ShardedPool(2, 8, rate="100/s", host_rate="60/s") as pool:
        began = time.monotonic()
        assert all(outcome.ok for outcome in pool.stream(urls(origin, 200)))
        took = time.monotonic() - began
    assert origin.busiest(1.0) <= 1 + 100 + 10  # what a busy machine sends 0.1 s late comes together with the next
    assert took > 1.95


def test_a_hosts_sockets_are_counted_over_processes_where_redirects_lead_to_it(origin: Origin) -> None:
    """Half of its requests come by redirects of another host, which is the other process's."""
    there = origin.url("/delay/0.02", address="127.0.0.2")
    origin.script("/here", Reply(status=302, headers={"Location": there}))
    given = [url for n in range(60) for url in (origin.url(f"/here?{n}"), f"{there}?{n}")]
    with ShardedPool(2, 16, host_connections=3) as pool:
        assert all(outcome.ok for outcome in pool.stream(given))
    assert origin.sockets("127.0.0.2").peak <= 3


def test_a_pause_of_a_host_is_kept_by_all_processes(origin: Origin) -> None:
    """The one that has its requests is told of the pause, and redirects of another host lead there."""
    paused = threading.Event()
    early: list[float] = []
    until = [0.0]

    def answer(arrival: Arrival) -> Reply:
        if arrival.address == "127.0.0.1":
            return Reply(status=302, headers={"Location": origin.url("/there", address="127.0.0.2")}, delay=0.3)
        if not paused.is_set():
            paused.set()
            until[0] = arrival.time + 2.0
            return Reply(status=429, headers={"Retry-After": "2"})
        if arrival.time < until[0]:
            early.append(arrival.time)
        return Reply()

    origin.default = answer
    with ShardedPool(2, 4, host_connections=1) as pool:
        first = pool.get(origin.url("/first", address="127.0.0.2"))
        assert paused.wait(LONG)
        assert all(outcome.ok for outcome in pool.stream([origin.url(f"/hop/{n}") for n in range(3)]))
        assert first.result(LONG).ok
    assert not early


def test_pools_of_processes_share_a_named_budget_with_others(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    with (
        ShardedPool(2, 4, host_rate="40/s", budget="ours") as several,
        WorkerPool(4, host_rate="40/s", budget="ours") as one,
    ):
        given = urls(origin, 160)[::4]
        assert several.get(given[0]).result(LONG).ok  # its processes are there
        origin.reset_records()
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(several.stream(given)))
        consumer.start()
        outcomes.extend(one.stream(given))
        consumer.join(LONG)
    assert sum(outcome.ok for outcome in outcomes) == 80
    assert origin.busiest(1.0, "127.0.0.1") <= 1 + 40 + 4  # what a busy machine sends 0.1 s late comes with the next


def test_what_processes_share_is_removed_with_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ShardedPool(2, 2, transport=elsewhere.answering_pids) as pool:
        assert all(outcome.ok for outcome in pool.stream(["http://h.test/"]))
        assert len([*tmp_path.glob("workerpool-*")]) == 1
    assert not [*tmp_path.glob("workerpool-*")]


# -- receipts ----------------------------------------------------------------------------------------------------------


def test_no_more_than_the_workers_of_all_is_sent_beyond_the_receipts(origin: Origin) -> None:
    journal = Journal()
    journal.listen(origin)
    with ShardedPool(2, WORKERS, host_connections=8) as pool:
        for batch in pool.batches(urls(origin, 80, "/x"), receipts=True):
            # Until all that may be sent is, or one process has nothing left to send, which only the time tells.
            eventually(lambda: journal.pending >= WORKERS or journal.sent.total() == 80 or half_is_done(journal), 0.3)
            journal.note(batch)
    assert journal.most <= WORKERS
    assert journal.sent.total() == 80


def half_is_done(journal: Journal) -> bool:
    """Whether only one process is left with something to send."""
    return journal.pending == WORKERS // 2 and journal.noted.total() > 40


def test_a_request_that_waits_for_a_retry_is_told_of_with_its_attempts(origin: Origin, pool: ShardedPool) -> None:
    items = [*itertools.chain.from_iterable(pool.batches([origin.url("/flaky/2")], receipts=True))]
    first, second, last = items
    assert isinstance(first, Underway)
    assert isinstance(second, Underway)
    assert isinstance(last, Outcome)
    assert [attempt.status for attempt in second.attempts] == [503, 503]
    assert last.attempts[:2] == second.attempts
    assert last.ok


def test_what_may_not_be_repeated_is_told_of_before_it_is_sent(origin: Origin, pool: ShardedPool) -> None:
    noted: list[str] = []
    late: list[str] = []

    def answer(arrival: Arrival) -> Reply:
        if arrival.method == "POST" and arrival.path not in noted:
            late.append(arrival.path)
        return Reply()

    origin.default = answer
    given = [Request(url, "POST" if n % 2 else "GET") for n, url in enumerate(urls(origin, 60))]
    note = lambda request: noted.append(request.url[request.url.index("/", 8) :])  # noqa: E731
    items = [*itertools.chain.from_iterable(pool.batches(given, receipts=True, before_send=note))]
    assert all(isinstance(item, Outcome) and item.ok for item in items)
    assert not late
    assert len(noted) == 30


def test_what_could_not_be_journalled_is_not_sent(origin: Origin, pool: ShardedPool) -> None:
    def refuse(request: Request) -> None:
        raise OSError("no space left")

    batches = pool.batches([Request(origin.url("/a"), "POST"), *urls(origin, 5)], receipts=True, before_send=refuse)
    outcomes = {item.request.method: item for batch in batches for item in batch}
    failed = outcomes["POST"]
    assert isinstance(failed, Outcome)
    assert isinstance(failed.error, Cancelled)
    assert isinstance(failed.error.__cause__, OSError)
    assert origin.requests == 5

"""One slow, limiting or dead host delays no other host; what is parked waits for nobody."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.conftest import IN_FULL
from tests.held_back import in_the_best_of_three
from workerpool import Request, RetryPolicy, Timeout, WorkerPool
from workerpool.errors import BadBody, ConnectionLost, Denied, TimedOut, TooLarge
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.places import Places
from workerpool.testing import Answer, ManualClock, Origin, OriginProcess, Reply, ScriptedTransport
from workerpool.transport import Exchange

LONG = 30  # seconds that something may take which should be there soon
HOSTS = tuple(f"127.0.1.{n}" for n in range(1, 51))
SICK, WELL = HOSTS[0], HOSTS[1:]
ROUNDS = 10 if IN_FULL else 5


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(HOSTS) as origin:
        yield origin


def seconds_for_the_well(origin: Origin, pool: WorkerPool, sources: Iterable[str]) -> float:
    """From the first to the last arrival at the 49 hosts, once each of their requests has ended."""
    wanted = len(WELL) * ROUNDS
    origin.reset_records()
    outcomes = pool.stream(sources)
    for outcome in outcomes:
        wanted -= f"/{SICK}:" not in outcome.url
        if not wanted:
            break
    outcomes.close()
    times = sorted(at for host in WELL for at in origin.records().times_at[host])
    return times[-1] - times[0]


def well_urls(origin: Origin) -> list[str]:
    return [origin.url(f"/delay/0.02?{n}", host) for n in range(ROUNDS) for host in WELL]


def test_only_hosts_that_give_no_answer_count_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that its request cannot use is one, and tells that its host is well."""
    errors = {
        "http://large.test/": TooLarge("its body is larger than 10 bytes"),
        "http://junk.test/": BadBody("its body is not what it says"),
        "http://denied.test/": Denied("not among the hosts that are allowed"),
        "http://lost.test/": ConnectionLost("the connection broke off"),
        "http://late.test/": TimedOut("no answer"),
    }

    class Failing(ScriptedTransport):
        def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Any:
            raise errors[exchange.url]

    unanswered, give_back = set[str](), Places.give_back

    def note(self: Places, host: Host, took: float | None, now: float, *, failed: bool = False) -> None:
        if failed:
            unanswered.add(f"{host.name}/")
        give_back(self, host, took, now, failed=failed)

    monkeypatch.setattr(Places, "give_back", note)
    with WorkerPool(2, transport=Failing(), retry=1) as pool:
        assert {type(outcome.error) for outcome in pool.stream(errors)} == set(map(type, errors.values()))
    assert unanswered == {"http://lost.test:80/", "http://late.test:80/"}


@pytest.mark.parametrize("sickness", ["stalled", "limited", "refusing"])
def test_one_sick_host_of_50_does_not_slow_the_other_49(origin: Origin, sickness: str) -> None:
    """As many of its requests as of the others' stand between them; it takes its own six sockets and nothing else."""
    if sickness == "limited":
        origin.script("/sick", Reply(status=429, headers={"Retry-After": "1"}), address=SICK)
    elif sickness == "refusing":
        origin.script("/sick", Reply(status=429, headers={"Retry-After": "3600"}), address=SICK)
    else:
        origin.script("/sick", Reply(delay=2), address=SICK)
    well = well_urls(origin)
    mixed = [*itertools.chain.from_iterable(zip(well, [origin.url("/sick", SICK)] * len(well), strict=True))]
    options: dict[str, Any] = {"host_connections": 6, "timeout": 10}
    with WorkerPool(10, **options) as pool:
        alone = seconds_for_the_well(origin, pool, well)
    with WorkerPool(16, **options) as pool:
        together = seconds_for_the_well(origin, pool, mixed)
    assert together < 2 * alone + 1.0


def test_a_source_that_begins_with_100000_urls_of_a_dead_host_reaches_the_others_soon(origin: Origin) -> None:
    origin.script("/dead", Reply(delay=60), address=SICK)
    dead = (origin.url(f"/dead?{n}", SICK) for n in range(100_000))
    with WorkerPool(16, timeout=0.5, retry=RetryPolicy(attempts=1)) as pool:
        began = time.monotonic()
        seconds_for_the_well(origin, pool, itertools.chain(dead, well_urls(origin)))
        assert time.monotonic() - began < 20
        assert origin.records().requests_at[SICK] < 1000


def test_with_all_workers_idle_between_slots_every_slot_is_used() -> None:
    """That none is left out, which needs threads woken in time, in the best of three."""
    with OriginProcess() as server:

        def rate_and_longest_gap() -> tuple[float, float]:
            server.reset_records()
            with WorkerPool(16, rate="200/s") as pool:
                for outcome in pool.stream([server.url("/")] * 300):
                    assert outcome.ok
                assert pool.statistics().sockets_opened <= 16
            records = server.records()
            assert records.busiest(1.0) <= 1 + 200 + 10  # what is sent in time may arrive 50 ms late
            return records.rate(), max(later - earlier for earlier, later in itertools.pairwise(records.times))

        in_the_best_of_three(rate_and_longest_gap, lambda found: found[0] >= 195 and found[1] < 0.1)


def test_a_parked_retry_needs_one_free_worker_and_nobody_to_finish() -> None:
    go, retried = threading.Event(), threading.Event()
    tries = itertools.count()

    def script(request: Request, url: str) -> Answer:
        if "retry" in url:
            if next(tries) == 0:
                return Answer(503, headers={"Retry-After": "0.3"})
            retried.set()
            return Answer()
        assert go.wait(LONG)
        return Answer()

    with WorkerPool(4, transport=ScriptedTransport(script)) as pool:
        long = [pool.get(f"http://h{n}.test/") for n in range(3)]
        future = pool.get("http://retry.test/")
        assert retried.wait(LONG)
        assert future.result(LONG).ok
        assert not any(one.done() for one in long)
        go.set()


def test_a_retry_that_is_parked_holds_no_worker() -> None:
    """One worker fetches everything else while a hundred requests wait for their hosts."""
    transport = ScriptedTransport(
        lambda request, url: Answer(503, headers={"Retry-After": "60"}) if "busy" in url else Answer()
    )
    with WorkerPool(1, transport=transport) as pool:
        parked = [pool.get(f"http://busy{n}.test/") for n in range(100)]
        assert all(outcome.ok for outcome in pool.stream(f"http://h{n}.test/" for n in range(100)))
        assert pool.statistics().parked == 100
        pool.shutdown(cancel_futures=True)
    assert all(one.done() for one in parked)


def test_a_parked_request_wakes_on_a_manual_clock_when_its_time_has_come_and_not_before() -> None:
    clock = ManualClock()
    answers = iter([Answer(503, headers={"Retry-After": "3600"})])
    policy = RetryPolicy(retry_after_max=7200, backoff=0, total=None)
    transport = ScriptedTransport(lambda request, url: next(answers, Answer()))
    with WorkerPool(2, clock=clock, retry=policy, transport=transport) as pool:
        future = pool.get("http://a.test/")
        clock.wait_until_waiting()
        clock.advance(3599)
        clock.wait_until_waiting()
        assert (pool.statistics().parked, transport.sends) == (1, 1)
        clock.advance(1.1)
        assert future.result(LONG).ok


def test_a_redirect_enters_the_lane_of_its_target_and_counts_there(origin: Origin) -> None:
    there = origin.url("/delay/0.1", WELL[0])
    urls = [origin.url(f"/redirect-to?url={there}", SICK)] * 8
    with WorkerPool(8, host_connections=2) as pool:
        assert all(outcome.ok and len(outcome.response.history) == 1 for outcome in pool.stream(urls))  # type: ignore[union-attr]
    sockets = origin.records().sockets_at
    assert sockets[WELL[0]].peak <= 2
    assert sockets[SICK].peak <= 2


def test_a_redirect_to_a_paused_host_waits_for_it_and_the_others_go_on(origin: Origin) -> None:
    there = origin.url("/", WELL[0])
    with WorkerPool(2, retry=1) as pool:
        pool.get(origin.url("/retry-after/1", WELL[0])).result(LONG)
        began = time.monotonic()
        turned = pool.get(origin.url(f"/redirect-to?url={there}", SICK))
        assert all(outcome.ok for outcome in pool.stream([origin.url("/", host) for host in WELL[1:20]]))
        assert time.monotonic() - began < 0.9
        assert turned.result(LONG).ok
    first, second = origin.records().times_at[WELL[0]]
    assert second - first > 0.95


def test_hosts_are_served_in_turn() -> None:
    order: list[str] = []

    def script(request: Request, url: str) -> Answer:
        order.append(url)
        return Answer()

    gate = threading.Event()
    with WorkerPool(1, transport=ScriptedTransport(script)) as pool:
        pool.submit(gate.wait, LONG)
        futures = [pool.get(f"http://{host}.test/") for host in "a" * 30 + "b" * 3 + "c"]
        gate.set()
        for future in futures:
            future.result(LONG)
    hosts = [url[7] for url in order]
    assert hosts[:3] == ["a", "b", "c"]
    assert hosts[:7].count("b") == 3

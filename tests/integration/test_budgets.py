"""Neither budget is ever exceeded, as the server counts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.held_back import in_the_best_of_three
from tests.waiting import LONG
from workerpool import Request, RetryPolicy, WorkerPool
from workerpool.testing import Origin, OriginProcess, Reply, ScriptedTransport

LATE = 0.05
"""Seconds that what was sent in time may take to the server of a busy machine: what follows it comes too soon."""
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture(scope="module")
def server() -> Iterator[OriginProcess]:
    with OriginProcess(HOSTS) as server:
        yield server


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(HOSTS) as origin:
        yield origin


def fetch_all(pool: WorkerPool, urls: Any) -> None:
    outcomes = [*pool.stream(urls)]
    assert all(outcome.ok for outcome in outcomes), [str(outcome.error) for outcome in outcomes if outcome.error][:3]


def gaps(origin: Origin) -> list[float]:
    times = [arrival.time for arrival in origin.arrivals]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


# -- rate --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_200_a_second_is_200_a_second_by_the_servers_count(server: OriginProcess) -> None:
    def rate() -> float:
        server.reset_records()
        with WorkerPool(16, rate="200/s") as pool:
            fetch_all(pool, [server.url("/")] * 600)
        records = server.records()
        assert records.requests == 600
        assert records.busiest(1.0) <= 1 + 200 + LATE * 200
        assert records.busiest(0.1) <= 1 + 20 + LATE * 200
        assert records.sockets.peak <= 16
        assert records.rate() <= 204
        return records.rate()

    in_the_best_of_three(rate, lambda rate: rate >= 198)


def test_a_burst_is_spent_at_once_and_then_the_rate_holds(server: OriginProcess) -> None:
    server.reset_records()
    with WorkerPool(16, rate="50/s", burst=20, host_connections=16) as pool:
        fetch_all(pool, [server.url("/")] * 70)
    records = server.records()
    assert records.busiest(0.15) >= 20  # the burst is used
    assert records.busiest(0.5) <= 20 + 25 + 3
    assert 0.9 <= records.times[-1] - records.times[0] <= 1.3


def test_retries_and_redirect_hops_spend_slots(origin: Origin) -> None:
    with WorkerPool(8, rate="50/s", retry=RetryPolicy(attempts=3, backoff=0)) as pool:
        fetch_all(pool, [origin.url(f"/flaky/2?{n}") for n in range(4)] + [origin.url("/redirect/3")] * 3)
        assert pool.statistics().sent == 4 * 3 + 3 * 4 == origin.requests
        assert (pool.statistics().retries, pool.statistics().redirects) == (8, 9)
    times = [arrival.time for arrival in origin.arrivals]
    assert times[-1] - times[0] >= 23 / 50 - LATE
    assert origin.busiest(0.2) <= 1 + 10 + 2


def test_every_host_has_its_own_rate(server: OriginProcess) -> None:
    urls = [server.url(f"/bytes/1?{n}", address) for n in range(40) for address in HOSTS]

    def rates() -> list[float]:
        server.reset_records()
        with WorkerPool(8, host_rate="40/s") as pool:
            fetch_all(pool, urls)
        records = server.records()
        for address in HOSTS:
            assert records.requests_at[address] == 40
            assert records.busiest(0.5, address) <= 1 + 20 + 2
            assert records.rate(address) <= 43
        return [records.rate(), *(records.rate(address) for address in HOSTS)]

    # side by side, not one after the other
    in_the_best_of_three(rates, lambda rates: rates[0] > 80 and min(rates[1:]) >= 35)


def test_the_rate_of_the_pool_holds_over_all_hosts_together(server: OriginProcess) -> None:
    urls = [server.url(f"/bytes/1?{n}", address) for n in range(30) for address in HOSTS]

    def rate() -> float:
        server.reset_records()
        with WorkerPool(8, rate="60/s", host_rate="40/s") as pool:
            fetch_all(pool, urls)
        records = server.records()
        assert records.rate() <= 63
        assert records.busiest(0.5) <= 1 + 30 + LATE * 60
        assert all(records.busiest(0.5, address) <= 1 + 20 + LATE * 40 for address in HOSTS)
        return records.rate()

    in_the_best_of_three(rate, lambda rate: rate >= 57)


def test_a_weight_spends_so_many_slots(origin: Origin) -> None:
    requests = [Request(origin.url(f"/{n}"), weight=5) for n in range(5)]

    def shortest() -> float:
        origin.reset_records()
        with WorkerPool(4, rate="50/s", burst=5, retry=1) as pool:
            assert len([*pool.stream(requests)]) == 5
        return min(gaps(origin))

    in_the_best_of_three(shortest, lambda gap: gap > 0.085)  # 5 slots of 20 ms each


def test_a_rate_far_above_1000_a_second_is_reached_and_kept() -> None:
    with WorkerPool(4, rate="5000/s", transport=ScriptedTransport()) as pool:
        began = time.monotonic()
        fetch_all(pool, (f"http://h{n % 20}.test/" for n in range(4000)))
        took = time.monotonic() - began
    assert 0.79 <= took <= 2.5


# -- sockets -----------------------------------------------------------------------------------------------------------


def test_sockets_to_a_host_stay_within_its_budget(origin: Origin) -> None:
    with WorkerPool(16, host_connections=3) as pool:
        fetch_all(pool, [origin.url("/delay/0.01", address) for address in HOSTS for _ in range(20)])
        assert pool.statistics().sockets_open == origin.connections_open
    sockets = origin.records().sockets_at
    assert all(1 <= sockets[address].peak <= 3 for address in HOSTS)


def test_sockets_in_all_stay_within_the_budget_idle_ones_included(origin: Origin) -> None:
    with WorkerPool(16, max_connections=4, rate="100/s") as pool:
        for address in HOSTS:
            fetch_all(pool, [origin.url("/delay/0.05", address)] * 8)  # leaves idle sockets to each
        fetch_all(pool, [origin.url(f"/delay/0.005?{n}", HOSTS[n % 3]) for n in range(60)])
        assert pool.statistics().sockets_open <= 4
    assert origin.connections_peak <= 4


def test_a_socket_counts_until_the_server_sees_it_close(origin: Origin) -> None:
    """A response that says "Connection: close" still holds its socket while its body comes."""
    origin.script("/slow", Reply(body=bytes(10), drip=0.03, close=True))
    with WorkerPool(8, max_connections=4, rate="50/s") as pool:
        fetch_all(pool, [origin.url("/delay/0.2")] * 4)
        fetch_all(pool, [origin.url("/slow", "127.0.0.2")] * 8)
    assert origin.connections_peak <= 4


def test_a_key_function_decides_whose_budget_a_socket_is_in(origin: Origin) -> None:
    """Two origins under one key share its sockets; one origin under several keys has some for each."""
    with WorkerPool(4, host_connections=1, host_key=lambda url: "all") as pool:
        fetch_all(pool, [origin.url("/", address) for address in HOSTS for _ in range(3)])
    assert origin.connections_peak == 1
    origin.wait_until(lambda: origin.connections_open == 0)
    origin.reset_records()
    with WorkerPool(4, host_connections=1, host_key=lambda url: url) as pool:
        fetch_all(pool, [origin.url(f"/delay/0.3?{n}") for n in range(3)])
    assert origin.connections_peak == 3


def test_hosts_behind_one_proxy_do_not_share_a_hosts_budget(origin: Origin) -> None:
    origin.default = Reply(delay=0.2)
    requests = [Request(f"http://h{n}.test/", proxies={"http": origin.url("/")}) for n in range(4)]
    with WorkerPool(4, host_connections=1) as pool:
        fetch_all(pool, requests)
    assert origin.connections_peak == 4


def test_warming_opens_sockets_within_both_budgets(origin: Origin) -> None:
    with WorkerPool(8, host_connections=3, max_connections=7) as pool:
        opened = pool.warm([origin.url("/", address) for address in HOSTS])
        assert opened == 7 == pool.statistics().sockets_idle
        origin.wait_until(lambda: origin.connections_open == 7)
        assert pool.warm([origin.url("/")]) == 0
    assert origin.requests == 0
    assert max(sockets.peak for sockets in origin.records().sockets_at.values()) <= 3


def test_a_certificate_and_its_key_may_come_in_a_list_where_a_socket_is_warmed(origin: Origin, tmp_path: Path) -> None:
    cert = [str(tmp_path / name) for name in ("cert.pem", "key.pem")]
    for name in cert:
        Path(name).touch()
    with WorkerPool(1, cert=cert) as pool:  # type: ignore[arg-type]
        assert pool.warm([origin.url("/")]) == 1


def test_a_warmed_socket_serves_the_first_request(origin: Origin) -> None:
    with WorkerPool(4, rate="1/s") as pool:
        assert pool.warm([origin.url("/"), "http://127.0.0.1:1/"]) >= 1
        opened = pool.statistics().sockets_opened
        (outcome,) = pool.stream([origin.url("/")])
        assert outcome.ok
        assert pool.statistics().sockets_opened == opened
        assert pool.statistics().sent == 1
    assert origin.records().sockets.opened == 4


def test_pool_session_and_requests_share_both_budgets(origin: Origin) -> None:
    with WorkerPool(8, rate="100/s", host_connections=2, max_connections=3) as pool:
        url = origin.url("/delay/0.01")
        futures: list[Any] = [pool.submit(lambda: pool.session.get(url)) for _ in range(20)]
        futures += [pool.get(url) for _ in range(20)]
        assert all(future.result(LONG).ok for future in futures)
        assert pool.statistics().sent == 40
    assert origin.connections_peak <= 2
    assert origin.busiest(0.1) <= 1 + 10 + 3

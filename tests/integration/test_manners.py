"""Hidden limits and sick hosts, by the servers' own counts. The bounds are loose: a machine has other things to do.

`python -m benchmarks.manners` and `python -m benchmarks.fifty_hosts` measure the same for longer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from benchmarks import nginx
from benchmarks.fifty_hosts import KINDS, Hosts, fifty_hosts, measure, silent
from benchmarks.limited_nginx import limiting_connections, limiting_rate
from benchmarks.manners.clients import CLIENTS
from benchmarks.manners.hidden import HIDDEN
from benchmarks.manners.measuring import Row, run
from tests.conftest import IN_FULL, some
from tests.held_back import in_the_best_of_three

SECONDS = 4.0 if IN_FULL else 3.0
"""Seconds that a client has."""


def meet(
    limit: str, client: str, require: Callable[[object, str], None], seconds: float = SECONDS
) -> tuple[Row, float]:
    """Let a client meet a hidden limit; returns what the server counted, and the share of the limit that was used."""
    (hidden,) = (hidden for hidden in HIDDEN if hidden.name == limit)
    (chosen,) = (known for known in CLIENTS if known.name == client)
    require(not hidden.needs_nginx or nginx.find(), "nginx is not installed")
    (row,) = run(hidden, [chosen], seconds)
    return row, row.accepted / hidden.capacity(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("limit", some(["nginx-rate", "bucket", "nginx-connections", "queue", "window-ietf"], 3))
def test_a_pool_that_is_told_a_limit_is_not_refused_and_uses_it(
    limit: str, require: Callable[[object, str], None]
) -> None:
    def used() -> float:
        row, used = meet(limit, "told", require)
        assert row.refused == 0
        assert row.ended.failed == 0
        return used

    in_the_best_of_three(used, lambda used: used >= (0.3 if limit in ("nginx-connections", "queue") else 0.8))


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with fifty_hosts() as hosts:
        yield hosts


def test_hosts_with_a_rate_of_their_own_lose_no_time_to_15_sick_ones(hosts: Hosts) -> None:
    options = {"max_workers": 64, "max_connections": 512, "host_rate": "8/s"}
    alone, together = (measure(hosts, 12, kinds, options=options, timeout=60) for kinds in ((), KINDS))
    assert together < 1.3 * alone


@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_hosts_lose_little_time_to_15_sick_ones_that_want_the_same_places(hosts: Hosts) -> None:
    """Without a rate all of them want every place; 1.1 on a quiet machine, and over 4 if turns were all."""
    options = {"max_workers": 64}
    alone, together = (measure(hosts, 60, kinds, options=options, timeout=60) for kinds in ((), KINDS))
    assert together < 2 * alone


# What these stand on


def test_a_client_that_is_not_told_a_limit_meets_it(require: Callable[[object, str], None]) -> None:
    """Otherwise one that is told would be no better."""
    row, used = meet("bucket", "plain", require, seconds=1.0)
    assert row.refused > 0
    assert row.incidents > 0
    assert used <= 1


def test_nginx_refuses_what_comes_above_its_rate_and_counts_it(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    binary = nginx.find()
    require(binary, "nginx is not installed")
    limited = limiting_rate(str(binary), tmp_path, rate=1, burst=2, retry_after=7, delay=0)
    with limited as server, requests.Session() as session:
        answers = [session.get(server.url + str(number), timeout=10) for number in range(5)]
    records = server.records()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 503]
    assert [answer.headers.get("Retry-After") for answer in answers] == [None, None, None, "7", "7"]
    assert (records.answers.accepted, records.answers.refused, records.sockets.peak) == (3, 2, 1)
    assert len(records.times) == 5
    assert [*records.refusals] == [*records.times][3:]


def test_nginx_refuses_whom_it_has_no_place_for(tmp_path: Path, require: Callable[[object, str], None]) -> None:
    binary = nginx.find()
    require(binary, "nginx is not installed")
    together = threading.Barrier(4)

    def status(url: str) -> int:
        together.wait(10)
        return requests.get(url, timeout=10).status_code

    with limiting_connections(str(binary), tmp_path, most=2, delay=0.5) as server, ThreadPoolExecutor(4) as threads:
        statuses = [*threads.map(status, 4 * [server.url])]
    records = server.records()
    assert sorted(statuses) == [200, 200, 503, 503]
    assert records.answers.seconds >= 1
    assert records.sockets.peak >= 3


def test_a_silent_host_lets_nobody_in() -> None:
    with silent("127.0.6.9") as port, socket.socket() as client:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.connect(("127.0.6.9", port))

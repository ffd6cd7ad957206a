"""The ends of a `ShardedPool` and of its processes: killed, shut down, dropped, forked, interrupted."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tenacity import wait_fixed

from tests import elsewhere
from tests.commands import environment, run_here
from tests.conftest import IN_FULL
from tests.forked import ForkedCommand
from tests.integration.test_receipts import Journal
from tests.sharded import WORKERS, is_still, is_there, none_is_left, origin_of_four, urls
from tests.sharded import forked_processes as forked_processes  # a fixture
from tests.sharded import real_start as real_start  # another one
from tests.waiting import LONG, eventually
from workerpool import (
    Cancelled,
    Job,
    Outcome,
    OutcomeUnknown,
    ProcessesLost,
    Request,
    RetryPolicy,
    ShardedPool,
)
from workerpool.testing import Arrival, Origin, Reply

pytestmark = pytest.mark.usefixtures("forked_processes")


@pytest.fixture
def origin() -> Iterator[Origin]:
    with origin_of_four() as made:
        yield made


# -- the end of a process ----------------------------------------------------------------------------------------------


def test_the_requests_of_a_process_that_is_killed_are_done_by_another(origin: Origin) -> None:
    given = urls(origin, 500, "/delay/0.004")
    with ShardedPool(2, 8) as pool:
        outcomes = []
        for number, outcome in enumerate(pool.stream(given)):
            outcomes.append(outcome)
            if number in (100, 300):
                os.kill(pool.pids[number == 300], signal.SIGKILL)
        assert pool.statistics().workers == 8
    assert sorted(outcome.url for outcome in outcomes) == sorted(given)
    assert all(outcome.ok for outcome in outcomes), [outcome for outcome in outcomes if not outcome.ok][:3]
    assert origin.requests < 600  # what was being sent, and what had ended and was not told yet


def test_what_may_have_been_sent_by_a_process_that_is_killed_and_may_not_be_repeated_is_unknown(origin: Origin) -> None:
    hold = threading.Event()
    seen: Counter[str] = Counter()

    def answer(arrival: Arrival) -> Reply:
        seen[arrival.path] += 1
        return Reply(delay=0.0 if hold.is_set() else 30.0)

    origin.default = answer
    given = [Request(url, "POST") for url in urls(origin, 40)]
    with ShardedPool(2, WORKERS) as pool:
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(pool.stream(given)))
        consumer.start()
        assert eventually(lambda: len(seen) == WORKERS)
        hold.set()
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        consumer.join(LONG)
    unknown = [outcome for outcome in outcomes if not outcome.ok]
    assert len(outcomes) == 40
    assert len(unknown) == WORKERS
    assert all(isinstance(outcome.error, OutcomeUnknown) for outcome in unknown)
    assert "POST is not repeated blindly" in str(unknown[0].error)
    assert max(seen.values()) == 1


def test_attempts_that_a_killed_process_has_made_count(origin: Origin) -> None:
    answers = itertools.count()
    origin.default = lambda arrival: Reply(status=503 if next(answers) < 2 else 200)
    policy = RetryPolicy(attempts=4, wait=wait_fixed(1.0))
    with ShardedPool(2, 2, retry=policy) as pool:

        def knows_an_attempt() -> bool:
            return any(given.attempts for berth in pool._fleet._berths for given in [*berth.given.values()])

        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(pool.stream([origin.url("/a")])))
        consumer.start()
        assert eventually(knows_an_attempt)  # it is told a little after a process counts it as parked
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        consumer.join(LONG)
    (outcome,) = outcomes
    assert outcome.ok
    assert [attempt.status for attempt in outcome.attempts] == [503, 503, 200]


def test_receipts_hold_where_a_process_is_killed(origin: Origin) -> None:
    journal = Journal()
    journal.listen(origin)
    with ShardedPool(2, WORKERS, host_connections=8) as pool:
        outcomes: Counter[str] = Counter()
        kills = 0
        for batch in pool.batches(urls(origin, 400, "/x"), receipts=True):
            outcomes.update(item.request.url for item in batch if isinstance(item, Outcome))
            if len(outcomes) > 100 and kills == 0:
                os.kill(pool.pids[0], signal.SIGKILL)
                kills = 1
                assert eventually(lambda: is_still(lambda: origin.requests))
            with journal._lock:
                journal.pending -= len(batch)
    assert len(outcomes) == 400
    assert set(outcomes.values()) == {1}
    assert journal.most <= WORKERS + WORKERS // 2  # what the killed one had sent, and what its successor sends
    assert origin.requests <= 400 + WORKERS // 2


def test_the_successor_of_a_process_sends_nothing_while_all_its_places_wait_for_receipts(origin: Origin) -> None:
    with ShardedPool(2, WORKERS, host_connections=8) as pool:
        batches = pool.batches(urls(origin, 100), receipts=True)
        first = next(batches)
        (stream,) = pool._streams
        assert eventually(lambda: len(first) + stream._ended.qsize() == WORKERS)
        killed = pool.pids
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not {*killed} & {*pool.pids} and pool.statistics().workers == WORKERS)
        assert is_still(lambda: origin.requests)
        assert origin.requests == WORKERS
        rest = [*itertools.chain.from_iterable(batches)]
    assert len(first) + len(rest) == origin.requests == 100


def test_a_process_ignores_the_signals_that_are_its_parents_to_act_on_from_the_first_moment(
    origin: Origin, real_start: None
) -> None:
    with ShardedPool(2, 2) as pool:
        pids = pool.pids
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for pid in pids:
                os.kill(pid, number)
        assert sum(outcome.ok for outcome in pool.stream(urls(origin, 20))) == 20
        assert pool.pids == pids


def test_processes_that_end_again_and_again_are_told_of() -> None:
    given = ["http://a.test/kill", *(f"http://b.test/{n}" for n in range(50))]
    outcomes: list[Outcome] = []

    def take() -> None:
        for outcome in pool.stream(given):
            outcomes.append(outcome)  # noqa: PERF402  what comes before it raises counts

    with ShardedPool(2, 2, transport=elsewhere.ending) as pool:
        assert not pool._broken
        with pytest.raises(ProcessesLost, match="ended unasked within 60 s, the last one by signal 9"):
            take()
        assert len(outcomes) == 51
        (lost,) = [outcome for outcome in outcomes if outcome.url.endswith("kill")]
        assert isinstance(lost.error, Cancelled)
        with pytest.raises(ProcessesLost):
            take()
        assert pool._broken
        assert eventually(lambda: pool.pids == [])


def test_leaving_a_stream_forgets_its_requests_and_the_pool_goes_on(origin: Origin) -> None:
    with ShardedPool(2, WORKERS) as pool:
        for _ in range(3):
            next(pool.stream(urls(origin, 200, "/delay/0.01")))
            gc.collect()
        assert sum(outcome.ok for outcome in pool.stream(urls(origin, 20))) == 20
        assert len(pool._fleet._consumers._consumers) == 1
        assert eventually(lambda: pool.statistics().queued == 0)


def test_shutdown_ends_all_processes_and_takes_no_more(origin: Origin) -> None:
    pool = ShardedPool(2, 2)
    pids = pool.pids
    future = pool.get(origin.url("/delay/0.2"))
    pool.shutdown()
    assert future.result(0).ok
    assert not any(map(is_there, pids))
    assert pool.pids == []
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.get(origin.url("/"))
    pool.shutdown()


def test_shutdown_can_cancel_what_is_not_being_sent(origin: Origin) -> None:
    pool = ShardedPool(2, 2, host_connections=1)
    futures = [pool.get(origin.url(f"/delay/0.3?i={n}")) for n in range(20)]
    origin.wait_for(1)
    pool.shutdown(cancel_futures=True)
    results = [future.exception(0) for future in futures]
    assert sum(result is None for result in results) == origin.requests <= 2
    assert all(result is None or isinstance(result, Cancelled) for result in results)


def test_a_pool_that_is_dropped_takes_its_processes_along(origin: Origin) -> None:
    pool = ShardedPool(2, 2)
    pids = pool.pids
    assert pool.get(origin.url("/")).result(LONG).ok
    waiting = pool.get(origin.url("/delay/30"))
    del pool
    gc.collect()
    assert none_is_left(pids)
    with pytest.raises(Cancelled, match="dropped without shutdown"):
        waiting.result(LONG)


def test_a_pool_that_is_dropped_after_shutdown_ends_what_it_has(origin: Origin) -> None:
    pool = ShardedPool(2, 2)
    pids = pool.pids
    waiting = [pool.get(origin.url(f"/delay/0.3?{n}")) for n in range(3)]
    pool.shutdown(wait=False)
    del pool
    gc.collect()
    assert all(future.result(LONG).ok for future in waiting)
    assert none_is_left(pids)


def test_a_process_is_replaced_that_is_killed_while_one_of_its_own_holds_its_line(origin: Origin) -> None:
    with ShardedPool(1, 1) as pool:
        future = pool.get(origin.url("/delay/1"), auth=elsewhere.ForkingAuth())
        origin.wait_for(1)
        pids = pool.pids
        os.kill(pids[0], signal.SIGKILL)
        assert eventually(lambda: pool.pids not in ([], pids), LONG)
        assert future.result(LONG).ok


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking with threads, which is what this is about
def test_a_forked_child_begins_with_processes_of_its_own(origin: Origin, real_start: None) -> None:
    with ShardedPool(2, 2) as pool:
        assert pool.get(origin.url("/bytes/1")).result(LONG).ok
        ours = pool.pids
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                is_other = pool.pids == []  # before they are needed
                is_ok = pool.get(origin.url("/bytes/2")).result(LONG).ok
                is_other = is_other and not set(pool.pids) & set(ours)
                pool.shutdown()
                os.write(writes, b"ok" if is_ok and is_other else b"no")
                code = 0
            finally:
                os._exit(code)
        os.close(writes)
        with open(reads, "rb") as told:
            assert told.read() == b"ok"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pool.pids == ours
        assert pool.get(origin.url("/bytes/3")).result(LONG).ok


# -- scripts, the command line and jobs --------------------------------------------------------------------------------


def run_script(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    path = directory / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


@contextlib.contextmanager
def running(directory: Path, *words: str) -> Iterator[tuple[ForkedCommand, Callable[[], list[int]]]]:
    """Run the command in a process group of its own; the process, and a function that lists its children."""
    command = ["run", "urls.txt", "-o", "out.jsonl", "--no-progress", *words, "--processes", "2", "--workers", "4"]

    def children() -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]

    with ForkedCommand(*command, cwd=directory, start_new_session=True) as process:
        yield process, children


def test_a_function_of_the_main_module_is_refused_with_what_would_do(tmp_path: Path) -> None:
    script = (
        "from workerpool import OptionError, ShardedPool\n"
        "def key(url): return url\n"
        "try: ShardedPool(2, 2, host_key=key)\n"
        "except OptionError as error: print(error)\n"
    )
    done = run_script(tmp_path, script)
    assert "host_key= is a function that" in done.stdout
    assert "only the program's main module has" in done.stdout
    assert "name a function or a class of a module" in done.stdout


def test_a_script_needs_no_guard_and_its_processes_leave_its_main_module_alone(tmp_path: Path, origin: Origin) -> None:
    script = (
        "import workerpool\n"
        "print('begun')\n"
        f"print(sum(one.ok for one in workerpool.fetch({urls(origin, 8)!r}, processes=2, max_workers=2)))\n"
    )
    assert run_script(tmp_path, script).stdout.split() == ["begun", "8"]


def test_a_signal_to_the_whole_group_finishes_what_is_being_sent(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "urls.txt").write_text("\n".join(urls(origin, 2000, "/delay/0.05")))
    with running(tmp_path) as (process, children):
        origin.wait_for(20)
        pids = children()
        assert len(pids) == 2
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=LONG)
    assert process.returncode == 130, said
    assert b"finishing" in said
    assert b"Traceback" not in said
    records = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(records) >= 20
    assert none_is_left(pids)


def test_a_second_signal_ends_it_at_once_and_its_processes_too(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "urls.txt").write_text("\n".join(urls(origin, 40, "/delay/30")))
    with running(tmp_path, "--timeout", "60") as (process, children):
        origin.wait_for(4)
        pids = children()
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        assert b"finishing 4 requests in flight" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(LONG)
        assert process.returncode == 130
        assert none_is_left(pids, 2.0)


def test_a_run_that_is_killed_leaves_nothing_behind(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "urls.txt").write_text("\n".join(urls(origin, 40, "/delay/30")))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with running(tmp_path, "--timeout", "60") as (process, children):
        origin.wait_for(4)
        pids = children()
        assert [*scratch.iterdir()]
        process.kill()
        assert none_is_left(pids, 1.5)
    assert not [*scratch.iterdir()]


def test_a_job_that_is_killed_with_its_processes_goes_on(tmp_path: Path, origin: Origin) -> None:
    given = urls(origin, 300, "/delay/0.02")
    (tmp_path / "urls.txt").write_text("\n".join(given))
    for arrivals in (50, 150) if IN_FULL else (100,):
        with running(tmp_path, "--job", "a.job") as (process, children):
            origin.wait_for(arrivals, LONG)
            pids = children()
            process.kill()
            assert none_is_left(pids)
    with running(tmp_path, "--job", "a.job") as (process, _):
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    records = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(records) == 300
    assert origin.requests <= 300 + 2 * 4


def test_a_job_of_a_program_may_have_several_processes(tmp_path: Path, origin: Origin) -> None:
    job = Job(tmp_path / "a.job", requests=urls(origin, 50), output=str(tmp_path / "out.jsonl"))
    result = job.run(processes=2, max_workers=4)
    assert result.ok == 50
    assert origin.requests == 50


def test_more_processes_than_workers_are_refused_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(["run", "-", "-o", "-", "--processes", "3", "--workers", "2"], capsys, b"")
    assert done.returncode == 2
    assert "--processes=3 is more than --workers=2" in done.stderr

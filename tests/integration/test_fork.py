"""A pool in forked processes: each has sockets, threads and locks of its own, and harms nobody else's.

Children report by their exit code and end within a deadline, or are killed. A child that forks from pytest must never
return into it, so each runs one function and leaves by `os._exit`.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from benchmarks.nginx import free_port
from tests.certificates import Authority
from tests.conftest import IN_FULL
from tests.waiting import let_pass, until_accepting
from workerpool import Request, WorkerPool, forking
from workerpool.forking import tell_of_forks
from workerpool.testing import Origin, OriginProcess

# Python 3.12 and later warn of every fork while there are threads; that it goes well is what these show.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

LIMIT = 30.0  # seconds that a child has


class Child:
    """A forked process that runs `act`; its exit code is 0 if that returns."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid:
            self._handle = os.pidfd_open(self.pid)
            return
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def has_ended(self, within: float = LIMIT) -> bool:
        return bool(select.select([self._handle], [], [], within)[0])

    def end(self, within: float = LIMIT) -> int | None:
        """Wait for it; returns its exit code, or None if it had to be killed."""
        in_time = self.has_ended(within)
        if not in_time:
            os.kill(self.pid, signal.SIGABRT)  # which has it tell where its threads are: pytest has asked for that
        os.close(self._handle)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code if in_time else None


class Flags:
    """What a parent and its child tell each other: named pipes' ends, each a flag that is set once."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def set(self) -> None:
        os.write(self._writer, b"!")

    def wait(self) -> None:
        if not select.select([self._reader], [], [], LIMIT)[0]:
            raise TimeoutError("the other process did not get there")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture
def flag() -> Iterator[Flags]:
    flag = Flags()
    yield flag
    flag.close()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def fetch_all(pool: WorkerPool, urls: list[str]) -> None:
    outcomes = list(pool.stream(Request(url, headers={"X-Process": str(os.getpid())}) for url in urls))
    assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
    assert len(outcomes) == len(urls)


def processes_by_connection(origin: Origin) -> dict[int, set[str]]:
    """By the server's number of each connection, the processes whose requests came over it."""
    seen: dict[int, set[str]] = defaultdict(set)
    for arrival in origin.arrivals:
        seen[arrival.connection].add(arrival.headers["x-process"])
    return seen


def sockets_to(port: int, pid: int | None = None) -> list[tuple[int, str]]:
    """A process's own ports that are connected to `port`, and their states, as the kernel has them."""
    connections = psutil.Process(pid).net_connections("tcp")
    return [(each.laddr.port, each.status) for each in connections if each.raddr and each.raddr.port == port]


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_parent_and_children_use_a_pool_at_once_over_sockets_of_their_own(ca: Authority, is_tls: bool) -> None:
    """No connection carries requests of two processes, by the server's count."""
    with Origin(tls=ca.context() if is_tls else None) as origin, WorkerPool(4, verify=ca.file) as pool:
        urls = [origin.url(f"/bytes/{number}") for number in range(100)]
        fetch_all(pool, urls)
        children = [Child(lambda: fetch_all(pool, urls)) for _ in range(2)]
        fetch_all(pool, urls)
        assert [child.end() for child in children] == [0, 0]
        fetch_all(pool, urls)
        seen = processes_by_connection(origin)
        assert all(len(processes) == 1 for processes in seen.values())
        assert set.union(*seen.values()) == {str(pid) for pid in (os.getpid(), *(child.pid for child in children))}
        assert origin.requests == 500


def test_children_of_multiprocessing_use_the_pool_they_inherit() -> None:
    """Each ends as a process does, its pool not shut down."""
    with Origin() as origin, WorkerPool(4) as pool:
        urls = [origin.url("/")] * 50
        fetch_all(pool, urls)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=fetch_all, args=(pool, urls)) for _ in range(2)]
        for child in children:
            child.start()
        fetch_all(pool, urls)
        try:
            for child in children:
                child.join(LIMIT)
            assert [child.exitcode for child in children] == [0, 0]
        finally:
            for child in children:
                child.kill()
                child.join()
        assert all(len(processes) == 1 for processes in processes_by_connection(origin).values())


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_a_childs_end_closes_nothing_of_its_parents(ca: Authority, is_tls: bool) -> None:
    """Whether it leaves its pool alone, uses it, shuts it down or collects its garbage: the idle sockets live on."""

    def use() -> None:
        fetch_all(pool, [origin.url("/")] * 10)

    def shut_down() -> None:
        pool.shutdown()
        gc.collect()

    with Origin(tls=ca.context() if is_tls else None) as origin, WorkerPool(4, verify=ca.file) as pool:
        fetch_all(pool, [origin.url("/delay/0.05")] * 4)
        mine = sockets_to(origin.port)
        assert len(mine) == pool.statistics().sockets_idle > 1
        for act in (gc.collect, use, shut_down):
            assert Child(act).end() == 0
        assert sorted(sockets_to(origin.port)) == sorted(mine)
        assert {status for _, status in mine} == {"ESTABLISHED"}
        origin.wait_until(lambda: origin.connections_open == len(mine))
        opened = origin.connections_opened
        fetch_all(pool, [origin.url("/delay/0.05")] * len(mine))
        assert origin.connections_opened == opened
        assert pool.statistics().sockets_lost == 0


def test_a_child_that_ends_sends_nothing_over_its_parents_tls_sockets(ca: Authority) -> None:
    """No close_notify above all, which would end the connection for its parent too: by the bytes that arrive."""
    listener = socket.create_server(("127.0.0.1", 0))
    served: list[ssl.SSLSocket] = []

    def serve() -> None:
        plain, _ = listener.accept()
        plain.settimeout(LIMIT)
        sock = ca.context().wrap_socket(plain, server_side=True)
        served.append(sock)
        while b"\r\n\r\n" not in sock.recv(65536):
            pass
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener, WorkerPool(1, verify=ca.file) as pool:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        assert pool.get(url).result(LIMIT).text == "ok"
        thread.join(LIMIT)
        for act in (gc.collect, pool.shutdown):
            assert Child(act).end() == 0
        with served[0] as sock:
            assert not select.select([sock], [], [], 0)[0]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_child_holds_no_socket_of_its_parents(flag: Flags, is_streamed: bool) -> None:
    """Neither idle ones nor those in use at the fork: held, they would live on when the parent closes them."""
    done = Flags()

    def act() -> None:
        gc.collect()
        flag.set()
        done.wait()

    with Origin() as origin, WorkerPool(4) as pool:
        fetch_all(pool, [origin.url("/delay/0.05")] * 2)
        assert pool.statistics().sockets_idle >= 1
        slow = pool.get(origin.url("/drip?bytes=20&seconds=1"), stream=is_streamed)
        count = origin.requests
        if is_streamed:
            slow.result(LIMIT)
        else:
            origin.wait_for(count + (count == 2))
        child = Child(act)
        try:
            flag.wait()
            assert sockets_to(origin.port)
            assert sockets_to(origin.port, child.pid) == []
        finally:
            done.set()
            code = child.end()
            done.close()
            body = slow.result(LIMIT).content
        assert (code, len(body)) == (0, 20)


def test_a_child_has_threads_of_its_own_and_only_when_it_uses_the_pool() -> None:
    def act() -> None:
        assert threading.active_count() == 1
        fetch_all(pool, [origin.url("/")] * 20)
        names = {thread.name for thread in threading.enumerate()}
        assert any(name.startswith("forks") for name in names), names
        pool.shutdown()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("forks")]

    with Origin() as origin, WorkerPool(2, "forks") as pool:
        fetch_all(pool, [origin.url("/")] * 20)
        assert Child(act).end() == 0
        fetch_all(pool, [origin.url("/")] * 20)


def test_a_childs_statistics_and_budgets_begin_anew() -> None:
    def act() -> None:
        now = pool.statistics()
        assert (now.requests, now.sockets_open, now.queued, now.parked, now.in_flight) == (0, 0, 0, 0, 0)
        fetch_all(pool, [origin.url("/")] * 3)
        assert pool.statistics().requests == 3

    with Origin() as origin, WorkerPool(1, max_connections=1) as pool:
        fetch_all(pool, [origin.url("/")] * 5)
        slow = pool.get(origin.url("/delay/1"))
        origin.wait_for(6)
        assert Child(act).end() == 0
        assert slow.result(LIMIT).ok


def test_a_pool_that_was_shut_down_stays_so_in_a_child() -> None:
    def act() -> None:
        for call in (lambda: pool.get("http://127.0.0.1:1/"), lambda: pool.submit(int)):
            with pytest.raises(RuntimeError, match="shutdown"):
                call()
        pool.shutdown()

    pool = WorkerPool(2)
    assert pool.submit(int).result(LIMIT) == 0
    pool.shutdown()
    assert Child(act).end() == 0


def test_a_fork_of_a_pool_that_is_shutting_down_leaves_its_budget_alone(tmp_path: Path) -> None:
    """What a pool is made of is told of a fork before the pool, or the child would leave for its parent."""
    with Origin() as origin:
        with WorkerPool(2, budget=tmp_path / "budget", max_connections=2) as pool:
            slow = [pool.get(origin.url("/delay/0.5")) for _ in range(2)]
            origin.wait_for(2)
            pool.shutdown(wait=False)
            pool._budget._lock.acquire()  # type: ignore[union-attr]  # as another thread of its parent may have
            child = Child(lambda: None)
            pool._budget._lock.release()  # type: ignore[union-attr]
            assert child.end() == 0
            with WorkerPool(2, budget=tmp_path / "budget", max_connections=2) as other:
                assert other.get(origin.url("/")).result(LIMIT).ok
            assert all(future.result(LIMIT).ok for future in slow)
        assert origin.connections_peak <= 2


def test_one_that_cannot_begin_anew_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_members", {})
    told = list[str]()

    class Member:
        def __init__(self, name: str) -> None:
            self.name = name
            tell_of_forks(self)

        def start_anew(self) -> None:
            told.append(self.name)
            raise LookupError(self.name)

    members = [Member("first"), Member("second")]
    with pytest.raises(LookupError, match="first"):
        forking._after_fork_in_child()
    assert told == [member.name for member in members]


def test_a_child_shuts_down_while_its_parents_requests_are_parked() -> None:
    """What the parent has queued is the parent's."""
    with Origin() as origin, WorkerPool(2, rate="1/s") as pool:
        futures = [pool.get(origin.url("/")) for _ in range(3)]
        assert Child(pool.shutdown).end(10) == 0
        assert all(future.result(LIMIT).ok for future in futures)


def test_a_callable_on_a_worker_may_fork() -> None:
    def act() -> int | None:
        return Child(lambda: fetch_all(pool, [origin.url("/")] * 5)).end()

    with Origin() as origin, WorkerPool(2) as pool:
        fetch_all(pool, [origin.url("/")] * 5)
        assert pool.submit(act).result(2 * LIMIT) == 0
        fetch_all(pool, [origin.url("/")] * 5)


FORKS = 20 if IN_FULL else 3


@pytest.mark.slow
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_forks_under_load_neither_deadlock_nor_disturb(ca: Authority, is_tls: bool, tiny_switch_interval: None) -> None:
    """Again and again while every worker is busy: locks may be held, sockets in use, threads about to start."""
    chain, key = ca.files("127.0.0.1") if is_tls else (None, None)
    with (
        OriginProcess(certificate=chain, key=key, idle_timeout=0.05, idle_timeout_max=0.2) as server,
        WorkerPool(8, verify=ca.file, host_connections=8) as pool,
    ):
        urls = [server.url(f"/bytes/{number}") for number in range(40)]
        is_over, failures = threading.Event(), list[BaseException]()

        def load() -> None:
            try:
                while not is_over.is_set():
                    fetch_all(pool, urls)
            except BaseException as error:
                failures.append(error)

        def act() -> None:
            fetch_all(pool, urls)
            pool.submit(int).result(LIMIT)
            pool.shutdown()
            gc.collect()

        threads = [threading.Thread(target=load, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        codes = []
        try:
            for number in range(FORKS):
                let_pass(0.01 * (number % 5))  # to fork at other points of the load
                codes.append(Child(act).end())
        finally:
            is_over.set()
            for thread in threads:
                thread.join(LIMIT)
        assert codes == [0] * FORKS
        assert not failures
        assert not any(thread.is_alive() for thread in threads)
        fetch_all(pool, urls)


# -- gunicorn ---------------------------------------------------------------------------------------------------------

APPLICATION = """
    import json, os
    from workerpool import WorkerPool

    POOL = WorkerPool(2)
    UPSTREAM = os.environ["UPSTREAM"]
    BEFORE = POOL.get(UPSTREAM, headers={"X-Process": "master"}).result(30).status_code

    def application(environ, start_response):
        pid = str(os.getpid())
        statuses = [POOL.get(UPSTREAM, headers={"X-Process": pid}).result(30).status_code for _ in range(3)]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([pid, BEFORE, *statuses]).encode()]
"""


@contextmanager
def gunicorn(folder: Path, upstream: str) -> Iterator[str]:
    """Serve `APPLICATION` with two workers that are forked after it was loaded; gives its URL."""
    (folder / "application.py").write_text(textwrap.dedent(APPLICATION))
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", address, "--chdir", str(folder)]
    command += ["--worker-tmp-dir", str(folder), "--graceful-timeout", "5", "application"]
    environment = os.environ | {"UPSTREAM": upstream, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        host, port = address.split(":")
        until_accepting("gunicorn", host, int(port), process, folder / "log")
        yield f"http://{address}/"
        process.terminate()
        assert process.wait(LIMIT) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def test_a_child_leaves_its_parents_lists_and_their_receipts_and_has_its_own() -> None:
    with Origin() as origin, WorkerPool(2) as pool:
        urls = [origin.url(f"/bytes/{n}") for n in range(50)]
        batches = pool.batches(urls, receipts=True)
        held = len(next(batches))

        def act() -> None:
            batches.close()
            assert sum(len(batch) for batch in pool.batches(urls, receipts=True)) == 50

        assert Child(act).end() == 0
        assert held + sum(len(batch) for batch in batches) == 50


@pytest.mark.slow
def test_a_pool_of_a_preloaded_application_works_in_every_worker_of_gunicorn(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    """The pool was made, and used, before the workers were forked."""
    require(find_spec("gunicorn"), "gunicorn is not installed")
    with Origin() as origin, gunicorn(tmp_path, origin.url("/delay/0.02")) as url:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        answers: list[str] = []

        def ask() -> None:
            with opener.open(url, timeout=LIMIT) as response:
                answers.append(response.read().decode())

        deadline = time.monotonic() + LIMIT
        while len({answer.split('"')[1] for answer in answers}) < 2 and time.monotonic() < deadline:
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT)
        workers = {answer.split('"')[1] for answer in answers}
        assert len(workers) == 2
        assert all(answer.endswith(", 200, 200, 200, 200]") for answer in answers)
        seen = processes_by_connection(origin)
        assert all(len(processes) == 1 for processes in seen.values())
        assert set.union(*seen.values()) == {"master", *workers}

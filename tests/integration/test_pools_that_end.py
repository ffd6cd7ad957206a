"""Pools that end while they send: shut down, broken by a defect, dropped, forked, left by the interpreter."""

from __future__ import annotations

import gc
import itertools
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

from tests import leftovers
from tests.conftest import IN_FULL, combined
from tests.recorded import content, only, pool_of, warm
from tests.servers import OK, answering
from tests.waiting import LONG, eventually, in_a_thread, let_pass
from workerpool import Outcome, Request, RetryPolicy, WorkerPool, testing
from workerpool.crew.load import Load
from workerpool.testing import Origin, Reply, ScriptedTransport
from workerpool.tickets import Owner, Ticket

# -- everything at once ------------------------------------------------------------------------------------------------

HOSTS = [f"127.0.7.{n}" for n in range(1, 6)]
PATHS = (
    *("/", "/", "/", "/bytes/20000", "/bytes/300000", "/chunked?bytes=5000", "/gzip?bytes=20000", "/deflate?bytes=9"),
    *("/reset?after=0", "/reset?after=40", "/truncate?bytes=100&after=50", "/status/503", "/status/404", "/status/204"),
    *(
        "/retry-after/0?n={n}",
        "/flaky/1?n={n}",
        "/redirect/2",
        "/drip?bytes=9&seconds=0.1",
        "/delay/0.03",
        "/odd",
        "/bye",
    ),
)


@pytest.fixture(scope="module")
def unruly() -> Iterator[Origin]:
    with Origin(HOSTS) as origin:
        origin.script("/odd", Reply(raw=b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
        origin.script("/bye", Reply(body=b"bye", close=True))
        yield origin


class Users:
    """Threads that use a pool in every way until it is shut down, and count what they get."""

    def __init__(self, pool: WorkerPool, origin: Origin, seed: int, ends_at: float) -> None:
        self._pool, self._origin, self._ends_at = pool, origin, ends_at
        self._lock = threading.Lock()  # guards the two fields below
        self.futures: list[Future[Any]] = []
        self.ends: Counter[int] = Counter()
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(seed * 10 + n,), daemon=True) for n in range(5)]
        for thread in self.threads:
            thread.start()

    def await_some(self, transport: Any) -> None:
        """Return when they have done much, and some of it was carried."""
        some = 100 if IN_FULL else 12
        assert eventually(lambda: len(self.futures) > some and transport.count("begin") > 0, LONG)

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        try:
            while time.monotonic() < self._ends_at:
                self._act(chance, chance.random())
        except RuntimeError as error:
            if "after shutdown" not in str(error):
                self.failures.append(error)
        except BaseException as error:
            self.failures.append(error)

    def _url(self, chance: random.Random) -> str:
        return self._origin.url(chance.choice(PATHS).format(n=chance.random()), chance.choice(HOSTS))

    def _keep(self, future: Future[Any]) -> Future[Any]:
        with self._lock:
            self.futures.append(future)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self.ends[id(future)] += 1

    def _act(self, chance: random.Random, draw: float) -> None:
        pool, url = self._pool, self._url(chance)
        if pool.statistics().queued > 200:  # or shutdown would have thousands to see through
            let_pass(0.001)
        elif draw < 0.2:
            self._keep(pool.get(url))
        elif draw < 0.35:
            self._keep(pool.submit(let_pass, chance.choice([0, 0.001, 0.01])))
        elif draw < 0.45:
            self._keep(pool.get(url)).cancel()
        elif draw < 0.5:
            self._keep(pool.submit(lambda: pool.session.get(url)))
        elif draw < 0.8:
            urls = [self._url(chance) for _ in range(chance.randrange(50))]
            got = [outcome.url for outcome in pool.stream(urls, ordered=draw < 0.6, window=chance.choice([1, 7, 1000]))]
            assert (got if draw < 0.6 else sorted(got)) == (urls if draw < 0.6 else sorted(urls))
        else:
            outcomes = pool.stream([self._url(chance) for _ in range(50)])
            for _ in itertools.islice(outcomes, chance.randrange(50)):
                pass
            outcomes.close()


@pytest.mark.parametrize(
    ("case", "cancel"),
    combined(
        [
            (1, 5, {}),
            (2, 16, {"rate": 2000, "burst": 10, "host_connections": 2}),
            (3, 3, {"max_connections": 3, "cookies": "shared"}),
            (4, 2, {"host_rate": 300}),
        ],
        [False, True],
    ),
    ids=str,
)
def test_whatever_servers_and_users_do_everything_ends_once(
    tiny_switch_interval: None, unruly: Origin, case: tuple[int, int, dict[str, Any]], cancel: bool
) -> None:
    """Shutdown comes in the middle. Nothing is left: no work, no thread, no socket, no descriptor."""
    seed, workers, options = case
    gc.collect()
    begun, before = leftovers.Since(), leftovers.descriptors()
    policy = RetryPolicy(attempts=3, backoff=0.005)
    with pool_of(workers, retry=policy, timeout=5, **options) as (pool, transport):
        users = Users(pool, unruly, seed, time.monotonic() + LONG)
        users.await_some(transport)
        pool.shutdown(cancel_futures=cancel)
    for thread in users.threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert users.failures == []
    assert all(future.done() for future in users.futures)
    assert list(users.ends.values()) == [1] * len(users.futures)
    now = pool.statistics()
    assert (now.active, now.queued, now.parked, now.in_flight, now.callables_queued) == (0, 0, 0, 0, 0)
    assert now.sockets_open == 0
    assert eventually(lambda: begun.of_pools() == [])
    del pool, transport, users
    assert eventually(lambda: bool(gc.collect()) or leftovers.descriptors() - unruly.connections_open <= before)


def test_the_counts_of_a_carried_stream_add_up(tiny_switch_interval: None, unruly: Origin) -> None:
    chance = random.Random(5)
    urls = [unruly.url(chance.choice(PATHS).format(n=n), chance.choice(HOSTS)) for n in range(600 if IN_FULL else 200)]
    unruly.reset_records()
    with pool_of(8, retry=RetryPolicy(attempts=3, backoff=0.005), timeout=5, host_connections=3) as (pool, transport):
        outcomes = [*pool.stream(urls)]
    now = pool.statistics()
    assert sorted(outcome.url for outcome in outcomes) == sorted(urls)
    assert (now.requests, now.ok) == (len(urls), sum(outcome.ok for outcome in outcomes))
    assert now.sent == now.requests + now.retries + now.redirects + now.resent
    assert now.sent - now.resent <= unruly.requests <= now.sent
    assert transport.count("begin") > now.sent / 3


# -- pools that end in the middle --------------------------------------------------------------------------------------


def test_an_initializer_that_fails_breaks_the_pool_and_what_is_carried_still_ends() -> None:
    goes, started = threading.Event(), list[str]()

    def start() -> None:
        started.append(threading.current_thread().name)
        if len(started) > 1:
            raise LookupError("no second worker")

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            goes.wait(LONG)
        sock.sendall(OK)

    with answering(answer) as site, pool_of(4, initializer=start, timeout=LONG) as (pool, _):
        warm(pool, f"{site.url}/", 6)
        got: list[Outcome] = []
        reader = threading.Thread(target=lambda: got.extend(pool.stream([f"{site.url}/slow"])), daemon=True)
        reader.start()
        assert eventually(lambda: pool._crew._dispatcher.carrier.is_carrying)  # or else another is called next
        assert [outcome.ok for outcome in pool.stream([f"{site.url}/"] * 5)] == [True] * 5
        future = pool.submit(pow, 2, 10)
        with pytest.raises(BrokenThreadPool):
            future.result(LONG)
        with pytest.raises(BrokenThreadPool):
            pool.submit(pow, 2, 10)
        goes.set()
        reader.join(LONG)
        assert [outcome.ok for outcome in got] == [True]
    assert pool.statistics().active == 0


def test_a_turn_that_a_defect_has_ended_breaks_the_pool_and_does_not_keep_it_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = WorkerPool(3, transport=ScriptedTransport())

    def defective(*args: object) -> None:
        raise LookupError("a defect of ours")

    monkeypatch.setattr(pool._crew._turns, "_announce", defective)
    pool.get("http://a.test/")
    assert eventually(lambda: pool._broken, LONG)
    with pytest.raises(BrokenThreadPool):
        pool.get("http://a.test/")
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    ending.join(LONG)
    assert not ending.is_alive()
    assert pool._crew._dispatcher.threads.called == pool._crew._dispatcher.threads.turns == 0


@pytest.mark.parametrize("where", ["before_change", "carry_out", "pick", "wake_for_work"])
def test_a_request_that_a_turn_has_in_hand_when_a_defect_ends_it_ends_once(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    goes, broken = threading.Event(), threading.Event()

    def script(request: Request, url: str) -> testing.Answer:
        goes.wait(LONG)
        return testing.Answer()

    pool = WorkerPool(1, transport=ScriptedTransport(script))
    act = getattr(pool._crew._dispatcher, where)

    def defective(*args: object) -> object:
        if goes.is_set() and not broken.is_set():
            broken.set()
            raise LookupError("a defect of ours")
        return act(*args)

    future = pool.get("http://a.test/")
    waiting = pool.get("http://a.test/")
    assert eventually(lambda: pool._crew._dispatcher.on_requests == 1)
    monkeypatch.setattr(pool._crew._dispatcher, where, defective)
    goes.set()
    assert future.result(LONG).status_code == 200
    with pytest.raises(LookupError):
        waiting.result(LONG)
    pool.shutdown()


def test_what_is_carried_when_a_defect_ends_its_carrier_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(sock: socket.socket, request: str) -> None:
        sock.sendall(OK)

    with answering(answer) as site, pool_of(4, timeout=LONG) as (pool, _):
        warm(pool, f"{site.url}/", 4)
        wait, calls = Load.wait, itertools.count()

        def defective(load: Load, **kwargs: Any) -> Any:
            if next(calls) == 5:
                raise LookupError("a defect of ours")
            return wait(load, **kwargs)

        monkeypatch.setattr(Load, "wait", defective)
        urls = [f"{site.url}/{n}" for n in range(50)]
        assert sorted(outcome.url for outcome in pool.stream(urls)) == sorted(urls)
        assert eventually(lambda: pool._broken)


END = """
import atexit, threading
from workerpool import WorkerPool
from workerpool.crew.locking import ChoreLock
from workerpool.testing import Origin

origin = Origin().start()
pool = WorkerPool(8, timeout=10)
list(pool.stream([origin.url("/delay/0.02")] * 6))
got = []
urls = [origin.url(f"/delay/0.05?{n}") for n in range(60)]
threading.Thread(target=lambda: got.extend(pool.stream(urls))).start()
while pool.statistics().requests < 12:
    pass
atexit.register(lambda: print(len(got), sum(outcome.ok for outcome in got), flush=True))
"""


def test_at_the_end_of_the_interpreter_what_was_taken_is_seen_through() -> None:
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", ["60", "60"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_that_is_forked_while_its_parent_carries_carries_by_itself() -> None:
    go, arrived = threading.Event(), threading.Event()

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            arrived.set()
            go.wait(LONG)
        sock.sendall(OK)

    with answering(answer) as site, pool_of(4, timeout=LONG) as (pool, transport):
        warm(pool, f"{site.url}/", 3)
        got: list[Outcome] = []
        reader = threading.Thread(target=lambda: got.extend(pool.stream([f"{site.url}/slow"] * 2)), daemon=True)
        reader.start()
        assert arrived.wait(LONG)
        child = os.fork()
        if not child:
            code = 1
            try:
                urls = [f"{site.url}/{n}" for n in range(50)]
                code = 2 * (sum(outcome.ok for outcome in pool.stream(urls)) != 50)
                pool.shutdown()
            finally:
                os._exit(code)
        handle = os.pidfd_open(child)
        try:
            in_time = bool(select.select([handle], [], [], LONG)[0])
        finally:
            os.close(handle)
            if not in_time:
                os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        go.set()
        reader.join(LONG)
        assert code == 0
        assert [content(outcome) for outcome in got] == [b"ok"] * 2
        assert transport.count("begin") >= 2


@pytest.mark.parametrize("when", ["after", "while"])
def test_a_pool_that_is_dropped_without_shutdown_leaves_no_descriptor(when: str) -> None:
    """Dropped while its last requests are carried, or after."""
    go = threading.Event()

    def answer(sock: socket.socket, request: str) -> None:
        if request.startswith("GET /slow "):
            go.wait(LONG)
        sock.sendall(OK)

    with answering(answer) as site:
        gc.collect()
        begun = leftovers.Since()
        pool = WorkerPool(4, timeout=LONG)
        before = leftovers.sockets()
        warm(pool, f"{site.url}/", 2)
        assert all(outcome.ok for outcome in pool.stream([f"{site.url}/"] * 20))
        outcomes = pool.stream([f"{site.url}/slow", f"{site.url}/1"])
        assert next(outcomes).ok
        assert leftovers.sockets() > before
        if when == "while":
            outcomes.close()
            del outcomes, pool
            gc.collect()
            go.set()
        else:
            go.set()
            assert only(outcomes).ok
            del outcomes, pool
        assert eventually(lambda: bool(gc.collect()) or (begun.of_pools() == [] and leftovers.sockets() <= before))


class Unheard(Ticket):
    def deliver(self, outcome: Outcome) -> None:
        pass


@pytest.mark.parametrize("by", ["another thread", "the collector"])
def test_a_stream_that_is_left_while_it_is_full_and_the_lock_is_held_does_not_keep_its_pool_from_draining(
    by: str,
) -> None:
    """Its requests are put aside, and only who holds the lock can forget them."""
    pool, stream = WorkerPool(4, transport=ScriptedTransport()), Owner()
    stream.is_full = True

    def leave() -> None:
        stream.is_over = stream.is_forsaken = True
        pool._crew.forsake(stream, has_requests=True)

    pool._crew.add([Unheard(Request("http://h.test/"), "h", stream) for _ in range(3)])
    assert pool.get("http://h.test/").result(LONG).ok
    assert pool.statistics().queued == 3
    with pool._crew._dispatcher.lock:
        if by == "another thread":
            in_a_thread(leave)
        else:
            leave()
    assert pool.statistics().queued == 0
    in_a_thread(pool.shutdown)

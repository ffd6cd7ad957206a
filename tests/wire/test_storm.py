"""Threads hammer a pool whose server does everything wrong: nobody gets an answer that is not theirs, nothing hangs, no
place among the sockets is lost, and no descriptor and no thread is left."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.certificates import Authority
from tests.conftest import IN_FULL, some
from tests.contract.tinyproxy import tinyproxy
from tests.leftovers import Since, descriptors
from tests.socks_server import SocksServer
from tests.waiting import eventually
from tests.wire.unruly import UnrulyServer
from workerpool import Request, RequestError, RetryPolicy, WorkerPool

LONG = 30.0
SECONDS = 20.0 if IN_FULL else 0.4
FAST_PATH = os.environ.get("STORM_PATH", "fast") == "fast"
THREADS = 6
CALLABLE_ENDS = (requests.RequestException, RequestError, CancelledError, KeyboardInterrupt)


CUT_BEFORE_TLS = r"ignore:unclosed <workerpool.transport.tls._Socket [^>]*laddr=[^>a-z]*>:ResourceWarning"
"""Python's own wrap_socket leaves a socket to the garbage collector that is cut off just before it is wrapped."""


class Interrupted(KeyboardInterrupt):
    """As if somebody had pressed Ctrl-C in a callable."""


class Storm:
    """What the threads do to a pool, and what came of it; `drops`: whether they let go of responses without closing."""

    def __init__(self, pool: WorkerPool, server: UnrulyServer, *, drops: bool) -> None:
        self.pool = pool
        self.server = server
        self.drops = drops
        self.seen: Counter[str] = Counter()  # whole-value changes by several threads: not exact, and need not be
        self.faults: list[str] = []
        self.until = time.monotonic() + SECONDS

    def run(self, seed: int) -> None:
        chance = random.Random(seed)
        number = 0
        try:
            while time.monotonic() < self.until:
                number += 1
                chance.choice(self.DEEDS)(self, f"/{seed}-{number}-", chance)
        except BaseException as error:
            self.faults.append(f"{type(error).__name__}: {error}")
            raise

    def check(self, response: requests.Response | None, path: str) -> None:
        if response is None:
            return
        hops = [*response.history, response]
        for hop in hops:
            content = hop.content.decode("latin-1")
            if hop.status_code == 408 or content.startswith("<?xml"):
                continue  # sent to nobody, while the socket was being taken; or it is the proxy that speaks
            if content.replace(path, "") != "" and not (hop.is_redirect and path.startswith(content[: len(path)])):
                self.faults.append(f"{path} got {hop.status_code} {content[:60]!r}")

    def stream(self, path: str, chance: random.Random) -> None:
        paths = [f"{path}{number}" for number in range(20)]
        methods = [chance.choice(["GET", "GET", "GET", "POST", "DELETE"]) for _ in paths]
        requested = [
            Request(self.server.url(each), method, data=b"x" * 100 if method == "POST" else None, key=each)
            for each, method in zip(paths, methods, strict=True)
        ]
        for outcome in self.pool.stream(requested, ordered=chance.random() < 0.5):
            self.seen["ok" if outcome.ok else type(outcome.error).__name__] += 1
            self.check(outcome.response, outcome.request.key or "")

    def stream_and_leave(self, path: str, chance: random.Random) -> None:
        stream = self.pool.stream([self.server.url(f"{path}{number}") for number in range(20)])
        for _, _outcome in zip(range(chance.randrange(10)), stream, strict=False):
            pass
        stream.close()

    def get(self, path: str, chance: random.Random) -> None:
        future = self.pool.get(self.server.url(path))
        if chance.random() < 0.2:
            future.cancel()
        with contextlib.suppress(*CALLABLE_ENDS):
            self.check(future.result(LONG), path)

    def get_streamed(self, path: str, chance: random.Random) -> None:
        with contextlib.suppress(*CALLABLE_ENDS):
            response = self.pool.get(self.server.url(path), stream=True).result(LONG)
            what = chance.randrange(4)
            if what == 0:
                self.check(response, path)
            elif what == 1:
                next(response.iter_content(5), None)
                response.close()
            elif what == 2 or not self.drops:
                response.close()

    def call(self, path: str, chance: random.Random) -> None:
        what = chance.randrange(4)
        url = self.server.url(path)

        def work() -> requests.Response | None:
            if what == 0:
                raise Interrupted
            response = self.pool.session.get(url, timeout=chance.choice([None, 0.05, (0.2, 0.2)]), stream=what == 1)
            if what == 1:
                if not self.drops:
                    response.close()
                raise Interrupted
            return response

        with contextlib.suppress(*CALLABLE_ENDS):
            self.check(self.pool.submit(work).result(LONG), path)

    DEEDS = (stream, stream, stream_and_leave, get, get_streamed, call)


@pytest.fixture
def way(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority
) -> Iterator[tuple[UnrulyServer, dict[str, Any]]]:
    """A server, and the options of a pool that goes to it."""
    name: str = request.param
    options: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        context = None
        if "tls" in name:
            context, options["verify"] = authority.context("127.0.0.1"), authority.file
        server = stack.enter_context(UnrulyServer(context))
        proxy = None
        if name.startswith("proxy"):
            proxy = stack.enter_context(tinyproxy(tmp_path, login=False)).url
        elif name.startswith("socks"):
            proxy = f"socks5://127.0.0.1:{stack.enter_context(SocksServer()).port}"
        if proxy is not None:
            options["proxies"] = {"http": proxy, "https": proxy}
        yield server, options


@pytest.mark.slow
@pytest.mark.filterwarnings(CUT_BEFORE_TLS)
@pytest.mark.parametrize("way", some(["tls", "plain", "proxy tls", "proxy", "socks tls", "socks"], 3), indirect=True)
def test_whatever_servers_do_nothing_is_mixed_up_lost_or_left(
    tiny_switch_interval: None, way: tuple[UnrulyServer, dict[str, Any]]
) -> None:
    weather(way, drops=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # rightly: it says who forgot to close
@pytest.mark.parametrize("way", some(["tls", "plain"], 2), indirect=True)
def test_responses_that_nobody_closes_lose_nothing_either(
    tiny_switch_interval: None, way: tuple[UnrulyServer, dict[str, Any]]
) -> None:
    weather(way, drops=True)


def weather(way: tuple[UnrulyServer, dict[str, Any]], *, drops: bool) -> None:
    """Let the storm pass over a pool, and look what is left."""
    server, options = way
    before, begun = descriptors(), Since()
    policy = RetryPolicy(attempts=2, backoff=0.001)
    # Deadlines pass at every stage of an attempt: while connecting, in the head, in the body.
    pool = WorkerPool(
        32, retry=policy, timeout=0.3, max_connections=12, host_connections=12, fast_path=FAST_PATH, **options
    )
    storm = Storm(pool, server, drops=drops)
    threads = [threading.Thread(target=storm.run, args=(seed,), daemon=True) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + LONG)
        assert not thread.is_alive(), f"it hangs: {pool!r}"
    assert not storm.faults, storm.faults[:5]
    assert eventually(lambda: pool.statistics().in_flight == 0)
    gc.collect()
    now = pool.statistics()
    assert now.sockets_open <= 12
    assert now.sockets_idle <= now.sockets_open
    assert eventually(lambda: gc.collect() >= 0 and _only_idle(pool)), f"a place is lost: {pool.statistics()}"
    pool.shutdown()
    assert eventually(lambda: pool.statistics().sockets_open == 0), f"{pool.statistics()}"
    assert (now.active, now.queued, now.parked) == (0, 0, 0)
    assert storm.seen["ok"] > 20
    assert (now.sent_fast > 0) is FAST_PATH
    server.__exit__()
    assert eventually(lambda: gc.collect() >= 0 and descriptors() <= before), f"{before} before, {descriptors()} now"
    assert eventually(lambda: not [left for left in begun.threads() if left.name != "proxy"])


def _only_idle(pool: WorkerPool) -> bool:
    now = pool.statistics()
    return now.sockets_open == now.sockets_idle

"""The libraries, each with the settings that its documentation recommends for many requests to one host.

A client is opened once, in a process of its own, and then fetches lists of URLs. Peers are imported only when they are
opened. "In threads" is a `ThreadPoolExecutor` of as many threads as requests at once.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[list[str]], int]
"""Fetch these URLs, bodies included, and return how many came in full with status 200."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """`concurrency`: requests at once; `body_bytes`: of every answer; `ca`: what to verify HTTPS with."""

    concurrency: int
    body_bytes: int
    ca: str | None

    def is_whole(self, status: int | None, body: bytes) -> bool:
        return status == 200 and len(body) == self.body_bytes

    def ssl_context(self) -> ssl.SSLContext | None:
        return None if self.ca is None else ssl.create_default_context(cafile=self.ca)


@dataclass(frozen=True, kw_only=True)
class Client:
    """`needs`: modules without which it is left out."""

    name: str
    label: str
    open: Callable[[Setup], AbstractContextManager[Fetch]]
    needs: tuple[str, ...] = ()
    obstacle: Callable[[], str | None] = lambda: None
    """Says why it cannot run although its modules are there; None if it can."""

    def missing(self) -> str | None:
        """Why it cannot run here; None if it can."""
        absent = [module for module in self.needs if importlib.util.find_spec(module) is None]
        return f"{' and '.join(absent)} not installed" if absent else self.obstacle()


def _stream(setup: Setup, **options: Any) -> Iterator[Fetch]:
    from workerpool import WorkerPool

    budget = setup.concurrency
    verify = setup.ca or True
    with WorkerPool(budget, max_connections=budget, host_connections=budget, verify=verify, **options) as pool:

        def fetch(urls: list[str]) -> int:
            return sum(
                outcome.response is not None and setup.is_whole(outcome.status, outcome.response.content)
                for outcome in pool.stream(urls)
            )

        yield fetch


@contextmanager
def _workerpool(setup: Setup) -> Iterator[Fetch]:
    """Both socket budgets are the concurrency; everything else is the default."""
    yield from _stream(setup)


@contextmanager
def _slow_path(setup: Setup) -> Iterator[Fetch]:
    """The same by requests' and urllib3's own path."""
    yield from _stream(setup, fast_path=False)


def _no_choice_of_paths() -> str | None:
    from workerpool import WorkerPool

    has = "fast_path" in inspect.signature(WorkerPool).parameters
    return None if has else "there is one path"


@contextmanager
def _displayed_run(setup: Setup) -> Iterator[Fetch]:
    from benchmarks.side_by_side.displayed import displayed_run

    with displayed_run(setup.concurrency, setup.ca) as fetch:
        yield fetch


@contextmanager
def _requests_futures(setup: Setup) -> Iterator[Fetch]:
    """One `FuturesSession`, its adapter as large as its executor; futures are let go once they were looked at."""
    from requests.adapters import HTTPAdapter
    from requests_futures.sessions import FuturesSession

    with FuturesSession(executor=ThreadPoolExecutor(setup.concurrency)) as session:
        session.verify = setup.ca or True
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=setup.concurrency))

        def fetch(urls: list[str]) -> int:
            responses = (future.result() for future in as_completed([session.get(url) for url in urls]))
            return sum(setup.is_whole(response.status_code, response.content) for response in responses)

        yield fetch


def _in_threads(setup: Setup, get: Callable[[str], bool], start: Callable[[], None] = lambda: None) -> Iterator[Fetch]:
    with ThreadPoolExecutor(setup.concurrency, initializer=start) as executor:
        yield lambda urls: sum(executor.map(get, urls))


@contextmanager
def _session_per_thread(setup: Setup) -> Iterator[Fetch]:
    """requests, a `Session` for each thread, as it is not thread-safe."""
    import requests

    local = threading.local()

    def start() -> None:
        local.session = requests.Session()
        local.session.verify = setup.ca or True

    def get(url: str) -> bool:
        response = local.session.get(url)
        return setup.is_whole(response.status_code, response.content)

    yield from _in_threads(setup, get, start)


@contextmanager
def _urllib3(setup: Setup) -> Iterator[Fetch]:
    """One `PoolManager` for all threads, `maxsize` their number."""
    import urllib3

    with urllib3.PoolManager(maxsize=setup.concurrency, ca_certs=setup.ca) as manager:

        def get(url: str) -> bool:
            response = manager.request("GET", url)
            return setup.is_whole(response.status, response.data)

        yield from _in_threads(setup, get)


@contextmanager
def _httpx(setup: Setup) -> Iterator[Fetch]:
    """A `Client` for each thread: four times as fast as an `AsyncClient` (measured, httpx 0.28)."""
    import httpx

    local = threading.local()
    clients = []
    verify = setup.ssl_context() or True

    def start() -> None:
        local.client = httpx.Client(verify=verify)
        clients.append(local.client)

    def get(url: str) -> bool:
        response = local.client.get(url)
        return setup.is_whole(response.status_code, response.content)

    yield from _in_threads(setup, get, start)
    for client in clients:
        client.close()


async def _by_tasks(number: int, get: Callable[[str], Awaitable[bool]], urls: list[str]) -> int:
    """Fetch by so many tasks that share an iterator: no semaphore, and no task for each request."""
    rest = iter(urls)

    async def work() -> int:
        return sum([await get(url) for url in rest])

    return sum(await asyncio.gather(*(work() for _ in range(number))))


def _by_aiohttp(setup: Setup, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> Iterator[Fetch]:
    import aiohttp

    async def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=setup.concurrency, ssl=setup.ssl_context() or True)
        return aiohttp.ClientSession(connector=connector)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        session = runner.run(open_session())

        async def get(url: str) -> bool:
            async with session.get(url) as response:
                return setup.is_whole(response.status, await response.read())

        yield lambda urls: runner.run(_by_tasks(setup.concurrency, get, urls))
        runner.run(session.close())


@contextmanager
def _aiohttp(setup: Setup) -> Iterator[Fetch]:
    """One `ClientSession`, its `TCPConnector` limited to the number of requests at once."""
    yield from _by_aiohttp(setup, None)


@contextmanager
def _aiohttp_uvloop(setup: Setup) -> Iterator[Fetch]:
    """The same in an event loop of uvloop's."""
    import uvloop

    yield from _by_aiohttp(setup, uvloop.new_event_loop)


@contextmanager
def _reqstorm(setup: Setup) -> Iterator[Fetch]:
    """`reqstorm.stream` with a session of ours, so that connections outlive a batch, which they would not else."""
    import aiohttp
    import reqstorm

    async def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=setup.concurrency, ssl=setup.ssl_context() or True)
        return aiohttp.ClientSession(connector=connector)

    with asyncio.Runner() as runner:
        session = runner.run(open_session())

        async def fetch(urls: list[str]) -> int:
            results = reqstorm.stream(urls, concurrency=setup.concurrency, session=session)
            return sum([setup.is_whole(result.status, result.body) async for result in results])

        yield lambda urls: runner.run(fetch(urls))
        runner.run(session.close())


@contextmanager
def _raw(setup: Setup) -> Iterator[Fetch]:
    from benchmarks.side_by_side.raw import RawClient

    client = RawClient(setup.concurrency, setup.body_bytes, setup.ssl_context())
    yield client.fetch
    client.close()


# Neighbours here take their turns one after the other, so those that a target compares are neighbours.
CLIENTS = (
    Client(name="aiohttp-uvloop", label="aiohttp, uvloop", open=_aiohttp_uvloop, needs=("aiohttp", "uvloop")),
    Client(name="aiohttp", label="aiohttp", open=_aiohttp, needs=("aiohttp",)),
    Client(name="workerpool", label="workerpool", open=_workerpool),
    Client(name="workerpool-run", label="workerpool run, with progress", open=_displayed_run, needs=("rich",)),
    Client(name="workerpool-slow", label="workerpool, fast path off", open=_slow_path, obstacle=_no_choice_of_paths),
    Client(name="requests-futures", label="requests-futures", open=_requests_futures, needs=("requests_futures",)),
    Client(name="session-per-thread", label="requests, Session per thread", open=_session_per_thread),
    Client(name="urllib3", label="urllib3 in threads", open=_urllib3),
    Client(name="httpx", label="httpx, Client per thread", open=_httpx, needs=("httpx",)),
    Client(name="reqstorm", label="reqstorm", open=_reqstorm, needs=("reqstorm",)),
    Client(name="raw", label="raw sockets (the ceiling)", open=_raw),
)

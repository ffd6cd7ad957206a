"""A pytest plugin for requests' own tests, in which every `requests.Session` is a worker's; loaded by its neighbour.

Each test has a pool of its own, with budgets that it does not reach and one attempt per send, and each Session is
made and mounted as that pool's workers' are. At the end, what became of the tests is written as JSON to the file that
``--report-file`` names: ``passed``, ``skipped`` (names), ``failed`` (name to traceback), ``sent`` (by the pools).

Three things stand in for what the tests take from their surroundings: httpbin answers side by side, where it would
finish a delayed answer that nobody waits for before the next one; the address that never answers, and httpbin.org, to
which nothing is sent, are here and not on the Internet.
"""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Generator
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import pytest
import pytest_httpbin.serve
import requests
import requests.sessions

from workerpool import WorkerPool
from workerpool.transport import Session
from workerpool.transport import session as session_module
from workerpool.transport.session import mount


def look_up(host: Any, *args: Any) -> Any:
    return socket.getaddrinfo("127.0.0.1" if host == "httpbin.org" else host, *args)


class Pools:
    """The pool of the test that runs, and what the pools before it sent."""

    def __init__(self) -> None:
        self.current = self._new()
        self.sent = 0

    def renew(self) -> None:
        self.sent += self.current.statistics().sent
        self.current.shutdown(wait=False)
        self.current = self._new()

    def _new(self) -> WorkerPool:
        pool = WorkerPool(4, retry=None, max_connections=100, host_connections=100)
        transport: Any = pool._transport
        transport._connections.dialer.resolver._look_up = look_up
        return pool


pools = Pools()


class WorkerSession(Session):
    """A Session as the transport of the current pool opens it for a worker."""

    def __init__(self) -> None:
        transport: Any = pools.current._transport
        super().__init__(transport._environment)
        mount(self, transport._adapter, transport._govern)


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


# Our Session calls methods of its base class by that class's public name, which must go on to mean requests' own.
session_module.requests = SimpleNamespace(**vars(requests))  # type: ignore[assignment,attr-defined]
requests.Session = requests.sessions.Session = WorkerSession  # type: ignore[misc]
pytest_httpbin.serve.make_server = functools.partial(make_server, server_class=ThreadingServer)


@pytest.fixture(autouse=True)
def own_pool() -> Generator[None, None, None]:
    pools.renew()
    yield
    pools.renew()


@pytest.fixture(autouse=True, scope="session")
def tarpit() -> Generator[str, None, None]:
    """The URL of a listener whose queue is full, so that the kernel drops what else would connect."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for caller in callers:
            caller.close()


@pytest.fixture(autouse=True)
def local_tarpit(request: pytest.FixtureRequest, tarpit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(request.module, "TARPIT"):
        monkeypatch.setattr(request.module, "TARPIT", tarpit)


class Report:
    """Takes down how each test ended."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.skipped: set[str] = set()
        self.failed: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.removeprefix("tests/")
        if report.failed:
            self.failed[name] = report.longreprtext
        elif report.skipped:
            self.skipped.add(name)
        elif report.when == "call":
            self.passed.add(name)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        pools.renew()
        report = {
            "passed": sorted(self.passed - self.failed.keys()),
            "skipped": sorted(self.skipped),
            "failed": self.failed,
            "sent": pools.sent,
        }
        Path(session.config.getoption("--report-file")).write_text(json.dumps(report))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--report-file", required=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Report())

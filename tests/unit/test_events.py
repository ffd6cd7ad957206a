"""Log events have fixed names and fields, are silent until asked for, and never carry a secret."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.waiting import eventually, let_pass
from workerpool import Request, RetryPolicy, WorkerPool, events
from workerpool.testing import Answer, ManualClock, ScriptedTransport

SECRET = "Xyzzy42"


class Seen(logging.Handler):
    """Keeps every event, and may do something at each, as a user's handler may."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.at_each: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if self.at_each is not None:
            self.at_each()

    def of(self, name: str) -> list[dict[str, Any]]:
        return [record.fields for record in self.records if record.event == name]  # type: ignore[attr-defined]


@pytest.fixture
def seen() -> Iterator[Seen]:
    logger, handler = logging.getLogger("workerpool"), Seen()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def script(request: Request, url: str) -> Answer:
    """Answers by the URL's path: a status, a redirect, a Retry-After or a broken connection."""
    if "/moved" in url:
        return Answer(302, headers={"Location": "/ok"})
    if "/broken" in url:
        return Answer(error=requests.ConnectionError(f"lost http://u:{SECRET}@a.test/?token={SECRET}"))
    if "/limited" in url:
        return Answer(429, headers={"Retry-After": "7"})
    if "/busy" in url:
        return Answer(503)
    return Answer()


def run(*requests: str | Request, **options: Any) -> None:
    options = {"retry": RetryPolicy(attempts=2), "clock": ManualClock(auto=True)} | options
    with WorkerPool(2, transport=ScriptedTransport(script), **options) as pool:
        for _ in pool.stream(requests):
            pass


def test_every_event_carries_exactly_its_fields(seen: Seen) -> None:
    run(*[f"http://a.test/{path}" for path in ("ok", "moved", "broken", "limited", "busy")])
    names = {record.event for record in seen.records}  # type: ignore[attr-defined]
    assert names >= {
        "pool.started",
        "pool.stopped",
        "attempt.failed",
        "request.parked",
        "request.redirected",
        "request.ended",
        "request.failed",
        "host.paused",
    }
    for record in seen.records:
        level, fields = events.EVENTS[record.event]  # type: ignore[attr-defined]
        assert tuple(record.fields) == fields  # type: ignore[attr-defined]
        assert record.levelno == level


def test_a_pool_that_nobody_waits_for_says_once_that_it_has_stopped_and_how_long_that_took(seen: Seen) -> None:
    asked, goes = threading.Event(), threading.Event()

    def answer(request: Request, url: str) -> Answer:
        asked.set()
        assert goes.wait(60)
        return Answer()

    pool = WorkerPool(2, transport=ScriptedTransport(answer))
    future = pool.get("http://a.test/")
    assert asked.wait(60)
    pool.shutdown(wait=False)
    assert seen.of("pool.stopped") == []
    let_pass(0.01)
    goes.set()
    assert future.result(60).ok
    assert eventually(lambda: seen.of("pool.stopped") != [])
    pool.shutdown()
    (stopped,) = seen.of("pool.stopped")
    assert (stopped["requests"], stopped["sent"]) == (1, 1)
    assert 0.01 <= stopped["elapsed"] < 60


def test_a_handler_may_shut_down_a_pool_that_says_that_it_has_stopped(seen: Seen) -> None:
    pool = WorkerPool(2, transport=ScriptedTransport())
    seen.at_each = pool.shutdown
    pool.shutdown()
    assert len(seen.of("pool.stopped")) == 1


def test_a_parked_request_says_its_key_host_attempt_wait_and_reason(seen: Seen) -> None:
    run(Request("http://a.test/limited", key="row 7"))
    (parked,) = seen.of("request.parked")
    assert (parked["key"], parked["host"], parked["attempt"]) == ("row 7", "http://a.test:80", 1)
    assert 7 <= parked["wait"] <= 7.5
    assert parked["reason"] == "status"
    assert seen.of("host.paused")[0] == {"host": "http://a.test:80", "wait": 7.0, "reason": "HTTP 429"}
    assert seen.of("request.failed")[0]["attempt"] == 2


def test_a_pool_is_silent_until_logging_is_configured() -> None:
    code = """
from workerpool import WorkerPool, RetryPolicy
from workerpool.testing import Answer, ScriptedTransport
busy = ScriptedTransport(lambda request, url: Answer(503))
with WorkerPool(2, retry=RetryPolicy(attempts=2, backoff=0), transport=busy) as pool:
    print([outcome.status for outcome in pool.stream(["http://a.test/", "junk"], ordered=True)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("[503, 503]\n", "")


LISTENING = [
    ("", False),
    ("logging.basicConfig()", True),
    ("logging.getLogger('workerpool').addHandler(logging.StreamHandler())", True),
    ("logging.basicConfig(); logging.getLogger('workerpool').propagate = False", False),
]


def test_structlog_is_imported_only_where_somebody_listens_and_not_in_the_middle_of_a_run() -> None:
    """Each in a fork of a process that has not imported it."""
    code = f"""
import logging, os, sys
import workerpool.pool
from workerpool import WorkerPool, RetryPolicy
from workerpool.testing import Answer, ScriptedTransport
for number, listens in enumerate({[listens for listens, _ in LISTENING]}):
    if os.fork() == 0:
        exec(listens)
        busy = ScriptedTransport(lambda request, url: Answer(503))
        with WorkerPool(2, retry=RetryPolicy(attempts=1), transport=busy) as pool:
            before = "structlog" in sys.modules
            list(pool.stream([f"http://a.test/{{number}}"]))
            print(number, before, "structlog" in sys.modules, flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [f"{number} {hears} {hears}" for number, (_, hears) in enumerate(LISTENING)]
    for number, (_, hears) in enumerate(LISTENING):
        assert (f"http://a.test/{number}" in done.stderr) is hears, done.stderr


@pytest.mark.parametrize("format", ["console", "json"])
def test_configured_events_are_one_line_each(format: Any) -> None:
    stream = io.StringIO()
    undo = events.configure(format, stream)
    try:
        run("http://a.test/busy")
    finally:
        undo()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4  # two attempts failed, one was parked, the request failed
    assert all("a.test" in line for line in lines)
    if format == "json":
        first = json.loads(lines[0])
        assert first["event"] == "attempt.failed"
        assert {"timestamp", "level", "key", "host", "attempt", "reason", "error"} == first.keys() - {"event"}


def test_undoing_the_configuration_makes_it_silent_again() -> None:
    stream = io.StringIO()
    events.configure("json", stream, logging.DEBUG)()
    run("http://a.test/busy")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("format", ["console", "json"])
def test_no_secret_of_a_request_appears_in_any_event(format: Any) -> None:
    stream = io.StringIO()
    undo = events.configure(format, stream, logging.DEBUG)
    paths = ("ok", "moved", "broken", "limited", "busy")
    try:
        run(
            *[
                Request(
                    f"http://me:{SECRET}@a.test/{path}?access_token={SECRET}",
                    headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"id={SECRET}"},
                    auth=("me", SECRET),
                    cookies={"id": SECRET},
                )
                for path in paths
            ],
            f"http://me:{SECRET}@a.test:port/?token={SECRET}",
        )
    finally:
        undo()
    assert stream.getvalue().count("a.test") > 10
    assert SECRET not in stream.getvalue()


def test_no_secret_of_a_request_appears_in_its_error() -> None:
    clock = ManualClock(auto=True)
    with WorkerPool(2, retry=2, clock=clock, transport=ScriptedTransport(script)) as pool:
        urls = [f"http://me:{SECRET}@a.test/{path}?token={SECRET}" for path in ("broken", "busy", "limited")]
        urls += [f"ftp://me:{SECRET}@a.test/?token={SECRET}", f"http://me:{SECRET}@a.test:port/"]
        for outcome in pool.stream(urls):
            error = outcome.error
            assert error is not None or outcome.request.url.startswith(("ftp", "http://me:Xyzzy42@a.test:port"))
            if error is not None:
                assert SECRET not in f"{error} {error!r} {error.key}"
                assert all(SECRET not in str(attempt) for attempt in outcome.attempts)


def test_a_handler_may_ask_the_pool_for_its_statistics(seen: Seen) -> None:
    """Nothing is logged while a lock is held, not even when a stream is left with requests in flight."""
    started, go = threading.Event(), threading.Event()

    def answer(request: Request, url: str) -> Answer:
        if "first" in url:
            return Answer()
        started.set()
        go.wait(30)
        return Answer(503)

    pool = WorkerPool(2, transport=ScriptedTransport(answer))
    seen.at_each = pool.statistics
    outcomes = pool.stream(["http://a.test/first", "http://b.test/"])
    next(outcomes)
    assert started.wait(30)
    outcomes.close()
    go.set()
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive()

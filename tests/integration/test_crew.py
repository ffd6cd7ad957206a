"""The crew's rooms keep to what they say of the lock."""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from typing import Any

import pytest

from workerpool import RetryPolicy, WorkerPool
from workerpool.crew.carrier import Carrier
from workerpool.crew.dispatcher import Dispatcher
from workerpool.crew.locking import ChoreLock
from workerpool.testing import Origin, Reply

POLICY = RetryPolicy(attempts=3, backoff=0.01)

CARRIERS_OWN = {"close", "set_out", "look_around"}
"""What the carrying thread does without the lock."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, bool]]:
    """How often each method was called, and whether the thread that called it held a crew's lock."""
    local, calls = threading.local(), Counter[tuple[str, bool]]()
    make, release = ChoreLock.__init__, ChoreLock.release

    def make_noting(lock: ChoreLock, *args: Any) -> None:
        make(lock, *args)
        acquire = lock.acquire

        def acquire_noting(*args: Any, **kwargs: Any) -> bool:
            taken = acquire(*args, **kwargs)
            local.holds = taken or getattr(local, "holds", False)
            return taken

        lock.acquire = acquire_noting  # type: ignore[assignment]

    def release_noting(lock: ChoreLock) -> None:
        local.holds = False
        release(lock)

    monkeypatch.setattr(ChoreLock, "__init__", make_noting)
    monkeypatch.setattr(ChoreLock, "release", release_noting)
    monkeypatch.setattr(ChoreLock, "__enter__", lambda lock: lock.acquire())

    def noting(name: str, act: Any) -> Any:
        @functools.wraps(act)
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name, getattr(local, "holds", False)] += 1
            return act(*args, **kwargs)

        return call

    for kind in (Dispatcher, Carrier):
        for name, act in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                monkeypatch.setattr(kind, name, noting(f"{kind.__name__}.{name}", act))
    return calls


def test_what_is_decided_is_decided_under_the_lock_and_what_waits_does_so_without(
    asked: Counter[tuple[str, bool]],
) -> None:
    with Origin() as origin, WorkerPool(4, robots=True, contact="https://example.com", retry=POLICY) as pool:
        origin.default = Reply(body=b"page\n")
        urls = [origin.url(f"/{n}") for n in range(40)]
        urls += [origin.url("/status/503"), origin.url("/redirect/2")]
        assert len([*pool.stream(urls)]) == len(urls)
        assert len([*pool.batches(urls, receipts=True)]) > 0
        left = pool.stream(urls)
        next(left)
        left.close()
        assert pool.submit(lambda: pool.session.get(urls[0]).status_code).result(30) == 200
        assert pool.request("GET", urls[1]).result(30).ok
        pool.drain()
        pool.statistics()
    without = {name for name, holds in asked if not holds}
    assert without == {f"Carrier.{name}" for name in CARRIERS_OWN}
    assert {name for name, holds in asked if holds} >= {
        f"Dispatcher.{name}"
        for name in ("before_change", "wake_for_work", "pick", "take", "carry_out", "hold", "close", "notice_drained")
    } | {f"Carrier.{name}" for name in ("give", "take_note", "stays")}

"""What the other tests stand on: `require`, an environment without the developer's proxies, and nobody who sleeps."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.conftest
from tests.conftest import require


def test_what_is_missing_skips_on_a_users_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests.conftest, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="nginx is not installed"):
        require(None, "nginx is not installed")


def test_what_is_missing_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests.conftest, "IN_CI", True)
    with pytest.raises(pytest.fail.Exception, match="nginx is not installed"):
        require(None, "nginx is not installed")


def test_no_proxy_and_no_foreign_certificates_reach_the_tests() -> None:
    assert not [name for name in os.environ if name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE"]


TESTS = Path(__file__).parent

LETS_TIME_PASS = {
    "integration/test_carried_answers.py": "a carrier that is busy, a server that drips",
    "integration/test_carrier.py": "servers and callables that take their time, a carrier that rests",
    "integration/test_fork.py": "forks at other points of a load",
    "integration/test_hammer.py": "a load that does not grow without bound",
    "integration/test_handover.py": "a server that takes its time",
    "integration/test_job_features.py": "a slow sink",
    "integration/test_odd_servers.py": "a server that drips, a request that is parked for a while",
    "integration/test_pool_requests.py": "work that takes its time",
    "integration/test_pools_that_end.py": "a load that does not grow without bound, callables that take their time",
    "integration/test_receipts.py": "consumers that take their time",
    "integration/test_robots.py": "the age of what holds a request up",
    "integration/test_shared_budget.py": "kills at random moments",
    "integration/test_slow_sources.py": "a slow source",
    "integration/test_stream.py": "a slow server, a slow consumer",
    "integration/test_why.py": "sources and consumers that take their time: where it goes is what is told",
    "unit/test_events.py": "a pool whose age is told",
    "wire/scripted.py": "two writes that are to be read apart",
}
"""Who calls `waiting.let_pass`, and what it is that takes time there."""


SLEEPS = ("time.sleep", "threading.Timer", "threading.Event().wait")


def sleeps(tree: ast.AST) -> Iterator[int]:
    """The lines on which time is let pass by other means than `waiting` has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func) in SLEEPS:
            yield node.lineno


def test_tests_wait_for_what_happens_and_let_time_pass_only_where_that_is_what_they_test() -> None:
    letting, sleeping = set[str](), list[str]()
    for path in TESTS.rglob("*.py"):
        name, text = str(path.relative_to(TESTS)), path.read_text()
        if not any(word in text for word in ("let_pass", *SLEEPS)):
            continue
        tree = ast.parse(text)
        if "let_pass" in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
            letting.add(name)
        if name != "waiting.py":
            sleeping += [f"{name}:{line}" for line in sleeps(tree)]
    assert letting == LETS_TIME_PASS.keys()
    assert sleeping == []

"""The soak of `benchmarks/soak.py` in small: it comes through, and it would see what went wrong."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from tests.conftest import IN_FULL
from workerpool import Attempt, ConnectionLost, Outcome

DRAWN = [("plain", 20053), ("gzip", 20097), ("plain", 20007), ("deflate", 1016)]
"""What requests number 0 to 3 meet, and the sizes of their bodies."""

REQUESTS = "2500" if IN_FULL else "800"
SOAK = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SOAK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_many_requests_to_unruly_hosts_end_as_they_must_within_the_budgets() -> None:
    command = [sys.executable, str(SOAK), "--requests", REQUESTS, "--hosts", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for name in ("lost", "duplicated", "wrong", "in CLOSE_WAIT at the end"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{name}  ")]
        assert line.split("(")[0].removeprefix(name).strip() == "0"


def outcome(request: Any, status: int | None, content: bytes = b"", attempts: int = 1) -> Outcome:
    tries = (Attempt(0.0, 0.0),) * attempts
    if status is None:
        return Outcome(request, error=ConnectionLost("gone"), attempts=tries)
    response = requests.Response()
    response.status_code, response._content = status, content
    return Outcome(request, response, attempts=tries)


def test_the_soak_complains_of_an_outcome_that_is_not_what_its_request_met(soak: ModuleType) -> None:
    class Server:
        def url(self, path: str, address: str) -> str:
            return f"http://{address}{path}"

    plan = soak.Plan([(Server(), "127.0.0.1"), (Server(), "127.0.0.2")])
    numbers: dict[str, int] = {}
    for number in range(20_000):
        numbers.setdefault(plan.draw(number)[0].name, number)
    assert numbers.keys() == {kind.name for kind in soak.KINDS} | {"plain"}

    number = numbers["plain"]
    request, size = plan.request(number), plan.draw(number)[1]
    good = soak.octets(size)
    assert plan.complaint(number, outcome(request, 200, good)) is None
    assert plan.complaint(number, outcome(request, 200, good + b"!"))
    assert plan.complaint(number, outcome(request, None))

    number = numbers["reset before"]
    request = plan.request(number)
    assert plan.complaint(number, outcome(request, None, attempts=soak.ATTEMPTS)) is None
    assert plan.complaint(number, outcome(request, None, attempts=1))
    assert plan.complaint(number, outcome(request, 200))


def test_what_a_request_of_the_soak_meets_is_the_same_in_every_run(soak: ModuleType) -> None:
    drawn = [soak.Plan([]).draw(number) for number in range(4)]
    assert [(kind.name, size) for kind, size in drawn] == DRAWN


def test_a_finding_that_does_not_hold_is_a_fault(soak: ModuleType) -> None:
    found = soak.Findings()
    found.hold("lost", 0, True, "0")
    assert found.faults == []
    found.hold("lost", 1, False, "0")
    assert found.faults == ["lost: 1, not 0"]

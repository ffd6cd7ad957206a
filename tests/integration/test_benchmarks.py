"""The benchmark beside the peers in small: whatever is installed fetches everything, and what does not is found out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import nginx
from benchmarks.side_by_side import servers
from benchmarks.side_by_side.cases import CASES
from benchmarks.side_by_side.clients import CLIENTS, Client, Setup
from benchmarks.side_by_side.environment import ROOT
from benchmarks.side_by_side.results import Results, load
from benchmarks.side_by_side.turns import Seat, TurnFailed
from tests.conftest import IN_FULL
from workerpool.testing import Origin

SHORT = ["--rounds=1", "--seconds=0.02", "--requests=64"]
URLLIB3 = next(client for client in CLIENTS if client.name == "urllib3")


def measure(folder: Path, *options: str) -> tuple[str, Results]:
    """Return the table and the results of a short run."""
    file = folder / "results.json"
    command = [sys.executable, "-m", "benchmarks.side_by_side", *SHORT, "--json", str(file), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, load(file)


@pytest.mark.slow
@pytest.mark.skipif(not IN_FULL, reason="make long")
def test_every_client_that_is_installed_fetches_everything_over_https(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    require(nginx.find(), "nginx is not installed")
    said, results = measure(tmp_path, "--cases=https")
    (https,) = (case for case in CASES if case.name == "https")
    for client in https.clients:
        missing = client.missing()
        assert (client.name in results.cases["https"].rows) == (missing is None)
        assert (client.label if missing is None else f"left out: {client.label}") in said


@pytest.mark.slow
def test_every_case_is_measured(tmp_path: Path, require: Callable[[object, str], None]) -> None:
    require(nginx.find(), "nginx is not installed")
    cases = [case.name for case in CASES if IN_FULL or case.name in ("http", "delay", "commands")]
    said, results = measure(
        tmp_path, f"--cases={','.join(cases)}", "--clients=workerpool,workerpool-run,raw,workerpool-cli"
    )
    assert list(results.cases) == cases
    assert "CPU time, workerpool run, with progress ÷ workerpool" in said
    (delayed,) = results.cases["delay"].rows["raw"].turns
    assert delayed.seconds >= servers.DELAY * delayed.requests / 256, "the server waits for every one of them"
    (command,) = results.cases["commands"].rows["workerpool-cli"].turns
    assert command.requests == 64
    assert command.peak is not None
    assert 2**23 < command.peak < 2**28


def seat(url: str, body_bytes: int, client: Client = URLLIB3) -> Seat:
    return Seat(client, Setup(concurrency=2, body_bytes=body_bytes, ca=None), url)


def test_a_client_that_does_not_get_whole_bodies_has_no_figures() -> None:
    with (
        Origin() as origin,
        seat(origin.url("/bytes/1000"), 1024) as cut,
        pytest.raises(TurnFailed, match="4 of 4 requests failed"),
    ):
        cut.turn(4)
    assert origin.requests == 4


def test_a_client_that_breaks_is_told_from_a_slow_one(capfd: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{nginx.free_port()}/"
    with seat(url, 1024) as lost, pytest.raises(TurnFailed, match="urllib3 in threads ended"):
        lost.turn(1)
    assert "Connection refused" in capfd.readouterr().err


def test_turns_of_a_client_ask_for_urls_that_are_all_different() -> None:
    with Origin() as origin, seat(origin.url("/bytes/1000"), 1000) as fetching:
        for _ in range(2):
            assert fetching.turn(5).requests == 5
    assert len({arrival.path for arrival in origin.arrivals}) == 10

"""`workerpool top`: a run is watched from another process, on a terminal and elsewhere, and is not disturbed by it."""

from __future__ import annotations

import json
import os
import pty
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.commands import PATIENCE, environment, run_here
from tests.forked import ForkedCommand
from tests.late import late
from tests.waiting import eventually
from workerpool.testing import Origin


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@contextmanager
def going_on(directory: Path, origin: Origin) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A run of a job that waits for its last answer; and what has that come."""
    job = directory / "crawl.job"
    words = [
        "run",
        str(directory / "urls.txt"),
        "-o",
        str(directory / "out.jsonl"),
        "--job",
        str(job),
        "--rate",
        "50/s",
    ]
    with late() as last:
        (directory / "urls.txt").write_text("\n".join([origin.url("/bytes/1"), origin.url("/status/404"), last.url]))
        with ForkedCommand(*words) as process:
            assert eventually(lambda: shows(job), PATIENCE)
            end = cache(last.answer)
            yield job, end
            end()
            process.communicate(timeout=PATIENCE)
    assert process.returncode == 1


def shows(job: Path) -> bool:
    """Whether its heartbeat tells of the two requests that have ended."""
    try:
        moment = json.loads((job / "heartbeat").read_text())["moment"]
    except OSError:
        return False
    return moment is not None and moment["done"] == 2


def test_once_says_in_a_line_how_the_run_is(tmp_path: Path, origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    with going_on(tmp_path, origin) as (job, _):
        told = run_here(["top", str(job), "--once"], capsys)
        assert told.returncode == 0
        for part in ("2 of 3  67%", "1 ok · 1 failed", "1 in flight"):
            assert part in told.stdout
    told = run_here(["top", str(job)], capsys)
    assert (told.returncode, told.stdout) == (0, f"{job}: no run holds it: see workerpool status {job}\n")


def test_elsewhere_than_on_a_terminal_lines_come_until_the_run_ends(tmp_path: Path, origin: Origin) -> None:
    with (
        going_on(tmp_path, origin) as (job, end),
        ForkedCommand("top", str(job), env=environment(), text=True) as watching,
    ):
        assert watching.stdout is not None
        assert "2 of 3  67%" in watching.stdout.readline()
        end()
        assert watching.wait(PATIENCE) == 0
        assert watching.stdout.read() == f"{job}: run 1 has ended: see workerpool status {job}\n"


def test_on_a_terminal_it_has_the_screen_until_ctrl_c_and_the_run_goes_on(tmp_path: Path, origin: Origin) -> None:
    pytest.importorskip("rich")
    with going_on(tmp_path, origin) as (job, _):
        ours, theirs = pty.openpty()
        with ForkedCommand(
            "top",
            str(job),
            env={**environment(), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            stdin=theirs, stdout=theirs, stderr=theirs,
        ) as watching:  # fmt: skip
            os.close(theirs)
            said = b""
            while b"404 Not Found" not in said:
                said += os.read(ours, 65536)
            assert b"\x1b[?1049h" in said  # a screen of its own
            watching.send_signal(signal.SIGINT)
            assert watching.wait(PATIENCE) == 130
        left = os.read(ours, 65536)
        assert b"\x1b[?1049l" in left
        assert b"Traceback" not in left
        os.close(ours)


def test_where_there_is_no_job_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run_here(["top", str(tmp_path)], capsys)
    assert told.returncode == 2
    assert f"{tmp_path} holds no job" in told.stderr

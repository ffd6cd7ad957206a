"""A database's server of the tests' own: what all of these have in common from its command to its end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import eventually

PATIENCE = 60.0
"""Seconds for a server to start, and to end."""


@contextmanager
def started(
    command: Sequence[str], directory: Path, user: str | None, end_by: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server as `user`, with its log in `directory`, and end it by a signal."""
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(command, user=user, cwd=directory, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(end_by)
        process.wait(PATIENCE)


def wait_until_answering(name: str, answers: Callable[[], bool], directory: Path) -> None:
    if not eventually(answers, PATIENCE):
        pytest.fail(f"{name} did not start: {(directory / 'log').read_text()}")

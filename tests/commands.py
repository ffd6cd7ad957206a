"""The command line as tests use it: in this process, as most of it needs no other, or in one of its own.

That is begun as users begin it (`started`) where this or its end is looked at, and else a `forked.ForkedCommand`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, AnyStr

import pytest

from workerpool.cli import main

COMMAND = [sys.executable, "-m", "workerpool"]
PATIENCE = 60.0
"""Seconds after which a process that should have ended or spoken counts as hung."""

_ROOT = Path(__file__).resolve().parent.parent


def run_here(
    words: Sequence[str], said: pytest.CaptureFixture[AnyStr], stdin: bytes | None = None
) -> subprocess.CompletedProcess[AnyStr]:
    """Carry out a command in this process; `stdin` is less than a pipe holds."""
    said.readouterr()
    if stdin is None:
        code = main([*words])
    else:
        with standard_input(stdin):
            code = main([*words])
    out, errors = said.readouterr()
    return subprocess.CompletedProcess([*words], code, out, errors)


@contextmanager
def standard_input(data: bytes) -> Iterator[None]:
    """Have this process read `data` there, which is less than a pipe holds."""
    reader, writer = os.pipe()
    with open(reader) as file:
        with open(writer, "wb") as pipe:
            pipe.write(data)
        before, sys.stdin = sys.stdin, file
        try:
            yield
        finally:
            sys.stdin = before


@contextmanager
def started(*words: str, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A command in a process of its own, ended by its id whatever happens."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    process = subprocess.Popen([*COMMAND, *words], **streams)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def environment() -> dict[str, str]:
    """The variables of a process that imports what lies here from another directory."""
    return {**os.environ, "PYTHONPATH": str(_ROOT), "COLUMNS": "80"}

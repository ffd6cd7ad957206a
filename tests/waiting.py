"""How tests wait for what happens elsewhere: bounded, and no longer than it takes."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LONG = 40.0
"""Seconds that something may take which should be there soon."""


def eventually(holds: Callable[[], bool], seconds: float = LONG) -> bool:
    """Whether `holds` comes true in so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def until_accepting(name: str, address: str, port: int, process: subprocess.Popen[bytes], out: Path) -> None:
    """Return when a server accepts: a connection is refused at once before, so this asks again without sleeping long.

    Fails the test, with what the server said in `out`, if it ends, or does not accept within 10 s.
    """
    for _ in range(200):
        if process.poll() is not None:
            pytest.fail(f"{name} ended: {out.read_text()}")
        try:
            socket.create_connection((address, port), 1).close()
            return
        except ConnectionRefusedError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    pytest.fail(f"{name} did not accept within 10 s")


def let_pass(seconds: float) -> None:
    """For where time itself is what the test is about: a server that drips, a request that is parked for a while.

    It is not for waiting until something has happened, which `eventually` does; tests/test_house.py lists who may.
    """
    time.sleep(seconds)


def in_a_thread(act: Callable[[], object]) -> None:
    """Have another thread do it, which fails the test if it does not end."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()

"""An origin in a process of its own, so that its work takes neither the client's interpreter lock nor its memory.

For rate measurements and benchmarks. It cannot be scripted; the built-in paths are there.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from workerpool.testing.origin.records import RecordMode, Records
from workerpool.testing.origin.server import check_loopback, url_of

RECORD_WORDS: dict[RecordMode, str] = {True: "all", "times": "times", False: "none"}
"""How the child's command line spells `record`."""

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 10.0
_ASK_TIMEOUT = 30.0


class OriginProcess:
    """`Origin` in a child process: the same `url`, its counts by `records`.

    The options are `Origin`'s, except that TLS is given as PEM files, `certificate` and `key`, and that `record` is
    ``"times"`` unless set: arrivals themselves do not cross the border. Should this process die, the child ends too.

    Raises `OptionError` as `Origin` does, and RuntimeError if the child does not start.
    """

    def __init__(
        self,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        *,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        keep_alive: bool = True,
        requests_per_connection: int | None = None,
        idle_timeout: float | None = None,
        idle_timeout_max: float | None = None,
        advertise_idle_timeout: bool = False,
        record: RecordMode = "times",
    ) -> None:
        self.addresses = check_loopback(addresses)
        self._scheme = "http" if certificate is None else "https"
        self._arguments = ["--port", str(port), "--addresses", *self.addresses, "--record", RECORD_WORDS[record]]
        for option, value in (
            ("--certificate", certificate),
            ("--key", key),
            ("--requests-per-connection", requests_per_connection),
            ("--idle-timeout", idle_timeout),
            ("--idle-timeout-max", idle_timeout_max),
        ):
            if value is not None:
                self._arguments += [option, str(value)]
        self._arguments += [] if keep_alive else ["--no-keep-alive"]
        self._arguments += ["--advertise-idle-timeout"] if advertise_idle_timeout else []
        self._child: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._records_url = ""

    def start(self) -> OriginProcess:
        """Start the child and return once it accepts connections. Does nothing if it runs."""
        if self._child is not None:
            return self
        # A session of its own: a signal to this process's group, as from Ctrl-C, is not meant for the server.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "workerpool.testing.origin", "--until-stdin-closes", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": _python_path()},
            start_new_session=True,
        )
        try:
            url, self._records_url = self._first_lines()
        except BaseException:
            self.stop()
            raise
        self._port = int(url.rpartition(":")[2].rstrip("/"))
        return self

    def _first_lines(self) -> tuple[str, str]:
        """Read the two URLs that the child prints once it listens."""
        stdout = self._check_running().stdout
        assert stdout is not None
        output = stdout.fileno()
        deadline, text = time.monotonic() + _START_TIMEOUT, b""
        while text.count(b"\n") < 2:
            if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError(f"the origin's process said nothing in {_START_TIMEOUT:g} s")
            piece = os.read(output, 4096)
            if not piece:
                raise RuntimeError("the origin's process ended before it listened; its error is on standard error")
            text += piece
        first, second = text.decode().split()
        return first, second

    def stop(self) -> None:
        """End the child, killing it if it does not go in 10 s. Does nothing if it is stopped."""
        child, self._child = self._child, None
        if child is None:
            return
        with child:  # closes the pipes and waits
            # The end of its input would do, were it sure to come: a process forked meanwhile may hold a copy of it.
            child.terminate()
            try:
                child.communicate(timeout=_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                child.kill()

    def __enter__(self) -> OriginProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on. Raises RuntimeError if it is stopped."""
        self._check_running()
        return self._port

    @property
    def pid(self) -> int:
        """The child's process number. Raises RuntimeError if it is stopped."""
        return self._check_running().pid

    def url(self, path: str = "/", address: str | None = None) -> str:
        """Return the URL of `path` at `address`, one of `addresses` (the first one by default)."""
        return url_of(path, self.addresses, address, self.port, self._scheme)

    def records(self) -> Records:
        """Ask the child for its counts, over a port that it does not count. Raises OSError if it has died."""
        return Records.from_json(self._ask("GET"))

    def busiest(self, window_seconds: float, address: str | None = None) -> int:
        """The most arrivals in any window of that many seconds, at one address or at all of them."""
        return self.records().busiest(window_seconds, address)

    def reset_records(self) -> None:
        """Forget arrivals, times and counts. Open connections stay open, and are the new peak."""
        self._ask("DELETE")

    def _ask(self, method: str) -> Any:
        self._check_running()
        # No proxy from the environment: it would be asked to reach its own loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self._records_url, method=method), timeout=_ASK_TIMEOUT) as response:
            return json.load(response)

    def _check_running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError("the origin's process is not started: use it in a with statement, or call start()")
        return self._child


def _python_path() -> str:
    """Return a PYTHONPATH under which the child finds this same package, installed or not."""
    root = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)

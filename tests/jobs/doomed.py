"""Runs the command line again and again, each time in a forked child that may kill itself at a call.

A process of its own with one thread, so that it may fork, and every run begins with the modules loaded. It reads
orders from standard input, a JSON object a line, and answers each with three lines: the child's process id, that it has
ended, and once another line has come, its exit code or negative signal. An order:

`argv`: for `workerpool.cli.main`. `cwd`: where. `said`: the file that gets what it says. `stdin`: a file, or none.
`kind`, `at`, `mode`: kill it ``before`` or ``after`` its `at`-th call of `kind`, or with half of it written (``torn``);
or let that call fail with the error number `fails` (of SQLite's statements: with "disk I/O error").
`clock`: seconds by which its wall clock is off. `limit`: bytes that a file may have at most.
`backoff`: seconds that a first retry waits at most; by default next to none, as no run would do anything else then.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import resource
import signal
import sqlite3
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import workerpool.batch.job.job
import workerpool.cli.looking  # noqa: F401  commands import these two when they need them; here it is done once
from tests.outputs import load_library_of
from workerpool.cli import main as command
from workerpool.cli import run as of_runs
from workerpool.cluster import make_pool
from workerpool.config import RetryPolicy
from workerpool.pool import WorkerPool

SYSTEM = ("write", "pwrite", "fsync", "replace", "ftruncate", "unlink", "link")
"""Functions of `os` that are counted. What SQLite calls by itself is not seen; its statements are."""

CHANGING = ("COMMIT", "CREATE", "DELETE", "DROP", "PRAGMA")
"""First words of the statements that are counted, as ``sql``: with these something reaches the disk."""


class Knife:
    """Counts calls by kind, and strikes at one of them."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._kind: str | None = order.get("kind")
        self._at: int = order.get("at", 0)
        self._mode: str = order.get("mode", "before")
        self._fails: int | None = order.get("fails")
        self._lasts: bool = order.get("lasts", False)
        self._numbers = {kind: itertools.count(1) for kind in (*SYSTEM, "sql")}
        self.counts: Counter[str] = Counter()

    def meet(self, kind: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        number = next(self._numbers[kind])
        self.counts[kind] = max(self.counts[kind], number)
        if kind != self._kind or not (number == self._at or (self._lasts and number > self._at)):
            return call(*args, **kwargs)
        if self._fails is not None:
            if kind == "sql":
                raise _sql_error(self._fails)
            raise OSError(self._fails, os.strerror(self._fails))
        if self._mode == "torn":
            call(args[0], memoryview(args[1])[: len(args[1]) // 2])
        elif self._mode == "after":
            call(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("dead")

    def patch(self) -> None:
        knife = self

        def is_pipe(kind: str, args: Any) -> bool:
            return kind == "write" and not stat.S_ISREG(os.fstat(args[0]).st_mode)

        def counted(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: (
                call(*args, **kwargs) if is_pipe(kind, args) else knife.meet(kind, call, *args, **kwargs)
            )

        for name in SYSTEM:
            setattr(os, name, counted(name, getattr(os, name)))
        replace, plain = os.replace, _REPLACE
        os.replace = lambda one, other, **how: (plain if "heartbeat" in str(other) else replace)(one, other, **how)

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
                if not statement.startswith(CHANGING):
                    return super().execute(statement, *args)
                cursor: sqlite3.Cursor = knife.meet("sql", super().execute, statement, *args)
                return cursor

        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)  # type: ignore[assignment]


_REPLACE = os.replace


def _sql_error(number: int) -> sqlite3.Error:
    full = number == 28  # ENOSPC
    error = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
    error.sqlite_errorname = "SQLITE_FULL" if full else "SQLITE_IOERR"
    return error


def run(order: dict[str, Any]) -> int:
    """Carry out an order in a child. Returns the exit code."""
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    os.dup2(said, 1)
    os.dup2(os.open(order.get("stdin") or os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0)  # noqa: SIM115
    os.chdir(order["cwd"])
    if order.get("limit"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
    if offset := order.get("clock"):
        real = time.time
        time.time = lambda: real() + offset  # type: ignore[assignment]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert of_runs.make_pool is make_pool
    of_runs.make_pool = functools.partial(_pool_of_short_waits, order.get("backoff", 0.01))  # type: ignore[assignment]
    knife = Knife(order)
    knife.patch()
    code = command(order["argv"])
    sys.stderr.flush()
    Path(f"{order['said']}.calls").write_text(json.dumps(knife.counts))
    return code


def _pool_of_short_waits(backoff: float, processes: int, **options: Any) -> WorkerPool:
    policy = options.pop("retry", RetryPolicy())
    return make_pool(processes, retry=replace(policy, backoff=backoff), **options)


def _load_what_is_written_with(argv: list[str]) -> None:
    """Import once what else every child would: it takes longer than a run. Nothing of it may leave a thread here."""
    words = " ".join(argv)
    load_library_of(words)
    if "--schema" in words:
        import jmespath  # noqa: F401
    if "--template" in words:
        import uritemplate  # noqa: F401
    assert len(os.listdir("/proc/self/task")) == 1


def serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        _load_what_is_written_with(order["argv"])
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = run(order)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        print("ended", flush=True)
        sys.stdin.readline()  # until then nobody else gets its id
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()

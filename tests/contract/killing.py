"""Kills a job's mover at each of its system calls and commits in turn, resumes it to its end, and reads its output.

A process of its own, with one thread, that forks one mover after the other: each is killed by SIGKILL before its n-th
call, after it, or, if it writes, with half of it written. The ledger is a file of JSON. Prints what it has found.

Usage: killing.py OUTPUT DIRECTORY SCENARIOS: at most so many, spread over all calls; 0 for every one.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.outputs import keys_in, load_library_of
from workerpool.batch.sinks import durable_sink_for

RECORDS = 100
KEPT = 60  # of them, when a finished job is opened once more
MODES = ("before", "after", "torn")
PATCHED = ("write", "fsync", "replace", "rename", "ftruncate", "unlink", "mkdir")


def row(number: int, again: bool) -> bytes:
    record = {
        "key": f'{"again" if again and number >= KEPT else "key"} {number}, "x"\n', "url": f"http://a.test/{number}",
        "method": "GET", "status": 200, "ok": True, "error": None, "attempts": 1, "elapsed": 0.25, "bytes": 5,
        "final_url": None, "started_at": "2026-01-02T03:04:05.678Z", "body": "x" * (number % 50),
    }  # fmt: skip
    return json.dumps(record).encode() + b"\n"


@dataclass
class Knife:
    """Counts calls, and kills its process at one of them."""

    at: int = 0
    mode: str = "before"
    calls: int = 0

    def wrap(self, function: Callable[..., Any], *, tears: bool = False) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.at and self.mode == "torn" and tears:
                function(args[0], memoryview(args[1])[: len(args[1]) // 2])
            if self.calls == self.at and self.mode != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if self.calls == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return called

    def patch(self, output: str) -> None:
        for name in PATCHED:
            setattr(os, name, self.wrap(getattr(os, name), tears=name == "write"))
        if output.endswith(".sqlite"):
            connect, knife = sqlite3.connect, self

            class Connection(sqlite3.Connection):
                execute = knife.wrap(sqlite3.Connection.execute)
                executemany = knife.wrap(sqlite3.Connection.executemany)

            sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs)
        if "://" in output and not is_postgres(output):
            from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb
            from sqlalchemy.engine.default import DefaultDialect

            for dialect, method in (
                (DefaultDialect, "do_execute"),
                (DefaultDialect, "do_executemany"),
                (DefaultDialect, "do_commit"),
                (MySQLDialect_mysqldb, "do_executemany"),
            ):
                setattr(dialect, method, self.wrap(getattr(dialect, method)))
        elif "://" in output:
            import psycopg

            for kind, name in (
                (psycopg.Connection, "execute"),
                (psycopg.Transaction, "__exit__"),
                (psycopg.Copy, "__exit__"),
            ):
                setattr(kind, name, self.wrap(getattr(kind, name)))


class Ledger:
    """What is confirmed, in a file that is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def commit(self, **changes: Any) -> None:
        self.state |= changes
        file = os.open(f"{self.path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(file, json.dumps(self.state).encode())
        os.close(file)
        os.replace(f"{self.path}.new", self.path)


def move(output: str, ledger: Ledger, dice: random.Random) -> None:
    """Do what a job's mover does, from wherever it was."""
    state = ledger.state
    again = bool(state.get("again"))
    sink = durable_sink_for(output, include={"body"})
    if state.get("reopen"):
        ledger.commit(position=sink.reopen(state["reopen"]), done=KEPT, reopen=None, finished=False)
    elif "position" not in state:
        ledger.commit(position=sink.begin(), done=0)
    elif not state.get("finished"):
        sink.resume(state["position"])
    while state["done"] < RECORDS:
        # A job that may be opened again knows the position where what it will keep has its end.
        end = min(KEPT if state["done"] < KEPT else RECORDS, state["done"] + dice.randint(1, 20))
        position = sink.write([row(number, again) for number in range(state["done"], end)])
        ledger.commit(position=position, done=end, **({"kept": position} if end == KEPT else {}))
    if not state.get("finished"):
        sink.finish()
        ledger.commit(finished=True)
    sink.close()


def forked(output: str, directory: Path, seed: int, at: int, mode: str) -> tuple[bool, int]:
    """Run a mover that is to be killed at a call; say whether it came to its end, and how many calls it took."""
    pid = os.fork()
    if pid == 0:
        try:
            knife = Knife(at, mode)
            knife.patch(output)
            move(output, Ledger(directory / "ledger.json"), random.Random(seed))
            Path(directory / "calls").write_text(str(knife.calls))
            os._exit(0)
        except BaseException as error:
            print(f"call {at}, {mode}: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return False, 0
    assert os.WEXITSTATUS(status) == 0, "the mover failed"
    return True, int((directory / "calls").read_text())


def expected(again: bool) -> list[str]:
    return [json.loads(row(number, again))["key"] for number in range(RECORDS)]


def is_postgres(output: str) -> bool:
    return output.startswith("postgresql://")


def is_server(output: str) -> bool:
    return "://" in output and ":///" not in output


def found_in(output: str) -> list[str] | None:
    """Read the keys in a process of their own where the library begins threads, which no fork survives."""
    if "://" not in output or is_postgres(output):
        return keys_in(output)
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open(writes, "w") as file:
            json.dump(keys_in(output), file)
        os._exit(0)
    os.close(writes)
    with open(reads) as file:
        found: list[str] | None = json.load(file)
    os.waitpid(pid, 0)
    return found


def clear(output: str, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    if is_server(output) and not is_postgres(output):
        import sqlalchemy

        base, _, table = output.partition("?table=")
        with sqlalchemy.create_engine(base, poolclass=sqlalchemy.NullPool).begin() as connection:
            connection.exec_driver_sql("SET lock_wait_timeout = 10")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}, {table}_partial, {table}_replaced")
    elif is_server(output):
        import psycopg

        base, _, table = output.partition("?table=")
        with psycopg.connect(base) as connection:
            connection.execute("SET lock_timeout = '10s'")
            connection.execute(f"DROP TABLE IF EXISTS {table}, {table}_partial")


def until_done(output: str, directory: Path, at: int, mode: str, again: bool) -> None:
    """Kill a mover at call `at`, the next ones wherever it happens, and look at what the last one leaves."""
    dice = random.Random(f"{at} {mode} {again}")
    before = expected(False) if again else None
    done, _ = forked(output, directory, dice.randint(0, 9), at, mode)
    for _ in range(3):
        if not done:
            found = found_in(output)
            assert found in (before, expected(again)), f"call {at}, {mode}: the output is neither old nor new"
            done, _ = forked(output, directory, dice.randint(0, 9), dice.randint(1, 40), dice.choice(MODES))
    if not done:
        forked(output, directory, 0, 0, "never")
    found = found_in(output)
    assert found == expected(again), f"call {at}, {mode}: {len(found or [])} records"
    if not is_server(output):
        left = sorted(path.name for path in directory.iterdir())
        name = Path(output.partition("?")[0]).name
        # A lock's file is left by who is killed when all is done; it locks nothing, and the next run takes it away.
        mine = {"calls", "ledger.json", "ledger.json.new", name, f"{name}.killed.lock"}
        assert set(left) <= mine, f"call {at}, {mode}: {left}"


def main(output: str, directory: Path, most: int) -> None:
    finished = directory.with_name("finished")
    load_library_of(output)  # once, and not in each mover
    if "://" in output and not is_postgres(output):
        for name in ("sqlalchemy.dialects.mysql.mysqldb", "workerpool.batch.sinks.sql"):
            importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "no thread survives a fork"
    for again in (False, True):
        clear(output, directory)
        if again:
            forked(output, directory, 0, 0, "never")
            ledger = Ledger(directory / "ledger.json")
            ledger.commit(reopen=ledger.state["kept"], again=True)
            shutil.copytree(directory, finished)
        _, calls = forked(output, directory, 0, 0, "never")
        assert found_in(output) == expected(again)
        scenarios = [(at, mode) for at in range(1, calls + 1) for mode in MODES]
        if most and len(scenarios) > most:
            scenarios = random.Random(most).sample(scenarios, most)
        for at, mode in scenarios:
            clear(output, directory)
            if again and is_server(output):
                forked(output, directory, 0, 0, "never")
                ledger = Ledger(directory / "ledger.json")
                ledger.commit(reopen=ledger.state["kept"], again=True)
            elif again:
                shutil.copytree(finished, directory, dirs_exist_ok=True)
            until_done(output, directory, at, mode, again)
        print(f"{len(scenarios)} of {calls} calls, {'opened again' if again else 'new'}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

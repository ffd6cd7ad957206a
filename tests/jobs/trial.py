"""A job under attack: sources of many kinds, a server that counts, runs that are killed, and what the end must be.

One thread, a test's. The server is in the test's process, so that what it counts outlives the runs.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.outputs import Row, rows_in
from workerpool.testing import Origin

ROOT = Path(__file__).resolve().parent.parent.parent
WORKERS = 8
PATIENCE = 60.0
"""Seconds after which a run that should have ended counts as hung."""

WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Has what Arrow brings along (NumPy's algebra, an allocator) start no threads: the process forks."""

UNKNOWN = "is not repeated blindly"
"""What the error of a request says whose answer was never known."""


class Doomed:
    """The process that forks runs: see `doomed`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "jobs" / "doomed.py")],
            env={**os.environ, "PYTHONPATH": str(ROOT), **WITHOUT_THREADS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that what was read ahead is not hidden from `select`
        )
        self.pid = 0
        self.said = ""
        self.calls: dict[str, int] = {}

    def start(self, argv: list[str], **how: Any) -> None:
        """Begin a run; `pid` is its process id."""
        said = self.directory / "said"
        said.write_text("")
        Path(f"{said}.calls").unlink(missing_ok=True)
        order = {"argv": argv, "cwd": str(self.directory), "said": str(said), **how}
        self._process.stdin.write(f"{json.dumps(order)}\n".encode())  # type: ignore[union-attr]
        self.pid = int(self._process.stdout.readline())  # type: ignore[union-attr]

    def has_ended(self, seconds: float) -> bool:
        """Whether the run ends within so many seconds. Until `wait` is called its process id is its own."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return how the run has ended: its exit code, or a negative signal."""
        if not self.has_ended(seconds):
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"the run did not end: {(self.directory / 'said').read_text()}")
        self._process.stdout.readline()  # type: ignore[union-attr]
        self._process.stdin.write(b"\n")  # type: ignore[union-attr]
        code = int(self._process.stdout.readline())  # type: ignore[union-attr]
        self.said = (self.directory / "said").read_text()
        calls = self.directory / "said.calls"
        self.calls = json.loads(calls.read_text()) if calls.exists() else {}
        assert "Traceback" not in self.said, self.said
        return code

    def run(self, argv: list[str], **how: Any) -> int:
        self.start(argv, **how)
        return self.wait()

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait(PATIENCE)
        self._process.stdout.close()  # type: ignore[union-attr]


@dataclass
class Batch:
    """What a trial fetches: sources' texts, the (key, URL) of every input, and the sends that it takes at least."""

    urls: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    of_urls: list[tuple[str, str]] = field(default_factory=list)
    of_posts: list[tuple[str, str]] = field(default_factory=list)
    sends: int = 0

    @property
    def inputs(self) -> list[tuple[str, str]]:
        return self.of_urls + self.of_posts


def batch_of(origin: Origin, count: int, dice: random.Random, *, posts: bool = True) -> Batch:
    """Make a batch of `count` inputs, a few of each kind of trouble among them; it takes one retry for each request."""
    batch = Batch()
    for number in range(count):
        draw = dice.random()
        sends = 1
        if draw < 0.02:
            path, sends = f"/flaky/1?status=500&i={number}", 2
        elif draw < 0.03:
            path, sends = f"/status/500?i={number}", 2
        elif draw < 0.06:
            path = f"/status/404?i={number}"
        elif draw < 0.09:
            path = f"/redirect/1?i={number}"
        elif draw < 0.25:
            path = f"/delay/0.02?i={number}"
        elif draw < 0.28:
            path = "/bytes/5"  # the same one again and again
        else:
            path = f"/bytes/{dice.randrange(1, 2000)}?i={number}"
        if posts and draw > 0.85:
            url, key = origin.url(f"/echo?i={number}"), f"key {number % 7}"
            batch.posts.append(json.dumps({"url": url, "method": "POST", "json": {"n": number}, "key": key}))
            batch.of_posts.append((key, url))
        elif posts and draw > 0.82:
            url, key = origin.url(path), "same key"
            batch.posts.append(json.dumps({"url": url, "key": key}))
            batch.of_posts.append((key, url))
        elif draw > 0.80:
            line, sends = f"no URL {number}", 0
            batch.urls.append(line)
            batch.of_urls.append((line, line))
        else:
            url = origin.url(path)
            batch.urls.append(url)
            batch.of_urls.append((url, url))
            if draw < 0.7 and number % 11 == 0:
                batch.urls.append("")
        batch.sends += sends
    return batch


class Trial:
    """A job in `directory` over a batch, its output named `output`."""

    def __init__(
        self, directory: Path, origin: Origin, doomed: Doomed, batch: Batch, output: str, *options: str
    ) -> None:
        self.directory = directory
        self.origin = origin
        self.doomed = doomed
        self.batch = batch
        self.output = output if "://" in output else str(directory / output)
        (directory / "urls.txt").write_text("".join(f"{line}\n" for line in batch.urls))
        sources = [str(directory / "urls.txt")]
        if batch.posts:
            (directory / "posts.jsonl").write_text("".join(f"{line}\n" for line in batch.posts))
            sources.append(str(directory / "posts.jsonl"))
        self.argv = [
            *("run", *sources, "-o", self.output, "--job", str(directory / "job"), "--no-progress", "--retries", "1"),
            *("--workers", str(WORKERS), "--host-connections", str(WORKERS), *options),
        ]
        self.kills = 0

    # -- runs ---------------------------------------------------------------------------------------------------------

    def run(self, *more: str, **how: Any) -> int:
        """Run the command, perhaps to its end by its own hand; count it if it was killed."""
        code = self.doomed.run([*self.argv, *more], **how)
        self.kills += code == -signal.SIGKILL
        return code

    def kill_after(self, *, seconds: float = PATIENCE, arrivals: int = 1_000_000_000, **how: Any) -> int:
        """Run the command, and kill it after so many seconds, or once so many more requests have come."""
        before, end = self.origin.requests, time.monotonic() + seconds
        self.doomed.start(self.argv, **how)
        while self.origin.requests - before < arrivals and time.monotonic() < end:
            if self.doomed.has_ended(0.002):
                break
        os.kill(self.doomed.pid, signal.SIGKILL)
        code = self.doomed.wait()
        self.kills += code == -signal.SIGKILL
        return code

    def is_finished(self) -> bool:
        """Whether the ledger says that the run has been finished: the same command begins a new one."""
        with tempfile.TemporaryDirectory() as copies:  # as looking would tidy up what a kill has left
            for file in self.directory.glob("job/ledger.sqlite*"):
                shutil.copy(file, copies)
            with closing(sqlite3.connect(Path(copies) / "ledger.sqlite")) as database:
                try:
                    return database.execute("SELECT phase FROM runs ORDER BY number DESC").fetchone() == ("finished",)
                except sqlite3.OperationalError:  # killed before it had tables
                    return False

    # -- what must be true --------------------------------------------------------------------------------------------

    def check(self, *, extra: int | None = None, ordered: bool = False) -> list[Row]:
        """Look at the finished output; `extra`: sends beyond an undisturbed run, workers × kills by default."""
        rows = rows_in(self.output) or []
        found = [(row["key"], row["url"]) for row in rows]
        missing, surplus = Counter(self.batch.inputs) - Counter(found), Counter(found) - Counter(self.batch.inputs)
        assert not missing, f"missing: {list(missing)[:5]}"
        assert not surplus, f"surplus: {list(surplus)[:5]}"
        if ordered:
            assert found == self.batch.inputs, "the records are not in the order of the inputs"
        sent = Counter(arrival.path for arrival in self.origin.arrivals if arrival.method == "POST")
        assert max(sent.values(), default=1) == 1, f"sent twice: {[path for path, n in sent.items() if n > 1]}"
        unknown = [row for row in rows if UNKNOWN in str(row["error"])]
        assert all(row["method"] == "POST" for row in unknown)
        assert len(unknown) <= WORKERS * self.kills
        never = [row["url"] for row in unknown if f"/{row['url'].split('/', 3)[3]}" not in sent]
        assert len(never) <= WORKERS * self.kills  # announced, and killed before the send
        answered = {row["url"] for row in rows if row["method"] == "POST" and str(row["status"]) == "200"}
        assert len(answered) == sum(row["method"] == "POST" for row in rows) - len(unknown)
        allowed = WORKERS * self.kills if extra is None else extra
        assert self.repeats() <= allowed, f"{self.repeats()} repeats after {self.kills} kills"
        return rows

    def repeats(self) -> int:
        """Requests that came beyond those that an undisturbed run sends; where a redirect leads to is not counted."""
        return sum(not arrival.path.startswith("/redirect/0") for arrival in self.origin.arrivals) - self.batch.sends

    def left(self) -> list[str]:
        """What is beside the output and is not ours."""
        ours = {"urls.txt", "posts.jsonl", "job", Path(self.output).name}
        return sorted({path.name for path in self.directory.iterdir()} - ours)


@contextmanager
def doomed_in(directory: Path) -> Iterator[Doomed]:
    doomed = Doomed(directory)
    try:
        yield doomed
    finally:
        doomed.close()

"""Processes that begin with everything imported: an import of the package takes half a second of the processor."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "tests.sharded",
        "tests.shared.client",
        "tests.elsewhere",
        "structlog",
        "workerpool.batch.job.job",
        "workerpool.cli.arguments",
        "workerpool.cli.looking",
        "workerpool.cli.run",
    ]
)


class ForkedCommand:
    """A command in a forked process, with as much of `Popen` as tests use; killed by its id in the end.

    One thread, a test's.
    """

    def __init__(
        self,
        *words: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        text: bool = False,
        cwd: str | Path = ".",
        env: Mapping[str, str] = os.environ,
        start_new_session: bool = False,
    ) -> None:
        with ExitStack() as theirs:
            mode = "" if text else "b"
            reads, self.stdin = _stream(stdin, f"w{mode}", theirs)
            writes, self.stdout = _stream(stdout, f"r{mode}", theirs)
            says, self.stderr = _stream(stderr, f"r{mode}", theirs)
            where = (str(Path(cwd).absolute()), dict(env), start_new_session)
            streams = [_Descriptor(number) for number in (reads, writes, says)]
            self._process = CONTEXT.Process(target=_carry_out, args=(words, streams, *where))
            self._process.start()
        self.pid: int = self._process.pid  # type: ignore[assignment]
        self.kill = self._process.kill

    def __enter__(self) -> ForkedCommand:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait(60.0)
        self._close()

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget  # type: ignore[attr-defined]

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        self._process.join(seconds)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked command", seconds)
        return self.returncode

    def communicate(self, timeout: float) -> tuple[Any, Any]:
        """Read both streams to their ends, and wait for the process's."""
        with ThreadPoolExecutor(2) as readers:
            said = [readers.submit(stream.read) if stream else None for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            finally:
                self.kill()  # so that both streams end
        out, errors = [one.result() if one else None for one in said]
        self._close()
        return out, errors


def _stream(given: int, mode: str, theirs: ExitStack) -> tuple[int, IO[Any] | None]:
    """Return the descriptor that a command gets, closed here with `theirs`, and the end of a pipe to it, if it is one.

    `given` is as for `subprocess.Popen`; `mode` is that of the pipe's end here.
    """
    if given == subprocess.PIPE:
        reads, writes = os.pipe()
        number, own = (reads, writes) if mode.startswith("w") else (writes, reads)
        theirs.callback(os.close, number)
        return number, open(own, mode)
    if given == subprocess.DEVNULL:
        given = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, given)
    return given, None


class _Descriptor:
    """A file descriptor that the other process gets."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _received, (DupFd(self.number),)


def _received(descriptor: Any) -> int:
    return int(descriptor.detach())


def _carry_out(
    words: Sequence[str], streams: list[int], directory: str, variables: dict[str, str], has_session: bool
) -> None:
    """Be the command: in the forked process."""
    if has_session:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(directory)
    sys.argv = ["workerpool", *words]
    from workerpool.cli import main  # here, as most that fork have no need of it

    sys.exit(main())

"""The metrics of a run of the command line: served while it goes on, and written to a file, also at its end.

What cannot be served or written is refused before anything is made or sent; later it is said once, and ends no run.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from workerpool.batch.progress import Moment
from workerpool.cli.speaker import Speaker
from workerpool.errors import SinkError
from workerpool.model import Outcome

if TYPE_CHECKING:
    from workerpool.metrics import Metrics

WRITE_EVERY = 15.0
"""Seconds between two times that the file is written."""


class Exporter:
    """The metrics of one run. `path`: of their file, if they go to one; `url`: where they are served, if they are."""

    def __init__(self, metrics: Metrics, path: str | None, url: str | None, speaker: Speaker) -> None:
        self._metrics = metrics
        self._path = path
        self._url = url
        self._speaker = speaker
        self._next = 0.0

    def begin(self, look: Callable[[], Moment]) -> None:
        """Show a run, of which `look` makes moments. Only now is the file written: a run that is refused leaves it."""
        self._metrics.look_at(look)
        if self._url is not None:
            self._speaker.tell(f"Metrics are at {self._url}.")
        if self._path is not None:
            self._write(self._path)

    def observe(self, outcome: Outcome) -> None:
        """Count an outcome. The run's thread, which also writes the file: it takes a millisecond."""
        self._metrics.observe(outcome)
        if self._path is not None and time.monotonic() >= self._next:
            self._write(self._path)

    def end(self, code: int) -> None:
        """Note how the run has ended."""
        self._metrics.end(code)
        if self._path is not None:
            self._write(self._path)

    def _write(self, path: str) -> None:
        self._next = time.monotonic() + WRITE_EVERY
        try:
            self._metrics.write(path)
        except SinkError as error:
            self._speaker.note(f"{error}. The run goes on without them.")
            self._path = None


@contextmanager
def exported(address: str | None, path: str | None, speaker: Speaker) -> Iterator[Exporter | None]:
    """Serve and write metrics until the end of the block, if that was asked for.

    Raises `OptionError` and `SinkError` where that cannot be done.
    """
    if address is None and path is None:
        yield None
        return
    from workerpool.metrics import Metrics  # which most runs can do without

    metrics = Metrics()
    with ExitStack() as stack:
        if path is not None:
            _check_place(path)
        url = None if address is None else stack.enter_context(metrics.served(address))
        yield Exporter(metrics, path, url, speaker)


def _check_place(path: str) -> None:
    """Raise `SinkError` where no file can be put in place of the one at `path`."""
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=os.path.dirname(path) or os.curdir):
            pass
    except OSError as error:
        raise SinkError(f"the metrics cannot be written to {path}: {error.strerror or error}") from error

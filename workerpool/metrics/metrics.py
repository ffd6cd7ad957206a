"""`Metrics`: counts outcomes, and shows them with a pool's statistics to Prometheus: at an address, or in a file."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from workerpool.batch.progress import Moment
from workerpool.endings import in_short
from workerpool.errors import OptionError, SinkError
from workerpool.extras import load
from workerpool.metrics.durations import Durations
from workerpool.model import Outcome
from workerpool.statistics import PoolStatistics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OK, OTHER = "ok", "other"

MOST_REASONS = 100
"""Reasons that are counted by themselves: servers can make up any number of statuses."""


class Pool(Protocol):
    def statistics(self) -> PoolStatistics: ...


class Metrics:
    """What a pool and its run do, for Prometheus; needs prometheus_client (the ``[prometheus]`` extra).

    With a `pool` it shows its statistics at each scrape. Of a run, `observe` counts its outcomes, and `progress` takes
    its moments: give both to `Job.run`. `registry`: the one that it registers with, a new one by default. Raises
    `OptionError` where the library is missing.
    """

    def __init__(self, pool: Pool | None = None, *, registry: CollectorRegistry | None = None) -> None:
        self._library: Any = load("prometheus_client", "prometheus", "metrics")
        self._pool = pool
        self._look: Callable[[], Moment] | None = None
        self._moment: Moment | None = None
        # Written by the run's thread alone, in single steps; a scrape may come in the middle of one outcome.
        self._reasons = Counter[str]()
        self._durations, self._first_bytes = Durations(), Durations()
        self._began = time.time()
        self._ended: float | None = None
        self._code: int | None = None
        self.registry: CollectorRegistry = registry or self._library.CollectorRegistry()
        self.registry.register(self)

    def observe(self, outcome: Outcome) -> None:
        """Count an outcome. One thread at a time."""
        reason = OK if outcome.error is None else in_short(outcome.error)
        if len(self._reasons) >= MOST_REASONS and reason not in self._reasons:
            reason = OTHER
        self._reasons[reason] += 1
        if outcome.attempts:
            self._durations.add(outcome.elapsed)
            for attempt in outcome.attempts:
                if attempt.status is not None:
                    self._first_bytes.add(attempt.timings.first_byte)

    def progress(self, moment: Moment) -> None:
        """Take a moment of a run. Any thread."""
        self._moment = moment

    def look_at(self, run: Callable[[], Moment]) -> None:
        """Have `run` make a moment at each scrape from now on, in place of `progress`."""
        self._look = run

    def end(self, code: int) -> None:
        """Note that the run has ended, and what with."""
        self._ended, self._code = time.time(), code

    def collect(self) -> Iterator[Any]:
        """What there is now, as prometheus_client asks for it. Any thread."""
        from workerpool.metrics import families

        moment = self._moment if self._look is None else self._look()
        if self._pool is not None:
            yield from families.of_pool(self._pool.statistics())
        elif moment is not None:
            yield from families.of_pool(moment.pool)
        if moment is not None:
            yield from families.of_run(moment, self._began, self._ended, self._code)
        if self._reasons:
            yield from families.of_outcomes(self._reasons.copy(), self._durations, self._first_bytes)

    # -- where it goes ------------------------------------------------------------------------------------------------

    @contextmanager
    def served(self, address: str) -> Iterator[str]:
        """Serve it by HTTP until the end of the block; yields the URL. `address`: see `address_of`.

        Raises `OptionError` where nothing can be served there.
        """
        host, port = address_of(address)
        try:
            server, thread = self._library.start_http_server(port, host, self.registry)
        except OSError as error:
            raise OptionError(f"metrics={address!r}: nothing can be served there: {error.strerror or error}") from error
        try:
            yield f"http://{host if host != EVERYWHERE else 'localhost'}:{server.server_port}/metrics"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file in place of the one before, for the node exporter's textfile collector.

        Raises `SinkError` where that cannot be done.
        """
        try:
            self._library.write_to_textfile(os.fspath(path), self.registry)
        except OSError as error:
            raise SinkError(f"the metrics cannot be written to {path}: {error.strerror or error}") from error


EVERYWHERE = "0.0.0.0"  # only who says so gets it


def address_of(text: str) -> tuple[str, int]:
    """Read an address: a port of this machine alone, ``:9464`` for all its addresses, or ``HOST:PORT``.

    Raises `OptionError`.
    """
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise OptionError(f"metrics={text!r} must be a port, as 9464, or HOST:PORT, where :PORT means all addresses")
    return (host.strip("[]") or (EVERYWHERE if colon else "127.0.0.1")), int(port)

"""The records of a finished run, read back as timings: of a job's directory, or of an output by itself. One thread."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, NamedTuple

from workerpool.batch.job.schema import RunRow
from workerpool.batch.reading_back import RecordsBack

FIELDS = ("url", "ok", "status", "attempts", "elapsed", "final_url")


class Sent(NamedTuple):
    """A request that was sent: how it ended, after how many attempts, in how many seconds from its first send."""

    url: str
    ok: bool
    status: int | None
    attempts: int
    elapsed: float
    final_url: str | None


class Records:
    """The records at `path`. Iterating gives those of requests that were sent, and reads anew each time.

    Raises `JobError`, here or while iterating, where there is nothing to be read.
    """

    def __init__(self, path: str) -> None:
        self._records = RecordsBack(path, FIELDS, _sent)
        self.name = self._records.name

    @property
    def took(self) -> float | None:
        """Seconds from the run's beginning to its end, None if it has none or was interrupted in between."""
        return self._records.took

    @property
    def run(self) -> RunRow | None:
        """The job's run, if its sources can be read again."""
        return self._records.run

    @property
    def sources(self) -> tuple[str, ...]:
        """Their names."""
        return self._records.sources

    def __iter__(self) -> Iterator[Sent]:
        return (one for one in self._records if one.attempts)


def _sent(values: tuple[Any, ...]) -> Sent:
    url, ok, status, attempts, elapsed, final_url = values
    answered, seconds = None if status is None else int(status), float(elapsed)
    if not 0 <= seconds < inf:
        raise ValueError(f"no request takes {seconds} s")
    return Sent(str(url), bool(ok), answered, int(attempts), seconds, final_url or None)

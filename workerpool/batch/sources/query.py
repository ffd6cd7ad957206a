"""The rows of a query as the one source of a batch: read through a cursor, one thousand in memory at a time.

A query has no place that could be gone to. A run that goes on asks it again, from the first row, and passes by what has
ended; what its rows add up to tells whether they are what they were. So its rows need one order: ``order by`` what is
unique. One thread reads; it may have to wait for the database, and `stop` comes from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from workerpool.batch.sources.database import Answer, Database
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.marks import Block, Fingerprint, Mark
from workerpool.batch.sources.reading import CountedReading
from workerpool.batch.sources.rows import BadRow, Place, text_of
from workerpool.batch.sources.values import text_of as as_text
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request

_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)
_KNOWN = (str, int, float, bytes, Decimal, date, datetime, time, timedelta, UUID, type(None))


class QueryRows:
    """One source: the rows that `query` gives of the database at `url`. `making` makes the requests of them.

    Raises `OptionError` for a URL or a query that cannot be one.
    """

    unsought = frozenset({0})
    may_wait = True
    can_be_read_again = True

    def __init__(self, url: str, query: str, *, making: Making = FIELD_ROWS) -> None:
        if not isinstance(query, str) or not query.strip():
            raise OptionError(f"query={query!r} must be SQL that gives rows: write 'select … order by …'")
        self._database = Database(url)
        self._query = query.strip().rstrip(";")
        self._making = making
        self._answer: Answer | None = None  # of who looked whether there is one
        self._is_stopped = False

    @property
    def paths(self) -> list[str]:
        return [self._database.name]

    @property
    def is_ordered(self) -> bool:
        """Whether the query says in which order its rows come."""
        return _ORDERED.search(self._query) is not None

    def check(self) -> None:
        """Ask the query and look at its columns; raises `SourceError`. The first reading has this answer's rows."""
        self._is_stopped = False
        self._forget()
        self._answer = self._ask()

    def count(self) -> int | None:
        return None  # it would have to be asked twice

    def stop(self) -> None:
        self._is_stopped = True

    def __iter__(self) -> Iterator[Request]:
        return iter(self.read(0))

    def read(self, index: int, start: Mark | None = None) -> QueryReading:
        return QueryReading(self._rows, lambda: self._is_stopped)

    def where(self, index: int, ordinal: int) -> str:
        return f"{self._database.name}, row {ordinal:,}"

    def fingerprint(self, index: int) -> Fingerprint | None:
        return None

    def verify(self, index: int, blocks: Iterable[Block]) -> Block | None:
        return None

    def _rows(self) -> Iterator[tuple[Request, bytes]]:
        """Yield a request for each row, and what was taken of the row."""
        answer, self._answer = self._answer or self._ask(), None
        with closing(answer):
            columns = [self._making.column(name) for name in answer.columns]
            taken = [(at, name) for at, name in enumerate(columns) if self._making.takes(name)]
            for number, row in enumerate(answer, 1):
                values = [_settled(row[at]) for at, _ in taken]
                fields = {name: value for (_, name), value in zip(taken, values, strict=True)}
                yield self._request(number, fields), ascii(values).encode()

    def _request(self, number: int, fields: Mapping[str, Any]) -> Request:
        place = Place(self._database.name, self._database.name, number, "row")
        if self._making.is_typed:
            return self._making.of_cells(fields, place, "")
        cells = {name: _plain(value) for name, value in fields.items()}
        return self._making.of_cells(cells, place, str(cells["url"] or text_of(cells)))

    def _ask(self) -> Answer:
        answer = self._database.ask(self._query)
        try:
            self._making.check([self._making.column(name) for name in answer.columns])
        except BadRow as error:
            answer.close()
            raise SourceError(f"{self._database.name}: {error}") from error
        return answer

    def _forget(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None


class QueryReading(CountedReading):
    """A reading of a query's rows; what its checks add up is what was taken of them."""

    def __init__(self, rows: Callable[[], Iterator[tuple[Request, bytes]]], is_stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._rows = rows
        self._is_stopped = is_stopped

    def __iter__(self) -> Iterator[Request]:
        for request, row in self._rows():
            if self._is_stopped():
                return
            self._begin()
            yield request
            self._add(row)
        self._finish()


def _settled(value: Any) -> Any:
    """Return a value that is written the same whenever it is asked for."""
    if isinstance(value, (*_KNOWN, dict, list)):
        return value
    return bytes(value) if isinstance(value, (memoryview, bytearray)) else str(value)


def _plain(value: Any) -> Any:
    """Return a value as the fields of a request may have it."""
    return value if isinstance(value, (str, int, float, bytes, dict, list, type(None))) else as_text(value)

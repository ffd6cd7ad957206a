"""Records as rows of a table: the columns, their types, and what is in a cell. Pure functions, any thread.

Types are fixed, never inferred from the values: two runs make tables that fit each other. A job's records may leave out
``unchanged`` and ``skipped``, which is false then; what else a record lacks is null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from workerpool.batch.record import JOB_FIELDS, Record, fields_of


class Kind(Enum):
    """The type of a column."""

    TEXT = "text"
    SHORT = "short"  # an integer of 32 bits
    LONG = "long"  # of 64
    REAL = "real"
    BOOLEAN = "boolean"
    TIME = "time"  # UTC, to the millisecond; in a record as ISO 8601
    MAP = "map"  # text by text


KINDS = {
    "status": Kind.SHORT,
    "ok": Kind.BOOLEAN,
    "attempts": Kind.SHORT,
    "elapsed": Kind.REAL,
    "bytes": Kind.LONG,
    "started_at": Kind.TIME,
    "page": Kind.LONG,
    "headers": Kind.MAP,
    "unchanged": Kind.BOOLEAN,
    "skipped": Kind.BOOLEAN,
}
"""The kinds of the fields that are not text."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table of records, in their order."""

    names: tuple[str, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(KINDS.get(name, Kind.TEXT) for name in self.names)

    def records(self, rows: Iterable[bytes]) -> Iterator[Record]:
        """Read rows of JSON, with what a job's record may leave out."""
        defaults = {name: False for name in JOB_FIELDS if name in self.names}
        for row in rows:
            yield {**defaults, **json.loads(row)}

    def rows(self, records: Iterable[Record], cell: Callable[[Kind, Any], Any]) -> Iterator[tuple[Any, ...]]:
        """Turn records into tuples of what `cell` makes of each value that is not None."""
        names, kinds = self.names, self.kinds
        for record in records:
            values = map(record.get, names)
            yield tuple(
                [None if value is None else cell(kind, value) for kind, value in zip(kinds, values, strict=True)]
            )


def columns_of(include: Collection[str], *, job: bool = False) -> Columns:
    """Return the columns of the records of a run, or of a job, with what `include` adds."""
    return Columns(fields_of(include, job=job))


def text_of(value: Any) -> str:
    """Return `value` as text that UTF-8 can hold: a lone surrogate, from a key, is written as an escape."""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()

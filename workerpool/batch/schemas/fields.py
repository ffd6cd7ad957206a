"""A column of a schema: where its value is, which type it has, what may be missing. A checked value; any thread."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from workerpool.batch.columns import ROW, Column, Kind
from workerpool.errors import OptionError

TYPES = {
    "string": Kind.TEXT,
    "int": Kind.LONG,
    "float": Kind.REAL,
    "decimal": Kind.DECIMAL,
    "bool": Kind.BOOLEAN,
    "timestamp": Kind.TIME,
    "json": Kind.JSON,
}

ITEM, ROOT = "item", "root"

OF_REQUEST = {
    "request.key": "string",
    "request.url": "string",
    "request.page": "int",
    "request.fetched_at": "timestamp",
    "request.index": "int",
}
"""What a column may say of the request, and its type. The index is that of the item in its answer, from 0."""

ISO, SECONDS, MILLISECONDS = "iso", "s", "ms"

MOST_DIGITS = 38
"""Digits of a decimal: what Arrow's 128 bits, and the databases' own decimals, can hold."""

_LONGEST = 63  # bytes of a name, which PostgreSQL cuts off behind that
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column: `name`, and `type`, one of `TYPES`.

    `path`: a JMESPath expression on what `source` says: the ``item``, the ``root`` (the whole answer), or one of
    `OF_REQUEST`, which needs none. By default the item's field that is called as the column.
    `required`: reject a row where it is missing or null; else it is `default` then, which is null if none is given.
    `coerce`: take text that stands for a number, a truth value or a time, and write numbers as text.
    `format`, of a timestamp: ``iso``, ``s`` or ``ms`` since the epoch, or one of `datetime.strptime` with its ``%``.
    `timezone`: that of times that name none; without it these are rejected.
    `precision` and `scale`, of a decimal: its digits, and how many of them after the point.
    """

    name: str
    type: str = "string"
    path: str | None = None
    source: str = ITEM
    required: bool = False
    default: Any = None
    coerce: bool = False
    format: str = ISO
    timezone: str | None = None
    precision: int = MOST_DIGITS
    scale: int = 9

    def __post_init__(self) -> None:
        """Raises `OptionError`, which names the column."""
        _check_name(self.name)
        if self.type not in TYPES:
            raise self.wrong(f"type = {self.type!r} is unknown: write {_either(TYPES)}")
        if self.source not in (ITEM, ROOT, *OF_REQUEST):
            raise self.wrong(f"from = {self.source!r} is unknown: write {_either((ITEM, ROOT, *OF_REQUEST))}")
        if self.source in OF_REQUEST:
            self._check_of_request()
        if not (0 <= self.scale <= self.precision <= MOST_DIGITS and self.precision):
            raise self.wrong(
                f"precision = {self.precision} and scale = {self.scale}: write 1 to {MOST_DIGITS} digits, and no more "
                "of them after the point than there are"
            )
        self._check_time()
        if self.required and self.default is not None:
            raise self.wrong("required and default: what has a default is never missing, so leave one of them out")

    @property
    def where(self) -> str:
        """The path, as an expression."""
        return self.name if self.path is None else self.path

    def column(self) -> Column:
        """The column of a table that holds it."""
        scale = 6 if self.type == "timestamp" else self.scale
        of_any = self.source in ("request.key", "request.url", "request.index")
        required = self.required or self.default is not None or of_any
        return Column(
            name=self.name, kind=TYPES[self.type], precision=self.precision, scale=scale, is_required=required
        )

    def wrong(self, what: str) -> OptionError:
        return OptionError(f"the column {self.name}: {what}")

    def _check_of_request(self) -> None:
        of = OF_REQUEST[self.source]
        if self.type != of:
            raise self.wrong(f"from = {self.source!r} is of type {of}, not {self.type}")
        if self.path is not None:
            raise self.wrong(f"from = {self.source!r} needs no path: leave path = {self.path!r} out")

    def _check_time(self) -> None:
        if self.format not in (ISO, SECONDS, MILLISECONDS) and "%" not in self.format:
            raise self.wrong(
                f"format = {self.format!r} is unknown: write {ISO}, {SECONDS} or {MILLISECONDS} (since 1970), or a "
                "pattern such as %d.%m.%Y"
            )
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ValueError, OSError, KeyError):
                raise self.wrong(
                    f"timezone = {self.timezone!r} is unknown: write UTC, or one as Europe/Paris"
                ) from None


def check_fields(fields: tuple[Field, ...], key: tuple[str, ...]) -> None:
    """Raise `OptionError` if these are no columns of one table."""
    if not fields:
        raise OptionError('a schema needs a column: write id = "int" under [columns]')
    seen: dict[str, str] = {}
    for field in fields:
        same = seen.setdefault(field.name.lower(), field.name)
        if same != field.name or [one.name for one in fields].count(field.name) > 1:
            raise field.wrong(f"{same} is there already, and databases do not tell capitals apart: call it otherwise")
    by_name = {field.name: field for field in fields}
    for name in key:
        if name not in by_name:
            raise OptionError(f"the key {name!r} is no column of the schema: write {_either(by_name)}")
        if by_name[name].type == "json":
            raise by_name[name].wrong("json is no type for a key: its values have no order")


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name.encode()) > _LONGEST or name == ROW:
        raise OptionError(
            f"the column {name!r} needs a name of letters, digits and _, {_LONGEST} bytes at most, not {ROW}: give it "
            "one, and say where it is by path ="
        )


def _either(words: Any) -> str:
    *some, last = words
    return f"{', '.join(some)} or {last}" if some else str(last)

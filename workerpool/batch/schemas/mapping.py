"""An outcome as rows and rejects, by a schema that was compiled once. Raises nothing for whatever an answer holds.

An item of the answer becomes a row, or a reject that says which column would not take its value: the first one, as
what follows is often the same mistake. What is wrong with the answer as a whole, or with a column that is the same for
all of its items, is one reject. Where all items become rows, they do so together: see `whole`. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from workerpool import paths
from workerpool.batch.columns import time_text
from workerpool.batch.record import Record
from workerpool.batch.schemas.fields import ITEM, OF_REQUEST, ROOT, Field
from workerpool.batch.schemas.parsing import parser
from workerpool.batch.schemas.paths import getter
from workerpool.batch.schemas.rejects import reject_of, shown
from workerpool.batch.schemas.values import Convert, Refused, called, converter
from workerpool.batch.schemas.whole import Values, column_of
from workerpool.model import Outcome

_INDEX = "request.index"


class Mapped(NamedTuple):
    """What became of an outcome."""

    rows: list[Record]
    rejects: list[Record]


class ItemRefused(Exception):
    """Why an item is no row: the `column`, None if it is not one's fault, the reason, and the value."""

    def __init__(self, column: str | None, reason: str, value: Any) -> None:
        super().__init__(reason)
        self.column = column
        self.value = value


class Items(Protocol):
    """What makes a row's values of an item, or raises `ItemRefused`."""

    def __call__(self, item: Any) -> Record: ...


class Mapper:
    """`fields` on the items that `explode` gives; `items`: what makes rows of those in place of the fields' paths."""

    def __init__(self, fields: Sequence[Field], explode: str | None, items: Items | None = None) -> None:
        self._parse = parser(exact=any(field.type == "decimal" for field in fields))
        self._explode = None if explode is None else getter(explode, "explode =")
        self._explode_text = explode
        of_item = [field for field in fields if field.source == ITEM]
        self._of_item = items or item_mapper(of_item)
        self._of_items = None if items else whole_mapper(of_item)
        self._failures: tuple[type[Exception], ...] = (Refused, *paths.errors())
        self._of_root = item_mapper([field for field in fields if field.source == ROOT])
        self._of_request = [field for field in fields if field.source in OF_REQUEST and field.source != _INDEX]
        self._indexes = [field.name for field in fields if field.source == _INDEX]
        self._blank = dict.fromkeys(field.name for field in fields)
        self._has_fixed = any(field.source != ITEM for field in fields)

    def map(self, outcome: Outcome) -> Mapped:
        """Return the rows of an outcome and its rejects."""
        rows: list[Record] = []
        rejects: list[Record] = []
        if outcome.error is not None:
            return Mapped(rows, [reject_of(outcome.request, str(outcome.error))])
        try:
            response = outcome.response
            answer = self._parse(b"" if response is None else response.content or b"")
            fixed = self._fixed(outcome, answer) if self._has_fixed else {}
            items = self._items(answer)
            together = self._together(items, fixed)
            if together is not None:
                return Mapped(together, rejects)
            for index, item in enumerate(items):
                try:
                    made = self._of_item(item)
                except ItemRefused as refused:
                    rejects.append(_reject(outcome, refused, index if self._explode is not None else None))
                    continue
                if fixed:
                    made = {**self._blank, **fixed, **made}
                    for name in self._indexes:
                        made[name] = index
                rows.append(made)
        except Refused as refused:
            return Mapped([], [reject_of(outcome.request, str(refused))])
        except ItemRefused as refused:
            return Mapped([], [_reject(outcome, refused, None)])
        return Mapped(rows, rejects)

    def _together(self, items: Sequence[Any], fixed: Record) -> list[Record] | None:
        """Return the rows of all items; None if some of them become none, or it is not known."""
        if self._of_items is None or len(items) < 2:
            return None
        try:
            columns = self._of_items(items)
        except self._failures:
            return None
        columns |= {name: repeat(value, len(items)) for name, value in fixed.items()}
        columns |= {name: range(len(items)) for name in self._indexes}
        rows = zip(*[columns[name] for name in self._blank], strict=True)
        return [dict(zip(self._blank, row, strict=True)) for row in rows]

    def _items(self, answer: Any) -> list[Any]:
        if self._explode is None:
            return [answer]
        try:
            found = self._explode(answer)
        except paths.errors() as error:
            raise Refused(f"explode = {self._explode_text!r} fails on the answer: {_line(error)}") from error
        if isinstance(found, list):
            return found
        what = "nothing" if found is None else called(found)
        raise Refused(f"explode = {self._explode_text!r} finds {what} in the answer, not an array")

    def _fixed(self, outcome: Outcome, answer: Any) -> Record:
        """The values that all items of an answer share."""
        made = self._of_root(answer)
        for field in self._of_request:
            made[field.name] = _of_request(field.source, outcome)
        if self._indexes:
            made[self._indexes[0]] = None  # each item's own
        return made


def item_mapper(fields: Sequence[Field]) -> Items:
    """Compile `fields` to a function that makes the values of a row; the names of those that it makes are all there."""
    if not fields:
        return lambda item: {}
    compiled = [_compiled(field) for field in fields]
    failures = paths.errors()
    needs_object = any(field.path is None or paths.is_plain(field.path) for field in fields)

    def make(item: Any) -> Record:
        if needs_object and type(item) is not dict:
            raise ItemRefused(None, _no_object(item), item)
        row: Record = {}
        for name, get, convert, default, required in compiled:
            try:
                value = get(item)
                row[name] = convert(value) if value is not None else default
            except Refused as refused:
                raise ItemRefused(name, str(refused), value) from None
            except failures as error:
                raise ItemRefused(name, f"its path fails: {_line(error)}", item) from error
            if required and value is None:
                raise ItemRefused(name, "it is missing or null, and required", None)
        return row

    return make


def whole_mapper(fields: Sequence[Field]) -> Callable[[Sequence[Any]], dict[str, Iterable[Any]]]:
    """Compile `fields` to a function that makes their columns of items, all or none: it raises where any is refused."""
    columns: dict[str, Values] = {}
    for field in fields:
        name, get, convert, default, _ = _compiled(field)
        columns[name] = column_of(field, get, convert, default)
    return lambda items: {name: values(items) for name, values in columns.items()}


_Compiled = tuple[str, Callable[[Any], Any], Convert, Any, bool]


def _compiled(field: Field) -> _Compiled:
    convert = converter(field)
    default = field.default
    if default is not None:
        try:
            default = convert(default)
        except Refused as refused:
            raise field.wrong(f"default = {field.default!r} does not fit it: {refused}") from refused
    get = getter(field.where, f"the column {field.name}: path =")
    return field.name, get, convert, default, field.required


def _of_request(source: str, outcome: Outcome) -> Any:
    request = outcome.request
    if source == "request.key":
        return request.label
    if source == "request.url":
        return request.url
    if source == "request.page":
        return request.page or None
    sent = outcome.attempts[-1].started_at if outcome.attempts else None
    return None if sent is None else time_text(datetime.fromtimestamp(sent, UTC), 6)


def _reject(outcome: Outcome, refused: ItemRefused, index: int | None) -> Record:
    reject = reject_of(outcome.request, str(refused), index=index, column=refused.column)
    reject["value"] = shown(refused.value)
    return reject


def _no_object(item: Any) -> str:
    hint = ': explode = "@" would make a row of each of its elements' if isinstance(item, list) else ""
    return f"the item is {called(item)}, not an object{hint}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

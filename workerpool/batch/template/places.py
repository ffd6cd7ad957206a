"""Texts and JSON values with places in them, such as ``{name}`` or ``{count:int}``, which rows fill.

A brace that is meant is written twice. Made once for a template; any thread fills them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from workerpool.batch.sources.values import json_of, text_of
from workerpool.batch.template.values import CONVERSIONS, Row, converted
from workerpool.errors import OptionError

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Filled(Protocol):
    """What a row makes a value of. `columns`: those that it asks for."""

    @property
    def columns(self) -> frozenset[str]: ...

    def fill(self, row: Row) -> Any: ...


class Column(NamedTuple):
    """A place: the name of a column, and what its value is made, "" for as it is."""

    name: str
    conversion: str

    @property
    def columns(self) -> frozenset[str]:
        return frozenset([self.name])

    def fill(self, row: Row) -> Any:
        """Return the value as JSON has it, None for one that is missing and may be."""
        value = row.value(self.name)
        if value is None:
            return None
        return json_of(converted(value, self.conversion, self.name) if self.conversion else value)

    def text(self, row: Row) -> str:
        """Return the value as text, "" for one that is missing and may be."""
        value = row.value(self.name)
        if value is None:
            return ""
        return text_of(converted(value, self.conversion, self.name) if self.conversion else value)


class Text:
    """A text with places in it. Raises `OptionError`, naming `what` it is, for a brace that opens or ends none."""

    def __init__(self, text: str, what: str) -> None:
        self.parts = _parts(text, what)
        self.columns = frozenset(part.name for part in self.parts if isinstance(part, Column))

    @property
    def only(self) -> Column | None:
        """The place that is all of it, if it is one."""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], Column) else None

    def fill(self, row: Row) -> str:
        return "".join(part if isinstance(part, str) else part.text(row) for part in self.parts)

    def lacks_all(self, row: Row) -> bool:
        """Whether every place of it may lack its value, and does; never of a text without places."""
        return bool(self.columns) and all(row.value(name) is None for name in self.columns)


class _Constant:
    columns = frozenset[str]()

    def __init__(self, value: Any) -> None:
        self._value = value

    def fill(self, row: Row) -> Any:
        return self._value


class _Members:
    def __init__(self, members: Mapping[str, Filled]) -> None:
        self._members = members
        self.columns = _all_columns(*members.values())

    def fill(self, row: Row) -> dict[str, Any]:
        return {name: member.fill(row) for name, member in self._members.items()}


class _Items:
    def __init__(self, items: list[Filled]) -> None:
        self._items = items
        self.columns = _all_columns(*items)

    def fill(self, row: Row) -> list[Any]:
        return [item.fill(row) for item in self._items]


def json_places(value: Any, what: str) -> Filled:
    """Find the places in the texts of a JSON value: one that is nothing else takes the column's value with its type."""
    if isinstance(value, str):
        text = Text(value, what)
        return text.only or text
    if isinstance(value, Mapping):
        members = {str(name): json_places(one, what) for name, one in value.items()}
        return _Members(members) if _all_columns(*members.values()) else _Constant(dict(value))
    if isinstance(value, (list, tuple)):
        items = [json_places(one, what) for one in value]
        return _Items(items)
    if value is None or isinstance(value, (bool, int, float)):
        return _Constant(value)
    raise OptionError(f"{what} has a {type(value).__name__} in it: give what JSON has a type for")


def _all_columns(*parts: Filled) -> frozenset[str]:
    return frozenset().union(*(part.columns for part in parts))


def _parts(text: str, what: str) -> tuple[str | Column, ...]:
    parts: list[str | Column] = []
    literal, end = "", 0
    for found in _BRACES.finditer(text):
        literal += text[end : found.start()]
        end = found.end()
        if found[0] in ("{{", "}}"):
            literal += found[0][0]
            continue
        if found[1] is None:
            raise OptionError(
                f"{what} has a brace that belongs to no {{column}}: write {{{{ or }}}} for one that is meant"
            )
        if literal:
            parts.append(literal)
            literal = ""
        parts.append(_column(found[1], what))
    literal += text[end:]
    return (*parts, literal) if literal else tuple(parts)


def _column(text: str, what: str) -> Column:
    name, colon, conversion = text.partition(":")
    if not name.strip() or (colon and conversion not in CONVERSIONS):
        raise OptionError(
            f"{what} has {{{text}}} in it: write {{column}} with a column's name, or {{column:int}} with one of "
            f"{', '.join(CONVERSIONS)}; {{{{ for a brace that is meant"
        )
    return Column(name.strip(), conversion)

"""The items of an answer as rows, column by column: where every item is as its columns say, which is the rule.

A column's values are looked up, checked and converted in a few calls for all items, which costs a fraction of what
these cost for each value by itself. Where any value is refused nothing is made, and nobody is told why: `mapping` then
looks at one item after the other. So both must take the same values, and make the same of them. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from types import NoneType
from typing import Any

from workerpool import paths
from workerpool.batch.schemas.fields import Field
from workerpool.batch.schemas.values import LEAST, MOST, Convert, Refused

Values = Callable[[Sequence[Any]], Sequence[Any]]
"""All values of a column, of all items; raises `Refused`, or what a path may raise."""


def column_of(field: Field, get: paths.Get, convert: Convert, default: Any) -> Values:
    """Compile a column whose values are in the items. `default` is converted."""
    fit = _FIT.get(field.type, _may_not_be)
    pick = _picker(field, get)

    def values(items: Sequence[Any]) -> Sequence[Any]:
        found = pick(items)
        types = {*map(type, found)}
        has_gaps = NoneType in types
        if has_gaps and field.required:
            raise Refused("it is missing or null, and required")
        types.discard(NoneType)
        if fit(types, [value for value in found if value is not None] if has_gaps else found):
            return found if default is None or not has_gaps else [default if one is None else one for one in found]
        return [default if value is None else convert(value) for value in found]

    return values


def _picker(field: Field, get: paths.Get) -> Values:
    if not paths.is_plain(field.where):
        return lambda items: [get(item) for item in items]
    name, *more = field.where.split(".")
    return _names(name) if not more else _nested(name, more)


def _names(name: str) -> Values:
    def pick(items: Sequence[Any]) -> Sequence[Any]:
        check_objects(items)
        return [item.get(name) for item in items]

    return pick


def _nested(name: str, more: Sequence[str]) -> Values:
    first = _names(name)

    def pick(items: Sequence[Any]) -> Sequence[Any]:
        found = first(items)
        for inner in more:
            found = [value.get(inner) if type(value) is dict else None for value in found]
        return found

    return pick


def check_objects(items: Sequence[Any]) -> None:
    """Raise `Refused` if some of them are not objects."""
    if {*map(type, items)} - {dict}:
        raise Refused("it is no object")


# -- whether all values stand in a row as they are ---------------------------------------------------------------------


def _may_not_be(types: set[type], values: Sequence[Any]) -> bool:
    return False


def _are_text(types: set[type], values: Sequence[Any]) -> bool:
    return types <= {str}


def _are_truths(types: set[type], values: Sequence[Any]) -> bool:
    return types <= {bool}


def _are_whole(types: set[type], values: Sequence[Any]) -> bool:
    return types == {int} and min(values) >= LEAST and max(values) <= MOST


def _are_numbers(types: set[type], values: Sequence[Any]) -> bool:
    return types == {float} and all(map(isfinite, values))


_FIT: dict[str, Callable[[set[type], Sequence[Any]], bool]] = {
    "string": _are_text,
    "bool": _are_truths,
    "int": _are_whole,
    "float": _are_numbers,
}

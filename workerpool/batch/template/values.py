"""What a template asks of a row's values: whether one is there, also inside of others, and what it is made.

Pure functions, any thread.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from workerpool.batch.sources.rows import BadRow
from workerpool.batch.sources.values import is_missing, json_of, text_of

_WHOLE = re.compile(r"[+-]?\d{1,4000}")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Row:
    """The values of one row, as a template asks for them; `optional` names columns that may lack one."""

    __slots__ = ("_fields", "_optional")

    def __init__(self, fields: Mapping[str, Any], optional: Collection[str]) -> None:
        self._fields = fields
        self._optional = optional

    def value(self, name: str) -> Any:
        """Return the value of a column as it is, None for one that is missing and may be.

        Raises `BadRow` for another one that is missing.
        """
        value = found_in(self._fields, name)
        if is_missing(value):
            if name not in self._optional:
                raise BadRow(
                    f"there is no value in the column '{name}', which the template needs: fill it, or have the "
                    "template take it as optional"
                )
            return None
        return value


def found_in(fields: Mapping[str, Any], name: str) -> Any:
    """Look a column up, or with dots in its name, what is inside of one; None if there is none."""
    if name in fields:
        return fields[name]
    head, dot, rest = name.partition(".")
    inner = fields.get(head) if dot else None
    return found_in(inner, rest) if isinstance(inner, Mapping) else None


# -- conversions ------------------------------------------------------------------------------------------------------


def _whole(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError("a whole number")
    if isinstance(value, (int, float, Decimal)) and value == int(value):
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise ValueError("a whole number")


def _real(value: Any) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("a number")
    return found


def _boolean(value: Any) -> bool:
    found = _BOOLEANS.get(text_of(value).strip().lower())
    if found is None:
        raise ValueError("true or false")
    return found


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return json_of(value)
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError("JSON") from error


def _base64(value: Any) -> str:
    data = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else text_of(value).encode()
    return base64.b64encode(data).decode()


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int": _whole,
    "float": _real,
    "bool": _boolean,
    "json": _parsed,
    "text": text_of,
    "url": lambda value: quote(text_of(value), safe=""),
    "base64": _base64,
}
"""What may stand behind a colon in a place, and what it makes of a value."""


def converted(value: Any, conversion: str, name: str) -> Any:
    """Make of a column's value what its place asks for; raises `BadRow`."""
    try:
        return CONVERSIONS[conversion](value)
    except (ValueError, OverflowError) as error:
        raise BadRow(f"the value in the column '{name}' is not {error}, as {{{name}:{conversion}}} asks for") from error

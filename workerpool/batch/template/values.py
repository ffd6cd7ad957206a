"""The values of a row: which of them are missing, what a conversion makes of one, and how each is written as text.

Standard forms: ISO 8601 for dates and times, RFC 9562 for UUIDs, decimals in full; JSON's words for true and false.
Pure functions, any thread.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from workerpool.batch.sources.rows import BadRow

_WHOLE = re.compile(r"[+-]?\d{1,4000}")
_EXACT = 2.0**53
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


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, no number, blank text, an empty list or object."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value)) or value in ([], {}, ())


def text_of(value: Any) -> str:
    """Write a value as text; raises `BadRow` for bytes that are none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes_text(bytes(value))
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(json_of(value), ensure_ascii=False)
    return str(value)


def json_of(value: Any) -> Any:
    """Return a value as JSON has it: what it has no type for as text; raises `BadRow` for a number that it cannot."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadRow(f"JSON has no number for {value}")
        return value
    if isinstance(value, Mapping):
        return {text_of(name): json_of(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_of(one) for one in value]
    return text_of(value)


def _float_text(value: float) -> str:
    """Write a number without a fraction as a whole one: tables make real numbers of a whole column that has nulls."""
    if value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return repr(value)


def _duration_text(value: timedelta) -> str:
    """Write a duration as ISO 8601 does, in days and seconds."""
    if value < timedelta(0):
        return f"-{_duration_text(-value)}"
    seconds = (
        f"{value.seconds}.{value.microseconds:06}".rstrip("0").rstrip(".") if value.microseconds else f"{value.seconds}"
    )
    days = f"{value.days}D" if value.days else ""
    return f"P{days}" if days and seconds == "0" else f"P{days}T{seconds}S"


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRow("a value is bytes that are no text: give it as {column:base64}") from error


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

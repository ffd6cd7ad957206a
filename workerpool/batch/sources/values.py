"""A row's values as files and databases have them: which say nothing, and how each is written as text and as JSON.

Standard forms: ISO 8601 for dates, times and durations, RFC 9562 for UUIDs, decimals in full; JSON's words for true and
false. Pure functions, any thread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from workerpool.batch.sources.rows import BadRow

_EXACT = 2.0**53
"""Up to here a real number has room for every whole one."""


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
    seconds = f"{value.seconds}.{value.microseconds:06}".rstrip("0").rstrip(".")
    days = f"{value.days}D" if value.days else ""
    return f"P{days}" if days and seconds == "0" else f"P{days}T{seconds}S"


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRow("a value is bytes that are no text: give it as {column:base64}") from error

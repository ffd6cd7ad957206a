"""A value of JSON as it stands in a row, or why it cannot: one function for each type. Pure functions, any thread.

Nothing is guessed: "5" is no int and 1 is no bool, unless ``coerce`` says so. `columns.Kind` says what a row holds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Context, Decimal, DecimalException
from typing import Any
from zoneinfo import ZoneInfo

from workerpool.batch.columns import time_text
from workerpool.batch.schemas.fields import ISO, MILLISECONDS, MOST_DIGITS, SECONDS, Field

Convert = Callable[[Any], Any]

DEEPEST = 100
"""Levels of arrays and objects in a json column: what every reader of the output can be trusted with."""

LEAST, MOST = -(2**63), 2**63 - 1
"""The numbers that an int may be."""

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,30}\s*")
_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?\s*")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)
_IN_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}
_NAMES = {str: "text", bool: "a truth value", int: "a number", float: "a number", dict: "an object", list: "an array"}


class Refused(Exception):
    """Why a value is none of its column's; its text is the reason, and follows nothing."""


def converter(field: Field) -> Convert:
    """Return what makes a row's value of one that is not None; that raises `Refused`."""
    makers: dict[str, Callable[[Field], Convert]] = {
        "string": _string,
        "int": _int,
        "float": _float,
        "decimal": _decimal,
        "bool": _bool,
        "timestamp": _timestamp,
        "json": lambda field: _json,
    }
    return makers[field.type](field)


def called(value: Any) -> str:
    """Name the type of a value of JSON, for a sentence."""
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), "null")


def _string(field: Field) -> Convert:
    def convert(value: Any) -> str:
        if type(value) is str:
            return value
        if field.coerce and isinstance(value, (bool, int, float)) and math.isfinite(value):
            return getattr(value, "text", None) or json.dumps(value)
        raise _other(value, "text", field)

    return convert


def _int(field: Field) -> Convert:
    def convert(value: Any) -> int:
        if type(value) is int:
            return _of_64_bits(value)
        if isinstance(value, float) and value.is_integer():
            return _of_64_bits(int(value))
        if field.coerce and isinstance(value, str) and _WHOLE.fullmatch(value):
            return _of_64_bits(int(value))
        if isinstance(value, float):
            raise Refused("it has a fraction, or is none, and the column says int")
        raise _other(value, "a whole number", field)

    return convert


def _of_64_bits(value: int) -> int:
    if LEAST <= value <= MOST:
        return value
    raise Refused('it is a whole number of more than 64 bits: type = "decimal" with scale = 0 would hold it')


def _float(field: Field) -> Convert:
    def convert(value: Any) -> float:
        if field.coerce and isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _other(value, "a number", field)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        raise Refused("it is larger than a float can be")

    return convert


def _decimal(field: Field) -> Convert:
    scale = Decimal(1).scaleb(-field.scale)
    exact = Context(prec=MOST_DIGITS + 2, Emin=-999_999, Emax=999_999)
    whole = field.precision - field.scale  # digits before the point, at most

    def convert(value: Any) -> str:
        digits = _digits_of(value, field)
        if not digits.is_finite():
            raise Refused("it is no finite number")
        if digits and digits.adjusted() >= whole:
            raise Refused(f"it has more digits before the point than precision and scale leave it, which are {whole}")
        try:
            fitting = digits.quantize(scale, context=exact)
        except DecimalException:
            fitting = Decimal("NaN")
        if fitting != digits:
            raise Refused(f"it has more digits after the point than scale = {field.scale} keeps")
        return f"{fitting:f}" if fitting else f"{abs(fitting):f}"

    return convert


def _digits_of(value: Any, field: Field) -> Decimal:
    text: str | None = getattr(value, "text", None)  # the answer's own digits: see `parsing`
    if text is None and isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        text = str(value)
    elif text is None and field.coerce and isinstance(value, str) and _NUMBER.fullmatch(value):
        text = value.strip()
    if text is None:
        raise _other(value, "a number", field)
    try:
        return Decimal(text)
    except DecimalException:
        raise Refused("its exponent is larger than a decimal can have") from None


def _bool(field: Field) -> Convert:
    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        said = _TRUTHS.get(str(value).strip().lower()) if field.coerce and isinstance(value, (str, int)) else None
        if said is None:
            raise _other(value, "true or false", field)
        return said

    return convert


_dumps = json.JSONEncoder(allow_nan=False).encode
_PLAIN = {str, bool, type(None)}


def _json(value: Any) -> Any:
    if type(value) is list and {*map(type, value)} <= _PLAIN:
        return value
    try:
        text = _dumps(value)
        is_flat = text.count("[") + text.count("{") <= DEEPEST
    except (ValueError, RecursionError) as error:
        raise Refused("a number in it is larger than JSON's readers can hold, or it is nested too deeply") from error
    if is_flat or _depth(value) <= DEEPEST:
        return value
    raise Refused(f"it is nested more than {DEEPEST} levels deep")


def _depth(value: Any) -> int:
    """Count levels of arrays and objects, without a call for each."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


# -- times -------------------------------------------------------------------------------------------------------------


def _timestamp(field: Field) -> Convert:
    zone = None if field.timezone is None else ZoneInfo(field.timezone)
    if field.format in (SECONDS, MILLISECONDS):
        return _since_epoch(field)

    is_iso = field.format == ISO

    def convert(value: Any) -> str:
        if is_iso and type(value) is str and (said := _said_in_utc(value)):
            return said
        if isinstance(value, datetime):
            return _utc(value, zone)
        if not isinstance(value, str):
            raise Refused(f'it is {called(value)}, not the text of a time; for numbers write format = "s" or "ms"')
        return _utc(_read_time(value, field.format), zone)

    return convert


def _said_in_utc(text: str) -> str | None:
    """Return a time as it stands in a row, if it is said in that way but for digits: most are, and this is fast."""
    found = _IN_UTC.fullmatch(text)
    if found is None:
        return None
    second, fraction = found.groups("")
    try:
        datetime.fromisoformat(second)
    except ValueError:
        return None
    return f"{second}.{fraction:0<6}Z"


def _read_time(text: str, format: str) -> datetime:
    try:
        if format != ISO:
            return datetime.strptime(text, format)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper())
    except (ValueError, re.error):
        pass
    kind = "an ISO 8601 time" if format == ISO else f"a time as {format} says"
    raise Refused(f"it is not {kind}")


def is_time(text: str) -> bool:
    """Whether a column of timestamps takes a text, UTC where it names no zone."""
    try:
        _utc(_read_time(text, ISO), UTC)
    except Refused:
        return False
    return True


def _since_epoch(field: Field) -> Convert:
    by_milliseconds = field.format == MILLISECONDS

    def convert(value: Any) -> str:
        if field.coerce and isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value) if not _WHOLE.fullmatch(value) else int(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _other(value, f"a number of {'milliseconds' if by_milliseconds else 'seconds'}", field)
        try:
            passed = timedelta(milliseconds=value) if by_milliseconds else timedelta(seconds=value)
            return time_text(_EPOCH + passed, 6)
        except (OverflowError, ValueError):
            raise Refused("it is not within the years 1 to 9999") from None

    return convert


def _utc(time: datetime, zone: tzinfo | None) -> str:
    if time.tzinfo is None:
        if zone is None:
            raise Refused('it names no time zone: write timezone = "UTC", or the one that is meant')
        time = time.replace(tzinfo=zone)
    try:
        return time_text(time, 6)
    except (OverflowError, ValueError):
        raise Refused("it is not within the years 1 to 9999") from None


def _other(value: Any, wanted: str, field: Field) -> Refused:
    """Say that a value has another type, and whether ``coerce`` might help."""
    might_help = not (field.coerce or isinstance(value, (dict, list)))
    hint = "; coerce = true takes what stands for it" if might_help else ""
    return Refused(f"it is {called(value)}, not {wanted}{hint}")

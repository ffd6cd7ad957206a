"""Checks of single values, which `OptionError` names as in a call. Pure functions, any thread."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from workerpool.errors import OptionError


def check_count(option: str, value: object, *, least: int = 1) -> int:
    """Return `value` if it is a whole number of at least `least`; raise `OptionError` naming `option` if not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{option}={value!r} must be a whole number, {least} or more")
    return value


def check_flag(option: str, value: object) -> None:
    """Raise `OptionError` naming `option` if `value` is neither True nor False."""
    if not isinstance(value, bool):
        raise OptionError(f"{option}={value!r} must be True or False")


def check_callable(option: str, value: object, what: str) -> None:
    """Raise `OptionError` naming `option`, and `what` it takes, if `value` cannot be called and is not None."""
    if value is not None and not callable(value):
        raise OptionError(f"{option}={value!r} must be {what}, or None")


def check_seconds(option: str, value: object) -> None:
    """Raise `OptionError` naming `option` if `value` is no number of seconds, 0 or more."""
    if not is_number(value) or value < 0:  # type: ignore[operator]
        raise OptionError(f"{option}={value!r} must be a number of seconds, 0 or more")


def check_items(option: str, value: Any, kind: type, what: str) -> frozenset[Any]:
    """Return `value` as a set; raises `OptionError` if it is no collection of that `kind`, or a text."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise OptionError(f"{option}={value!r} must be a collection of {what}")
    items = [*value]
    for item in items:
        if not isinstance(item, kind) or isinstance(item, bool):
            raise OptionError(f"{option}={value!r} holds {item!r}: it must hold {what}")
    return frozenset(items)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_positive(value: object) -> bool:
    return is_number(value) and value > 0  # type: ignore[operator]

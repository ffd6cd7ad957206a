"""Where a value is in JSON: names with dots by direct access, other expressions by JMESPath. Any thread.

A name that is not there, or stands in what is no object, is None, as JMESPath has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from workerpool.extras import load

Get = Callable[[Any], Any]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class NoPath(Exception):
    """A text is no JMESPath expression; its only argument is the library's error."""


def is_plain(path: str) -> bool:
    """Whether `path` is names with dots between them, each of an object's field."""
    return _PLAIN.fullmatch(path) is not None


def getter(path: str, purpose: str) -> Get:
    """Compile `path`, "@" for all; what this returns may raise `errors()`.

    Raises `NoPath`, and `OptionError`, which begins with `purpose`, where an expression's library is missing.
    """
    if path == "@":
        return lambda value: value
    if not is_plain(path):
        return _expression(path, purpose)
    names = path.split(".")
    return _field(names[0]) if len(names) == 1 else _nested(names)


def _field(name: str) -> Get:
    return lambda value: value.get(name) if type(value) is dict else None


def _nested(names: list[str]) -> Get:
    def get(value: Any) -> Any:
        for name in names:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value

    return get


def _expression(path: str, purpose: str) -> Get:
    jmespath = load("jmespath", "etl", purpose)
    try:
        search = jmespath.compile(path).search
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        raise NoPath(error) from error

    def get(value: Any) -> Any:
        return search(value)

    return get


@cache
def errors() -> tuple[type[Exception], ...]:
    """What looking for a value may raise: an expression's function was given what it cannot take."""
    try:
        from jmespath.exceptions import JMESPathError
    except ImportError:
        return (RecursionError,)
    # ArithmeticError and the like: its functions are Python's, and are not told of infinity or of lone surrogates.
    return (JMESPathError, RecursionError, ArithmeticError, ValueError, TypeError)

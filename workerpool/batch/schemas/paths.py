"""Where a value is in an item: names with dots by direct access, other expressions by JMESPath. Any thread.

A name that is not there, or stands in what is no object, is None, as JMESPath has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from workerpool.errors import OptionError
from workerpool.extras import load

Get = Callable[[Any], Any]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def is_plain(path: str) -> bool:
    """Whether `path` is names with dots between them, each of an object's field."""
    return _PLAIN.fullmatch(path) is not None


def getter(path: str, what: str) -> Get:
    """Compile `path`; raises `OptionError`, which begins with `what`. What this returns may raise `error_type()`."""
    if path == "@":
        return lambda item: item
    if not is_plain(path):
        return _expression(path, what)
    names = path.split(".")
    return _field(names[0]) if len(names) == 1 else _nested(names)


def _field(name: str) -> Get:
    return lambda item: item.get(name) if type(item) is dict else None


def _nested(names: list[str]) -> Get:
    def get(item: Any) -> Any:
        for name in names:
            if type(item) is not dict:
                return None
            item = item.get(name)
        return item

    return get


def _expression(path: str, what: str) -> Get:
    jmespath = load("jmespath", "etl", f"{what} {path!r}")
    try:
        search = jmespath.compile(path).search
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        said = " ".join(str(error).split("\n")[0].split())
        raise OptionError(f"{what} {path!r} is no JMESPath expression: {said}") from error

    def get(item: Any) -> Any:
        return search(item)

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

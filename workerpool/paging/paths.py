"""Where a value is in a page of JSON: a path, checked when it is made, and looked up in a response. Any thread.

A path is a JMESPath expression. Names with dots between them, which most are, need no library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import reduce
from typing import Any

from workerpool.errors import OptionError, PageError
from workerpool.extras import load
from workerpool.redact import printable, redact

_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")

Look = Callable[[Any], Any]


def look_of(option: str, path: object) -> Look:
    """Return what looks `path` up in a value, None for what is not there; raises `OptionError`, naming the place."""
    if not isinstance(path, str) or not path.strip():
        raise OptionError(
            f"{option}={path!r} must say where to look in a page's JSON: write 'meta.next', or '@' for all"
        )
    if path == "@":
        return lambda value: value
    if _NAMES.fullmatch(path):
        names = path.split(".")
        return lambda value: reduce(_field, names, value)
    jmespath = load("jmespath", "etl", f"{option}={path!r}")
    try:
        expression = jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as error:
        raise OptionError(f"{option}={path!r} is no JMESPath expression: {_reason(error, path)}") from error
    return lambda value: _search(jmespath, expression, path, value)


def json_of(content: bytes) -> Any:
    """Read a page; raises `PageError` if it is no JSON."""
    try:
        return json.loads(content)
    except RecursionError:
        raise PageError("the page's JSON is nested too deeply to be read") from None
    except ValueError as error:
        said = content[:40].decode(errors="replace")
        shown = f"it begins with {redact(printable(said))!r}" if said else "it is empty"
        raise PageError(f"the page is no JSON, so what follows it cannot be known: {shown}") from error


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _search(jmespath: Any, expression: Any, path: str, value: Any) -> Any:
    try:
        return expression.search(value)
    except (jmespath.exceptions.JMESPathError, RecursionError, ArithmeticError, ValueError, TypeError) as error:
        # The last three: its functions are Python's, and are not told of infinity or of texts that are no numbers.
        said = redact(printable(" ".join(str(error).split())))[:200]
        raise PageError(f"{path!r} cannot be looked up in the page: {said}") from error


def _reason(error: Any, path: str) -> str:
    """What is wrong with a path, and where: at which of its characters, from 1."""
    at = getattr(error, "lex_position", None)
    if at is None:
        return str(error).split("\n")[0]
    if type(error).__name__ == "IncompleteExpressionError" or at >= len(path):
        return f"it ends too early, after {path[-20:]!r}"
    said = getattr(error, "message", None) or error.msg
    return f"{said}, at character {at + 1}, before {path[at : at + 20]!r}"

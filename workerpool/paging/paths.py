"""Where a value is in a page of JSON: a path, checked when it is made, and looked up in a response. Any thread.

A path is a JMESPath expression (`workerpool.paths`). Names with dots between them, which most are, need no library.
"""

from __future__ import annotations

import json
from typing import Any

from workerpool import paths
from workerpool.errors import OptionError, PageError
from workerpool.paths import Get
from workerpool.redact import printable, redact


def look_of(option: str, path: object) -> Get:
    """Return what looks `path` up in a value, None for what is not there; raises `OptionError`, naming the place."""
    if not isinstance(path, str) or not path.strip():
        raise OptionError(
            f"{option}={path!r} must say where to look in a page's JSON: write 'meta.next', or '@' for all"
        )
    try:
        get = paths.getter(path, f"{option}={path!r}")
    except paths.NoPath as none:
        said = _reason(none.args[0], path)
        raise OptionError(f"{option}={path!r} is no JMESPath expression: {said}") from none.args[0]
    return lambda value: _look(get, path, value)


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


def _look(get: Get, path: str, value: Any) -> Any:
    try:
        return get(value)
    except paths.errors() as error:
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

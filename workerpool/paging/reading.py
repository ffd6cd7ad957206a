"""Policies as people write them on a command line, and as a job notes them. Pure functions, any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workerpool.errors import OptionError
from workerpool.paging.policies import Cursor, LinkHeader, NextLink, Offset, PageNumber, Pages

_KINDS = (
    "write link, next:PATH, cursor:PARAM=PATH, page:PARAM=ITEMS or offset:PARAM=ITEMS, as in cursor:after=meta.cursor"
)


def read_pages(text: str, flag: str) -> Pages:
    """``link``, ``next:PATH``, ``cursor:PARAM=PATH``, ``page:PARAM=ITEMS``, ``offset:PARAM=ITEMS``."""
    kind, _, rest = text.partition(":")
    if text == "link":
        return LinkHeader()
    make = _MAKERS.get(kind)
    if make is None:
        raise OptionError(f"{flag}={text!r} does not say how pages follow each other: {_KINDS}")
    try:
        return make(rest)
    except OptionError as error:
        raise OptionError(f"{flag}={text!r}: {error}") from error


def said_of(pages: Pages) -> str:
    """Say in a text what a job's run was begun with; how many pages may well change."""
    said = str(pages)
    try:
        bare: Any = replace(pages, max_pages=None)  # type: ignore[type-var]
        return said if read_pages(said, "pages") == bare else repr(bare)
    except (OptionError, TypeError):  # one of the user's own
        return said


def _named(rest: str) -> tuple[str, str]:
    """A parameter, and the path that stands after it."""
    name, equals, path = rest.partition("=")
    if not (name and equals and path):
        raise OptionError(f"a parameter and a path are missing: {_KINDS}")
    return name, path


def _cursor(rest: str) -> Pages:
    param, path = _named(rest)
    return Cursor(path, param=param)


def _page(rest: str) -> Pages:
    param, items = _named(rest)
    return PageNumber(param, items=items)


def _offset(rest: str) -> Pages:
    param, items = _named(rest)
    return Offset(param, items=items)


_MAKERS: dict[str, Callable[[str], Pages]] = {"next": NextLink, "cursor": _cursor, "page": _page, "offset": _offset}

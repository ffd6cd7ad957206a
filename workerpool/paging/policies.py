"""How pages follow each other: by a link, a cursor, a number, an offset. Frozen values, checked when made; any thread.

A policy says where the page after one is, and makes the request for it; it remembers nothing. What it cannot read it
says by `PageError`: a path that leads nowhere must not look like the last page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from workerpool.checks import check_count
from workerpool.errors import OptionError, PageError
from workerpool.model import Request
from workerpool.paging.asking import Position, at_url, position_of, value_in, with_value
from workerpool.paging.links import links_in
from workerpool.paging.paths import json_of, look_of
from workerpool.paths import Get
from workerpool.redact import printable

MAX_PAGES = 10_000
"""Pages of one input, where no number is given, after which the chain breaks off with a `PageError`: a server that
never says stop would be asked for ever. At 100 items a page that is a million."""

NO_CONTENT = 204


class Answer(Protocol):
    """What is needed of a `requests.Response`."""

    @property
    def status_code(self) -> int: ...

    @property
    def content(self) -> Any: ...

    @property
    def url(self) -> Any: ...

    @property
    def headers(self) -> Any: ...


@runtime_checkable
class Pages(Protocol):
    """How the pages of an input follow each other. A policy of your own has these.

    `max_pages`: pages of one input that are fetched; None is `MAX_PAGES`, and more is an error.
    `may_circle`: whether the server says where the next page is, which may be one that was there.
    """

    @property
    def max_pages(self) -> int | None: ...

    @property
    def may_circle(self) -> bool: ...

    def first(self, start: Request) -> Request:
        """The request for the first page of what `start` asks for."""

    def at(self, start: Request, position: Position) -> Request:
        """The request for the page at `position`."""

    def next(self, start: Request, before: Position | None, page: int, answer: Answer) -> Position | None:
        """Where the page after the one numbered `page` is, which was at `before` (None for the first).

        None if there is none. Raises `PageError` if the answer does not tell.
        """


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """Follows the ``Link`` header of an answer (RFC 8288) whose relation is `rel`.

    `max_pages`: pages of one input; there it ends. None: after 10,000 it breaks off with an error.
    """

    may_circle: ClassVar[bool] = True
    rel: str = "next"
    _: KW_ONLY
    max_pages: int | None = None

    def __post_init__(self) -> None:
        _check_most(self.max_pages)
        if not isinstance(self.rel, str) or len(self.rel.split()) != 1:
            raise OptionError(f"rel={self.rel!r} must be the name of one relation, such as 'next'")

    def __str__(self) -> str:
        return "link" if self.rel == "next" else f"link:{self.rel}"

    def first(self, start: Request) -> Request:
        return start

    def at(self, start: Request, position: Position) -> Request:
        return at_url(start, position)

    def next(self, start: Request, before: Position | None, page: int, answer: Answer) -> Position | None:
        for link in links_in(_fields(answer, "Link")):
            # A link with an anchor is about something else than this page (section 3.2).
            if self.rel.lower() in link.relations and "anchor" not in link.parameters:
                return position_of(start, before, answer.url, link.target)
        return None


@dataclass(frozen=True, slots=True)
class NextLink:
    """Follows the URL that stands in the page's JSON at `path`, absolute or relative, until there is none.

    `max_pages`: as for `LinkHeader`.
    """

    may_circle: ClassVar[bool] = True
    path: str
    _: KW_ONLY
    max_pages: int | None = None
    _look: Get = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_most(self.max_pages)
        object.__setattr__(self, "_look", look_of("path", self.path))

    def __str__(self) -> str:
        return f"next:{self.path}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), (self.path,), {"max_pages": self.max_pages})

    def first(self, start: Request) -> Request:
        return start

    def at(self, start: Request, position: Position) -> Request:
        return at_url(start, position)

    def next(self, start: Request, before: Position | None, page: int, answer: Answer) -> Position | None:
        target = _looked_up(self._look, answer)
        if target is None or target is False or target == "":
            return None
        if not isinstance(target, str):
            raise PageError(f"at {self.path!r} the page has {_shown(target)}, which is no link to the next one")
        return position_of(start, before, answer.url, target)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Sends what stands in the page's JSON at `path` back as `param`, until there is nothing.

    `in_body`: True puts it into the JSON body, False into the query; None does the former where a request has a body
    that is a JSON object. `max_pages`: as for `LinkHeader`.
    """

    may_circle: ClassVar[bool] = True
    path: str
    _: KW_ONLY
    param: str = "cursor"
    in_body: bool | None = None
    max_pages: int | None = None
    _look: Get = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_most(self.max_pages)
        _check_param("param", self.param)
        object.__setattr__(self, "_look", look_of("path", self.path))

    def __str__(self) -> str:
        return f"cursor:{self.param}={self.path}"

    def __reduce__(self) -> tuple[Any, ...]:
        named = {"param": self.param, "in_body": self.in_body, "max_pages": self.max_pages}
        return _again, (type(self), (self.path,), named)

    def first(self, start: Request) -> Request:
        return start

    def at(self, start: Request, position: Position) -> Request:
        return with_value(start, self.param, position.value, self.in_body)

    def next(self, start: Request, before: Position | None, page: int, answer: Answer) -> Position | None:
        value = _looked_up(self._look, answer)
        if value is None or value is False or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise PageError(f"at {self.path!r} the page has {_shown(value)}, which is no cursor: text, or a number")
        return Position(value)


@dataclass(frozen=True, slots=True)
class PageNumber:
    """Counts pages up in `param`, until a page has no `items`, or to the last one, whose number is at `total`.

    The first page is the one that the request asks for; where it asks for none, that is number `start`. `items` is the
    path of the list in a page: ``"@"`` for a page that is a list itself. With `total` it is not looked at.
    `in_body`, `max_pages`: as for `Cursor`.
    """

    may_circle: ClassVar[bool] = False
    param: str = "page"
    _: KW_ONLY
    start: int = 1
    items: str = "items"
    total: str | None = None
    in_body: bool | None = None
    max_pages: int | None = None
    _items: Get = field(init=False, repr=False, compare=False)
    _total: Get | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _prepare_to_count(self)
        check_count("start", self.start, least=0)

    def __str__(self) -> str:
        return f"page:{self.param}={self.items}" if self.total is None else f"page:{self.param}<={self.total}"

    def __reduce__(self) -> tuple[Any, ...]:
        named = {"start": self.start, "items": self.items, "total": self.total}
        return _again, (type(self), (self.param,), {**named, "in_body": self.in_body, "max_pages": self.max_pages})

    def first(self, start: Request) -> Request:
        return start

    def at(self, start: Request, position: Position) -> Request:
        return with_value(start, self.param, position.value, self.in_body)

    def next(self, start: Request, before: Position | None, page: int, answer: Answer) -> Position | None:
        number = _number_at(start, before, self.param, self.in_body, self.start)
        if self._total is None:
            return Position(number + 1) if _count_items(self._items, self.items, answer, page) else None
        last = _count_at(self._total, self.total, answer, page)
        return None if last is None or number >= last else Position(number + 1)


@dataclass(frozen=True, slots=True)
class Offset:
    """Moves `param` on by the items of each page, until a page has none, or to their number, which is at `total`.

    By what came, not by what was asked for: a server that gives fewer than `limit` at once loses nothing. `limit` is
    sent as `limit_param`; None sends what the request says. `items`, `in_body`, `max_pages`: as for `PageNumber`.
    """

    may_circle: ClassVar[bool] = False
    param: str = "offset"
    _: KW_ONLY
    limit: int | None = None
    limit_param: str = "limit"
    items: str = "items"
    total: str | None = None
    in_body: bool | None = None
    max_pages: int | None = None
    _items: Get = field(init=False, repr=False, compare=False)
    _total: Get | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _prepare_to_count(self)
        _check_param("limit_param", self.limit_param)
        if self.limit is not None:
            check_count("limit", self.limit)

    def __str__(self) -> str:
        return f"offset:{self.param}={self.items}"

    def __reduce__(self) -> tuple[Any, ...]:
        named = {"limit": self.limit, "limit_param": self.limit_param, "items": self.items, "total": self.total}
        return _again, (type(self), (self.param,), {**named, "in_body": self.in_body, "max_pages": self.max_pages})

    def first(self, start: Request) -> Request:
        return start if self.limit is None else with_value(start, self.limit_param, self.limit, self.in_body)

    def at(self, start: Request, position: Position) -> Request:
        return with_value(self.first(start), self.param, position.value, self.in_body)

    def next(self, start: Request, before: Position | None, page: int, answer: Answer) -> Position | None:
        offset = _number_at(start, before, self.param, self.in_body, 0)
        count = _count_items(self._items, self.items, answer, page)
        if not count:
            return None
        total = None if self._total is None else _count_at(self._total, self.total, answer, page)
        return None if total is not None and offset + count >= total else Position(offset + count)


def _again(kind: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """A policy made again from what it was made of: what looks up its path cannot be pickled."""
    return kind(*given, **named)


def _prepare_to_count(policy: PageNumber | Offset) -> None:
    """Check what policies that count have in common, and make what looks up the items and their number."""
    _check_most(policy.max_pages)
    _check_param("param", policy.param)
    total = None if policy.total is None else look_of("total", policy.total)
    for name, look in (("_items", look_of("items", policy.items)), ("_total", total)):
        object.__setattr__(policy, name, look)


def _check_most(max_pages: int | None) -> None:
    if max_pages is not None:
        check_count("max_pages", max_pages)


def _check_param(option: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise OptionError(f"{option}={name!r} must be the name of a parameter, such as 'page'")


def _fields(answer: Answer, name: str) -> Iterable[str]:
    value = answer.headers.get(name)  # fields that repeat are joined by commas
    return () if value is None else (value,)


def _looked_up(look: Get, answer: Answer) -> Any:
    """What stands there in a page; a 204 has nothing."""
    return None if answer.status_code == NO_CONTENT else look(json_of(answer.content))


def _number_at(start: Request, before: Position | None, param: str, in_body: bool | None, otherwise: int) -> int:
    """The number or offset of a page; raises `PageError` if the first request says one that is none."""
    if before is not None:
        return int(before.value)
    said = value_in(start, param, in_body)
    if said is None or said == "":
        return otherwise
    try:
        return int(said)
    except (TypeError, ValueError):
        raise PageError(f"the request says {param}={said!r}, which is no number to count on from") from None


def _count_items(look: Get, path: str, answer: Answer, page: int) -> int:
    items = _looked_up(look, answer)
    if isinstance(items, (list, dict)):
        return len(items)
    if items is None and (page > 1 or answer.status_code == NO_CONTENT):
        return 0  # behind the last page some servers leave the list out
    raise PageError(f"at {path!r} the page has {_shown(items)}, not a list of items: is the path right?")


def _count_at(look: Get, path: str | None, answer: Answer, page: int) -> int | None:
    total = _looked_up(look, answer)
    if isinstance(total, str) and total.isascii() and total.isdecimal():
        total = int(total)
    if isinstance(total, int) and not isinstance(total, bool):
        return total
    if total is None and answer.status_code == NO_CONTENT:
        return None
    raise PageError(f"at {path!r} the page has {_shown(total)}, not a number: is the path right?")


def _shown(value: Any) -> str:
    """Name a value that a server sent, without its content, which may be anything."""
    if value is None:
        return "nothing"
    kind = {dict: "an object", list: "a list", str: "text", bool: "a boolean"}.get(type(value), "a number")
    return kind if isinstance(value, (dict, list, str)) else f"{kind}, {printable(str(value))[:40]}"

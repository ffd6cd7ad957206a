"""A `Template`: what a program says once of the requests that its rows make. A value, frozen; any thread."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from workerpool.batch.sources import rows
from workerpool.batch.sources.rows import BadRow, Place, header_value
from workerpool.batch.sources.values import is_missing, text_of
from workerpool.batch.template.places import Filled, Text, json_places
from workerpool.batch.template.urls import UrlTemplate
from workerpool.batch.template.values import Row
from workerpool.checks import check_flag
from workerpool.errors import OptionError
from workerpool.model import Request, new_request
from workerpool.redact import redact

KEY = "key"
"""The column whose value is a request's key, if the template says nothing of keys."""


@dataclass(frozen=True, slots=True, repr=False)
class Template:
    """What the requests of rows have in common, and where they take the rest from the columns of their row.

    `url` is a URI template (RFC 6570): ``{id}`` is percent-encoded, ``{+path}`` keeps slashes and other characters that
    mean something in a URL, ``{?q,lang}`` makes a query. In every other text ``{column}`` is put in as it is, and
    ``{{`` is a brace. A text in `json` or `params` that is one place and nothing else, such as ``"{count}"``, becomes
    the column's value with its type; ``{count:int}``, ``:float``, ``:bool`` and ``:json`` make one of text, as CSV has
    it, ``:text`` makes text of a number, ``:url`` percent-encodes, ``:base64`` is for bytes. Dots reach into
    objects: ``{user.id}``.

    `method`: GET, or POST with a body, unless said. `data`: the body as text or bytes, or the fields of a form. `key`:
    that of the request; by default the column ``key`` if there is one, else the URL. `idempotent`: as in `Request`.
    `optional`: columns that may lack a value: their part of the URL's query, their header, is left out then, their
    place in JSON is null. A row that lacks any other one makes a request that ends unsent, with its problem. Dates and
    times are written by ISO 8601, decimals in full.

    Raises `OptionError` for what cannot work. Needs the extra ``[etl]``.
    """

    url: str
    _: KW_ONLY
    method: str | None = None
    headers: Mapping[str, str] | None = None
    params: Mapping[str, Any] | None = None
    json: Any = None
    data: str | bytes | Mapping[str, str] | None = None
    key: str | None = None
    idempotent: bool | None = None
    optional: Collection[str] = ()
    _places: _Places = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.json is not None and self.data is not None:
            raise OptionError("json= and data=: a request has one body, so give one of the two")
        if self.idempotent is not None:
            check_flag("idempotent", self.idempotent)
        if isinstance(self.optional, str):
            raise OptionError(f"optional={self.optional!r} must be a list of columns: write [{self.optional!r}]")
        object.__setattr__(self, "_places", _Places(self))

    def __repr__(self) -> str:
        """Without headers and body, which may hold secrets."""
        return f"<Template {self._places.method} {redact(self.url)}>"

    @property
    def columns(self) -> frozenset[str]:
        """The columns that a row must have."""
        return self._places.columns - frozenset(self.optional)

    @property
    def mentioned(self) -> frozenset[str]:
        """All columns that are read: those, the optional ones, and that of the keys."""
        return self._places.columns if self._places.key else self._places.columns | {KEY}

    def request(self, row: Mapping[str, Any], *, source: str = "", ordinal: int = 0) -> Request:
        """Make the request of a row, with that identity. A row that makes none gives one with a `problem`."""
        return self.fill(row, Place(source, source or "the rows", ordinal, "row"))

    def requests(self, rows: Iterable[Mapping[str, Any]], *, source: str = "") -> Iterator[Request]:
        """Make the requests of rows, one after the other as they are asked for; their ordinals begin with 1."""
        for ordinal, row in enumerate(rows, 1):
            yield self.request(row, source=source, ordinal=ordinal)

    def fill(self, fields: Mapping[str, Any], place: Place, text: str = "") -> Request:
        """Make the request of the row at `place`; `text` is the row as it was given, "" to have it written down."""
        places, row, key = self._places, Row(fields, self.optional), None
        try:
            key = places.key_of(row, fields)
            return new_request(
                places.url.fill(row),
                method=places.method,
                params=None if places.params is None else places.params.fill(row),
                headers=places.headers_of(row),
                data=places.data_of(row),
                json=None if places.json is None else places.json.fill(row),
                key=key,
                idempotent=self.idempotent,
                source=place.source,
                ordinal=place.line,
            )
        except BadRow as error:
            return rows.bad(text or _written(fields, place), place, str(error), key)


def _written(fields: Mapping[str, Any], place: Place) -> str:
    """Write down a row that is no line, for its outcome; one that says nothing by its number."""
    return rows.text_of(fields) if any(not is_missing(value) for value in fields.values()) else f"row {place.line}"


class _Places:
    """The parts of a template, taken apart and checked."""

    def __init__(self, given: Template) -> None:
        self.url = UrlTemplate(given.url)
        self.method = _method(given)
        self.headers = {name: _header(name, text) for name, text in _mapping("headers", given.headers).items()}
        self.params = None if given.params is None else json_places(_mapping("params", given.params), "params=")
        self.json = None if given.json is None else json_places(given.json, "json=")
        self.data = _data(given.data)
        self.key = None if given.key is None else Text(_text("key", given.key), "key=")
        texts: list[Filled | Text | None] = [self.params, self.json, self.key, *self.headers.values()]
        texts += (
            self.data.values() if isinstance(self.data, dict) else [self.data if isinstance(self.data, Text) else None]
        )
        self.columns = self.url.columns.union(*(text.columns for text in texts if text is not None))

    def key_of(self, row: Row, fields: Mapping[str, Any]) -> str | None:
        if self.key is not None:
            return self.key.fill(row)
        key = fields.get(KEY)
        return None if is_missing(key) else text_of(key)

    def headers_of(self, row: Row) -> dict[str, str] | None:
        if not self.headers:
            return None
        return {
            name: header_value(name, text.fill(row)) for name, text in self.headers.items() if not text.lacks_all(row)
        }

    def data_of(self, row: Row) -> bytes | dict[str, str] | None:
        data = self.data
        if data is None or isinstance(data, bytes):
            return data
        try:
            if isinstance(data, Text):
                return data.fill(row).encode()
            filled = {name: text.fill(row) for name, text in data.items()}
            "".join(filled.values()).encode()
        except UnicodeEncodeError as error:
            raise BadRow("the body has characters in it that cannot be sent as utf-8") from error
        return filled


def _method(given: Template) -> str:
    if given.method is None:
        return "GET" if given.json is None and given.data is None else "POST"
    try:
        return rows.method_of(given.method)
    except BadRow:
        raise OptionError(f"method={given.method!r} is no HTTP method: write GET, POST, …") from None


def _header(name: Any, text: Any) -> Text:
    found = Text(_text("headers", text), f"the header {name!r}")
    try:
        header_value(
            name if isinstance(name, str) else "", "".join(part for part in found.parts if isinstance(part, str))
        )
    except BadRow as error:
        raise OptionError(f"headers= cannot be sent: {error}") from None
    return found


def _data(data: Any) -> bytes | Text | dict[str, Text] | None:
    if data is None or isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return Text(data, "data=")
    return {str(name): Text(_text("data", text), "data=") for name, text in _mapping("data", data).items()}


def _mapping(name: str, given: Any) -> Mapping[Any, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise OptionError(f"{name}= is a {type(given).__name__}: give an object such as {{'name': '{{column}}'}}")
    return given or {}


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise OptionError(f"{name}= has a {type(given).__name__} where a text belongs: write '{{column}}'")
    return given

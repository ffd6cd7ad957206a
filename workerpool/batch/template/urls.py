"""URL templates, as RFC 6570 has them; the only user of uritemplate. Any thread.

``{id}`` is percent-encoded whatever is in it, ``{+path}`` may hold what means something in a URL, ``{?q,lang}`` is a
query. uritemplate takes some 20 µs for a URL, so a template of plain ``{id}``s alone is filled here.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from workerpool.batch.sources.rows import BadRow, url_problem
from workerpool.batch.sources.values import text_of
from workerpool.batch.template.values import Row
from workerpool.errors import OptionError
from workerpool.extras import load

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_NAME = r"[^\s{}|,:*=!@+#./;?&](?:[^{}|,:*=!@+#/;?&]*[^\s{}|,:*=!@+#/;?&.])?"
_VARIABLE = rf"{_NAME}(?:\*|:[1-9]\d{{0,3}})?"
_GOOD = re.compile(rf"[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*")  # RFC 6570, section 2, and more characters in names
_PLAIN = re.compile(_NAME)
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?=/|$)", re.IGNORECASE)


class UrlTemplate:
    """A URL with places in it. Raises `OptionError` for what cannot work."""

    def __init__(self, text: str) -> None:
        _check(text)
        self._template = load("uritemplate", "etl", "a URL template").URITemplate(text)
        self.columns = frozenset(map(str, self._template.variable_names))
        pieces = _EXPRESSION.split(text)  # literal, expression, literal, …
        self._literals, self._names = pieces[::2], pieces[1::2]
        self._is_plain = all(_PLAIN.fullmatch(name) for name in self._names)
        self._is_rows_own = text.startswith("{+")  # where the path begins is the row's to say, too
        self._has_dots = _has_dots(text)

    def fill(self, row: Row) -> str:
        """Return a row's URL; raises `BadRow`."""
        values = {name: row.value(name) for name in self.columns}
        url = self._filled(values) if self._is_plain else self._expanded(values)
        if not (self._is_rows_own or self._has_dots) and _has_dots(url):
            raise BadRow("a value would make '.' or '..' a part of the URL's path, which leads elsewhere")
        if problem := url_problem(url):
            raise BadRow(problem)
        return url

    def _filled(self, values: dict[str, Any]) -> str:
        if any(isinstance(value, (list, tuple, dict)) for value in values.values()):
            return self._expanded(values)
        url = self._literals[0]
        for name, literal in zip(self._names, self._literals[1:], strict=True):
            value = values[name]
            url += literal if value is None else _quoted(text_of(value)) + literal
        return url

    def _expanded(self, values: dict[str, Any]) -> str:
        try:
            return str(self._template.expand({name: _variable(value) for name, value in values.items()}))
        except UnicodeEncodeError as error:
            raise _unencodable() from error


def _check(text: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise OptionError("a template needs a URL: write url='https://api.example.com/items/{id}'")
    wrong = next((found for found in _EXPRESSION.findall(text) if not _GOOD.fullmatch(found)), None)
    if wrong is not None or re.search(r"[{}]", _EXPRESSION.sub("", text)):
        place = "a brace that belongs to no {column}" if wrong is None else f"{{{wrong}}}"
        raise OptionError(
            f"url= has {place} in it: write {{column}} as RFC 6570 does, as in "
            "https://api.example.com/{kind}/{id}{?page,lang}"
        )
    literal = _EXPRESSION.sub("", text)
    if any(character.isspace() for character in literal):
        raise OptionError("url= has a space or line break in it: percent-encode it (%20)")
    if not text.startswith(("http://", "https://", "{")):
        raise OptionError("url= must start with http:// or https://, or with {+column} for a URL from a column")


def _has_dots(url: str) -> bool:
    """Whether a segment of the path is one or two dots, which whoever sends it takes away, with what is before them."""
    if "." not in url and "%2" not in url:
        return False
    return _DOTS.search(re.split("[?#]", url, maxsplit=1)[0]) is not None


def _variable(value: Any) -> Any:
    """Return a value as uritemplate takes it: text, or a list or an object of texts."""
    if value is None:
        return None
    if isinstance(value, dict):
        return {text_of(name): text_of(one) for name, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [text_of(one) for one in value if one is not None]
    return text_of(value)


def _quoted(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise _unencodable() from error


def _unencodable() -> BadRow:
    return BadRow("a value has characters in it that cannot be sent as utf-8")

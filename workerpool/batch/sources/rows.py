"""Turns one row of a source, the columns of a table or the fields of a JSON object, into a `Request`.

A row that makes no request still becomes one, with its `problem` set: it is answered in the results like any other.
Pure functions, any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from workerpool.model import Request, new_request, problem_of

COLUMNS = ("url", "method", "headers", "body", "json", "params", "key", "sha256")
"""What a row may say; any other column is left alone."""

SHOWN = 2_000
"""Characters kept of a row that makes no request, and is not a line."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9._-]*(?::(?:[0-9]{1,4}|[1-5][0-9]{4}))?(?:[/?#][!-~]*)?")
"""What most URLs are, and nothing speaks against: to look for a problem in one takes 20 times as long."""


class BadRow(Exception):
    """Why a row makes no request; the text is a sentence without the place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: the source as the user named it, what to call it in a sentence, and the line, from 1.

    `unit` is what is counted: lines, or a table's rows.
    """

    source: str
    name: str
    line: int
    unit: str = "line"

    def problem(self, sentence: str) -> str:
        return f"{self.name}, {self.unit} {self.line:,}: {sentence}"


def from_url(text: str, place: Place) -> Request:
    """Make a request of a line that is a URL and nothing else."""
    if problem := url_problem(text):
        return bad(text, place, problem)
    return new_request(text, source=place.source, ordinal=place.line)


def bad(text: str, place: Place, sentence: str, key: str | None = None) -> Request:
    """Make the request that stands for a row that is none; `text` is the row as it was given."""
    return Request(text, key=key, source=place.source, ordinal=place.line, problem=place.problem(sentence))


def object_in(text: str) -> dict[str, Any]:
    """Read a line that holds a JSON object; raises `BadRow` for another one."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or "nested too deeply"
        raise BadRow(f"the line is no JSON ({_lower(reason)})") from error
    if not isinstance(fields, dict):
        raise BadRow('the line is no JSON object: write {"url": "https://…"}')
    return fields


def from_cells(cells: Mapping[str, Any], place: Place, text: str) -> Request:
    """Make a request of a table's row: an empty cell says nothing, and objects in cells of text are written as JSON."""
    fields: dict[str, Any] = {name: cell for name, cell in cells.items() if cell and name in COLUMNS}
    for name in ("headers", "json", "params"):
        if isinstance(fields.get(name), str):
            try:
                fields[name] = json.loads(fields[name])
            except (ValueError, RecursionError):
                sentence = f'the column \'{name}\' is no JSON: write it as {{"name": "value"}}'
                return _refused(fields, place, text, sentence)
    return from_fields(fields, place, text)


def text_of(fields: Mapping[str, Any]) -> str:
    """Return what a table's row says, for its outcome if it makes no request."""
    said = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(said, default=str, skipkeys=True)[:SHOWN]


def from_fields(fields: Mapping[str, Any], place: Place, text: str) -> Request:
    """Make a request of a row's fields, by the names in `COLUMNS`; `text` is the row as it was given."""
    try:
        return new_request(
            _url(fields.get("url")),
            method=method_of(fields.get("method")),
            params=_params(fields.get("params")),
            headers=_headers(fields.get("headers")),
            data=_body(fields),
            json=fields.get("json"),
            key=_key(fields.get("key")),
            sha256=_sha256(fields.get("sha256")),
            source=place.source,
            ordinal=place.line,
        )
    except BadRow as error:
        return _refused(fields, place, text, str(error))


def _refused(fields: Mapping[str, Any], place: Place, text: str, sentence: str) -> Request:
    """Make the request that stands for a row that is none, with its URL and its key as far as it has these."""
    url, key = fields.get("url"), None
    with suppress(BadRow):
        key = _key(fields.get("key"))
    return bad(url.strip() or text if isinstance(url, str) else text, place, sentence, key)


def _url(url: Any) -> str:
    url = url.strip() if isinstance(url, str) else url
    if url is None or url == "":
        raise BadRow("there is no URL: fill the field 'url'")
    if not isinstance(url, str):
        raise BadRow("the field 'url' is no string")
    if problem := url_problem(url):
        raise BadRow(problem)
    return url


def url_problem(url: str) -> str | None:
    """Say in a sentence why a URL cannot be fetched, None if nothing speaks against it."""
    if _PLAIN_URL.fullmatch(url):
        return None
    if "\0" in url:
        return "a URL has no NUL bytes in it"
    return problem_of(url) or _encoding_problem(url, "the URL")


def _encoding_problem(text: str, what: str, encoding: str = "utf-8") -> str | None:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return f"{what} has characters in it that cannot be sent as {encoding}"
    return None


def _key(key: Any) -> str | None:
    """A key is a label, so a number will do; anything else than text and numbers is written as JSON."""
    if key is None or isinstance(key, str):
        return key
    try:
        return json.dumps(key)
    except (TypeError, RecursionError) as error:  # bytes, say, that a query gives
        raise BadRow("the field 'key' cannot be written as text: give text or a number") from error


def method_of(method: Any) -> str:
    """Write a method as it is sent; raises `BadRow` for what is none."""
    if method is None:
        return "GET"
    if not isinstance(method, str) or not _TOKEN.fullmatch(method.strip()):
        raise BadRow("the field 'method' is no HTTP method: write GET, POST, …")
    return method.strip().upper()


def _headers(headers: Any) -> dict[str, str] | None:
    if headers is None:
        return None
    if not isinstance(headers, dict):
        raise BadRow('the field \'headers\' is no object: write {"Accept": "text/html"}')
    return {name: header_value(name, value) for name, value in headers.items() if value is not None}


def header_value(name: object, value: Any) -> str:
    """Write a header's value; raises `BadRow` for what no header may hold."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):  # a database's map may have numbers
        raise BadRow("a header's name has characters in it that no header name may have")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadRow(f"the header '{name}' is neither text nor a number")
    text = str(value).strip()
    if any(character in text for character in "\r\n\0"):
        raise BadRow(f"the header '{name}' has a line break or NUL byte in its value")
    if problem := _encoding_problem(text, f"the header '{name}'", "latin-1"):
        raise BadRow(problem)
    return text


def _body(fields: Mapping[str, Any]) -> bytes | None:
    body = fields.get("body")
    if body is None:
        return None
    if fields.get("json") is not None:
        raise BadRow("both 'body' and 'json' are given: keep one of them")
    if isinstance(body, bytes):  # a table's, as JSON has none
        return body
    if not isinstance(body, str):
        raise BadRow("the field 'body' is no string: give an object as 'json'")
    if problem := _encoding_problem(body, "the body"):
        raise BadRow(problem)
    return body.encode()


def _params(params: Any) -> dict[str, Any] | None:
    if params is None:
        return None
    if not isinstance(params, dict):
        raise BadRow("the field 'params' is no object: write {\"page\": 1}")
    return {name: _param(name, value) for name, value in params.items()}


def _param(name: str, value: Any) -> Any:
    """Text, a number, null (left out), true or false (written so, not as Python spells them), or a list of these."""
    if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return [_param(name, item) for item in value]
    if isinstance(value, (list, dict)):
        raise BadRow(f"the parameter '{name}' is nested: give text, a number, or a list of them")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and (problem := _encoding_problem(value, f"the parameter '{name}'")):
        raise BadRow(problem)
    return value


def _sha256(text: Any) -> str | None:
    if text is None or text == "":
        return None
    if not isinstance(text, str) or not _SHA256.fullmatch(text.strip()):
        raise BadRow("the field 'sha256' is no SHA-256 of the body: write its 64 hexadecimal digits")
    return text.strip().lower()


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]

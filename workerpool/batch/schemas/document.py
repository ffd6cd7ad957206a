"""The words of a schema's file, in TOML or JSON, as columns. A file is read here, and what it means is elsewhere."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields as fields_in
from typing import Any

from workerpool.batch.schemas.fields import OF_REQUEST, Field
from workerpool.batch.sinks.sentences import reason_of
from workerpool.errors import OptionError

_TOP = ("columns", "explode", "key", "coerce", "timezone")
_WORDS = {
    "from": "source",
    **{field.name: field.name for field in fields_in(Field) if field.name not in ("name", "source")},
}
"""The words of a column, and the fields that they are."""

_TYPES = {"required": bool, "coerce": bool, "precision": int, "scale": int}
"""Of those that are no text; a default may be anything."""


def read_document(path: str) -> Any:
    """Read a file; raises `OptionError`, which leaves its name to who called."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise OptionError(f"it cannot be read: {reason_of(error)}") from error
    try:
        return json.loads(content) if path.lower().endswith(".json") else tomllib.loads(content.decode())
    except ValueError as error:
        raise OptionError(f"it cannot be parsed: {error}") from error


def schema_parts(document: Any) -> tuple[tuple[Field, ...], str | None, tuple[str, ...]]:
    """Return the columns, what to explode, and the key."""
    if not isinstance(document, Mapping):
        raise OptionError("a schema is a table: write explode, key and [columns]")
    for word in document:
        if word not in _TOP:
            raise OptionError(f"the word {word!r} is unknown: write {', '.join(_TOP[:-1])} or {_TOP[-1]}")
    columns = document.get("columns")
    if not isinstance(columns, Mapping):
        raise OptionError('a schema needs columns: write [columns], and under it id = "int"')
    for_all = {name: document[name] for name in ("coerce", "timezone") if name in document}
    for name, value in for_all.items():
        _check_type("for all columns", name, value)
    fields = tuple(_field(name, said, for_all) for name, said in columns.items())
    explode = document.get("explode")
    if explode is not None and not isinstance(explode, str):
        raise OptionError(f"explode = {explode!r} must be a JMESPath expression, as text")
    return fields, explode, _key(document.get("key", ()))


def _key(said: Any) -> tuple[str, ...]:
    if isinstance(said, str):
        return (said,)
    if isinstance(said, (list, tuple)) and all(isinstance(name, str) for name in said):
        return tuple(said)
    raise OptionError(f"key = {said!r} must be the name of a column, or a list of names")


def _field(name: str, said: Any, for_all: Mapping[str, Any]) -> Field:
    words = {"type": said} if isinstance(said, str) else said
    if not isinstance(words, Mapping):
        raise OptionError(f'the column {name}: {said!r} is no type: write "int", or a table with type = "int"')
    options: dict[str, Any] = dict(for_all)
    for word, value in words.items():
        if word not in _WORDS:
            raise OptionError(f"the column {name}: the word {word!r} is unknown: write {', '.join(_WORDS)}")
        _check_type(f"the column {name}", word, value)
        options[_WORDS[word]] = value
    if options.get("source") in OF_REQUEST:
        options.setdefault("type", OF_REQUEST[options["source"]])
    return Field(name=name, **options)


def _check_type(where: str, word: str, value: Any) -> None:
    wanted = _TYPES.get(word, str)
    if word != "default" and type(value) is not wanted:
        kind = {bool: "true or false", int: "a whole number", str: "text"}[wanted]
        raise OptionError(f"{where}: {word} = {value!r} must be {kind}")

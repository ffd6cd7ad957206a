"""A guessed schema as text in TOML, which `--schema` takes as it is, with its doubts as comments. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator

from workerpool.batch.schemas.inference import Draft, Guess
from workerpool.wording import plural

_WIDTH = 56
"""Characters of a column, up to where its doubts begin."""


def draft_text(draft: Draft) -> str:
    """Write a draft down."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    yield f"# Drafted from {plural(draft.samples, 'sample')} with {plural(draft.items, 'item')}: look it through."
    for doubt in draft.doubts:
        yield f"# {_comment(doubt)}"
    if draft.explode is not None:
        yield f"explode = {_quoted(draft.explode)}"
    if draft.key:
        yield f"key = [{', '.join(map(_quoted, draft.key))}]  # never the same twice here; used by --upsert"
    else:
        yield "# key = []  # no column is known to tell rows apart; --upsert needs some that do"
    yield ""
    yield "[columns]"
    for column in draft.columns:
        line = f"{column.name} = {_value(column)}"
        doubts = _comment("; ".join(column.doubts))
        yield f"{line:<{_WIDTH}}  # {doubts}" if doubts else line


def _value(column: Guess) -> str:
    words = {"type": _quoted(column.type)}
    if column.type == "decimal":  # which is guessed for whole numbers of more than 64 bits alone
        words["scale"] = "0"
    if column.path != column.name:
        words["path"] = _quoted(column.path)
    if column.required:
        words["required"] = "true"
    if column.timezone is not None:
        words["timezone"] = _quoted(column.timezone)
    if list(words) == ["type"]:
        return words["type"]
    return f"{{ {', '.join(f'{word} = {text}' for word, text in words.items())} }}"


def _quoted(text: str) -> str:
    """Return `text` as a basic string of TOML, which ASCII in JSON is but for a DEL; paths are ASCII."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)

"""What is said of an option, in the words of Python or in those of the command line. Pure functions, any thread."""

from __future__ import annotations

import re

from workerpool.options import ALL, Option

_WORDS = {option.target: option.word for option in reversed(ALL)}
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_OTHER = re.compile(r"\{\{([\w.:]+)\}\}|\{([\w.]+)\}")
_NAMED = re.compile(
    rf"(?<![^\s(])({'|'.join(sorted(map(re.escape, _WORDS), key=len, reverse=True))})=(True\b|(?=[\s,:;]|$))?"
)


def meaning(option: Option, *, in_flags: bool) -> str:
    """What it means, in Markdown, with other options by their flags or by their names."""
    text = option.means if in_flags else option.python or option.means
    if in_flags and option.many:
        first, stop, more = text.partition(". ")
        text = f"{first}; may be repeated{stop}{more}"

    def word(found: re.Match[str]) -> str:
        return f"{{{found[1]}}}" if found[1] else _WORDS[found[2]] if in_flags else found[2]

    return _OTHER.sub(word, text)


def plain(markdown: str) -> str:
    """Without links."""
    return _LINK.sub(r"\1", markdown)


def in_flags(text: str) -> str:
    """Say what an error says of options, which it writes as in a call, ``name=value``, in the command line's words."""
    return _NAMED.sub(lambda found: _WORDS[found[1]] + ("" if found[2] is not None else "="), text)

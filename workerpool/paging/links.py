"""Links in headers (RFC 8288, section 3): who is asked for the next page. Pure functions, any thread.

The parser takes what servers send: any number of fields, joined by commas or not, quoted strings with commas and
semicolons in them, parameters in any case, without values, and some that come twice, of which the first one counts, as
the RFC has it. What does not parse costs the rest of its field, and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_SKIPPED = re.compile(r"[\s,]*")
_TARGET = re.compile(r"<([^>]*)>")
_PARAMETER = re.compile(r"\s*;\s*(?:([^\s=;,\"<>]+)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*)))?)?", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Link:
    """A link: where it leads, as written, and its parameters, by their names in lower case."""

    target: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def relations(self) -> tuple[str, ...]:
        """What it is to the page that has it, in lower case: one link may be several things."""
        return tuple(self.parameters.get("rel", "").lower().split())


def links_in(fields: Iterable[str]) -> Iterator[Link]:
    """Yield the links of ``Link`` fields, in their order."""
    for text in fields:
        yield from _links(text)


def _links(text: str) -> Iterator[Link]:
    at = _end(_SKIPPED, text, 0)
    while (target := _TARGET.match(text, at)) is not None:
        parameters: dict[str, str] = {}
        at = target.end()
        while (found := _PARAMETER.match(text, at)) is not None:
            at = found.end()
            name, quoted, plain = found.groups()
            if name is not None:
                value = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else plain or ""
                parameters.setdefault(name.lower(), value)
        yield Link(target[1].strip(), parameters)
        at = _end(_SKIPPED, text, at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()

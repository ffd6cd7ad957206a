"""An answer's text as JSON. Pure functions, any thread.

Strictly as RFC 8259 has it: NaN and Infinity are no JSON. Where a column is a decimal, a number keeps its digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workerpool.batch.schemas.values import Refused


class _Digits(float):
    """A number that remembers how it was written."""

    __slots__ = ("text",)
    text: str

    def __str__(self) -> str:
        return self.text


_Digits.__name__ = "float"  # by which JMESPath's functions, such as sum, know a number


def parser(*, exact: bool = False) -> Callable[[bytes], Any]:
    """Return what parses an answer, or raises `Refused`; with `exact`, numbers have their digits in `text`."""
    decode = json.JSONDecoder(parse_constant=_refuse, parse_float=_with_digits if exact else None).decode

    def parse(content: bytes) -> Any:
        if not content:
            raise Refused("the answer is empty, and no JSON")
        try:
            return decode(content.decode(json.detect_encoding(content)))
        except RecursionError:
            raise Refused("the answer is JSON that is nested too deeply to be read") from None
        except ValueError as error:
            raise Refused(f"the answer is no JSON that can be read: {error}") from None

    return parse


def _with_digits(text: str) -> float:
    number = _Digits(text)
    number.text = text
    return number


def _refuse(word: str) -> Any:
    raise Refused(f"the answer is no JSON: it says {word}, which no number is called")

"""What a value of JSON becomes in a row, type by type, and why another one does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workerpool.batch.schemas.fields import Field
from workerpool.batch.schemas.parsing import parser
from workerpool.batch.schemas.values import DEEPEST, Refused, converter


def made(text: str, type: str, **options: Any) -> Any:
    """What `text`, JSON, becomes."""
    value = parser(exact=type == "decimal")(text.encode())
    return converter(Field(name="it", type=type, **options))(value)


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("string", '"a\\u0000ü"', "a\0ü"),
        ("int", "5", 5),
        ("int", "3.0", 3),
        ("int", "-9223372036854775808", -(2**63)),
        ("float", "5", 5.0),
        ("float", "-0.5e-3", -0.0005),
        ("decimal", "1.10", "1.100000000"),
        ("decimal", "5", "5.000000000"),
        ("decimal", "-0.0", "0.000000000"),
        ("decimal", "1e-9", "0.000000001"),
        ("bool", "true", True),
        ("timestamp", '"2026-01-02T03:04:05Z"', "2026-01-02T03:04:05.000000Z"),
        ("timestamp", '"2026-01-02 03:04:05,5+0200"', "2026-01-02T01:04:05.500000Z"),
        ("timestamp", '"2026-01-02T03:04:05.123456789-01"', "2026-01-02T04:04:05.123456Z"),
        ("json", '{"a": [1, null]}', {"a": [1, None]}),
        ("json", "false", False),
    ],
)
def test_what_fits_is_taken(type: str, text: str, value: Any) -> None:
    found = made(text, type)
    assert (found, found.__class__) == (value, value.__class__)


@pytest.mark.parametrize(
    ("type", "text", "words"),
    [
        ("string", "5", "a number, not text; coerce = true"),
        ("string", "{}", "an object, not text$"),
        ("int", '"5"', "text, not a whole number; coerce = true"),
        ("int", "true", "a truth value, not a whole number"),
        ("int", "3.5", "a fraction"),
        ("int", "9223372036854775808", "more than 64 bits"),
        ("int", "1e400", "a fraction, or is none"),
        ("float", "1e400", "larger than a float"),
        ("float", "1" + 400 * "0", "larger than a float"),
        ("float", "false", "a truth value, not a number"),
        ("decimal", '"1.5"', "text, not a number; coerce = true"),
        ("decimal", "0.0000000001", "after the point than scale = 9"),
        ("decimal", "1e29", "before the point"),
        ("decimal", "1e9999999999999999999", "exponent|finite|before the point"),
        ("bool", "1", "a number, not true or false; coerce = true"),
        ("timestamp", '"2026-01-02T03:04:05"', "names no time zone"),
        ("timestamp", '"2026-02-30T00:00:00Z"', "not an ISO 8601 time"),
        ("timestamp", '"soon"', "not an ISO 8601 time"),
        ("timestamp", '"0001-01-01T00:00:00+05:00"', "years 1 to 9999"),
        ("timestamp", "5", 'for numbers write format = "s"'),
        ("json", "[1e400]", "larger than JSON's readers"),
        ("json", DEEPEST * "[" + "[]" + DEEPEST * "]", f"more than {DEEPEST} levels"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(type: str, text: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        made(text, type)


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("string", "1.50", "1.5"),
        ("string", "true", "true"),
        ("int", '" 5 "', 5),
        ("float", '"1e3"', 1000.0),
        ("decimal", '"1.50"', "1.500000000"),
        ("bool", '"False"', False),
        ("bool", "1", True),
    ],
)
def test_coerce_takes_what_stands_for_it(type: str, text: str, value: Any) -> None:
    assert made(text, type, coerce=True) == value


@pytest.mark.parametrize(
    ("type", "text"),
    [("int", '"5.5"'), ("int", '"\u0665"'), ("float", '"nan"'), ("bool", '"yes"'), ("bool", "2"), ("string", "[]")],
)
def test_coerce_guesses_nothing(type: str, text: str) -> None:
    with pytest.raises(Refused):
        made(text, type, coerce=True)


@pytest.mark.parametrize(
    ("format", "text", "value"),
    [
        ("s", "1767323045", "2026-01-02T03:04:05.000000Z"),
        ("s", "1767323045.25", "2026-01-02T03:04:05.250000Z"),
        ("ms", "1767323045678", "2026-01-02T03:04:05.678000Z"),
        ("s", "-1", "1969-12-31T23:59:59.000000Z"),
        ("%d.%m.%Y %H:%M %z", '"02.01.2026 03:04 +0100"', "2026-01-02T02:04:00.000000Z"),
    ],
)
def test_times_come_in_other_forms_where_that_is_said(format: str, text: str, value: str) -> None:
    assert made(text, "timestamp", format=format) == value


@pytest.mark.parametrize(("format", "text"), [("s", "1e300"), ("ms", "true"), ("s", '"5"'), ("%Y", '"x"')])
def test_times_in_other_forms_are_checked_as_well(format: str, text: str) -> None:
    with pytest.raises(Refused):
        made(text, "timestamp", format=format)


def test_a_time_without_a_zone_is_in_the_one_that_is_said() -> None:
    assert made('"2026-07-02T12:00:00"', "timestamp", timezone="Europe/Berlin") == "2026-07-02T10:00:00.000000Z"
    assert made('"2026-07-02"', "timestamp", timezone="UTC") == "2026-07-02T00:00:00.000000Z"
    assert made('"2026-07-02T12:00:00Z"', "timestamp", timezone="Europe/Berlin") == "2026-07-02T12:00:00.000000Z"


def test_every_digit_of_a_decimal_is_kept() -> None:
    digits = "1234567890123456789012345678.9012345678"
    assert made(digits, "decimal", scale=10) == digits
    assert made(digits.replace(".", ""), "decimal", scale=0) == digits.replace(".", "")


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "\ufeff[", 100_000 * "[", "5" * 5000, "[1]x"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"no JSON|nested too deeply"):
        parser()(text.encode())


def test_json_may_be_in_each_encoding_of_unicode() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32-be"):
        assert parser()('{"a": "ü"}'.encode(encoding)) == {"a": "ü"}
    with pytest.raises(Refused, match="no JSON that can be read"):
        parser()(b'{"a": "\xff"}')


def test_numbers_that_know_their_digits_are_written_as_others_are() -> None:
    value = parser(exact=True)(b'{"a": 1.10}')
    assert json.dumps(value) == '{"a": 1.1}'

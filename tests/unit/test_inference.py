"""What is guessed of samples: where the rows are, of which types, what is doubted, and that it can be used as it is."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from workerpool.batch.schemas.draft import draft_text
from workerpool.batch.schemas.inference import infer, samples_in
from workerpool.errors import OptionError


def drafted(*samples: Any) -> tuple[dict[str, Any], str]:
    """The draft as it is read, and its text."""
    text = draft_text(infer(samples))
    return tomllib.loads(text), text


def types(*items: dict[str, Any]) -> dict[str, str]:
    """The types of the columns that are guessed of items."""
    columns = drafted([*items])[0]["columns"]
    return {name: said if isinstance(said, str) else said["type"] for name, said in columns.items()}


def test_types_are_those_of_all_samples() -> None:
    first = {"a": 1, "b": 1, "c": "x", "d": True, "e": 1, "f": "2026-01-02T03:04:05Z", "g": [1], "h": None, "i": 2**70}
    second = {"a": 2, "b": 1.5, "c": "5", "d": False, "e": "x", "f": "2026-01-02", "g": [], "h": None, "i": 1}
    assert types(first, second) == {
        "a": "int", "b": "float", "c": "string", "d": "bool", "e": "json", "f": "timestamp", "g": "json", "h": "json",
        "i": "decimal",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["2026-13-01", "0001-01-01T00:00:00+14:00", "٢٠٢٦-01-02", "2026-01-02T25:00"])
def test_what_only_looks_like_a_time_is_text(text: str) -> None:
    assert types({"a": text}) == {"a": "string"}


def test_what_is_always_there_is_required_and_the_rest_is_said_to_be_missing() -> None:
    document, text = drafted([{"a": 1, "b": 1, "c": None}, {"a": 2, "c": 5}])
    assert document["columns"] == {"a": {"type": "int", "required": True}, "b": "int", "c": "int"}
    assert text.count("# missing or null in 1 of 2") == 2


@pytest.mark.parametrize(
    ("sample", "explode"),
    [
        ([{"a": 1}], "@"),
        ({"items": [{"a": 1}], "page": 1}, "items"),
        ({"data": {"the list": [{"a": 1}]}}, 'data."the list"'),
        ({"few": [{"a": 1}], "many": [{"a": 1}, {"a": 2}]}, "many"),
        ({"a": 1, "tags": ["x"]}, None),
    ],
)
def test_the_array_with_most_objects_is_exploded(sample: Any, explode: str | None) -> None:
    document, text = drafted(sample)
    assert document.get("explode") == explode
    assert ("# other arrays of objects: few" in text) == (explode == "many")


def test_objects_in_objects_are_columns_of_their_own_with_names_that_a_database_takes() -> None:
    document, _ = drafted([{"a": {"b-c": {"größe": 1}}, "a_b_c_gr_e": 2, "1": 3}])
    assert document["columns"] == {
        "a_b_c_gr_e": {"type": "int", "path": 'a."b-c"."gr\\u00f6\\u00dfe"', "required": True},
        "a_b_c_gr_e_2": {"type": "int", "path": "a_b_c_gr_e", "required": True},
        "c_1": {"type": "int", "path": '"1"', "required": True},
    }


def test_a_key_is_what_is_called_so_and_never_the_same_twice() -> None:
    assert drafted([{"n": 1, "order_id": 5}, {"n": 2, "order_id": 6}])[0]["key"] == ["order_id"]
    assert "key" not in drafted([{"n": 1, "order_id": 5}, {"n": 2, "order_id": 5}])[0]


def test_what_is_doubted_is_said() -> None:
    _, text = drafted([{"t": "2026-01-02T03:04:05", "digits": "12", "money": 1.5, "mixed": 1}, {"mixed": "x"}])
    for words in (
        "is it UTC?",
        "digits in all samples",
        "money? then write decimal",
        "of several types (1 int, 1 str)",
    ):
        assert words in text


def test_samples_are_answers_or_lines_of_them_or_records_with_bodies() -> None:
    record = {"key": "k", "url": "u", "ok": True, "attempts": 1, "body": '{"a": 1}'}
    failed = {**record, "ok": False, "body": "no"}
    lines = "\n".join(map(json.dumps, [record, failed, {**record, "body": "no JSON"}]))
    assert list(samples_in(lines, "x")) == [{"a": 1}]
    assert list(samples_in('{"a":\n1}', "x")) == [{"a": 1}]
    assert list(samples_in('{"a": 1}\n\n{"a": 2}\n', "x")) == [{"a": 1}, {"a": 2}]


def test_records_whose_bodies_are_no_json_are_left_out() -> None:
    record = {"key": "k", "url": "u", "ok": True, "attempts": 1}
    bodies = [{"body_base64": "AA=="}, {"body": "["}, {"body": "[" * 100_000}, {"body": None}, {"body": {}}]
    lines = "".join(f"{json.dumps({**record, **body})}\n" for body in [*bodies, {"body": "[5]"}])
    assert list(samples_in(lines, "x")) == [[5]]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_where_those_of_json_lines_do(end: str) -> None:
    items = [{"a": "\u2028 \u2029 \x85"}, {"a": "\x7f"}]
    lines = "".join(json.dumps(item, ensure_ascii=False) + end for item in items)
    assert list(samples_in(lines, "x")) == items


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>", "x is neither JSON nor lines of it"),
        ('{"a": 1}\nno', "line 2"),
        ("[" * 100_000, "x is neither JSON nor lines of it: nested too deeply"),
        ("1\n" + "[" * 100_000, "line 2"),
        ('{"key": "k", "url": "u", "ok": true, "attempts": 1}', "x has records without .* --include body"),
        ('{"key": "k", "url": "u", "ok": true, "attempts": 1}\n' * 2, "x has records without .* --include body"),
    ],
)
def test_what_is_no_sample_is_refused(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        list(samples_in(text, "x"))


@pytest.mark.parametrize("samples", [[], [{}], [[]], [{"items": []}, None][:0]])
def test_samples_without_a_field_are_refused(samples: list[Any]) -> None:
    with pytest.raises(OptionError, match=r"no sample|no item with a field"):
        infer(samples)

"""Schemas: what a file or a model says, what of an answer becomes rows, and what is rejected, with its reason."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest

from tests.unit.test_sinks import outcome, response
from workerpool import Schema, rows, to_arrow
from workerpool.batch.schemas.mapping import Mapped
from workerpool.errors import OptionError, TimedOut
from workerpool.model import Outcome

COLUMNS = {"id": "int", "name": "string"}


def schema(**document: Any) -> Schema:
    return Schema.from_dict({"columns": COLUMNS, **document})


def answer(value: Any) -> Outcome:
    return outcome(response=response(body=value if isinstance(value, bytes) else json.dumps(value).encode()))


def mapped(made: Schema, value: Any) -> Mapped:
    return made.mapper().map(answer(value))


def reasons(found: Mapped) -> list[tuple[Any, Any, str]]:
    return [(reject["index"], reject["column"], reject["reason"]) for reject in found.rejects]


# -- rows and rejects --------------------------------------------------------------------------------------------------


def test_an_answer_is_a_row_and_its_elements_are_many_if_it_is_exploded() -> None:
    assert mapped(schema(), {"id": 1, "name": "a", "other": 5}) == ([{"id": 1, "name": "a"}], [])
    items = [{"id": 1, "name": "a"}, {"id": 2}]
    expected = [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert mapped(schema(explode="@"), items) == (expected, [])
    assert mapped(schema(explode="data.items"), {"data": {"items": items}}) == (expected, [])
    assert mapped(schema(explode="@"), []) == ([], [])


TOGETHER: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("string", {}, ["a", "b", None]),
    ("int", {}, [1, -(2**63), 2**63 - 1]),
    ("int", {"default": 7}, [1, None]),
    ("float", {}, [1.5, 2.5]),
    ("float", {}, [1.5, 2]),
    ("bool", {}, [True, False]),
    ("json", {}, [["a"], {"b": []}, None]),
    ("timestamp", {}, ["2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05+01:00"]),
]


@pytest.mark.parametrize(("type", "options", "values"), TOGETHER)
def test_items_that_are_as_their_columns_say_become_rows_together(
    monkeypatch: pytest.MonkeyPatch, type: str, options: dict[str, Any], values: list[Any]
) -> None:
    made = schema(
        columns={"a": {"path": "b.c", "type": type, **options}, "n": {"from": "request.index", "type": "int"}}
    )
    mapper = replace(made, explode="@").mapper()
    monkeypatch.setattr(mapper, "_of_item", None)  # which makes rows one by one
    found = mapper.map(answer([{"b": {"c": value}} for value in values]))
    assert [row["n"] for row in found.rows] == [*range(len(values))]
    assert not found.rejects


ODD: list[tuple[str, dict[str, Any], Any]] = [
    ("string", {}, 5),
    ("string", {"required": True}, None),
    ("int", {}, 2**63),
    ("int", {}, True),
    ("float", {}, "1.5"),
    ("float", {"path": "sum(b)"}, ["x"]),
    ("bool", {}, 1),
    ("json", {}, json.loads("[" * 101 + "]" * 101)),
    ("timestamp", {}, "2026-02-30T03:04:05Z"),
]


@pytest.mark.parametrize(("type", "options", "odd"), ODD)
def test_one_odd_value_costs_its_own_item_and_no_other(type: str, options: dict[str, Any], odd: Any) -> None:
    fine = {"string": "a", "int": 1, "float": 1.5, "bool": True, "json": [], "timestamp": "2026-01-02T03:04:05Z"}[type]
    made = replace(schema(columns={"a": {"type": type, **options}}), explode="@")
    path = "b" if "sum" in options.get("path", "") else "a"
    items = [{path: [1] if path == "b" else fine}, {path: odd}, {path: [1] if path == "b" else fine}]
    found = mapped(made, items)
    assert len(found.rows) == 2
    assert [reject["index"] for reject in found.rejects] == [1]


def test_a_bad_element_is_a_reject_and_the_others_are_rows() -> None:
    found = mapped(schema(explode="@"), [{"id": 1}, {"id": "2"}, 3, {"id": 4, "name": 5}])
    assert found.rows == [{"id": 1, "name": None}]
    assert found.rejects[0] == {
        "key": "k1", "url": "http://a/1", "index": 1, "column": "id", "value": '"2"',
        "reason": "it is text, not a whole number; coerce = true takes what stands for it",
    }  # fmt: skip
    assert reasons(found)[1:] == [
        (2, None, "the item is a number, not an object"),
        (3, "name", "it is a number, not text; coerce = true takes what stands for it"),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"<html>", "the answer is no JSON"),
        (b"", "the answer is empty"),
        ({"items": None}, "explode = 'items' finds nothing in the answer, not an array"),
        ({"items": {}}, "explode = 'items' finds an object in the answer, not an array"),
        ([], "finds nothing"),
    ],
)
def test_an_answer_without_items_is_one_reject(value: Any, words: str) -> None:
    found = mapped(schema(explode="items"), value)
    assert found.rows == []
    ((index, column, reason),) = reasons(found)
    assert (index, column) == (None, None)
    assert words in reason


def test_an_array_that_nothing_explodes_is_no_item() -> None:
    ((_, _, reason),) = reasons(mapped(schema(), [1]))
    assert reason == 'the item is an array, not an object: explode = "@" would make a row of each of its elements'


def test_a_failed_request_is_one_reject() -> None:
    found = schema().mapper().map(outcome(response=None, error=TimedOut("no answer within 5 s")))
    assert reasons(found) == [(None, None, "no answer within 5 s")]


def test_what_is_missing_or_null_is_null_or_its_default_or_a_reject() -> None:
    made = Schema.from_dict(
        {"columns": {"a": {"required": True}, "b": {"type": "int", "default": 7}, "c": "bool"}, "explode": "@"}
    )
    found = mapped(made, [{"a": "x"}, {"a": None}, {"b": 1}, {"a": "x", "b": None, "c": None}])
    assert found.rows == 2 * [{"a": "x", "b": 7, "c": None}]
    assert reasons(found) == [
        (1, "a", "it is missing or null, and required"),
        (2, "a", "it is missing or null, and required"),
    ]


def test_columns_may_be_of_the_whole_answer_and_of_the_request() -> None:
    made = Schema.from_dict(
        {
            "explode": "items",
            "columns": {
                "total": {"type": "int", "from": "root", "path": "meta.total"},
                "id": "int",
                "key": {"from": "request.key"},
                "page": {"from": "request.page"},
                "at": {"from": "request.fetched_at"},
                "number": {"from": "request.index"},
            },
        }
    )
    found = mapped(made, {"meta": {"total": 2}, "items": [{"id": "x"}, {"id": 5}]})
    assert [list(row.items()) for row in found.rows] == [
        [("total", 2), ("id", 5), ("key", "k1"), ("page", None), ("at", "2023-11-14T22:13:20.250000Z"), ("number", 1)]
    ]
    assert reasons(mapped(made, {"meta": {"total": "2"}, "items": [{"id": 1}, {"id": 5}]})) == [
        (None, "total", "it is text, not a whole number; coerce = true takes what stands for it")
    ]


def test_paths_are_expressions_and_what_fails_in_one_is_a_reject() -> None:
    made = Schema.from_dict(
        {
            "explode": "items[?id > `1`]",
            "columns": {
                "id": "int",
                "names": {"type": "json", "path": "people[].name"},
                "sum": {"type": "decimal", "scale": 2, "path": "sum(prices)"},
                "dashed": {"path": '"a-b".c'},
            },
        }
    )
    item = {"id": 2, "people": [{"name": "x"}, {"name": "y"}], "prices": [1.5, 2.25], "a-b": {"c": "z"}}
    found = mapped(made, {"items": [{"id": 1}, item, {"id": 3, "prices": "no"}]})
    assert found.rows == [{"id": 2, "names": ["x", "y"], "sum": "3.75", "dashed": "z"}]
    ((index, column, reason),) = reasons(found)
    assert (index, column) == (1, "sum")
    assert "its path fails: In function sum()" in reason


def test_a_value_that_is_shown_is_short_and_holds_no_secret() -> None:
    (reject,) = mapped(schema(), {"id": "https://u:hunter2@h/?token=abc " + 500 * "x"}).rejects
    assert "hunter2" not in reject["value"]
    assert "abc" not in reject["value"]
    assert len(reject["value"]) < 250


# -- where a schema is from --------------------------------------------------------------------------------------------


def test_a_file_is_toml_or_json(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('key = "id"\ncoerce = true\n[columns]\nid = "int"\nb = { path = "c.d" }\n')
    (tmp_path / "s.json").write_text('{"key": ["id"], "coerce": true, "columns": {"id": "int", "b": {"path": "c.d"}}}')
    found = [Schema.load(tmp_path / name) for name in ("s.toml", "s.json")]
    assert found[0] == found[1]
    assert found[0].fingerprint() == found[1].fingerprint() != schema().fingerprint()
    assert mapped(found[0], {"id": "5", "c": {"d": 1}}).rows == [{"id": 5, "b": "1"}]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "needs columns"),
        ("[columns]", "needs a column"),
        ("cols = 5", "the word 'cols' is unknown: write columns, explode"),
        ("explode = 5\n[columns]\na = 'int'", "explode = 5 must be"),
        ("explode = 'a['\n[columns]\na = 'int'", "explode = 'a\\[' is no JMESPath expression"),
        ("key = 'b'\n[columns]\na = 'int'", "the key 'b' is no column of the schema: write a"),
        ("key = 5\n[columns]\na = 'int'", "key = 5 must be the name"),
        ("[columns]\na = 'integer'", "the column a: type = 'integer' is unknown: write string, int"),
        ("[columns]\na = 5", "the column a: 5 is no type"),
        ("[columns]\na = { typ = 'int' }", "the column a: the word 'typ' is unknown: write from, type"),
        ("[columns]\na = { required = 'yes' }", "the column a: required = 'yes' must be true or false"),
        ("[columns]\na = { path = 'b[' }", "the column a: path = 'b\\[' is no JMESPath expression"),
        ("[columns]\na = { from = 'parent' }", "from = 'parent' is unknown"),
        ("[columns]\na = { from = 'request.key', path = 'b' }", "needs no path"),
        ("[columns]\na = { from = 'request.page', type = 'string' }", "is of type int, not string"),
        ("[columns]\na = { type = 'decimal', precision = 39 }", "precision = 39"),
        ("[columns]\na = { type = 'decimal', precision = 3, scale = 4 }", "scale = 4"),
        ("[columns]\na = { type = 'timestamp', format = 'iso8601' }", "format = 'iso8601' is unknown"),
        ("[columns]\na = { type = 'timestamp', timezone = 'Mars' }", "timezone = 'Mars' is unknown"),
        ("[columns]\na = { type = 'int', default = 'x' }", "default = 'x' does not fit it"),
        ("[columns]\na = { default = 'x', required = true }", "leave one of them out"),
        ("[columns]\n'a-b' = 'int'", "the column 'a-b' needs a name"),
        ("[columns]\n_row = 'int'", "not _row"),
        ("[columns]\nid = 'int'\nID = 'int'", "do not tell capitals apart"),
        ("[columns", "cannot be parsed"),
        ("key = 'a'\n[columns]\na = 'json'", "json is no type for a key"),
    ],
)
def test_a_schema_that_cannot_work_is_refused_with_its_place(tmp_path: Path, document: str, words: str) -> None:
    (tmp_path / "s.toml").write_text(document)
    with pytest.raises(OptionError, match=rf"the schema .*s.toml: .*{words}"):
        Schema.load(tmp_path / "s.toml")


def test_the_example_of_the_how_to_is_the_file_in_examples_and_can_be_used() -> None:
    root = Path(__file__).resolve().parent.parent.parent
    example = root / "examples" / "schema" / "items.toml"
    assert f"```toml\n{example.read_text()}```" in (root / "docs" / "howto" / "schemas.md").read_text()
    item = {
        "id": 1, "name": "a", "price": 1.5, "address": {"city": "Bern"}, "labels": [{"name": "x"}],
        "updated_at": "2026-01-02",
    }  # fmt: skip
    found = mapped(Schema.load(example), {"meta": {"total": 1}, "items": [item]})
    assert found.rejects == []
    assert found.rows[0]["tags"] == ["x"]


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none.toml: it cannot be read: no such file"):
        Schema.load(tmp_path / "none.toml")


def test_names_with_dots_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jmespath", None)
    made = Schema.from_dict({"explode": "a.b", "columns": {"c": {"path": "d.e"}}})
    assert mapped(made, {"a": {"b": [{"d": {"e": "x"}}]}}).rows == [{"c": "x"}]
    with pytest.raises(OptionError, match=r"explode = 'a\[\]' needs jmespath.*workerpool-http\[etl\]"):
        Schema.from_dict({"explode": "a[]", "columns": {"c": "int"}})


class Colour(Enum):
    RED = "red"


class Order(pydantic.BaseModel):
    id: int
    price: Decimal = pydantic.Field(max_digits=10, decimal_places=2)
    colour: Colour | None = None
    at: datetime | None = None
    tags: list[str] = []
    name: str = pydantic.Field(default="", alias="fullName")

    @pydantic.field_validator("id")
    @classmethod
    def is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd ones are kept elsewhere")
        return value


def test_a_pydantic_model_gives_the_columns_and_is_the_check() -> None:
    made = Schema.from_pydantic(Order, explode="@", key=["id"])
    kinds = [(field.name, field.type, field.required, field.precision) for field in made.fields]
    assert kinds[:4] == [
        ("id", "int", True, 38), ("price", "decimal", True, 10), ("colour", "string", False, 38),
        ("at", "timestamp", False, 38),
    ]  # fmt: skip
    good = {"id": "2", "price": 0.1, "colour": "red", "at": "2026-01-02T03:04:05Z", "tags": ["a"], "fullName": "x"}
    found = mapped(
        made, [good, {**good, "id": 3}, {**good, "price": "x", "colour": 5}, {**good, "at": "2026-01-02T03:04"}, 5]
    )
    assert found.rows == [
        {
            "id": 2, "price": "0.10", "colour": "red", "at": "2026-01-02T03:04:05.000000Z", "tags": ["a"], "name": "x",
        }
    ]  # fmt: skip
    assert [(index, column) for index, column, _ in reasons(found)] == [(1, "id"), (2, "price"), (3, "at"), (4, None)]
    assert reasons(found)[0][2] == "Value error, odd ones are kept elsewhere"
    assert reasons(found)[1][2].endswith(", and 1 more")
    assert "names no time zone" in reasons(found)[2][2]


def test_a_model_whose_own_validator_breaks_rejects_the_row() -> None:
    class Broken(pydantic.BaseModel):
        id: int

        @pydantic.field_validator("id")
        @classmethod
        def look(cls, value: int) -> int:
            raise RuntimeError("a bug")

    ((_, _, reason),) = reasons(mapped(Schema.from_pydantic(Broken), {"id": 1}))
    assert reason == "the model's validation failed: RuntimeError: a bug"


@pytest.mark.parametrize("model", [int, 5, dict])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(OptionError, match="is no pydantic model"):
        Schema.from_pydantic(model)


def test_an_arrow_schema_gives_names_types_and_what_may_be_null() -> None:
    arrow = pa.schema(
        [
            pa.field("a", pa.int32(), nullable=False), ("b", pa.large_string()), ("c", pa.float32()), ("d", pa.bool_()),
            ("e", pa.decimal128(10, 2)), ("f", pa.timestamp("ns")), ("g", pa.list_(pa.int8())),
            ("h", pa.timestamp("s", tz="Europe/Paris")),
        ]
    )  # fmt: skip
    made = Schema.from_arrow(arrow, key=["a"])
    assert [(field.type, field.required, field.timezone) for field in made.fields] == [
        ("int", True, None), ("string", False, None), ("float", False, None), ("bool", False, None),
        ("decimal", False, None), ("timestamp", False, "UTC"), ("json", False, None), ("timestamp", False, None),
    ]  # fmt: skip
    assert (made.fields[4].precision, made.fields[4].scale) == (10, 2)
    with pytest.raises(OptionError, match="the column x has the Arrow type date32"):
        Schema.from_arrow(pa.schema([("x", pa.date32())]))


# -- rows for programs -------------------------------------------------------------------------------------------------


def test_programs_get_rows_in_lists_and_rejects_one_by_one() -> None:
    bad: list[Any] = []
    outcomes = [answer([{"id": 1}, {"id": 2}, {"id": 3}]), answer([{"id": "x"}, {"id": 4}])]
    batches = list(rows(outcomes, schema=schema(explode="@"), size=2, rejects=bad.append))
    assert [[row["id"] for row in batch] for batch in batches] == [[1, 2], [3, 4]]
    assert [reject["value"] for reject in bad] == ['"x"']


def test_a_table_has_the_types_of_the_schema_whatever_came() -> None:
    made = Schema.from_dict(
        {"explode": "@", "columns": {"a": {"type": "decimal", "scale": 2}, "b": "timestamp", "c": "json"}}
    )
    for outcomes in ([], [answer([{"a": 1.5, "b": "2026-01-02T03:04:05Z", "c": [1]}])]):
        table = to_arrow(outcomes, schema=made, rejects=print)
        assert [str(field.type) for field in table.schema] == ["decimal128(38, 2)", "timestamp[us, tz=UTC]", "string"]
    assert table.to_pylist()[0]["a"] == Decimal("1.50")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schema": schema()}, "needs rejects="),
        ({"schema": schema(), "rejects": 5}, "rejects=5"),
        ({"schema": schema(), "rejects": print, "include": ["body"]}, "schema= with include="),
        ({"schema": 5}, "schema=5 must be a Schema"),
    ],
)
def test_options_that_say_nothing_together_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        rows([], **options)

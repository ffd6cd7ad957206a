"""Any JSON against any schema: nothing raises, what is accepted is read back, and a draft takes its samples."""

from __future__ import annotations

import json
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import sample_of
from tests.outputs import FILES
from tests.unit.test_sinks import outcome, response
from workerpool.batch.columns import Kind
from workerpool.batch.schemas.document import schema_parts
from workerpool.batch.schemas.draft import draft_text
from workerpool.batch.schemas.fields import TYPES
from workerpool.batch.schemas.inference import infer
from workerpool.batch.schemas.schema import Schema
from workerpool.batch.sinks import durable_sink_for
from workerpool.batch.sinks.jsonl import encode_row
from workerpool.errors import OptionError

NAMES = ("a", "b", "id", "größe", "a-b", "")
TIMES = ("2026-01-02T03:04:05Z", "2026-01-02", "2026-01-02T03:04:05.123456+02:00", "0001-01-01T00:00:00+14:00")

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from([*TIMES, "5", "-1.50", "true", "1e5"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(
    ["a", "b", "a.b", "@", '"a-b"', "a[0]", "length(@)", "sum(@)", "[].a", "to_number(a)", "a || b"]
)

WORDS = st.fixed_dictionaries(
    {"type": st.sampled_from([*TYPES])},
    optional={
        "path": PATHS,
        "from": st.sampled_from(["item", "root"]),
        "required": st.booleans(),
        "coerce": st.booleans(),
        "timezone": st.just("UTC"),
        "format": st.sampled_from(["iso", "s", "ms", "%Y"]),
        "scale": st.integers(0, 5),
    },
)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    columns = draw(st.dictionaries(st.sampled_from(["a", "b", "id", "order", "number"]), WORDS, min_size=1, max_size=4))
    explode = draw(st.sampled_from([None, "@", "a", "a[]", "values(@)"]))
    return Schema.from_dict({"columns": columns, **({} if explode is None else {"explode": explode})})


@given(schemas(), st.lists(VALUES, max_size=5))
@settings(max_examples=sample_of(300))
def test_items_become_the_same_rows_together_as_one_by_one(schema: Schema, items: list[Any]) -> None:
    schema = replace(schema, explode="@")
    answer = outcome(response=response(body=json.dumps(items).encode()))
    one_by_one = schema.mapper()
    one_by_one._of_items = None
    together, expected = schema.mapper().map(answer), one_by_one.map(answer)
    assert [list(row.items()) for row in together.rows] == [list(row.items()) for row in expected.rows]
    assert [[*map(type, row.values())] for row in together.rows] == [
        [*map(type, row.values())] for row in expected.rows
    ]
    assert together.rejects == expected.rejects


@given(schemas(), VALUES)
@settings(max_examples=sample_of(300))
def test_any_answer_is_rows_and_rejects_that_can_be_written(schema: Schema, value: Any) -> None:
    found = schema.mapper().map(outcome(response=response(body=json.dumps(value).encode())))
    names = list(schema.columns().names)
    for row in found.rows:
        assert list(row) == names
        json.loads(encode_row(row))
    for reject in found.rejects:
        assert reject["reason"]
        json.loads(encode_row(reject))
    if schema.explode is None:
        assert len(found.rows) + len(found.rejects) == 1


@given(st.binary(max_size=40), schemas())
def test_any_bytes_are_rows_or_one_reject_at_least(content: bytes, schema: Schema) -> None:
    found = schema.mapper().map(outcome(response=response(body=content)))
    assert found.rejects or json.loads(content) is not None or found.rows


@given(schemas(), st.lists(VALUES, min_size=1, max_size=3))
@settings(max_examples=sample_of(25), deadline=None)
def test_what_is_accepted_is_read_back_from_every_file(schema: Schema, values: list[Any]) -> None:
    mapper = schema.mapper()
    rows: list[dict[str, Any]] = []
    for value in values:
        rows += mapper.map(outcome(response=response(body=json.dumps(value).encode()))).rows
    columns = schema.columns()
    with tempfile.TemporaryDirectory() as directory:
        for name in FILES:
            output = str(Path(directory) / name)
            sink = durable_sink_for(output, typed=columns)
            sink.begin()
            sink.write([encode_row(row) for row in rows])
            sink.finish()
            sink.close()
            found = list(durable_sink_for(output, typed=columns).entries(None, columns.names))
            assert _told(name, columns.kinds, found) == _told(
                name, columns.kinds, [tuple(row.values()) for row in rows]
            )


def _told(name: str, kinds: tuple[Kind, ...], rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [[_storable(name, kind, value) for kind, value in zip(kinds, row, strict=True)] for row in rows]


def _storable(name: str, kind: Kind, value: Any) -> Any:
    """What of a value an output can tell: CSV knows no empty text, and only JSON has lone surrogates."""
    if kind is not Kind.TEXT or value is None:
        return value
    text = value.encode(errors="backslashreplace").decode()
    return text or None if ".csv" in name else text


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_a_draft_is_a_schema_that_takes_the_samples_it_was_made_of(samples: list[Any]) -> None:
    try:
        text = draft_text(infer(samples))
    except OptionError:
        return  # they have no field
    fields, explode, key = schema_parts(tomllib.loads(text))
    mapper = Schema(fields, explode=explode, key=key).mapper()
    for sample in samples:
        found = mapper.map(outcome(response=response(body=json.dumps(sample).encode())))
        for reject in found.rejects:
            assert "array" in reject["reason"] or "not an object" in reject["reason"], (text, reject)

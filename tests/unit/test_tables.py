"""Outcomes as rows, Arrow tables and data frames: the same columns and types whatever came of the requests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.unit.test_sinks import outcome, response
from workerpool.batch import tables
from workerpool.batch.record import FIELDS, record_of
from workerpool.batch.tables import arrow_batches, rows, to_arrow, to_pandas
from workerpool.errors import InvalidRequest, OptionError
from workerpool.model import Outcome, Request

NEVER_SENT = Outcome(Request("nonsense", problem="x"), error=InvalidRequest("no URL"))


def test_rows_come_in_lists_of_the_size_that_was_asked_for() -> None:
    outcomes = [outcome(number) for number in range(5)]
    batches = list(rows(outcomes, size=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert [record for batch in batches for record in batch] == [record_of(one) for one in outcomes]
    assert list(rows([])) == []


def test_rows_are_read_no_further_than_they_are_taken() -> None:
    taken = 0

    def outcomes() -> Iterator[Outcome]:
        nonlocal taken
        while True:
            taken += 1
            yield outcome(taken)

    batches = rows(outcomes(), size=3)
    next(batches)
    assert taken == 3
    next(batches)
    assert taken == 6


def test_large_bodies_make_shorter_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 10)
    outcomes = [outcome(number, response=response(body=b"12345")) for number in range(5)]
    assert [len(batch) for batch in rows(outcomes, include={"body"})] == [2, 2, 1]
    assert [len(batch) for batch in rows(outcomes)] == [5]


@pytest.mark.parametrize(("options", "words"), [({"size": 0}, "size=0"), ({"include": ["bodies"]}, "body or headers")])
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        rows([], **options)  # type: ignore[arg-type]


def test_arrow_batches_are_made_as_they_are_asked_for_and_have_the_table_s_types() -> None:
    taken = 0

    def outcomes() -> Iterator[Outcome]:
        nonlocal taken
        while True:
            taken += 1
            yield outcome(taken)

    reader = arrow_batches(outcomes(), include=["body"], size=3)
    assert taken == 0
    first = reader.read_next_batch()
    assert (first.num_rows, taken) == (3, 3)
    assert first.schema.equals(to_arrow([], include=["body"]).schema)
    reader.read_next_batch()
    assert taken == 6


def test_pages_have_their_numbers_where_they_are_asked_for() -> None:
    pages = [Outcome(request=Request("http://a/", page=page), error=InvalidRequest("no")) for page in (None, 2)]
    assert [row["page"] for batch in rows(pages, include=["page"]) for row in batch] == [1, 2]
    table = to_arrow(pages, include=["page"])
    assert (str(table.schema.field("page").type), table.column("page").to_pylist()) == ("int64", [1, 2])
    assert "page" not in to_arrow(pages).column_names


def test_an_error_of_the_outcomes_comes_through_arrow_as_it_is() -> None:
    def outcomes() -> Iterator[Outcome]:
        yield outcome()
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        to_arrow(outcomes())


@pytest.mark.parametrize("outcomes", [[], [outcome()], [NEVER_SENT], [NEVER_SENT, outcome()]])
def test_an_arrow_table_has_the_same_types_whatever_came(outcomes: list[Outcome]) -> None:
    table = to_arrow(iter(outcomes), include={"headers", "body"})
    assert table.num_rows == len(outcomes)
    assert tuple(table.column_names) == (*FIELDS, "headers", "body", "body_base64")
    types = {field.name: str(field.type) for field in table.schema}
    assert types["status"] == types["attempts"] == "int32"
    assert (types["bytes"], types["elapsed"], types["ok"]) == ("int64", "double", "bool")
    assert (types["started_at"], types["key"]) == ("timestamp[ms, tz=UTC]", "string")
    assert types["headers"].startswith("map<string, string")


def test_an_arrow_table_has_the_values_of_the_records() -> None:
    first, second = to_arrow([outcome(), NEVER_SENT], include={"headers"}).to_pylist()
    assert (first["status"], first["elapsed"], first["ok"]) == (200, 0.5, True)
    assert first["started_at"] == datetime.fromtimestamp(1_700_000_000.25, UTC)
    assert first["headers"] == [("X-Thing", "ü")]
    assert (second["status"], second["started_at"], second["error"]) == (None, None, "no URL")


def test_a_data_frame_keeps_integers_where_some_are_missing() -> None:
    frame = to_pandas([outcome(), NEVER_SENT], include={"headers"})
    assert list(frame.columns) == [*FIELDS, "headers"]
    assert str(frame["status"].dtype) == "int32[pyarrow]"
    assert frame["status"].isna().tolist() == [False, True]
    assert frame["ok"].tolist() == [True, False]
    assert frame["started_at"].dt.year.tolist()[0] == 2023


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match=r"to_pandas\(\) needs pandas.*workerpool-http\[pandas\]"):
        to_pandas([])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match=r"to_arrow\(\) needs pyarrow.*workerpool-http\[parquet\]"):
        to_arrow([])

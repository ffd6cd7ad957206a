"""Templates: what a row makes of a URL, headers and a body, with its types; and what it is refused for."""

from __future__ import annotations

import math
import pickle
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool import OptionError, Request, Template
from workerpool.batch.template.settings import is_whole, settings_of, template_from

URL = "https://api.test/items/{id}"


def made(row: dict[str, Any], url: str = URL, **said: Any) -> Request:
    request = Template(url, **said).request(row, source="rows.csv", ordinal=7)
    assert request.problem is None, request.problem
    return request


def problem(row: dict[str, Any], url: str = URL, **said: Any) -> str:
    request = Template(url, **said).request(row, source="rows.csv", ordinal=7)
    assert request.problem is not None
    return request.problem


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.test/{id}", "https://api.test/a%2Fb%20%C3%BC"),
        ("https://api.test/{+id}", "https://api.test/a/b%20%C3%BC"),
        ("https://api.test/{?id,page}", "https://api.test/?id=a%2Fb%20%C3%BC&page=2"),
        ("https://api.test/?x=1{&page}", "https://api.test/?x=1&page=2"),
        ("https://api.test/{page}{/page}", "https://api.test/2/2"),
        ("https://api.test/{?tags*}", "https://api.test/?tags=a&tags=b%26"),
        ("https://api.test/{tags}", "https://api.test/a,b%26"),
        ("https://api.test/{user.name}", "https://api.test/J%C3%B6rg"),
        ("https://api.test/{Item ID}", "https://api.test/9"),
        ("{+whole}{id}", "https://other.test/a%2Fb%20%C3%BC"),
    ],
)
def test_columns_are_put_into_a_url_as_rfc_6570_says(url: str, expected: str) -> None:
    row = {
        "id": "a/b ü", "page": 2, "tags": ["a", "b&"], "user": {"name": "Jörg"}, "Item ID": 9,
        "whole": "https://other.test/",
    }  # fmt: skip
    assert made(row, url).url == expected


@given(st.text(min_size=1).filter(lambda text: text.strip() and text not in (".", "..")))
def test_whatever_is_in_a_value_stays_in_its_segment(value: str) -> None:
    request = Template("https://api.test/a/{id}/z").request({"id": value})
    if any("\ud800" <= character <= "\udfff" for character in value):
        assert request.problem is not None
        return
    parts = urlsplit(request.url)
    assert (parts.netloc, parts.query, parts.fragment) == ("api.test", "", "")
    assert [unquote(part) for part in parts.path.split("/")] == ["", "a", value, "z"]


@pytest.mark.parametrize(
    ("url", "row"),
    [
        ("https://api.test/a/{id}", {"id": ".."}),
        ("https://api.test/a/{id}{x}/b", {"id": ".", "x": "."}),
        ("https://api.test/a/{+id}", {"id": "b/../../secret"}),
        ("https://api.test/a{/id}?q=1", {"id": "."}),
    ],
)
def test_a_value_that_would_lead_out_of_its_path_is_a_problem(url: str, row: dict[str, str]) -> None:
    assert "leads elsewhere" in problem(row, url)


def test_a_whole_url_of_a_column_may_have_dots_of_its_own() -> None:
    assert made({"url": "https://a.test/x/../y"}, "{+url}").url == "https://a.test/x/../y"


@pytest.mark.parametrize(
    "value", [None, "", "  ", [], {}, math.nan], ids=["null", "empty", "blank", "no items", "no members", "NaN"]
)
def test_a_row_without_a_value_is_a_problem_that_names_place_column_and_remedy(value: object) -> None:
    said = problem({"id": value, "other": 1})
    assert said == (
        "rows.csv, row 7: there is no value in the column 'id', which the template needs: fill it, or have the "
        "template take it as optional"
    )


def test_a_row_without_the_column_is_a_problem_and_keeps_its_text_and_key() -> None:
    request = Template(URL).request({"name": "x", "key": 5}, ordinal=3)
    assert request.problem is not None
    assert request.problem.startswith("the rows, row 3: there is no value in the column 'id'")
    assert (request.url, request.key, request.ordinal) == ('{"name": "x", "key": 5}', "5", 3)


def test_optional_columns_are_left_out_of_query_and_headers_and_are_null_in_json() -> None:
    request = made(
        {"id": 1, "page": None},
        URL + "{?page,size}",
        headers={"X-Size": "{size} items", "X-Id": "{id}{size}"},
        json={"size": "{size}", "text": "<{size}>"},
        optional=["page", "size"],
    )
    assert request.url == "https://api.test/items/1"
    assert request.headers == {"X-Id": "1"}
    assert request.json == {"size": None, "text": "<>"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (True, "true"),
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1000"),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), "2024-02-29T12:30:00+00:00"),
        (timedelta(days=1, seconds=30), "P1DT30S"),
        (timedelta(seconds=-1.5), "-PT1.5S"),
        (timedelta(0), "PT0S"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (b"text", "text"),
        ({"a": [1, Decimal("1.5")]}, '{"a": [1, "1.5"]}'),
    ],
)
def test_values_are_written_in_their_standard_forms(value: object, text: str) -> None:
    assert made({"id": 1, "x": value}, headers={"X": "{x}"}).headers == {"X": text}


def test_a_place_that_is_all_of_a_text_takes_the_value_with_its_type() -> None:
    body = {"n": "{n}", "f": "{f}", "b": "{b}", "list": ["{list}", "n={n}"], "at": "{at}", "fixed": 3, "{n}": None}
    request = made({"id": 1, "n": 5, "f": 2.5, "b": False, "list": [{"a": None}], "at": date(2024, 1, 2)}, json=body)
    assert request.method == "POST"
    assert request.json == {
        "n": 5, "f": 2.5, "b": False, "list": [[{"a": None}], "n=5"], "at": "2024-01-02", "fixed": 3, "{n}": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("{x:int}", "12", 12),
        ("{x:int}", " -3 ", -3),
        ("{x:int}", 5.0, 5),
        ("{x:float}", "1.5", 1.5),
        ("{x:float}", Decimal("2.5"), 2.5),
        ("{x:bool}", "True", True),
        ("{x:bool}", "0", False),
        ("{x:json}", '{"a": [1]}', {"a": [1]}),
        ("{x:text}", 5, "5"),
        ("{x:url}", "a/b", "a%2Fb"),
        ("{x:base64}", b"\xff", "/w=="),
        ("{{{x}}}", 5, "{5}"),
    ],
)
def test_a_conversion_makes_another_type_of_a_value(place: str, value: object, expected: object) -> None:
    assert made({"id": 1, "x": value}, json=[place]).json == [expected]


@pytest.mark.parametrize(
    ("place", "value", "what"),
    [
        ("{x:int}", "1.5", "not a whole number"),
        ("{x:int}", True, "not a whole number"),
        ("{x:int}", math.inf, "not "),
        ("{x:int}", [1], "not a whole number"),
        ("{x:float}", "x", "not a number"),
        ("{x:float}", "nan", "not a number"),
        ("{x:bool}", "yes", "not true or false"),
        ("{x:json}", "{", "not JSON"),
        ("{x}", math.inf, "JSON has no number for inf"),
        ("{x}", b"\xff", "bytes that are no text"),
    ],
)
def test_a_value_that_cannot_be_converted_is_a_problem(place: str, value: object, what: str) -> None:
    assert what in problem({"id": 1, "x": value}, json=[place])


def test_a_header_never_has_a_line_break_in_it() -> None:
    said = problem({"id": 1, "x": "a\r\nX-Admin: 1"}, headers={"X": "{x}"})
    assert said == "rows.csv, row 7: the header 'X' has a line break or NUL byte in its value"
    assert "latin-1" in problem({"id": 1, "x": "漢"}, headers={"X": "{x}"})


def test_bodies_are_text_bytes_or_the_fields_of_a_form() -> None:
    row = {"id": "a&b", "n": 5}
    assert made(row, data="id={id:url}&n={n}").data == b"id=a%26b&n=5"
    assert made(row, data=b"{id}").data == b"{id}"
    assert made(row, data={"id": "{id}", "n": "{n}"}, method="put").data == {"id": "a&b", "n": "5"}
    assert made(row, data="x", method="put").method == "PUT"
    assert "cannot be sent as utf-8" in problem({"id": 1, "x": "\ud800"}, data="{x}")


def test_the_key_is_the_templates_or_the_rows_or_the_url() -> None:
    assert made({"id": 1, "shop": "b"}, key="{shop}-{id}").key == "b-1"
    assert made({"id": 1, "key": 12}).key == "12"
    assert made({"id": 1, "key": ""}).key is None


def test_rows_are_asked_for_one_at_a_time_and_numbered() -> None:
    def rows() -> Any:
        yield {"id": 1}
        yield {"id": 2}
        raise AssertionError("read too far")

    requests = Template(URL, idempotent=True).requests(rows(), source="s")
    assert [(next(requests).ordinal, next(requests).ordinal)] == [(1, 2)]


@pytest.mark.parametrize(
    "url",
    [
        "", "https://a/{", "https://a/}", "https://a/{}", "https://a/{x:int}", "https://a/{=x}", "https://a/{a|b}",
        "https://a/{x", "ftp://a/{x}", "a/{x}", "https://a/ {x}", "https://a/{?}", "https://a/{x,}",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_filled_is_refused_at_once(url: str) -> None:
    with pytest.raises(OptionError, match=r"url=|needs a URL"):
        Template(url)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"json": {}, "data": "x"}, "one body"),
        ({"json": {"a": "{x:date}"}}, "json= has {x:date} in it"),
        ({"json": {"a": "{"}}, "a brace that belongs to no {column}"),
        ({"json": [b"x"]}, "bytes"),
        ({"data": "{}"}, "data= has {} in it"),
        ({"headers": {"A B": "x"}}, "header's name"),
        ({"headers": {"A": "x\ny"}}, "line break"),
        ({"headers": {"A": 5}}, "int where a text belongs"),
        ({"headers": ["A: b"]}, "headers= is a list"),
        ({"method": "G T"}, "no HTTP method"),
        ({"optional": "id"}, "write ['id']"),
        ({"key": 5}, "key= has a int"),
        ({"idempotent": 1}, "idempotent="),
    ],
)
def test_what_cannot_work_is_refused_at_once(said: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        Template(URL, **said)
    assert words in str(caught.value)


def test_no_secret_is_in_what_is_shown_of_a_template() -> None:
    template = Template(URL + "?api_key=hunter2", headers={"Authorization": "hunter2"}, data="hunter2")
    assert "hunter2" not in repr(template)


def test_a_template_may_be_pickled() -> None:
    template = Template(URL, json={"n": ["{n}"]}, headers={"A": "{n}"}, optional=["n"])
    again = pickle.loads(pickle.dumps(template))
    assert again == template
    assert again.request({"id": 1}) == template.request({"id": 1})


def test_what_is_kept_of_a_template_has_no_secret_and_makes_the_same_of_a_row() -> None:
    template = Template(
        URL + "{?page}",
        headers={"Authorization": "Bearer hunter2 {user}", "X-Shop": "{shop}"},
        json={"password": "hunter2", "pin": {"token": ["hunter2", 5, "{user}"]}, "n": "{n:int}"},
        params={"q": "{q}"},
        key="{id}",
        optional=["page"],
    )
    kept = settings_of(template)
    assert "hunter2" not in repr(kept)
    assert is_whole(kept)
    again = template_from(kept)
    assert again is not None
    assert again.columns == template.columns
    row = {"id": 1, "user": "u", "shop": "s", "n": "5", "q": "x"}
    assert [again.request(row).url, again.request(row).key] == [template.request(row).url, "1"]
    for missing in row:
        less = {name: value for name, value in row.items() if name != missing}
        assert again.request(less).problem == template.request(less).problem is not None


def test_a_url_with_a_secret_is_kept_without_it_and_known_to_be_less() -> None:
    kept = settings_of(Template(URL + "?api_key=hunter2"))
    assert "hunter2" not in repr(kept)
    assert not is_whole(kept)
    assert template_from(settings_of(None)) is None

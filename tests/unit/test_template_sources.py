"""Templates over each kind of source: which columns are read, and what is refused before anything is sent."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workerpool import OptionError, Request, Template
from workerpool.batch.sources.choice import sources_for
from workerpool.batch.template.making import making_of
from workerpool.errors import SourceError

URL = "https://api.test/{id}"


def read(path: Path, template: Template, **said: Any) -> list[Request]:
    sources = sources_for([str(path)], making=making_of(template), **said)
    sources.check()
    return list(sources)


def write(path: Path, text: str | dict[str, Any]) -> Path:
    if isinstance(text, dict):
        pq.write_table(pa.table(text), path)
    else:
        path.write_text(text)
    return path


def test_a_csv_of_any_delimiter_has_its_columns_put_in(tmp_path: Path) -> None:
    for number, delimiter in enumerate(",;\t"):
        lines = [["Item ID", "name", "key"], ["1", "a b", "k"], ["2", "", ""]]
        path = write(tmp_path / f"{number}.csv", "\n".join(map(delimiter.join, lines)) + "\n")
        first, second = read(path, Template("https://api.test/{Item ID}", headers={"X": "{name}"}))
        assert (first.url, first.headers, first.key, first.ordinal) == ("https://api.test/1", {"X": "a b"}, "k", 2)
        assert second.problem == (
            f"{path}, line 3: there is no value in the column 'name', which the template needs: fill it, or have the "
            "template take it as optional"
        )
        assert second.url == lines[2][0] + 2 * delimiter


def test_a_json_line_gives_its_typed_values_and_what_is_inside_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", '{"id": 5, "user": {"tags": ["a"]}, "a.b": null}\n[]\n{"id": "6"}\n')
    template = Template(URL, json={"id": "{id}", "tags": "{user.tags}"}, optional=["user.tags"])
    first, second, third = read(path, template)
    assert (first.url, first.json) == ("https://api.test/5", {"id": 5, "tags": ["a"]})
    assert second.problem is not None
    assert "no JSON object" in second.problem
    assert third.json == {"id": "6", "tags": None}


def test_a_line_of_text_is_the_column_line(tmp_path: Path) -> None:
    path = write(tmp_path / "r.txt", "a/b\n\n c \n")
    assert [request.url for request in read(path, Template("https://api.test/{line}"))] == [
        "https://api.test/a%2Fb",
        "https://api.test/c",
    ]
    with pytest.raises(SourceError, match=r"no column is named 'id', which the template names: there are line"):
        read(path, Template(URL))


def test_a_parquet_file_gives_its_types_and_only_the_columns_that_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.parquet",
        {
            "id": pa.array([1, None], pa.int64()),
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
            "at": pa.array([datetime.datetime(2024, 1, 2, 3), None], pa.timestamp("us", "UTC")),
            "tags": pa.array([[1, 2], None], pa.list_(pa.int8())),
            "user": pa.array([{"name": "x", "age": None}, None]),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
            "other": [object.__name__, "never read"],
        },
    )
    body = {name: f"{{{name}}}" for name in ("id", "price", "at", "tags", "user.name", "map")}
    first, second = read(path, Template(URL, json=body))
    assert first.json == {
        "id": 1, "price": "1.50", "at": "2024-01-02T03:00:00+00:00", "tags": [1, 2], "user.name": "x", "map": {"a": 1},
    }  # fmt: skip
    assert second.problem is not None
    assert second.problem.startswith(f"{path}, row 2: there is no value in the column 'id'")
    assert "never read" not in second.url


@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_a_template_that_names_no_column_of_the_header_is_refused_with_those_that_there_are(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / name, "item,name\n1,x\n" if name == "r.csv" else {"item": [1], "name": ["x"]})
    with pytest.raises(SourceError) as caught:
        read(path, Template(URL, key="{title}", optional=["name"]))
    assert str(caught.value).endswith(
        "no column is named 'id' or 'title', which the template names: there are item, name"
    )
    assert len(read(path, Template("https://api.test/{item}{?q}", optional=["q"]))) == 1


def test_of_two_columns_with_a_name_that_is_read_one_has_to_go(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "id,id,x,x\n1,2,3,4\n")
    with pytest.raises(SourceError, match="two columns are named 'id'"):
        read(path, Template(URL))
    assert len(read(write(tmp_path / "s.csv", "id,x,x\n1,2,3\n"), Template(URL))) == 1


def test_a_table_of_which_nothing_is_read_has_its_rows_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", {"a": [1, 2, 3]})
    assert len(read(path, Template("https://api.test/ping"))) == 3


def test_columns_that_are_not_read_are_not_spoken_of(tmp_path: Path) -> None:
    said: list[str] = []
    assert read(write(tmp_path / "r.csv", "id,x\n1,2\n"), Template(URL), note=said.append)
    assert said == []


def test_a_query_is_of_one_database_and_a_database_has_a_query(tmp_path: Path) -> None:
    for names, said, words in (
        (["a.csv"], {"query": "select 1"}, "query= is asked of one database"),
        (["sqlite://", "a.csv"], {"query": "select 1"}, "query= is asked of one database"),
        (["sqlite://"], {}, "needs query="),
        (["sqlite://"], {"query": " "}, "must be SQL"),
        (["sqlite://"], {"query": "select 1", "format": "csv"}, "input_format= is of files"),
    ):
        with pytest.raises(OptionError, match=words):
            sources_for(names, **said)  # type: ignore[arg-type]

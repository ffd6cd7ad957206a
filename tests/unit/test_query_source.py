"""A database's query as a source, on real databases: its rows with their types, its errors, and no password in them."""

from __future__ import annotations

import datetime
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import postgres as server
from tests.postgres import Server
from workerpool import OptionError, Request, Template
from workerpool.batch.sinks import check_apart
from workerpool.batch.sources.ahead import read_ahead
from workerpool.batch.sources.database import Database, is_database
from workerpool.batch.sources.marks import Mark
from workerpool.batch.sources.query import QueryRows
from workerpool.batch.template.making import making_of
from workerpool.errors import SourceError
from workerpool.model import IDLE

PASSWORD = "p@ss/w:rd?#%"
"""With all that means something in a URL."""

COUNT = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2500) select i from n order by i"
TEMPLATE = Template("https://api.test/{i}")


def read(url: str, query: str, template: Template | None = TEMPLATE) -> list[Request]:
    sources = QueryRows(url, query, making=making_of(template))
    sources.check()
    return list(sources)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_the_rows_of_a_query_are_requests_in_their_order(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"{kind}:///{tmp_path}/items.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").url().partition("?")[0]
    requests = read(url, COUNT + ";")
    assert [one.url for one in requests] == [f"https://api.test/{number}" for number in range(1, 2501)]
    assert [one.ordinal for one in requests] == [*range(1, 2501)]
    assert server.PASSWORD not in requests[0].source


def test_postgresql_gives_its_types(postgres: Server) -> None:
    query = (
        "select 1 as i, 1.50::numeric(5,2) as price, '2024-01-02'::date as day, "
        "'00000000-0000-0000-0000-000000000005'::uuid as id, '{\"a\": [1]}'::jsonb as data, array[1,2] as list, "
        "'\\x6869'::bytea as bytes, true as yes, '1 day'::interval as length, '%s :x' as odd, int4range(1, 5) as range"
    )
    names = ("price", "day", "id", "data.a", "list", "bytes", "yes", "length", "odd", "range")
    template = Template("https://api.test/{i}", json=[f"{{{name}}}" for name in names])
    (request,) = read(postgres.url().partition("?")[0], query, template)
    assert request.json == [
        "1.50", "2024-01-02", str(uuid.UUID(int=5)), [1], [1, 2], "hi", True, "P1D", "%s :x", "[1, 5)",
    ]  # fmt: skip


def test_rows_that_say_their_requests_need_no_template() -> None:
    query = (
        "select 'https://a.test/' as URL, 5 as key, '{\"a\": 1}' as json, 'post' as method union select '', 6, '', ''"
    )
    bad, good = read("sqlite://", f"{query} order by 2 desc", None)
    assert (good.url, good.key, good.json, good.method) == ("https://a.test/", "5", {"a": 1}, "POST")
    assert bad.problem == "sqlite://, row 1: there is no URL: fill the field 'url'"


@pytest.mark.parametrize(
    ("cells", "url", "key", "words"),
    [
        ("'https://a.test/' as url, x'ff00' as key", "https://a.test/", None, "the field 'key' cannot be written"),
        ("'https://a.test/' as url, 5 as key, '{' as headers", "https://a.test/", "5", "'headers' is no JSON"),
        ("'https://a.test/' as url, 5.5 as key, '{' as json", "https://a.test/", "5.5", "'json' is no JSON"),
        ("'https://a.test/' as url, x'61' as key, '{' as params", "https://a.test/", None, "'params' is no JSON"),
        ("7 as url, 'k' as key, '{' as headers", "7", "k", "'headers' is no JSON"),
        ("x'61' as url, 'k' as key", "b'a'", "k", "the field 'url' is no string"),
    ],
)
def test_a_row_with_an_odd_key_or_url_is_answered_before_the_next_one(
    cells: str, url: str, key: str | None, words: str
) -> None:
    names = ", ".join(f"null as {name.rpartition(' ')[2]}" for name in cells.split(", "))
    bad, after = read("sqlite://", f"select {cells} union all select {names}", None)
    assert (bad.url, bad.key) == (url, key)
    assert bad.problem is not None
    assert words in bad.problem
    assert "no URL" in str(after.problem)


def test_names_of_a_databases_map_that_are_no_text_are_no_names_of_headers() -> None:
    headers = "map {date '2024-01-02': 'x'} as headers"
    query = f"select 'https://a.test/' as url, {headers} union all select null, {headers}"
    bad, after = read("duckdb:///:memory:", query, None)
    assert "a header's name has characters in it" in str(bad.problem)
    assert "no URL" in str(after.problem)


def test_dates_and_times_of_duckdb_are_written_as_iso_8601_has_them() -> None:
    template = Template("https://api.test/{day}{?at}")
    query = "select date '2024-01-02' as day, timestamp '2024-01-02 03:04:05' as at"
    (request,) = read("duckdb:///:memory:", query, template)
    assert request.url == "https://api.test/2024-01-02?at=2024-01-02T03%3A04%3A05"


def test_a_column_that_the_query_does_not_give_is_refused_before_anything_is_read() -> None:
    with pytest.raises(SourceError) as caught:
        read("sqlite://", "select 1 as j, 2 as k")
    assert str(caught.value) == "sqlite://: no column is named 'i', which the template names: there are j, k"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select i from nowhere", "cannot be asked: no such table: nowhere"),
        ("create table x (i int)", "the query gives no rows"),
        ("select 1 as i; drop table x", "cannot be asked"),
    ],
)
def test_what_the_database_says_against_a_query_is_said(query: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read("sqlite://", query)


def test_an_answer_that_breaks_off_says_after_which_row() -> None:
    query = "select 1 as i union all select 2 union all select abs(-9223372036854775808)"
    sources = QueryRows("sqlite://", query, making=making_of(TEMPLATE))
    with pytest.raises(SourceError, match=r"sqlite:// breaks off after row 0: integer overflow"):
        list(sources)


def test_a_password_is_in_nothing_that_is_said(postgres: Server) -> None:
    from urllib.parse import quote

    written = quote(PASSWORD, safe="")
    with postgres.connect() as connection:
        connection.execute(f"create role odd login password '{PASSWORD}'")
    good = f"postgresql+psycopg://odd:{written}@127.0.0.1:{postgres.port}/postgres"
    assert [one.url for one in read(good, "select 5 as i")] == ["https://api.test/5"]
    for url in (
        good.replace("/postgres", "/nowhere"),
        good.replace(written, written + "x"),
        good.replace("127.0.0.1", "nowhere.invalid"),
        f"{good}?application_name={written}&nonsense={written}",
        good.replace("psycopg:", "nodriver:"),
    ):
        with pytest.raises((SourceError, OptionError)) as caught:
            read(url, "select 5 as i")
        assert PASSWORD not in str(caught.value)
        assert written not in str(caught.value)
        assert "postgresql+" in str(caught.value)


def test_a_driver_that_repeats_a_password_has_it_hidden() -> None:
    from urllib.parse import quote

    written = quote(PASSWORD, safe="")
    database = Database(f"postgresql://u:{written}@host/db?options={written}")
    said = str(database.failed("cannot be asked", ValueError(f"no login {PASSWORD!r}, given as {written}\nat all")))
    assert said == "postgresql://***@host/db?*** cannot be asked: no login '***', given as *** at all"


@pytest.mark.parametrize("url", ["mysql+pymysql://u:hunter2@h:abc/d", "sqlite:hunter2://x"])
def test_a_url_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises((OptionError, SourceError)) as caught:
        read(url, "select 1 as i")
    assert "hunter2" not in str(caught.value)


def test_a_database_is_called_the_same_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Database("sqlite:///items.db").name == f"sqlite:///{tmp_path}/items.db"
    assert Database("postgresql://u:hunter2@host/db?password=hunter2").name == "postgresql://***@host/db?***"
    assert Database("postgresql://u@host/db").name == "postgresql://u@host/db"
    assert is_database("mysql+pymysql://h/d") is is_database("duckdb:///x") is True
    assert is_database("http://a.test/") is is_database("s3://bucket/x.csv") is False


@pytest.mark.parametrize("parameters", ["", "?timeout=5"])
def test_an_output_is_not_written_over_the_database_that_is_read(tmp_path: Path, parameters: str) -> None:
    path = tmp_path / "items.sqlite"
    path.touch()
    sources = QueryRows(f"sqlite:///{path}{parameters}", "select 1")
    with pytest.raises(OptionError, match="is one of the sources"):
        check_apart(str(path), sources.paths)
    check_apart(str(tmp_path / "other.sqlite"), sources.paths)


def test_a_reading_tells_marks_and_checks_of_what_was_taken_alone() -> None:
    def checks(query: str) -> tuple[list[int], Mark | None]:
        reading = QueryRows("sqlite://", query, making=making_of(TEMPLATE)).read(0)
        found = []
        for number, _ in enumerate(reading, 1):
            assert reading.mark == Mark(number, 0)
            found.append(reading.check)
        return [*found, reading.check], reading.end

    first, end = checks("select 1 as i, 5 as other union all select 2, 6")
    assert end == Mark(3, 0)
    assert len(set(first)) == 3
    assert first[0] == 0
    assert checks("select 1 as i, 7 as other union all select 2, 8") == (first, end)
    assert checks("select 1 as i, 5 as other union all select 3, 6")[0][2] != first[2]


def test_a_source_can_be_read_again_and_is_asked_once_for_the_first_time(tmp_path: Path) -> None:
    path = tmp_path / "items.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table items (i)")
        database.executemany("insert into items values (?)", [(1,), (2,)])
        database.commit()
    sources = QueryRows(f"sqlite:///{path}", "select i from items order by i", making=making_of(TEMPLATE))
    sources.check()
    first = [request.url for request in sources]
    assert first == [request.url for request in sources]
    assert sources.can_be_read_again
    assert sources.count() is None


def test_a_stopped_reading_ends_and_has_no_end() -> None:
    sources = QueryRows("sqlite://", COUNT, making=making_of(TEMPLATE))
    reading = sources.read(0)
    got = []
    for request in reading:
        got.append(request)
        if len(got) == 10:
            sources.stop()
    assert len(got) == 10
    assert reading.end is None


def test_who_leaves_a_reading_that_is_ahead_has_its_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    from workerpool.batch.sources import query

    is_closed = Event()
    close: Callable[[Any], None] = query.Answer.close

    def closed(answer: Any) -> None:
        close(answer)
        is_closed.set()

    monkeypatch.setattr(query.Answer, "close", closed)
    ahead = read_ahead(QueryRows("sqlite://", COUNT, making=making_of(TEMPLATE)))
    assert isinstance(next(item for item in ahead if item is not IDLE), Request)
    ahead.close()  # type: ignore[attr-defined]
    assert is_closed.wait(10)


def test_memory_does_not_grow_with_the_rows() -> None:
    import tracemalloc

    query = COUNT.replace("2500", "8000").replace("i from n order by i", "i, hex(zeroblob(1000)) as x from n")
    sources = QueryRows("sqlite://", query, making=making_of(Template("https://api.test/{i}", data="{x}")))
    tracemalloc.start()
    try:
        count = sum(1 for _ in sources)
        assert count == 8000
        assert tracemalloc.get_traced_memory()[1] < 6_000_000  # the rows are 16 MB
    finally:
        tracemalloc.stop()


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name, extra, make in (
        ("sqlalchemy", "sql", lambda: QueryRows("sqlite://", "select 1")),
        ("uritemplate", "etl", lambda: Template("https://api.test/{id}")),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(OptionError, match=rf"needs {name}, which is not installed: .*\[{extra}\]"):
            make()


def test_days_are_the_same_type_in_url_and_body() -> None:
    row = {"day": datetime.date(2024, 1, 2)}
    request = Template("https://api.test/{day}", json={"day": "{day}"}).request(row)
    assert (request.url, request.json) == ("https://api.test/2024-01-02", {"day": "2024-01-02"})

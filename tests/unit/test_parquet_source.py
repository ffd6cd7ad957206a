"""Parquet sources: typed columns make the same requests as rows of text, and rows are streamed."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.marks import BEGINNING, Block, Mark
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request

MAP = pa.map_(pa.string(), pa.string())


def write(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def read(path: str) -> list[Request]:
    sources = FileSources([path])
    sources.check()
    assert sources.count() == sum(1 for _ in FileSources([path]))
    return list(sources)


def urls(count: int) -> dict[str, Any]:
    return {"url": [f"http://a/{number}" for number in range(1, count + 1)]}


def test_typed_columns_make_requests(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.parquet",
        {
            "URL": ["http://a/", "http://b/"],
            "method": ["post", None],
            "headers": pa.array([[("X-A", "1")], None], MAP),
            "params": [{"page": 1, "full": True, "tag": None}, None],
            "body": [b"\xff\x00", None],
            "key": [7, None],
        },
    )
    first, second = read(path)
    assert (first.url, first.method, first.headers, first.params, first.data, first.key, first.ordinal) == (
        "http://a/", "POST", {"X-A": "1"}, {"page": 1, "full": "true"}, b"\xff\x00", "7", 1,
    )  # fmt: skip
    assert (second.url, second.method, second.headers, second.params, second.data, second.key) == (
        "http://b/", "GET", None, None, None, None,
    )  # fmt: skip


def test_objects_may_be_text_that_is_json(tmp_path: Path) -> None:
    columns = {"headers": ['{"X": 1}', "{"], "params": ['{"p": [1, 2]}', ""], "json": ["[null]", ""]}
    first, second = read(write(tmp_path / "r.parquet", {"url": ["http://a/"] * 2, **columns}))
    assert (first.headers, first.params, first.json) == ({"X": "1"}, {"p": [1, 2]}, [None])
    assert second.problem == f"{tmp_path}/r.parquet, row 2: the column 'headers' is no JSON: " + (
        'write it as {"name": "value"}'
    )


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (["k"], "k"),
        ([2**60], str(2**60)),
        ([1.5], "1.5"),
        ([True], "true"),
        ([Decimal("1.50")], "1.50"),
        ([datetime.date(2024, 2, 29)], "2024-02-29"),
        (pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")), "2023-11-14 22:13:20.000000001"),
        (pa.array(["k"]).dictionary_encode(), "k"),
        (pa.array(["k"], pa.large_string()), "k"),
        (pa.array([b"k"]), "k"),
        (pa.nulls(1), None),
    ],
)
def test_a_key_is_any_scalar_written_as_text(tmp_path: Path, values: Any, key: str | None) -> None:
    (request,) = read(write(tmp_path / "r.parquet", {"url": ["http://a/"], "key": values}))
    assert request.key == key


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"link": ["http://a/"]}, "no column is named 'url'"),
        ({"url": ["http://a/"], "Url": ["http://b/"]}, "two columns are named 'url'"),
        ({"url": [1]}, "the column 'url' is int64: make it text"),
        ({"url": ["http://a/"], "key": [["k"]]}, "the column 'key' is list.*: make it text, a number or a date"),
        ({"url": ["http://a/"], "headers": [[1]]}, "make it a map, a struct, or text"),
        ({"url": ["http://a/"], "headers": pa.array([[(1, "a")]], pa.map_(pa.int64(), pa.string()))}, "make it a map"),
        ({"url": ["http://a/"], "body": [1.0]}, "make it text or bytes"),
        ({"url": ["http://a/"], "json": [{"a": 1}]}, "make it text that is JSON"),
    ],
)
def test_columns_that_cannot_work_are_refused_before_anything_is_read(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "r.parquet", columns)
    with pytest.raises(SourceError, match=words) as caught:
        FileSources([path]).check()
    assert path in str(caught.value)


def test_a_row_that_makes_no_request_is_answered_between_its_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", {"url": ["http://a/1", None, "ftp://x", "http://a/4"], "key": list("abcd")})
    requests = read(path)
    assert [(r.ordinal, r.problem is None) for r in requests] == [(1, True), (2, False), (3, False), (4, True)]
    assert requests[1].problem == f"{path}, row 2: there is no URL: fill the field 'url'"
    assert (requests[1].url, requests[1].key) == ('{"key": "b"}', "b")


def test_text_that_is_not_utf_8_costs_its_own_row_only(tmp_path: Path) -> None:
    binary = pa.array([b"http://a/1", b"http://a/\xff", b"http://a/3"])
    text = pa.Array.from_buffers(pa.string(), 3, binary.buffers())
    for number, column in enumerate((binary, text)):
        path = write(tmp_path / f"{number}.parquet", {"url": column}, store_schema=False)
        first, bad, third = read(path)
        assert (first.url, first.problem, third.url, third.problem) == ("http://a/1", None, "http://a/3", None)
        assert bad.problem is not None
        assert bad.problem.startswith(f"{path}, row 2: a value cannot be read")


def test_columns_that_are_not_read_are_said_once(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path / "r.parquet", {"url": ["http://a/"], "colour": [1]})
    sources = FileSources([path], note=notes.append)
    sources.check()
    list(sources)
    assert len(notes) == 1
    assert "'colour' is not read" in notes[0]


def test_reading_from_any_mark_gives_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", urls(50), row_group_size=7)
    with mock.patch("workerpool.batch.sources.parquet.BATCH", 3):
        sources = FileSources([path])
        full = [(request, reading.mark) for reading in [sources.read(0)] for request in reading]
        assert [mark for _, mark in full] == [Mark(number, number - 1) for number in range(1, 51)]
        for index in range(50):
            reading = sources.read(0, full[index][1])
            assert [(request, reading.mark) for request in reading] == full[index:]
            assert reading.end == reading.mark == Mark(51, 50)
        assert list(sources.read(0, Mark(51, 50))) == []
        with pytest.raises(SourceError, match="fewer rows"):
            list(sources.read(0, Mark(52, 51)))


def test_only_the_row_groups_from_the_mark_on_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", urls(20), row_group_size=5, compression="none", use_dictionary=False)
    data = Path(path).read_bytes()
    Path(path).write_bytes(b"PAR1" + b"\xff" * 60 + data[64:])
    assert [r.ordinal for r in FileSources([path]).read(0, Mark(12, 11))] == list(range(12, 21))
    with pytest.raises(SourceError, match="row 0: the Parquet data is damaged"):
        list(FileSources([path]))


def blocks_of(sources: FileSources, size: int) -> list[Block]:
    reading, start, blocks = sources.read(0), BEGINNING, []
    for request in reading:
        if request.ordinal > 1 and request.ordinal % size == 1:
            blocks.append(Block(start, reading.mark, reading.check))
            reading.restart()
            start = reading.mark
    assert reading.end is not None
    return [*blocks, Block(start, reading.end, reading.check)]


def test_rows_that_changed_are_found_and_the_layout_of_the_file_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", {**urls(50), "key": list(range(50))}, row_group_size=7)
    sources = FileSources([path])
    blocks = blocks_of(sources, 8)
    assert len(blocks) == 7
    write(tmp_path / "r.parquet", {"key": list(range(50)), **urls(50)}, row_group_size=50, compression="gzip")
    assert sources.verify(0, blocks) is None
    write(tmp_path / "r.parquet", {**urls(50), "key": [*range(30), -1, *range(31, 50)]})
    assert sources.verify(0, blocks) == blocks[3]
    assert sources.verify(0, [*blocks[:3], *blocks[4:]]) is None
    write(tmp_path / "r.parquet", {**urls(20), "key": list(range(20))})
    assert sources.verify(0, blocks) == blocks[2]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"junk" * 50, b"PAR1" + b"x" * 50 + b"\xff\xff\xff\x7fPAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.parquet"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        FileSources([str(path)]).check()
    assert FileSources([str(path)]).count() is None


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "r.parquet", urls(500)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        FileSources([str(path)]).check()


def test_good_row_groups_before_a_damaged_one_are_given_out(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "r.parquet", urls(30), row_group_size=10, compression="none", use_dictionary=False))
    offset = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data = path.read_bytes()
    path.write_bytes(data[:offset] + b"\xff" * 40 + data[offset + 40 :])
    got: list[int] = []
    with pytest.raises(SourceError, match="after row 20: the Parquet data is damaged"):
        got.extend(request.ordinal for request in FileSources([str(path)]))
    assert got == list(range(1, 21))


def test_parquet_needs_a_file_that_is_not_packed() -> None:
    with pytest.raises(SourceError, match="standard input"):
        FileSources(["-"], format="parquet")
    with pytest.raises(SourceError, match="packed inside"):
        FileSources(["r.parquet.gz"])
    with pytest.raises(SourceError, match="no file on a disk"):
        FileSources(["/dev/null"], format="parquet").check()


def test_without_pyarrow_the_extra_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.parquet", urls(1))
    with (
        mock.patch.dict(sys.modules, {"pyarrow": None}),
        pytest.raises(OptionError, match=r"pip install 'workerpool-http\[parquet\]'"),
    ):
        FileSources([path]).check()


def test_a_stopped_reading_has_no_end(tmp_path: Path) -> None:
    sources = FileSources([write(tmp_path / "r.parquet", urls(10))])
    reading = sources.read(0)
    got = []
    for request in reading:
        got.append(request.ordinal)
        if request.ordinal == 3:
            sources.stop()
    assert (got, reading.end) == ([1, 2, 3], None)

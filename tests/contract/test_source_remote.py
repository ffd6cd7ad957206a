"""What sources at URLs owe: they are read as files are, from any place, piece by piece, with the same errors."""

from __future__ import annotations

import bz2
import gzip
import io
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from workerpool import Job
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.marks import Block
from workerpool.batch.sources.remote import BLOCK
from workerpool.cli import main
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request
from workerpool.testing import Origin

fsspec = pytest.importorskip("fsspec")
pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
_numbers = count(1)


class Shelf:
    """A directory of objects."""

    def __init__(self, base: str) -> None:
        self.base = f"{base}/source{next(_numbers)}"
        self.files, self.path = fsspec.core.url_to_fs(self.base, skip_instance_cache=True, use_listings_cache=False)

    def put(self, name: str, data: bytes | str) -> str:
        self.files.pipe_file(f"{self.path}/{name}", data.encode() if isinstance(data, str) else data)
        return f"{self.base}/{name}"


@pytest.fixture(params=["memory", "s3"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    return Shelf(request.getfixturevalue("bucket") if request.param == "s3" else "memory://jobs")


@pytest.fixture
def memory() -> Shelf:
    return Shelf("memory://jobs")


def urls(first: int, last: int) -> str:
    return "".join(f"http://a.test/{number}\n" for number in range(first, last + 1))


def parquet(count: int) -> bytes:
    table = pyarrow.table({"url": urls(1, count).split(), "key": [f"k{number}" for number in range(1, count + 1)]})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, row_group_size=10)
    return buffer.getvalue()


def read(*names: str, **options: Any) -> list[Request]:
    sources = FileSources(names, **options)
    sources.check()
    return list(sources)


CONTENTS = {
    "a.txt": urls(1, 30).encode(),
    "a.csv": ("url\n" + urls(1, 30)).encode(),
    "a.jsonl": "".join(f'{{"url": "{url}"}}\n' for url in urls(1, 30).split()).encode(),
    "a.txt.gz": gzip.compress(urls(1, 30).encode()),
    "a.csv.bz2": bz2.compress(("url\n" + urls(1, 30)).encode()),
    "a.parquet": parquet(30),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_an_object_is_read_as_a_file_is_and_on_from_any_row(shelf: Shelf, name: str, tmp_path: Path) -> None:
    url = shelf.put(name, CONTENTS[name])
    (tmp_path / name).write_bytes(CONTENTS[name])
    remote, local = read(url), read(str(tmp_path / name))
    assert [(one.url, one.key, one.ordinal) for one in remote] == [(one.url, one.key, one.ordinal) for one in local]
    assert {one.source for one in remote} == {url}
    sources = FileSources([url])
    reading = sources.read(0)
    requests = iter(reading)
    for _ in range(12):
        next(requests)
    start, reading = reading.mark, FileSources([url]).read(0, reading.mark)
    rest = list(reading)
    assert [one.url for one in rest] == [one.url for one in local[11:]]
    assert reading.end is not None
    block = Block(start, reading.end, reading.check)
    assert sources.verify(0, [block]) is None
    assert sources.verify(0, [block._replace(check=1)]) is not None


def test_an_object_that_has_changed_is_told_by_its_fingerprint(shelf: Shelf) -> None:
    url = shelf.put("a.txt", urls(1, 9))
    before = FileSources([url]).fingerprint(0)
    assert FileSources([url]).fingerprint(0) == before
    shelf.put("a.txt", urls(2, 9) + "http://a.test/x\n")
    after = FileSources([url]).fingerprint(0)
    assert before is not None
    assert after is not None
    assert (before.size, before) != (after.size, after)


def test_a_pattern_stands_for_the_objects_that_match_it(shelf: Shelf) -> None:
    for name in ("b.txt", "a.txt", "c.csv"):
        shelf.put(name, f"http://{name}/\n")
    sources = FileSources([f"{shelf.base}/*.txt"])
    assert sources.paths == [f"{shelf.base}/a.txt", f"{shelf.base}/b.txt"]
    assert [one.url for one in sources] == ["http://a.txt/", "http://b.txt/"]
    with pytest.raises(SourceError, match=r"no object matches .*/\*\.jsonl: look at the pattern"):
        FileSources([f"{shelf.base}/*.jsonl"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.txt", r"gone\.txt does not exist: look at the path"),
        ("dir.txt", r"dir\.txt is a directory: name the objects in it"),
        ("bad.csv", r"bad\.csv, line 1: no column is named 'url'"),
        ("bad.parquet", r"bad\.parquet cannot be read as Parquet"),
        ("bad.txt.gz", r"the name ends in \.gz, but what is in it is not gzip"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place_before_anything_is_sent(
    shelf: Shelf, name: str, words: str
) -> None:
    shelf.put("dir.txt/one.txt", "http://a.test/\n")
    for bad in ("bad.csv", "bad.parquet", "bad.txt.gz"):
        shelf.put(bad, "number\n1\n")
    with pytest.raises(SourceError, match=words):
        read(f"{shelf.base}/{name}")


def test_a_bad_line_is_answered_with_its_place(shelf: Shelf) -> None:
    url = shelf.put("a.txt", "http://a.test/1\nnothing\nhttp://a.test/3\n")
    first, bad, third = read(url)
    assert (first.problem, third.problem) == (None, None)
    assert str(bad.problem).startswith(f"{url}, line 2: ")


def test_damaged_data_ends_the_reading_after_what_is_whole(shelf: Shelf) -> None:
    data = gzip.compress(urls(1, 20_000).encode())
    url, seen = shelf.put("a.txt.gz", data[: len(data) // 2]), deque[Request](maxlen=1)
    with pytest.raises(SourceError, match=r"a\.txt\.gz, after line [\d,]+: the gzip data ends too early"):
        seen.extend(FileSources([url]))
    assert seen[0].ordinal > 5000


def test_an_object_that_became_shorter_is_said_to_be(memory: Shelf) -> None:
    url = memory.put("a.txt", urls(1, 30))
    reading = FileSources([url]).read(0)
    requests = iter(reading)
    for _ in range(20):
        next(requests)
    memory.put("a.txt", urls(1, 3))
    with pytest.raises(SourceError, match="it is shorter than it was"):
        list(FileSources([url]).read(0, reading.mark))


def test_no_more_is_fetched_of_an_object_than_is_read(memory: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    url = memory.put("a.txt", urls(1, 300_000))
    assert memory.files.size(f"{memory.path}/a.txt") > 4 * BLOCK
    asked: list[int] = []
    sources = FileSources([url])
    opened = type(sources.sources[0]).file

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            asked.append(len(data))
            return data

    @contextmanager
    def file(self: Any) -> Iterator[Any]:
        with opened(self) as found:
            yield Counted(found.read())

    monkeypatch.setattr(type(sources.sources[0]), "file", file)
    requests = iter(sources)
    for _ in range(10):
        next(requests)
    assert 0 < sum(asked) < BLOCK


def test_stopping_ends_the_reading(memory: Shelf) -> None:
    sources = FileSources([memory.put("a.txt", urls(1, 100_000))])
    requests = iter(sources)
    next(requests)
    sources.stop()
    assert len(list(requests)) < 10_000


def test_an_object_is_named_once_and_is_no_output(memory: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    url = memory.put("a.jsonl", '{"url": "http://a.test/"}\n')
    with pytest.raises(OptionError, match="is given twice"):
        FileSources([url, url])
    assert main(["run", url, "-o", url, "--overwrite"]) == 2
    assert "is one of the sources: name another one" in capsys.readouterr().err


def test_a_page_is_no_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "https://a.test/urls.csv", "-o", "-"]) == 2
    assert "put it into a file, a URL a line" in capsys.readouterr().err


def test_a_url_that_nobody_knows_is_refused_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nothing://me:hunter2@a.test/urls.csv", "-o", "-"]) == 2
    said = capsys.readouterr().err
    assert "nothing://***@a.test/urls.csv" in said
    assert "hunter2" not in said


def test_a_job_goes_on_in_an_object_and_is_proven_by_it(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Origin() as origin:
        lines = [origin.url(f"/bytes/1?i={number}") for number in range(40)]
        url = shelf.put("a.csv.gz", gzip.compress("\n".join(["url", *lines]).encode()))
        job = Job(tmp_path / "a.job", [url], tmp_path / "out.jsonl")

        def observe(_: object) -> None:
            if len(origin.arrivals) > 10:
                raise RuntimeError

        with pytest.raises(RuntimeError):
            job.run(observe=observe)
        assert main(["run", url, "-o", str(tmp_path / "out.jsonl"), "--job", str(tmp_path / "a.job"), "--quiet"]) == 0
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 40
        assert main(["reconcile", str(tmp_path / "a.job")]) == 0
        assert len(origin.arrivals) < 40 + 20
    capsys.readouterr()

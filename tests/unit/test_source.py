"""Sources: every line becomes a request or a request with a problem; only unreadable bytes end the reading."""

from __future__ import annotations

import gzip
import json
import os
import threading
import tracemalloc
import zlib
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workerpool.batch.sources import lines as lines_module
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.marks import BEGINNING, Block, Fingerprint, Mark
from workerpool.batch.sources.packed import packing_of
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request


def write(path: Path, data: bytes | str) -> str:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def read(*paths: str, **options: str) -> list[Request]:
    sources = FileSources(paths, **options)  # type: ignore[arg-type]
    sources.check()
    return list(sources)


def read_until_broken(path: str) -> tuple[list[Request], SourceError]:
    got: list[Request] = []
    try:
        for request in FileSources([path]):
            got.append(request)  # noqa: PERF402 - what came before the error is the point
    except SourceError as error:
        return got, error
    raise AssertionError("the source was read to its end")


def test_text_lines_become_requests_that_know_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "urls.txt", "http://a/1\n\n   \nhttp://a/2\n")
    requests = read(path)
    assert [(r.url, r.source, r.ordinal, r.problem) for r in requests] == [
        ("http://a/1", path, 1, None),
        ("http://a/2", path, 4, None),
    ]


def test_byte_order_mark_windows_line_ends_and_a_missing_last_one_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "urls.txt", b"\xef\xbb\xbfhttp://a/1\r\nhttp://a/2\r\n\r\nhttp://a/3")
    assert [r.url for r in read(path)] == ["http://a/1", "http://a/2", "http://a/3"]
    assert all(r.problem is None for r in read(path))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"ftp://a/x", "http://"),
        (b"# a comment", "spaces"),
        (b"http://", "no host"),
        (b"http://a/\x00b", "NUL"),
        (b"http://a/\xff", "not UTF-8"),
        (b"http://[::1/", "parse"),
        (b"http://a/" + b"x" * (lines_module.MAX_LINE + 1), "longer than 4 MiB"),
    ],
)
def test_a_bad_text_line_is_answered_between_its_neighbours(tmp_path: Path, line: bytes, words: str) -> None:
    path = write(tmp_path / "urls.txt", b"http://a/1\n" + line + b"\nhttp://a/3\n")
    first, bad, third = read(path)
    assert (first.problem, third.problem, third.ordinal) == (None, None, 3)
    assert bad.problem is not None
    assert bad.problem.startswith(f"{path}, line 2: ")
    assert words in bad.problem
    assert len(bad.url) <= lines_module.SHOWN


def test_a_bad_line_keeps_its_text_as_given(tmp_path: Path) -> None:
    path = write(tmp_path / "urls.txt", b"nonsense here\nhttp://a/\xff\n")
    assert [r.url for r in read(path)] == ["nonsense here", "http://a/\\xff"]


def test_json_lines_carry_method_headers_body_params_and_key(tmp_path: Path) -> None:
    row = {
        "url": "http://a/",
        "method": "post",
        "headers": {"X-Number": 3, "Accept": "text/html"},
        "body": "grüße",
        "params": {"page": 1, "full": True, "tag": ["x", "y"]},
        "key": 7,
    }
    (request,) = read(write(tmp_path / "r.jsonl", json.dumps(row) + "\n"))
    assert request.method == "POST"
    assert request.headers == {"X-Number": "3", "Accept": "text/html"}
    assert request.data == "grüße".encode()
    assert request.params == {"page": 1, "full": "true", "tag": ["x", "y"]}
    assert request.label == "7"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "nested"),
        ("9" * 5_000, "no JSON"),
        ('"http://a/"', "no JSON object"),
        ("{}", "no URL"),
        ('{"url": ""}', "no URL"),
        ('{"url": 5}', "'url' is no string"),
        ('{"url": "gopher://a/"}', "http://"),
        ('{"url": "http://a/\\ud800"}', "cannot be sent"),
        ('{"url": "http://a/", "method": "G E T"}', "method"),
        ('{"url": "http://a/", "method": 5}', "method"),
        ('{"url": "http://a/", "headers": ["x"]}', "headers"),
        ('{"url": "http://a/", "headers": {"X": "a\\r\\nEvil: 1"}}', "line break"),
        ('{"url": "http://a/", "headers": {"X Y": "a"}}', "header's name"),
        ('{"url": "http://a/", "headers": {"X": {}}}', "neither text"),
        ('{"url": "http://a/", "headers": {"X": "\\u0394"}}', "latin-1"),
        ('{"url": "http://a/", "body": {"a": 1}}', "'body' is no string"),
        ('{"url": "http://a/", "body": "a", "json": {}}', "both"),
        ('{"url": "http://a/", "params": "a=1"}', "params"),
        ('{"url": "http://a/", "params": {"a": {"b": 1}}}', "nested"),
        ('{"url": "http://a/", "params": {"a": [[1]]}}', "nested"),
    ],
)
def test_a_bad_json_line_is_answered_between_its_neighbours(tmp_path: Path, row: str, words: str) -> None:
    good = '{"url": "http://a/"}\n'
    path = write(tmp_path / "r.jsonl", f"{good}{row}\n{good}")
    first, bad, third = read(path)
    assert (first.problem, third.problem) == (None, None)
    assert bad.problem is not None
    assert f"{path}, line 2: " in bad.problem
    assert words in bad.problem
    assert bad.url


def test_a_row_without_a_url_is_answered_with_its_own_text(tmp_path: Path) -> None:
    (request,) = read(write(tmp_path / "r.jsonl", '{"key": "k"}\n'))
    assert (request.url, request.label) == ('{"key": "k"}', "k")


def test_csv_columns_carry_objects_as_json_and_empty_cells_say_nothing(tmp_path: Path) -> None:
    text = 'Key,URL,method,headers,params,json\na,http://a/,put,"{""X"": ""1""}","{""p"": 2}","[1]"\nb,http://b/,,,,\n'
    first, second = read(write(tmp_path / "r.csv", text))
    assert (first.key, first.method, first.headers, first.params, first.json) == (
        "a", "PUT", {"X": "1"}, {"p": 2}, [1],
    )  # fmt: skip
    assert (second.key, second.method, second.headers, second.params, second.json) == ("b", "GET", None, None, None)


def test_csv_rows_may_span_lines_and_are_numbered_by_their_first_one(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", 'url,body\r\nhttp://a/,"one\r\ntwo"\r\n\r\nhttp://b/,\r\n')
    first, second = read(path)
    assert (first.data, first.ordinal) == (b"one\r\ntwo", 2)
    assert (second.url, second.ordinal) == ("http://b/", 5)


def test_an_unclosed_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    text = 'url\nhttp://a/1\n"http://a/2\n' + "".join(f"http://a/{n}\n" for n in range(3, 20_000))
    requests = read(write(tmp_path / "r.csv", text))
    assert [r.ordinal for r in requests if r.problem] == [3]
    assert len(requests) == 19_999
    assert requests[1].problem is not None
    assert "quote" in requests[1].problem


def test_an_unquoted_comma_in_a_url_is_a_problem_and_not_another_url(tmp_path: Path) -> None:
    (request,) = read(write(tmp_path / "r.csv", "url\nhttp://a/?x=1,2\n"))
    assert request.problem is not None
    assert "2 values for 1 columns" in request.problem
    assert request.url == "http://a/?x=1,2"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b",k", "no URL"),
        (b"ftp://a,k", "http://"),
        (b'"http://a"x,k', "no CSV"),
        (b"http://a/\xff,k", "not UTF-8"),
        (b"http://a/" + b"x" * 140_000 + b",k", "128 KiB"),
        (b"http://a/" + b"x" * (lines_module.MAX_LINE + 1) + b",k", "4 MiB"),
    ],
)
def test_a_bad_csv_row_is_answered_between_its_neighbours(tmp_path: Path, row: bytes, words: str) -> None:
    path = write(tmp_path / "r.csv", b"url,key\nhttp://a/1,\n" + row + b"\nhttp://a/3,\n")
    first, bad, third = read(path)
    assert (first.problem, third.problem, third.ordinal) == (None, None, 4)
    assert bad.problem is not None
    assert f"{path}, line 3: " in bad.problem
    if "4 MiB" not in words:
        assert words in bad.problem


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_csv_parted_by_semicolons_or_tabs_is_read_too(tmp_path: Path, delimiter: str) -> None:
    (request,) = read(write(tmp_path / "r.csv", f"key{delimiter}url\nk{delimiter}http://a/?x=1,2\n"))
    assert (request.key, request.url, request.problem) == ("k", "http://a/?x=1,2", None)


def test_gzip_members_one_after_the_other_are_one_source(tmp_path: Path) -> None:
    data = gzip.compress(b"http://a/1\nhttp://a") + gzip.compress(b"/2\n") + b"\0" * 512
    assert [r.url for r in read(write(tmp_path / "u.txt.gz", data))] == ["http://a/1", "http://a/2"]


def test_of_a_cut_gzip_file_every_whole_line_is_kept_and_no_half_one(tmp_path: Path) -> None:
    text = "".join(f"http://a/{n:06}/{os.urandom(8).hex()}\n" for n in range(5_000))
    path = write(tmp_path / "u.txt.gz", gzip.compress(text.encode())[:60_000])
    got, error = read_until_broken(path)
    assert 100 < len(got) < 5_000
    assert [r.url for r in got] == text.split("\n")[: len(got)]
    assert f"{path}, after line {len(got):,}: " in str(error)
    assert "cut short" in str(error)


def test_a_damaged_gzip_file_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    text = "".join(f"http://a/{n:06}/{os.urandom(8).hex()}\n" for n in range(9_000))
    data = bytearray(gzip.compress(text.encode()))
    data[-6] ^= 0xFF
    path = write(tmp_path / "u.txt.gz", bytes(data))
    got, error = read_until_broken(path)
    assert [r.url for r in got] == text.split("\n")[: len(got)]
    assert f"{path}, after line {len(got):,}: the gzip data is damaged" in str(error)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("u.txt.gz", b"http://a/\n", "not gzip"),
        ("u.txt.gz", b"", "not gzip"),
        ("u.txt", "http://a/\n".encode("utf-16"), "UTF-16"),
        ("u.csv", b"", "is empty"),
        ("u.csv", b"link,key\nhttp://a/,1\n", "no column is named 'url'"),
        ("u.csv", b"url,url\n", "two columns"),
    ],
)
def test_a_source_that_cannot_work_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(SourceError, match=words) as caught:
        FileSources([path]).check()
    assert path in str(caught.value)


def test_missing_files_and_directories_are_refused_with_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        FileSources([str(tmp_path / "no.txt")]).check()
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(SourceError, match="is a directory"):
        FileSources([str(tmp_path / "d.txt")]).check()


def test_a_file_that_is_gone_once_it_was_checked_is_an_error_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "urls.txt"
    sources = FileSources([write(path, "http://a/\n")])
    sources.check()
    path.unlink()
    for ask in (
        lambda: sources.may_wait,
        lambda: sources.unsought,
        lambda: sources.can_be_read_again,
        lambda: list(sources),
    ):
        with pytest.raises(SourceError, match="does not exist"):
            ask()
    assert sources.count() is None


@pytest.mark.parametrize("name", ["urls", "urls.xml", "urls.gz"])
def test_a_name_that_does_not_say_its_format_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match="input_format="):
        FileSources([name])


def test_a_second_standard_input_and_an_unknown_format_are_refused() -> None:
    with pytest.raises(OptionError, match="twice"):
        FileSources(["-", "-"])
    with pytest.raises(OptionError, match="unknown"):
        FileSources(["-"], format="xml")


def test_the_input_format_overrides_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.txt", '{"url": "http://a/"}\n')
    assert [r.url for r in read(path, format="jsonl")] == ["http://a/"]


def test_unknown_columns_are_said_once(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path / "r.jsonl", '{"url": "http://a/", "colour": 1}\n' * 3)
    list(FileSources([path], note=notes.append))
    assert len(notes) == 1
    assert "'colour' is not read" in notes[0]


def test_requests_are_counted_where_counting_is_cheap_and_exact(tmp_path: Path) -> None:
    txt = write(tmp_path / "u.txt", "http://a/\n\nhttp://a/\n")
    csv = write(tmp_path / "u.csv", "url\nhttp://a/\n")
    spanning = write(tmp_path / "s.csv", 'url,body\nhttp://a/,"x\ny"\n')
    packed = write(tmp_path / "u.txt.gz", gzip.compress(b"http://a/\n"))
    assert FileSources([txt, csv]).count() == 3
    assert FileSources([txt, packed]).count() is None
    assert FileSources([spanning]).count() is None
    assert FileSources(["-"]).count() is None


def test_stop_ends_a_wait_for_a_pipe_that_says_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo.txt")
    os.mkfifo(path)
    sources = FileSources([path])
    got: list[str] = []
    first = threading.Event()

    def consume() -> None:
        for request in sources:
            got.append(request.url)
            first.set()

    reader = threading.Thread(target=consume, daemon=True)
    reader.start()
    with open(path, "wb", buffering=0) as pipe:
        pipe.write(b"http://a/1\nhttp://a/half")
        assert first.wait(10)
        sources.stop()
        reader.join(10)
    assert not reader.is_alive()
    assert got == ["http://a/1"]


def test_lines_of_a_pipe_arrive_before_it_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo.txt")
    os.mkfifo(path)
    requests = iter(FileSources([path]))
    writer: list[int] = []

    def begin() -> None:
        writer.append(os.open(path, os.O_WRONLY))
        os.write(writer[0], b"http://a/1\n")

    thread = threading.Thread(target=begin)
    thread.start()
    assert next(requests).url == "http://a/1"
    thread.join(10)
    os.close(writer[0])
    assert next(requests, None) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), ending=st.sampled_from(["txt", "jsonl", "csv", "txt.gz"]))
def test_no_bytes_crash_a_source_and_every_line_with_text_is_answered(tmp_path: Path, data: bytes, ending: str) -> None:
    name, content = tmp_path / f"fuzz.{ending}", data
    if ending == "csv":
        content = b"url,body\n" + data
    if ending == "txt.gz":
        content = gzip.compress(data)
    try:
        requests = read(write(name, content))
    except SourceError:
        assert data.startswith((b"\xff\xfe", b"\xfe\xff")) or packing_of(data)
        return
    if ending != "csv":
        lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert len(requests) == sum(bool(line.decode(errors="backslashreplace").strip()) for line in lines)


_CELL = st.text(st.characters(exclude_characters='"\r\n\x00', exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.sampled_from(["http://a/", '"', '"x"', ",", " ", "q"]) | _CELL, max_size=5)))
def test_no_line_of_a_csv_file_is_lost_whatever_its_quotes(tmp_path: Path, rows: list[list[str]]) -> None:
    lines = ["".join(row) for row in rows]
    requests = read(write(tmp_path / "fuzz.csv", "url,body\n" + "".join(f"{line}\n" for line in lines)))
    starts = [request.ordinal for request in requests]
    assert starts == sorted(set(starts))
    if not any('"' in line for line in lines):
        assert starts == [number for number, line in enumerate(lines, 2) if line.strip()]
    elif any(line.strip() for line in lines):
        assert starts[0] == next(number for number, line in enumerate(lines, 2) if line.strip())


def test_a_pattern_stands_for_the_files_that_match_it_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "d.txt").mkdir()
    for name in ("b.txt", "a.txt", "deep/c.txt", "deep/er/d.txt"):
        write(tmp_path / name, f"http://{Path(name).stem}/\n")
    assert [r.url for r in read(f"{tmp_path}/*.txt")] == ["http://a/", "http://b/"]
    assert [r.url for r in read(f"{tmp_path}/[b-z].txt", f"{tmp_path}/a.txt")] == [
        "http://b/", "http://a/",
    ]  # fmt: skip
    every = FileSources([f"{tmp_path}/**/**/*.txt"])
    assert [source.path for source in every.sources] == [
        f"{tmp_path}/{name}" for name in ("a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt")
    ]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "1.txt", "http://other/\n")
    assert [r.url for r in read(write(tmp_path / "[1].txt", "http://a/\n"))] == ["http://a/"]


@pytest.mark.parametrize("pattern", ["*.txt", "no/**/x.csv", "[", "x?\0.txt", "d*"])
def test_a_pattern_that_no_file_matches_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(SourceError, match="no file matches"):
        FileSources([f"{tmp_path}/{pattern}"])


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "u.txt", "http://a/\n")
    (tmp_path / "link.txt").symlink_to(path)
    with pytest.raises(OptionError, match=r"u\.txt is given twice: name"):
        FileSources([path, path])
    for other in (f"{tmp_path}/./u.txt", f"{tmp_path}/*.txt", f"{tmp_path}/l*.txt"):
        with pytest.raises(OptionError, match=r"is given twice, once as .*: name each file once"):
            FileSources([path, other])


def test_a_password_in_a_name_is_not_repeated() -> None:
    for name in ("http://u:hunter2@a/", "http://u:hunter2@a/*.txt", "http://u:hunter2@a/x.txt"):
        with pytest.raises(SourceError) as caught:
            FileSources([name]).check()
        assert "hunter2" not in str(caught.value)


def test_a_pipe_is_read_from_its_beginning_only(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo.txt")
    os.mkfifo(path)
    sources = FileSources([path, "-"])
    for index in (0, 1):
        assert sources.fingerprint(index) is None
        with pytest.raises(SourceError, match="cannot be read from line 2 on: it is no file on a disk"):
            sources.read(index, Mark(2, 10))
        with pytest.raises(SourceError, match="cannot be read a second time"):
            sources.verify(index, [])


def test_what_comes_through_a_pipe_has_marks_and_checks_too(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo.txt")
    os.mkfifo(path)
    data = b"http://a/1\n\nhttp://a/2"
    writer = threading.Thread(target=lambda: Path(path).write_bytes(data))
    reading = FileSources([path]).read(0)
    requests = iter(reading)
    writer.start()
    assert (next(requests).ordinal, reading.mark, reading.check, reading.end) == (1, BEGINNING, 0, None)
    assert (next(requests).ordinal, reading.mark, reading.check) == (3, Mark(3, 12), zlib.crc32(data[:12]))
    assert next(requests, None) is None
    assert (reading.end, reading.check) == (Mark(4, 22), zlib.crc32(data))
    writer.join(10)


def test_a_file_is_told_by_its_size_and_its_time(tmp_path: Path) -> None:
    path = write(tmp_path / "u.txt", "http://a/\n")
    os.utime(path, ns=(5, 7))
    sources = FileSources([path])
    assert sources.fingerprint(0) == Fingerprint(10, 7)
    os.unlink(path)
    with pytest.raises(SourceError, match="does not exist"):
        sources.fingerprint(0)


@pytest.mark.parametrize("name", ["u.txt", "u.csv", "u.jsonl"])
def test_a_file_that_is_shorter_than_a_mark_is_an_error(tmp_path: Path, name: str) -> None:
    sources = FileSources([write(tmp_path / name, "url\n")])
    with pytest.raises(SourceError, match=r"after line 8: it is shorter than it was"):
        list(sources.read(0, Mark(9, 400)))


def test_a_stopped_reading_has_no_end(tmp_path: Path) -> None:
    sources = FileSources([write(tmp_path / "u.txt", "http://a/\n" * 5)])
    reading = sources.read(0)
    got = []
    for request in reading:
        got.append(request.ordinal)
        if request.ordinal == 3:
            sources.stop()
    assert (got, reading.end, reading.mark) == ([1, 2, 3], None, Mark(3, 20))


@pytest.mark.parametrize(("name", "head"), [("u.txt", b""), ("u.csv", b"url\n")])
def test_very_long_lines_and_many_blank_ones_are_checked_without_being_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, head: bytes
) -> None:
    monkeypatch.setattr("workerpool.batch.sources.chunks.CHUNK", 4096)
    monkeypatch.setattr("workerpool.batch.sources.lines.MAX_LINE", 65536)
    parts = [b"http://a/1\n", b"x" * 1_000_000 + b"\n", b"\n" * 100_000, b"http://a/2\n"]
    sources = FileSources([write(tmp_path / name, head + b"".join(parts))])
    reading, checks = sources.read(0), []
    tracemalloc.start()
    for _request in reading:
        checks.append(reading.check)
        reading.restart()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [*checks, reading.check] == [zlib.crc32(part) for part in (head, parts[0], parts[1] + parts[2], parts[3])]
    assert peak < 350_000


def test_of_a_damaged_file_no_block_from_the_damage_on_is_as_it_was(tmp_path: Path) -> None:
    data = gzip.compress(b"http://a/1\n") + gzip.compress(b"http://a/2\n")
    path = write(tmp_path / "u.txt.gz", data)
    sources = FileSources([path])
    first = Block(BEGINNING, Mark(2, 11), zlib.crc32(b"http://a/1\n"))
    second = Block(Mark(2, 11), Mark(3, 22), zlib.crc32(b"http://a/2\n"))
    assert sources.verify(0, [first, second]) is None
    write(tmp_path / "u.txt.gz", data[:-9] + b"?" * 9)
    assert sources.verify(0, [first, second]) == second


def test_a_stopped_verification_finds_nothing(tmp_path: Path) -> None:
    sources = FileSources([write(tmp_path / "u.txt", "http://a/\n")])
    sources.stop()
    assert sources.verify(0, [Block(BEGINNING, Mark(2, 10), 0)]) is None


def test_a_block_that_begins_in_the_middle_of_a_line_now_is_not_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "u.txt", b"http://a/1\nhttp://a/2\nhttp://a/3\n")
    block = Block(Mark(3, 22), Mark(4, 33), zlib.crc32(b"http://a/3\n"))
    sources = FileSources([path])
    assert sources.verify(0, [block]) is None
    write(tmp_path / "u.txt", b"http://a/1\nhttp\n//a/2xhttp://a/3\n")
    assert sources.verify(0, [block]) == block


def test_a_directory_in_the_place_of_a_file_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "u.txt").mkdir()
    with pytest.raises(SourceError, match="reading failed: Is a directory"):
        list(FileSources([f"{tmp_path}/u.txt"]).read(0))


@pytest.mark.parametrize("name", ["u.txt", "u.parquet"])
def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    sources = FileSources([write(tmp_path / name, "http://a/\n")])
    with (
        mock.patch("os.open", side_effect=PermissionError(13, "Permission denied")),  # root may read everything
        pytest.raises(SourceError, match=f"{name} cannot be read: permission denied"),
    ):
        sources.check()

"""Packed sources: known by name and by content, read like plain ones, with every whole line before any damage."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.commands import standard_input
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.lines import MAX_LINE
from workerpool.batch.sources.marks import Mark
from workerpool.batch.sources.packed import CHUNK, PACKINGS, Broken, packing_named, unpack, zstandard
from workerpool.errors import SourceError
from workerpool.model import Request

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstandard().compress,
}
each = pytest.mark.parametrize("ending", sorted(PACKERS))


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def read_until_broken(path: str) -> tuple[list[Request], str]:
    got: list[Request] = []
    try:
        for request in FileSources([path]):
            got.append(request)  # noqa: PERF402 - what came before the error is the point
    except SourceError as error:
        return got, str(error)
    raise AssertionError("the source was read to its end")


@functools.cache
def noise(lines: int) -> bytes:
    source = random.Random(7)
    return b"".join(b"http://a/%s\n" % source.randbytes(40).hex().encode() for _ in range(lines))


def test_every_packing_is_tried_here() -> None:
    assert {packing.ending for packing in PACKINGS} == set(PACKERS)


@each
@pytest.mark.parametrize("ordinary", ["txt", "jsonl", "csv"])
def test_packed_sources_read_like_plain_ones(tmp_path: Path, ending: str, ordinary: str) -> None:
    text = {"txt": "http://a/\n", "jsonl": '{"url": "http://a/"}\n', "csv": "url\nhttp://a/\n"}[ordinary]
    path = write(tmp_path / f"r.{ordinary}{ending.upper()}", PACKERS[ending](text.encode()))
    sources = FileSources([path])
    sources.check()
    assert sources.count() is None
    assert [r.url for r in sources] == ["http://a/"]


@each
def test_what_is_packed_is_known_by_its_content_too(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "u.txt", PACKERS[ending](b"http://a/\n"))
    assert [r.url for r in FileSources([path])] == ["http://a/"]
    assert FileSources([path]).count() is None


@each
@pytest.mark.parametrize("other", ["", *sorted(PACKERS)])
def test_a_name_that_says_another_packing_than_the_content_is_refused(tmp_path: Path, ending: str, other: str) -> None:
    if other == ending:
        return
    path = write(tmp_path / f"u.txt{ending}", PACKERS[other](b"http://a/\n") if other else b"http://a/\n")
    with pytest.raises(SourceError, match=f"the name ends in {ending}, but what is in it is not"):
        FileSources([path]).check()


@each
def test_streams_one_after_the_other_are_one_source(tmp_path: Path, ending: str) -> None:
    pack = PACKERS[ending]
    data = pack(b"http://a/1\nhttp://a") + pack(b"") + pack(b"/2\n") + b"\0" * 512
    assert [r.url for r in FileSources([write(tmp_path / f"u.txt{ending}", data)])] == ["http://a/1", "http://a/2"]


def test_frames_to_skip_are_skipped(tmp_path: Path) -> None:
    skipped = b"\x52\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"aside"
    data = skipped + zstandard().compress(b"http://a/1\n") + skipped + zstandard().compress(b"http://a/2\n")
    assert [r.url for r in FileSources([write(tmp_path / "u.txt.zst", data)])] == ["http://a/1", "http://a/2"]


@each
def test_of_a_cut_file_every_whole_line_is_kept_and_no_half_one(tmp_path: Path, ending: str) -> None:
    text = noise(15_000)
    packed = PACKERS[ending](text)
    path = write(tmp_path / f"u.txt{ending}", packed[: len(packed) * 9 // 10])
    got, error = read_until_broken(path)
    assert 1_000 < len(got) < 15_000
    assert [r.url for r in got] == text.decode().split("\n")[: len(got)]
    assert error.startswith(f"{path}, after line {len(got):,}: ")
    assert "cut short" in error


@each
def test_damaged_data_is_an_error_after_the_lines_before_it(tmp_path: Path, ending: str) -> None:
    text = noise(40_000)
    data = bytearray(PACKERS[ending](text))
    data[len(data) * 9 // 10 : len(data) * 9 // 10 + 64] = random.Random(7).randbytes(64)
    path = write(tmp_path / f"u.txt{ending}", bytes(data))
    got, error = read_until_broken(path)
    assert [r.url for r in got[:1_000]] == text.decode().split("\n")[:1_000]
    assert " data is damaged (" in error


@each
def test_a_bomb_costs_no_memory(tmp_path: Path, ending: str) -> None:
    bomb = PACKERS[ending](b"x" * (24 * 1024 * 1024))
    packing = packing_named(f"u{ending}")
    assert packing is not None
    sizes = [len(chunk) for chunk in unpack(iter([bomb]), packing)]
    assert sum(sizes) == 24 * 1024 * 1024
    assert max(sizes) <= CHUNK
    (request,) = FileSources([write(tmp_path / f"u.txt{ending}", bomb)])
    assert request.problem is not None
    assert f"longer than {MAX_LINE // 2**20} MiB" in request.problem


def test_data_that_asks_for_much_memory_is_refused() -> None:
    with mock.patch("workerpool.batch.sources.packed.WINDOW", 1024 * 1024):
        packing = packing_named("u.xz")
        assert packing is not None
        with pytest.raises(Broken, match=r"[Mm]emory"):
            list(unpack(iter([lzma.compress(b"http://a/\n", preset=6)]), packing))


@each
def test_standard_input_is_unpacked_by_its_content(ending: str) -> None:
    with standard_input(PACKERS[ending](b"http://a/1\n\nhttp://a/3\n")):
        assert [(r.url, r.ordinal) for r in FileSources(["-"])] == [("http://a/1", 1), ("http://a/3", 3)]


@pytest.mark.parametrize("data", [b"B", b"BZh9http://a/\n", b"\xfd7z\n", b"(\xb5", b"\x1fa", b"P*M"])
def test_what_begins_nearly_like_packed_data_is_text(tmp_path: Path, data: bytes) -> None:
    (request,) = FileSources([write(tmp_path / "u.txt", data)])
    assert request.ordinal == 1
    assert request.problem is not None


@each
def test_a_packed_file_that_has_become_shorter_than_a_mark_is_an_error(tmp_path: Path, ending: str) -> None:
    sources = FileSources([write(tmp_path / f"u.txt{ending}", PACKERS[ending](b"http://a/1\n"))])
    with pytest.raises(SourceError, match="shorter than it was"):
        list(sources.read(0, Mark(3, 22)))


def test_without_zstandard_the_extra_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "u.txt.zst", zstandard().compress(b"http://a/\n"))
    missing = {"compression.zstd": None, "backports.zstd": None}
    with (
        mock.patch.dict(sys.modules, missing),
        pytest.raises(SourceError, match=r"pip install 'workerpool-http\[zstd\]'"),
    ):
        FileSources([path]).check()

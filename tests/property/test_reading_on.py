"""A source read from a mark gives exactly the rest of a full reading, and its checks are CRCs of its bytes."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import sample_of
from workerpool.batch.sources import chunks, packed
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.marks import BEGINNING, Block, Mark, Spot, check_between
from workerpool.batch.sources.packed import zstandard
from workerpool.model import Request

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard().compress,
}
HEADS = {"txt": b"", "jsonl": b"", "csv": b"url,key,body\n"}

LINES = st.sampled_from(
    [
        b"http://a/1", b'{"url": "http://a/2"}', b'http://a/3,k,"one', b'two"', b'http://a/4,k,"x\ny\n\nz"', b'"', b"",
        b"  ", b"junk", b"\xff\xfe", b"a\0b", b"{", b"http://a/" + b"5" * 40, b'http://a/6,"', b"\xef\xbb\xbfhttp://a/7",
    ]
) | st.binary(max_size=12)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \r\n"])


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=14))
    data = b"".join(itertools.chain.from_iterable(lines))
    return data[: -1 if draw(st.booleans()) else None]


def read(sources: FileSources, start: Mark | None = None) -> tuple[list[tuple[Request, Mark, int]], Mark, int]:
    """Return each request with its mark and the check of what is before it, the end, and the check up to that."""
    reading = sources.read(0, start)
    got = []
    for request in reading:
        got.append((request, reading.mark, reading.check))
        reading.restart()
    assert reading.end is not None
    assert reading.mark == reading.end
    return got, reading.end, reading.check


@settings(max_examples=sample_of(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=contents(),
    bom=st.booleans(),
    format=st.sampled_from(sorted(HEADS)),
    ending=st.sampled_from(sorted(PACKERS)),
    chunk=st.sampled_from([1, 2, 7, 65536]),
    seldom=st.integers(1, 5),
)
@example(data=b"\n\n\nhttp://a/", bom=True, format="csv", ending=".gz", chunk=1, seldom=2)
def test_reading_from_any_mark_gives_the_rest_of_a_full_reading(
    tmp_path: Path, data: bytes, bom: bool, format: str, ending: str, chunk: int, seldom: int
) -> None:
    data = (b"\xef\xbb\xbf" if bom else b"") + HEADS[format] + data
    text = data.removeprefix(b"\xef\xbb\xbf")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")) or packed.packing_of(data):
        return  # UTF-16 is refused, and what is packed is unpacked
    path = tmp_path / f"r.{format}{ending}"
    path.write_bytes(PACKERS[ending](data))
    sources = FileSources([str(path)])
    with mock.patch.object(packed, "CHUNK", chunk), mock.patch.object(chunks, "CHUNK", chunk):
        got, end, last = read(sources)
        assert [request for request, _, _ in got] == list(FileSources([str(path)]))
        assert end.offset == len(data)
        assert end.line == 1 + data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
        places = [BEGINNING, *(mark for _, mark, _ in got), end]
        found = [check for _, _, check in got] + [last]
        for (first, second), check in zip(itertools.pairwise(places), found, strict=True):
            assert check == zlib.crc32(data[first.offset : second.offset])
        for number, (request, mark, _) in enumerate(got):
            assert mark.line == request.ordinal
            assert data[: mark.offset].count(b"\n") == mark.line - 1
            again, its_end, _ = read(sources, mark)
            assert ([(r, m) for r, m, _ in again], its_end) == ([(r, m) for r, m, _ in got[number:]], end)
        assert read(sources, end) == ([], end, 0)
        reading = sources.read(0)
        for number, request in enumerate(reading):
            if number % seldom == 0:
                assert reading.mark == got[number][1]
                assert reading.check == zlib.crc32(data[: got[number][1].offset])
            assert request.ordinal == got[number][1].line


def blocks_of(sources: FileSources, every: int) -> list[Block]:
    """Return the blocks of a source, of so many ordinals each."""
    reading, start, blocks = sources.read(0), BEGINNING, []
    number = None
    for request in reading:
        if number is not None and request.ordinal // every != number:
            blocks.append(Block(start, reading.mark, reading.check))
            reading.restart()
            start = reading.mark
        number = request.ordinal // every
    assert reading.end is not None
    return [*blocks, Block(start, reading.end, reading.check)]


@settings(max_examples=sample_of(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=contents(),
    data_now=contents() | st.none(),
    cut=st.integers(0, 60),
    piece=st.binary(max_size=3) | st.sampled_from([b"\n", b"\n\n", b"x"]),
    without=st.sets(st.integers(0, 5)),
    ending=st.sampled_from(["", ".gz"]),
    chunk=st.sampled_from([1, 7, 65536]),
)
def test_the_first_block_that_changed_is_found_and_no_other(
    tmp_path: Path,
    data: bytes,
    data_now: bytes | None,
    cut: int,
    piece: bytes,
    without: set[int],
    ending: str,
    chunk: int,
) -> None:
    if data_now is None:
        data_now = data[:cut] + piece + data[cut + len(piece) :]
    data, data_now = b"http://a/0\n" + data, b"http://a/0\n" + data_now
    path = tmp_path / f"r.txt{ending}"
    path.write_bytes(PACKERS[ending](data))
    sources = FileSources([str(path)])
    blocks = [block for number, block in enumerate(blocks_of(sources, 2)) if number not in without]
    assert sources.verify(0, blocks) is None
    path.write_bytes(PACKERS[ending](data_now))
    with mock.patch.object(packed, "CHUNK", chunk), mock.patch.object(chunks, "CHUNK", chunk):
        assert sources.verify(0, blocks) == next((one for one in blocks if differs(data, data_now, one)), None)


def differs(data: bytes, now: bytes, block: Block) -> bool:
    """Whether a block has other bytes now, or begins or ends in the middle of a line, or at another one."""
    start, end = block.start.offset, block.end.offset
    if now[start:end] != data[start:end] or len(now) < end:
        return True
    cut = end < len(now) and end > start and now[end - 1 : end] != b"\n"
    moved = start > 0 and now[start - 1 : start] != b"\n"
    return cut or moved or now[:start].count(b"\n") + 1 != block.start.line


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_check_of_a_part_is_the_crc_of_its_bytes(before: bytes, part: bytes) -> None:
    first = Spot(BEGINNING, len(before), zlib.crc32(before))
    last = Spot(BEGINNING, len(before + part), zlib.crc32(before + part))
    assert check_between(first, last) == zlib.crc32(part)

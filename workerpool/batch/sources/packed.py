"""Unpacks gzip, bzip2, xz and Zstandard, known by their first bytes, piece by piece, with a bound on memory.

Streams that follow each other in one file are one, as their own tools have it. Everything that was unpacked before
damaged data is given out first. Zstandard needs Python 3.14 or the extra `zstd`. One thread for each iterator.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

CHUNK = 64 * 1024
"""Bytes read, or unpacked, at a time."""

WINDOW = 128 * 1024 * 1024
"""Bytes that unpacking may take for itself: twice what `xz -9` asks for, and what Zstandard's own tool allows."""

_GZIP_WINDOW = 31  # zlib's largest window (15), and 16 for a gzip header and its checksum


class Broken(Exception):
    """The bytes end here, before their time; the text says why."""


class Unpacker(Protocol):
    """One stream's state: what `bz2`, `lzma` and `compression.zstd` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Packing:
    """A way of packing: its name, the ending of file names, how its data begins, and what unpacks a stream."""

    name: str
    ending: str
    magics: tuple[bytes, ...]
    unpacker: Callable[[], Unpacker]


class _Inflate:
    """zlib's unpacker for gzip, with the others' words. `gzip` itself loses what it has unpacked before damage."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _unxz() -> Unpacker:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW)


def _unzstd() -> Unpacker:
    return cast(Unpacker, zstandard().ZstdDecompressor())


def zstandard() -> Any:
    """Return Python 3.14's module for Zstandard, or the one that brings it to older versions."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Broken("reading Zstandard needs the extra zstd: pip install 'workerpool-http[zstd]', or unpack it first")


GZIP = Packing("gzip", ".gz", (b"\x1f\x8b",), _Inflate)
BZIP2 = Packing(
    # The next six bytes begin a block, or end an empty file.
    "bzip2", ".bz2", tuple(b"BZh%d" % n + m for n in range(1, 10) for m in (b"1AY&SY", b"\x17rE8P\x90")),
    bz2.BZ2Decompressor,
)  # fmt: skip
XZ = Packing("xz", ".xz", (b"\xfd7zXZ\0",), _unxz)
ZSTD = Packing(
    # The others are frames to skip, which some tools begin with (RFC 8878, section 3.1.2).
    "Zstandard", ".zst", (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(0x50, 0x60))), _unzstd,
)  # fmt: skip
PACKINGS = (GZIP, BZIP2, XZ, ZSTD)

_MAGICS = tuple(magic for packing in PACKINGS for magic in packing.magics)


def packing_named(path: str) -> Packing | None:
    """Return the packing that a file's name ends in."""
    return next((packing for packing in PACKINGS if path.lower().endswith(packing.ending)), None)


def packing_of(head: bytes) -> Packing | None:
    """Return how data that begins with `head` is packed."""
    return next((packing for packing in PACKINGS if head.startswith(packing.magics)), None)


def may_be_packed(head: bytes) -> bool:
    """Say whether more bytes are needed to tell how data that begins with `head` is packed."""
    return any(len(head) < len(magic) and magic.startswith(head) for magic in _MAGICS)


def unpack(chunks: Iterator[bytes], packing: Packing) -> Iterator[bytes]:
    """Yield what is packed in `chunks`, at most `CHUNK` bytes at a time; raises `Broken` where it is damaged or cut."""
    unpacker = packing.unpacker()
    for data in chunks:
        while data := data.lstrip(b"\0") if unpacker.eof else data:  # padding after a stream, as tapes leave it
            if unpacker.eof:
                unpacker = packing.unpacker()
            yield from _take(unpacker, data, packing.name)
            data = unpacker.unused_data if unpacker.eof else b""
    if not unpacker.eof:
        raise Broken(f"the {packing.name} data ends too early: the file was cut short")


def _take(unpacker: Unpacker, data: bytes, name: str) -> Iterator[bytes]:
    """Yield what `data` adds to a stream, up to the stream's end."""
    while not unpacker.eof:
        try:
            unpacked = unpacker.decompress(data, CHUNK)
        except Exception as error:  # each library has its own kind, and the call does nothing else
            raise Broken(f"the {name} data is damaged ({error})") from error
        if unpacked:
            yield unpacked
        data = b""
        if unpacker.needs_input:
            return

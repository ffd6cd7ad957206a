"""Turns bytes of a file or pipe into numbered lines of text: plain or gzip, with a bound on memory.

A line that is too long or is not UTF-8 comes out all the same, with a sentence that says so: its reader decides. Only
what ends the reading, such as a gzip file that was cut short, is a `SourceError`, raised after every line before it.
One thread reads; `Wake.set` may be called from any other one to end a wait for a slow pipe.
"""

from __future__ import annotations

import os
import select
import weakref
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from workerpool.errors import SourceError

CHUNK = 64 * 1024
"""Bytes read, or unpacked, at a time."""

MAX_LINE = 4 * 1024 * 1024
"""The longest line in bytes: room for a request with a body, and a bound on what a file without line breaks costs."""

SHOWN = 2_000
"""Characters kept of a line that is too long."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's largest window (15), and 16 for a gzip header and its checksum


class Line(NamedTuple):
    """A line's number, from 1, its text without the line feed, and what is wrong with it, if anything."""

    number: int
    text: str
    problem: str | None


class Broken(Exception):
    """The bytes end here, before their time; the text says why."""


class Stopped(Exception):
    """The reader was told to stop while it waited for bytes."""


class Wake:
    """A flag that also ends a wait for bytes of a pipe, which nothing else would: the wait has no time limit."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        weakref.finalize(self, _close, self._read, self._write)
        self.is_set = False

    def set(self) -> None:
        self.is_set = True
        os.write(self._write, b"!")

    def fileno(self) -> int:
        return self._read


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


def read_chunks(file: int, wake: Wake) -> Iterator[bytes]:
    """Yield the bytes of the descriptor `file` as they come; raises `Stopped` once `wake` is set."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    poll.register(wake.fileno(), select.POLLIN)
    while True:
        poll.poll()
        if wake.is_set:
            raise Stopped
        try:
            data = os.read(file, CHUNK)
        except BlockingIOError:
            continue
        except OSError as error:
            raise Broken(f"reading failed: {error.strerror}") from error
        if not data:
            return
        yield data


def unpack(chunks: Iterator[bytes], must: bool = False) -> Iterator[bytes]:
    """Yield `chunks` as they are, or unpacked if they begin as gzip does (RFC 1952); `must` says that they have to."""
    head = b""
    while len(head) < len(_GZIP) and (chunk := next(chunks, b"")):
        head += chunk
    if head.startswith(_GZIP):
        yield from _gunzip(chain([head], chunks))
        return
    if must:
        raise Broken("the name ends in .gz, but what is in it is not gzip: rename it, or make it anew")
    yield from chain([head], chunks)


def _gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack with `zlib` itself: `gzip.GzipFile` loses what it has unpacked when the next bytes turn out damaged."""
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for data in chunks:
            while data:
                if inflate.eof:
                    data = data.lstrip(b"\0")  # padding after a member, as tapes leave it
                    if not data:
                        break
                    inflate = zlib.decompressobj(_GZIP_WINDOW)
                if unpacked := inflate.decompress(data, CHUNK):
                    yield unpacked
                data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        if unpacked := inflate.flush():
            yield unpacked
    except zlib.error as error:
        raise Broken(f"the gzip data is damaged ({error})") from error
    if not inflate.eof:
        raise Broken("the gzip data ends too early: the file was cut short")


def read_lines(chunks: Iterator[bytes], name: str) -> Iterator[Line]:
    """Yield the lines of `chunks`; raises `SourceError`, naming `name` and the last good line, where they break off.

    A last line without its line feed counts, unless the data broke off in it: half a URL must not be fetched.
    """
    number = 0
    try:
        for number, (raw, too_long) in enumerate(_split(chunks), 1):
            if number == 1:
                raw = raw.removeprefix(_BOM)
                if raw.startswith(_UTF16):
                    raise SourceError(f"{name} is UTF-16: save it as UTF-8")
            yield _decode(number, raw, too_long)
    except Broken as error:
        where = f", after line {number:,}" if number else ""
        raise SourceError(f"{name}{where}: {error}") from error
    except Stopped:
        return


def _split(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield lines, and whether each was too long, in which case only its beginning is there."""
    tail, too_long = b"", False
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        for piece in whole:
            line = tail + piece
            yield line, too_long or len(line) > MAX_LINE
            tail, too_long = b"", False
        if not too_long:
            tail += last
            too_long = len(tail) > MAX_LINE
    if tail:
        yield tail, too_long


def _decode(number: int, raw: bytes, too_long: bool) -> Line:
    if too_long:
        text = raw[: 4 * SHOWN].decode(errors="backslashreplace")[:SHOWN]
        return Line(number, text, f"the line is longer than {MAX_LINE // 2**20} MiB")
    try:
        return Line(number, raw.decode(), None)
    except UnicodeDecodeError as error:
        text = raw.decode(errors="backslashreplace")
        return Line(number, text, f"the line is not UTF-8 (byte {error.start + 1}): save the file as UTF-8")

"""Where the rows of a source begin, and checks that say whether what lies between two places is as it was.

A check is the CRC-32 of some bytes. One running CRC is kept from where the reading began; the check of a part of it
is worked out from the CRCs before and after that part, so that nothing has to be kept of what was read. A CRC that is
begun anew for each part would need the bytes between the rows that may still be asked for, and a CSV row may be 10,000
lines. Values and pure functions, any thread; a `LinePositions` belongs to the thread that reads.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

_POLYNOMIAL = 0xEDB88320  # of CRC-32 (RFC 1952, section 8), its bits reversed: the highest bit stands for x⁰
_ONE = 1 << 31


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """Where a line or row begins: its number, from 1, and its byte in the unpacked data, from 0.

    For a Parquet file `offset` is the row's index, from 0.
    """

    line: int
    offset: int


BEGINNING = Mark(1, 0)


class Block(NamedTuple):
    """A part of a source, from where one row begins up to where another does, and its check when it was read."""

    start: Mark
    end: Mark
    check: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file looks like from outside: its size in bytes, and its time of change in nanoseconds since the epoch."""

    size: int
    mtime_ns: int


class Spot(NamedTuple):
    """A mark, the bytes that were checked on the way to it, and their CRC-32; both since the reading began."""

    mark: Mark
    size: int
    crc: int


class Positions(Protocol):
    """What a reading asks of the one who knows where its rows begin."""

    end: Spot | None
    """Where the source ends; None until it was read to its end."""

    def at(self, line: int) -> Spot:
        """Return where the row `line` begins. Rows are asked for in ascending order."""


def check_between(first: Spot, last: Spot) -> int:
    """Return the CRC-32 of the bytes between two spots of one reading."""
    return last.crc ^ _times(_shift(last.size - first.size), first.crc)


def _shift(size: int) -> int:
    """Return what a CRC is multiplied with when `size` more bytes come: x to the power of their bits."""
    product, square = _ONE, 3  # a byte is 2³ bits
    while size:
        if size & 1:
            product = _times(_power(square), product)
        size >>= 1
        square += 1
    return product


@cache
def _power(square: int) -> int:
    """Return x to the power of 2 to the power of `square`."""
    if square == 0:
        return _ONE >> 1
    root = _power(square - 1)
    return _times(root, root)


def _times(a: int, b: int) -> int:
    """Multiply two polynomials over the field of two elements, modulo the one of CRC-32."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@dataclass(slots=True)
class _Piece:
    """Some bytes with a line feed in them; `line` is the number of the line that their first byte belongs to."""

    line: int
    offset: int
    crc: int
    data: bytes


class LinePositions:
    """Where lines begin. Keeps the bytes in which those begin that may still be asked for, mostly two chunks."""

    def __init__(self, start: Mark = BEGINNING) -> None:
        self._start = start
        self._line, self._offset, self._crc = start.line, start.offset, 0
        self._pieces: deque[_Piece] = deque()
        self._last = Spot(start, 0, 0)
        self.end: Spot | None = None

    def feed(self, chunk: bytes, breaks: int, low: int | None) -> None:
        """Take the next bytes, with `breaks` line feeds in them; no line before `low` is asked for any more.

        Without `low` these are all lines that ended in earlier bytes.
        """
        if breaks:
            self._forget(self._line if low is None else low)
            self._pieces.append(_Piece(self._line, self._offset, self._crc, chunk))
        self._line += breaks
        self._offset += len(chunk)
        self._crc = zlib.crc32(chunk, self._crc)

    def finish(self, has_tail: bool) -> None:
        """Say that no bytes come any more, and whether the last line has no line feed."""
        self.end = self._spot(self._line + has_tail, self._offset, self._crc)

    def at(self, line: int) -> Spot:
        if line == self._last.mark.line:
            return self._last
        self._forget(line)
        piece = self._pieces[0]
        rest = piece.data.split(b"\n", line - piece.line)[-1]
        passed = len(piece.data) - len(rest)
        piece.crc = zlib.crc32(memoryview(piece.data)[:passed], piece.crc)
        piece.line, piece.offset, piece.data = line, piece.offset + passed, rest
        self._last = self._spot(line, piece.offset, piece.crc)
        return self._last

    def _forget(self, low: int) -> None:
        """Drop the pieces in which neither `low` nor a line after it begins."""
        while len(self._pieces) > 1 and self._pieces[1].line < low:
            self._pieces.popleft()

    def _spot(self, line: int, offset: int, crc: int) -> Spot:
        return Spot(Mark(line, offset), offset - self._start.offset, crc)

"""Says whether parts of a source are as they were when their checks were made. Keeps nothing between calls."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from workerpool.batch.sources.marks import BEGINNING, Block, Mark
from workerpool.batch.sources.packed import Broken


def first_changed(chunks: Iterator[bytes], blocks: Iterable[Block]) -> Block | None:
    """Return the first of `blocks`, which are in order, that differs in `chunks`, the unpacked bytes of the source.

    A block that has the bytes of old, but stands at another line now, differs too; None if none does.
    """
    span, last = _Span(chunks), BEGINNING
    for block in blocks:
        try:
            if not (span.is_between(last, block.start) and span.is_block(block)):
                return block
        except Broken:
            return block
        last = block.end
    return None


class _Span:
    """Bytes that are taken up to one place after the other."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self._offset = 0

    def is_between(self, start: Mark, end: Mark) -> bool:
        """Whether as many whole lines lie between two places as their marks say."""
        lines, last = 0, b"\n"
        for piece in self._up_to(end.offset):
            lines, last = lines + piece.count(b"\n"), piece[-1:]
        return self._offset == end.offset and lines == end.line - start.line and last == b"\n"

    def is_block(self, block: Block) -> bool:
        """Whether the bytes of a block are as they were, and end where a line does."""
        crc, last = 0, b"\n"
        for piece in self._up_to(block.end.offset):
            crc, last = zlib.crc32(piece, crc), piece[-1:]
        if self._offset != block.end.offset or crc != block.check:
            return False
        return last == b"\n" or not self._more()  # a last line without its line feed may have grown

    def _up_to(self, offset: int) -> Iterator[bytes]:
        while self._offset < offset and self._more():
            piece = self._rest[: offset - self._offset]
            self._rest = self._rest[len(piece) :]
            self._offset += len(piece)
            yield piece

    def _more(self) -> bool:
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return False
        return True

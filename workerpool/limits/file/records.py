"""A record in a mapped file: two copies, each with a version and a checksum, of which the newer valid one counts.

A write goes to the older copy, so a process that is killed in the middle of it, or a reader that looks in the middle of
it, finds the record as it was before. Who writes holds the file's lock; who only looks needs none.
"""

from __future__ import annotations

import mmap
import struct
from typing import Literal
from zlib import crc32

_HEAD = struct.Struct("<IQH")  # checksum of the rest of the copy, version, length of what follows
_HEADS = 2 * _HEAD.size


def space_of(size: int) -> int:
    """Bytes that a record of up to `size` bytes takes in the file."""
    return _HEADS + 2 * size


def _seed(version: int, length: int) -> int:
    """What a checksum begins with, so that a head fits its own payload only."""
    return (version ^ version >> 32 ^ length << 16) + 1 & 0xFFFFFFFF


class Record:
    """A record of up to `size` bytes at `offset`, as this process last saw it: two heads, and what belongs to them.

    `payload` is what it holds; empty unless its `state` is "whole". "blank" was never written; of "broken", both copies
    are damaged.
    """

    __slots__ = ("_body", "_heads", "_heads_end", "_size", "_version", "end", "offset", "payload", "state")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.end = offset + space_of(size)
        self._heads_end = self._body = offset + _HEADS
        self._size = size
        self._heads = bytes(_HEADS)
        self._version = 0
        self.payload = b""
        self.state: Literal["whole", "blank", "broken"] = "blank"

    def look(self, file: mmap.mmap) -> bool:
        """Read it; whether it is not what it was at the last look or write."""
        # Whatever is written changes a head: only these are compared.
        heads = file[self.offset : self._heads_end]
        if heads == self._heads:
            return False
        self._read(file, heads)
        return True

    def write(self, file: mmap.mmap, payload: bytes) -> None:
        """Replace what it holds. The file's lock is held, and has been since the last `look`."""
        version = self._version + 1
        length = len(payload)
        head = _HEAD.pack(crc32(payload, _seed(version, length)), version, length)
        if version & 1:
            body, heads = self._body + self._size, self._heads[: _HEAD.size] + head
        else:
            body, heads = self._body, head + self._heads[_HEAD.size :]
        file[body : body + length] = payload
        file[self.offset : self._heads_end] = heads
        self._heads, self._version, self.payload, self.state = heads, version, payload, "whole"

    def _read(self, file: mmap.mmap, heads: bytes) -> None:
        best, payload = 0, b""
        for copy in (0, 1):
            checksum, version, length = _HEAD.unpack_from(heads, copy * _HEAD.size)
            if version <= best or length > self._size:
                continue
            start = self._body + copy * self._size
            found = file[start : start + length]
            if crc32(found, _seed(version, length)) == checksum:
                best, payload = version, found
        self._heads, self._version, self.payload = heads, best, payload
        if best:
            self.state = "whole"
        else:
            self.state = "broken" if any(heads) else "blank"

"""A record in a mapped file: two copies, each with a version and a checksum, of which the newer valid one counts.

A write goes to the older copy, so a process that is killed in the middle of it, or a reader that looks in the middle of
it, finds the record as it was before. Who writes holds the file's lock; who only looks needs none.
"""

from __future__ import annotations

import mmap
import struct
from typing import Literal
from zlib import crc32

_HEAD = struct.Struct("<QH")  # version, length of what follows
_CHECKSUM = struct.Struct("<I")  # of all the rest of the copy
_BEFORE = _CHECKSUM.size + _HEAD.size

State = Literal["whole", "blank", "broken"]


def space_of(size: int) -> int:
    """Bytes that a record of up to `size` bytes takes in the file."""
    return 2 * (_BEFORE + size)


class Record:
    """A record of up to `size` bytes at `offset`, as this process last saw it.

    `payload` is what it holds; empty unless its `state` is "whole". "blank" was never written; of "broken", both copies
    are damaged.
    """

    __slots__ = ("_copy", "_raw", "_version", "end", "offset", "payload", "state")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.end = offset + space_of(size)
        self._copy = _BEFORE + size
        self._raw = b""
        self._version = 0
        self.payload = b""
        self.state: State = "blank"

    def look(self, file: mmap.mmap) -> bool:
        """Read it; whether it is not what it was at the last look or write."""
        raw = file[self.offset : self.end]
        if raw == self._raw:
            return False
        first, second = self._copy_in(raw, 0), self._copy_in(raw, self._copy)
        newer = max((copy for copy in (first, second) if copy is not None), key=lambda copy: copy[0], default=None)
        if newer is not None:
            self._version, self.payload = newer
            self.state = "whole"
        else:
            self.payload = b""
            self.state = "broken" if any(raw) else "blank"
        self._raw = raw
        return True

    def write(self, file: mmap.mmap, payload: bytes) -> None:
        """Replace what it holds. The file's lock is held, and has been since the last `look`."""
        version = self._version + 1
        copy = _HEAD.pack(version, len(payload)) + payload
        start = self.offset + (version & 1) * self._copy
        file[start : start + _CHECKSUM.size + len(copy)] = _CHECKSUM.pack(crc32(copy)) + copy
        self._raw = file[self.offset : self.end]
        self._version, self.payload, self.state = version, payload, "whole"

    def _copy_in(self, raw: bytes, start: int) -> tuple[int, bytes] | None:
        """The version and payload of the copy at `start`, None if it is not whole."""
        version, length = _HEAD.unpack_from(raw, start + _CHECKSUM.size)
        end = start + _BEFORE + length
        if not version or end > start + self._copy:
            return None
        (checksum,) = _CHECKSUM.unpack_from(raw, start)
        if crc32(raw[start + _CHECKSUM.size : end]) != checksum:
            return None
        return version, raw[start + _BEFORE : end]

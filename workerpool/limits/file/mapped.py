"""The file of a budget: opening it, its lock, its parts, growing.

Begins with a line of text; then come a header, the members, the pool's own account, one for hosts that find no room,
and segments of accounts for hosts, each twice as large as the one before. The file only grows. What is in a part is
others' concern (`members`, `account`).

Its lock is the system's (`flock`), on an open file: it ends with its process, however that ends. Threads of one process
share it, so the caller holds a lock of this process beside it.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from fcntl import LOCK_EX, LOCK_UN, flock
from typing import NamedTuple

from workerpool.errors import BudgetError
from workerpool.limits.file.records import Record, space_of

_FAMILY = b"workerpool budget "
_MAGIC = _FAMILY + b"1\n"  # the number is the format's
_HEADER = struct.Struct("<IQ")  # segments, edition of the members
_KEY = struct.Struct("<QQ")  # of a host: where its slots begin, how far they are apart

MEMBERS = 128
"""The most pools that may use one budget at a time."""
MEMBER_SIZE = 140
STATE_SIZE = 76
CLAIM_SIZE = 42
HISTORY_SIZE = 852
HOST_CLAIMS = 16
"""The most processes that may claim places of one host at a time; others wait until one of these has nothing there."""

_TOUCHED_AT, _TOUCHED_END = 64, 72
_HEADER_AT = 128
_MEMBERS_AT = 4096
_POOL_AT = _MEMBERS_AT + MEMBERS * space_of(MEMBER_SIZE)
_SPARE_AT = _POOL_AT + space_of(STATE_SIZE) + space_of(MEMBERS * CLAIM_SIZE) + space_of(HISTORY_SIZE)
_SLOT_SIZE = space_of(STATE_SIZE) + space_of(HOST_CLAIMS * CLAIM_SIZE) + space_of(HISTORY_SIZE)
_SEGMENTS_AT = _SPARE_AT + _SLOT_SIZE
_FIRST_SEGMENT = 128
_MOST_SEGMENTS = 7  # 16,256 hosts that are waited for at a time
PROBES = 16
"""In how many slots of each segment a host may be."""


class Slot(NamedTuple):
    """Where an account is kept: its state, the claims on it, with room for so many, and its quotas' history."""

    state: Record
    claims: Record
    most_claims: int
    history: Record

    def belongs_to(self, file: mmap.mmap, key: bytes) -> bool:
        self.state.look(file)
        return self.state.payload.startswith(key)

    @property
    def is_broken(self) -> bool:
        """Whether nobody can tell whose it was."""
        return self.state.state == "broken"

    @property
    def is_blank(self) -> bool:
        """Whether it was never used."""
        return self.state.state == "blank"


class BudgetFile:
    """The open file at `path`, made if there is none. Raises `BudgetError` if it cannot be used.

    Every method but `lock` and `unlock` is called with the process's own lock held; those that write, with the file's.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.segments: int
        self.edition = 0  # another one whenever a member comes or goes
        self.map: mmap.mmap
        self._touched = b""
        self._header = Record(_HEADER_AT, _HEADER.size)
        try:
            self.descriptor = self._open()
        except OSError as error:
            raise BudgetError(f"the budget's file {path} cannot be used: {_why_not(error)}") from error
        try:
            self._begin()
        except OSError as error:
            self.close()
            raise BudgetError(f"the budget's file {path} cannot be made: {_why_not(error)}") from error
        except BaseException:
            self.close()
            raise

    def lock(self) -> None:
        flock(self.descriptor, LOCK_EX)

    def unlock(self) -> None:
        flock(self.descriptor, LOCK_UN)

    def is_touched(self) -> bool:
        """Whether another process has touched it since this one last did: what it has read before may have changed."""
        return self.map[_TOUCHED_AT:_TOUCHED_END] != self._touched

    def touch(self) -> None:
        """Tell the others that it will be changed: called before anything is written."""
        self._touched = (int.from_bytes(self.map[_TOUCHED_AT:_TOUCHED_END], "little") + 1).to_bytes(8, "little")
        self.map[_TOUCHED_AT:_TOUCHED_END] = self._touched

    def look(self) -> bool:
        """Whether members came or went since the last look; follows the file as it grows."""
        if not self._header.look(self.map):
            return False
        if self._header.state != "whole":
            return True
        known = self.edition
        self.segments, self.edition = _HEADER.unpack(self._header.payload)
        self._map()
        return self.edition != known

    def mend(self) -> None:
        """Begin the header anew if both its copies are broken."""
        if self._header.state != "whole":
            self.note_members()

    def note_members(self) -> None:
        """Let every process look at the members again."""
        self.look()  # as who comes or goes may not have done in this hold of the lock: others may have made it grow
        if self._header.state != "whole":
            self._map()
            self.segments = sum(_end_of(segments) <= len(self.map) for segments in range(1, _MOST_SEGMENTS + 1))
        self.edition = int.from_bytes(os.urandom(8), "little")
        self._write_header()

    def grow(self) -> bool:
        """Add a segment; whether there was room."""
        if self.segments >= _MOST_SEGMENTS:
            return False
        start, end = _end_of(self.segments), _end_of(self.segments + 1)
        try:
            os.posix_fallocate(self.descriptor, start, end - start)  # or a full disk would end this process later on
        except OSError:
            return False
        self.segments += 1
        self._write_header()
        self._map()
        return True

    def is_in_place(self) -> bool:
        """Whether this still is the file that others find: one that was removed is shared with nobody new."""
        try:
            there, here = os.stat(self.path), os.fstat(self.descriptor)
        except OSError:
            return False
        return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)

    def close(self) -> None:
        """Let go of it, and of its lock. In a forked child, that of the parent stays as it is."""
        os.close(self.descriptor)

    # -- parts --------------------------------------------------------------------------------------------------------

    def member(self, index: int) -> Record:
        return Record(_MEMBERS_AT + index * space_of(MEMBER_SIZE), MEMBER_SIZE)

    def pool_slot(self) -> Slot:
        """Where the pool's own account is."""
        return _slot_at(_POOL_AT, MEMBERS)

    def spare_slot(self) -> Slot:
        """Where the account is that hosts share for which there is no other slot."""
        return _slot_at(_SPARE_AT)

    def slots_of(self, key: bytes) -> list[Slot]:
        """Where the account of a host may be, by its key."""
        start, step = _KEY.unpack(key)
        found = []
        for segment in range(self.segments):
            slots = _FIRST_SEGMENT << segment
            for probe in range(PROBES):
                at = _end_of(segment) + (start + probe * (step | 1)) % slots * _SLOT_SIZE
                found.append(_slot_at(at))
        return found

    # -- inside -------------------------------------------------------------------------------------------------------

    def _open(self) -> int:
        """Open the file that others find, and hold its lock."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self.descriptor = descriptor = os.open(self.path, flags, 0o600)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
                    raise BudgetError(
                        f"the budget's file {self.path} is not safe to use: it must be a file of user {os.getuid()}'s "
                        "own that nobody else may read or write; remove it"
                    )
                flock(descriptor, LOCK_EX)
                if self.is_in_place():
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # it was removed meanwhile

    def _begin(self) -> None:
        """Map the file, made whole if it is new, or if a process was killed that made it; let go of its lock."""
        try:
            start = os.pread(self.descriptor, len(_MAGIC), 0).rstrip(b"\0")
            if not _MAGIC.startswith(start):
                raise BudgetError(_strange(self.path, start))
            os.posix_fallocate(self.descriptor, 0, _end_of(1))
            self._map()
            self.look()
            self.mend()
            os.pwrite(self.descriptor, _MAGIC, 0)
        finally:
            self.unlock()

    def _map(self) -> None:
        self.map = mmap.mmap(self.descriptor, 0)

    def _write_header(self) -> None:
        self._header.write(self.map, _HEADER.pack(self.segments, self.edition))


def _slot_at(at: int, most_claims: int = HOST_CLAIMS) -> Slot:
    state = Record(at, STATE_SIZE)
    claims = Record(state.end, most_claims * CLAIM_SIZE)
    return Slot(state, claims, most_claims, Record(claims.end, HISTORY_SIZE))


def _end_of(segments: int) -> int:
    """Where so many segments end."""
    return _SEGMENTS_AT + _SLOT_SIZE * _FIRST_SEGMENT * ((1 << segments) - 1)


def _strange(path: str, start: bytes) -> str:
    if start.startswith(_FAMILY):
        return (
            f"the budget's file {path} was made by another version of workerpool: end the programs that use it, and "
            "remove it, or take another name for this budget"
        )
    return f"{path} is no budget's file: remove it, or take another name for this budget"


def _why_not(error: OSError) -> str:
    text = error.strerror or "the system does not say why"
    return f"{text[:1].lower()}{text[1:]}"

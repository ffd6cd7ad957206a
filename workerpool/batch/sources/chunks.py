"""Reads the bytes of a file or pipe, from its beginning or a place in it: unpacked, in chunks, with a bound on memory.

One thread reads; `Wake.set` may be called from any other one to end a wait for a slow pipe. What ends the bytes before
their time is `Broken`.
"""

from __future__ import annotations

import os
import select
import weakref
from collections.abc import Callable, Iterator
from itertools import chain

from workerpool.batch.sources.packed import CHUNK, Broken, Packing, may_be_packed, packing_of, unpack

SHRUNK = "it is shorter than it was: begin anew with the file as it is"


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


def read_unpacked(file: int, wake: Wake, *, must: Packing | None = None, offset: int = 0) -> Iterator[bytes]:
    """Yield the bytes of the descriptor `file`, unpacked if they are packed, from the unpacked byte `offset` on.

    `must`: how they have to be packed, as the name says. An `offset` above 0 is for regular files. Raises `Broken`,
    and `Stopped` once `wake` is set.
    """
    return unpacked(lambda start: _read(file, wake, start), must=must, offset=offset)


def unpacked(
    read: Callable[[int], Iterator[bytes]], *, must: Packing | None = None, offset: int = 0
) -> Iterator[bytes]:
    """The same of what `read` gives from any byte on; it raises `Broken` if there are fewer."""
    chunks = read(0)
    head = b""
    while may_be_packed(head) and (chunk := next(chunks, b"")):
        head += chunk
    packing = packing_of(head)
    if must is not None and packing is not must:
        raise Broken(f"the name ends in {must.ending}, but what is in it is not {must.name}: rename or make it anew")
    if packing is not None:
        yield from _skip(unpack(chain([head], chunks), packing), offset)
    elif offset:
        yield from read(offset)
    else:
        yield head
        yield from chunks


def _read(file: int, wake: Wake, offset: int) -> Iterator[bytes]:
    if offset:
        if os.fstat(file).st_size < offset:
            raise Broken(SHRUNK)
        os.lseek(file, offset, os.SEEK_SET)
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


def _skip(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        if size < len(chunk):
            yield chunk[size:]
            break
        size -= len(chunk)
        if not size:
            break
    else:
        if size:
            raise Broken(SHRUNK)
    yield from chunks

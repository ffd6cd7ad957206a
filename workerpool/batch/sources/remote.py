"""A source that is an object at a URL, as ``s3://bucket/urls.csv``: read piece by piece, from any place in it.

It counts as a file on a disk: it can be read a second time, and a job goes on in it. Whether it has changed is told by
its size, and by its tag, or the time of its change where there is none. One thread; a read of the network ends by
itself, as `stop` does not reach it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from typing import IO, Any, TypeVar

from workerpool.batch.objects import asking, files_of, reason_of
from workerpool.batch.sources.chunks import SHRUNK, Stopped, Wake, unpacked
from workerpool.batch.sources.marks import Fingerprint
from workerpool.batch.sources.opened import Format, Source
from workerpool.batch.sources.packed import CHUNK, Broken, packing_named
from workerpool.errors import SourceError
from workerpool.redact import redact

T = TypeVar("T")

BLOCK = 1024 * 1024
"""Bytes that are asked for at a time."""


class RemoteSource(Source):
    """The object at `url`, which may hold a password: what it is called holds none."""

    def __init__(self, url: str, format: Format) -> None:
        name = redact(url)
        super().__init__(name, format, name)
        self._url = url

    @property
    def is_file(self) -> bool:
        return True

    def check(self) -> None:
        if self._info["type"] == "directory":
            raise SourceError(
                f"{self.name} is a directory: name the objects in it, as in {self.name.rstrip('/')}/*.txt"
            )

    def size(self) -> int:
        return int(self._info["size"])

    def fingerprint(self) -> Fingerprint:
        self.__dict__.pop("_info", None)  # it may be another one by now
        info = self._info
        tag = info.get("ETag") or info.get("LastModified") or info.get("mtime") or info.get("created") or ""
        return Fingerprint(self.size(), int.from_bytes(sha256(str(tag).encode()).digest()[:7]))

    @contextmanager
    def file(self) -> Iterator[IO[bytes]]:
        try:
            with asking():
                file = self._files.open(self._path, "rb", block_size=BLOCK)
        except OSError as error:
            raise self.unreadable(error) from None
        with file:
            yield file

    @contextmanager
    def chunks(self, wake: Wake, offset: int) -> Iterator[Iterator[bytes]]:
        with self.file() as file:
            yield unpacked(lambda start: _read(file, wake, start), must=packing_named(self.path), offset=offset)

    def unreadable(self, error: Exception) -> SourceError:
        if isinstance(error, FileNotFoundError):
            return SourceError(f"{self.name} does not exist: look at the path")
        return SourceError(f"{self.name} cannot be read: {reason_of(error)}")

    @property
    def _files(self) -> Any:
        return self._place[0]

    @property
    def _path(self) -> str:
        return str(self._place[1])

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return files_of(self._url, f"reading {self.name}", f"the source {self.name} cannot be read")

    @cached_property
    def _info(self) -> dict[str, Any]:
        try:
            with asking():
                return dict(self._files.info(self._path))
        except OSError as error:
            raise self.unreadable(error) from None


def matching(pattern: str) -> list[str]:
    """Return the URLs of the objects that a pattern stands for, by name; raises `SourceError` where there are none."""
    name = redact(pattern)
    files, path = files_of(pattern, f"reading {name}", f"the source {name} cannot be read")
    try:
        with asking():
            found = sorted(one for one in files.glob(path) if not files.isdir(one))
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {reason_of(error)}") from None
    if not found:
        raise SourceError(f"no object matches {name}: look at the pattern")
    begin = pattern.partition("://")[0]
    return [one if "://" in one else f"{begin}://{one.lstrip('/')}" for one in found]


def _read(file: IO[bytes], wake: Wake, offset: int) -> Iterator[bytes]:
    if offset > _done(lambda: file.seek(0, os.SEEK_END)):
        raise Broken(SHRUNK)
    _done(lambda: file.seek(offset))
    while data := _done(lambda: file.read(CHUNK)):
        if wake.is_set:
            raise Stopped
        yield data


def _done(step: Callable[[], T]) -> T:
    try:
        with asking():
            return step()
    except OSError as error:
        raise Broken(f"reading failed: {reason_of(error)}") from None

"""A body that is not whole yet: its bytes in a file aside, and beside that what the server said of them.

Both are in ``.parts`` below the directory, under a hash of the request, so that the next attempt finds them, and the
next process, if this one is killed. One thread at a time has a part, by a lock that ends with its process; a second
request for the same takes the next number.

What is said of a part holds for all of its bytes, whatever line the process is killed at: it is removed before the
bytes that it was about, and written before the first of those that it is about. After the machine itself has gone down,
which the kernel's boot id tells, only so many bytes count as were synced.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workerpool.errors import NotSaved
from workerpool.saving.ranges import Known, Offer

if TYPE_CHECKING:
    from workerpool.model import Request
    from workerpool.saving.save import Save

FOLDER = ".parts"
"""Below the directory; no name of a file begins with a dot."""
MOST_ALIKE = 64
"""Requests for the same that may be received at once."""
SYNC_EVERY = 64 * 1024 * 1024
"""Bytes that are synced at once, so that a machine that goes down costs no more, and the end does not wait for all."""

_BOOT = "/proc/sys/kernel/random/boot_id"


@contextmanager
def told(path: str) -> Iterator[None]:
    """Say in our words that the disk does not do what it should."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise NotSaved(f"{path} cannot be written: {reason[:1].lower()}{reason[1:]}") from error


class Part:
    """A body on its way into its file, locked until `close`. Raises `NotSaved` for what the disk does."""

    def __init__(self, path: str, file: int) -> None:
        self.path = path
        self.size = 0
        self.known = Known()
        self.is_in_one_piece = True  # all of it came in this attempt
        self._file = file
        self._digest: Any = hashlib.sha256()  # of all so far, if it is in one piece
        self._synced = 0
        self._is_kept = False

    def begin(self, known: Known) -> None:
        """Begin with nothing, as a whole body comes."""
        with told(self.path):
            _remove(_notes(self.path))  # first: what it says is not about what comes
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            self.size = self._synced = 0
            self._digest = hashlib.sha256()
            self.known, self._is_kept = known, False
            self._note()

    def go_on(self, offer: Offer) -> bool:
        """Go on after what an earlier attempt has left; False if that is not there any more as it was offered."""
        with told(self.path):
            found = _offer(self.path, self._file)
            if found != offer:
                return False
            os.ftruncate(self._file, offer.start)
            os.lseek(self._file, offer.start, os.SEEK_SET)
        self.size = self._synced = offer.start
        self.known, self.is_in_one_piece, self._is_kept = offer.known, False, True
        return True

    def write(self, data: bytes) -> None:
        """Add bytes."""
        with told(self.path):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self.size += len(data)
            if self.is_in_one_piece:
                self._digest.update(data)
            if self.size - self._synced >= SYNC_EVERY:
                os.fsync(self._file)
                self._synced = self.size
                self._note()

    def finish(self) -> str:
        """Have all of it on the disk; returns its SHA-256 in hexadecimal."""
        with told(self.path):
            os.fsync(self._file)
            if not self.is_in_one_piece:
                os.lseek(self._file, 0, os.SEEK_SET)
                with open(self._file, "rb", closefd=False) as file:
                    self._digest = hashlib.file_digest(file, "sha256")
        return str(self._digest.hexdigest())

    def drop(self) -> None:
        """Forget it: it is in its place, or no good. What is said of it goes last, as its place may need the part."""
        self._is_kept = True
        with told(self.path):
            if _is_at(self._file, self.path):  # or else it has its name, and another one may have begun here
                os.unlink(self.path)
            if not os.path.lexists(self.path):
                _remove(_notes(self.path))
                _remove(_new_notes(self.path))

    def close(self) -> None:
        """Let go of it. What nobody could go on with is removed."""
        try:
            if not self._is_kept:
                self.drop()
        finally:
            os.close(self._file)

    def _note(self) -> None:
        """Write down what is known, at once or not at all; nothing is, without a validator to ask by."""
        if self.known.validator is None:
            return
        notes = {"boot": boot_id(), "synced": self._synced, "known": self.known.to_json().decode()}
        new = _new_notes(self.path)
        with open(new, "w") as file:
            json.dump(notes, file)
            file.flush()
            if self._synced:
                os.fsync(file.fileno())
        os.replace(new, _notes(self.path))
        self._is_kept = True


def make_ready(directory: str) -> None:
    """Make the directory, and the one for parts in it; raises `NotSaved`."""
    with told(directory):
        os.makedirs(os.path.join(directory, FOLDER), exist_ok=True)


def tidy(directory: str) -> None:
    """Remove the directory for parts if none is left."""
    try:
        os.rmdir(os.path.join(directory, FOLDER))
    except OSError:
        pass


def offered(save: Save, request: Request) -> Offer | None:
    """Look for what an earlier attempt has left of a request's body; None if there is nothing to go on with."""
    with told(save.path):
        for path in _paths(save, request):
            try:
                file = _lock(path, os.O_RDWR)
            except FileNotFoundError:
                return None
            if file is not None:  # or else another one is being received there
                try:
                    return _offer(path, file)
                finally:
                    os.close(file)
    return None


def open_part(save: Save, request: Request) -> Part:
    """Take the part of a request's body, made if need be; raises `NotSaved`."""
    with told(save.path):
        for path in _paths(save, request):
            file = _made(path, save.path)
            if file is not None:
                return Part(path, file)
    raise NotSaved(f"{save.path}: {MOST_ALIKE} requests for the same are being received there already")


def _made(path: str, directory: str) -> int | None:
    """As `_lock`, and makes what is missing: another program may have tidied up."""
    try:
        return _lock(path, os.O_RDWR | os.O_CREAT)
    except FileNotFoundError:
        make_ready(directory)
        return _lock(path, os.O_RDWR | os.O_CREAT)


def _paths(save: Save, request: Request) -> Iterator[str]:
    """Where a request's body may be while it is not whole. No secret of a URL is in it."""
    told_apart = (request.method, request.url, repr(request.params), request.key, save.name, request.sha256)
    digest = hashlib.blake2b(repr(told_apart).encode(errors="surrogatepass"), digest_size=16).hexdigest()
    first = os.path.join(save.path, FOLDER, digest)
    yield first
    for number in range(1, MOST_ALIKE):
        yield f"{first}-{number}"


def _lock(path: str, flags: int) -> int | None:
    """Open a part and keep others from it; None if another one has it."""
    while True:
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            pass  # some network file systems know no locks
        if _is_at(file, path):
            return file
        os.close(file)  # who had it has put it in its place meanwhile: that file must not be touched


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _offer(path: str, file: int) -> Offer | None:
    """What a part that is locked has to offer."""
    try:
        with open(_notes(path), "rb") as notes:
            said = json.load(notes)
        known, synced = Known.from_json(said["known"]), int(said["synced"])
        is_same_boot = bool(said["boot"]) and said["boot"] == boot_id()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    size = os.fstat(file).st_size
    start = size if is_same_boot else min(size, synced)
    return Offer(start, known) if start and known.validator is not None else None


@functools.cache
def boot_id() -> str:
    """What is another one after each start of the machine; "" where that cannot be told."""
    try:
        with open(_BOOT) as file:
            return file.read().strip()
    except OSError:
        return ""


def _notes(path: str) -> str:
    return f"{path}.json"


def _new_notes(path: str) -> str:
    return f"{path}.new"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

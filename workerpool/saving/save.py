"""`Save`, what a user asks for of a body, and `Saved`, what came of it. Values, checked once; any thread."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, field

from workerpool.checks import check_count, check_flag, check_seconds, is_positive
from workerpool.errors import OptionError
from workerpool.saving.names import Name

BY_CONTENT = "{sha256:.2}/{sha256}"
"""Names by what is in the file, in 256 directories: equal bodies are one file, and no directory gets too long."""


@dataclass(frozen=True, slots=True)
class Save:
    """Where the body of an answer goes instead of into memory: a file, written aside and put in its place when whole.

    `directory`: below which all of it is; it is made. `name`: the file's name there, a template of `names.FIELDS`.
    `overwrite`: replace a file that is there; otherwise the request ends as `NameTaken`. A name with ``{sha256}`` in it
    needs neither: a file of that name has those bytes.
    `min_speed`: bytes a second that a body has to bring, over `window` seconds, once it has begun. It is in place of
    the timeout's total, which ends with the answer's headers. None bounds silences alone, by the timeout's `read`.
    `max_size`: bytes beyond which it fails as `TooLarge`; None is no limit. The pool's `max_body` is for memory.
    """

    directory: str | os.PathLike[str]
    name: str = BY_CONTENT
    _: KW_ONLY
    overwrite: bool = False
    min_speed: float | None = 1000.0
    window: float = 30.0
    max_size: int | None = None
    template: Name = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.directory, (str, os.PathLike)) or not os.fspath(self.directory):
            raise OptionError(f"save.directory={self.directory!r} must be the path of a directory")
        object.__setattr__(self, "template", Name(self.name))
        check_flag("save.overwrite", self.overwrite)
        if self.min_speed is not None and not is_positive(self.min_speed):
            raise OptionError(f"save.min_speed={self.min_speed!r} must be bytes a second above zero, or None")
        check_seconds("save.window", self.window)
        if self.window <= 0:
            raise OptionError(f"save.window={self.window!r} must be seconds above zero")
        if self.max_size is not None:
            check_count("save.max_size", self.max_size)

    @property
    def path(self) -> str:
        """The directory, as text."""
        return os.fspath(self.directory)


@dataclass(frozen=True, slots=True)
class Saved:
    """A body that is in its place: its file's `path`, its `size` in bytes, and the `sha256` of these in hexadecimal."""

    path: str
    size: int
    sha256: str

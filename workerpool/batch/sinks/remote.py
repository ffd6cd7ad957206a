"""An object at a URL that fsspec knows, such as ``s3://bucket/out.jsonl``: parts beside it, which become it in the end.

Objects cannot be appended to. So OUTPUT.partial/ gets one for each batch, named by the numbers of rows before and after
it, and to resume is to remove what is named higher. The end writes them all into the output by one upload, which is
there when it is complete and not before, and then removes them: first the mark that makes them an unfinished output. A
process that ends before that uploads once more, the same. One thread at a time.

No object store has locks. The mark says who wrote last, so that of two writers the first one notices; nothing keeps the
second one from beginning. Where credentials come from is fsspec's matter: the environment, a profile, the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import IO, Any

from workerpool.batch.columns import Row
from workerpool.batch.objects import asking, files_of, reason_of
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.position import Position
from workerpool.batch.sinks.remote_content import Content
from workerpool.errors import OptionError, SinkError
from workerpool.redact import redact

CADENCE = Cadence(seconds=30.0, bytes=32 * 1024 * 1024)
"""As each part is a request that is paid for, and three more to note it, to read it and to remove it."""

BLOCK = 8 * 1024 * 1024
"""Bytes of a piece of the upload, two of which are in memory. S3 takes 10,000 of them, so outputs end at 80 GB."""

_MARK = "writer"


class RemoteStore:
    """An object at `output`, which holds what `content` makes."""

    cadence = CADENCE
    errors: tuple[type[Exception], ...] = (OSError,)
    hides_causes = True  # which may say credentials

    def __init__(self, output: str, content: Content) -> None:
        self.name = redact(output)
        self._content = content
        refusal = f"the output {self.name} cannot be written"
        self._files, self._path = files_of(output, "an output at a URL", refusal)
        self._partial = f"{self._path}.partial"
        self._mark = f"{self._partial}/{_MARK}"
        self._token = ""

    @property
    def partial_name(self) -> str:
        return f"{self.name}.partial/"

    def reason(self, error: Exception) -> str:
        return reason_of(error)

    def refusal(self, error: Exception) -> SinkError:
        return SinkError(f"{self.name} cannot be used: {reason_of(error)}")

    def check_new(self, overwrite: bool) -> None:
        with asking():
            is_there = self._files.exists(self._path)
        if is_there and not overwrite:
            raise OptionError(
                f"{self.name} is there already: give overwrite=True to replace it, or name another output"
            )

    def leftover(self) -> str | None:
        return self.partial_name if self._is_begun() else None

    def make(self) -> Position:
        self._remove_parts()
        self._sign()
        return Position(0, len(self._content.header))

    def open(self) -> bool:
        if not self._is_begun():
            return False
        self._sign()
        return True

    def cut(self, position: Position) -> bool:
        parts = self._parts()
        with asking():
            for _, end, path in parts:
                if end > position.rows:
                    self._files.rm_file(path)
        return _rows_in([part for part in parts if part[1] <= position.rows]) == position.rows

    def copy(self, position: Position) -> bool:
        with self._opened(self._path) as source:
            if not self._content.holds(source, position, exactly=False):
                return False
        self._remove_parts()
        if position.rows:
            with self._opened(self._path) as source, self._uploaded(self._part(0, position.rows)) as out:
                self._content.copy(source, out, position)
        self._sign()
        return True

    def find_output(self, position: Position) -> bool:
        try:
            with self._opened(self._path) as file:
                if not self._content.holds(file, position, exactly=True):
                    return False
        except FileNotFoundError:
            return False
        self._remove_parts()
        return True

    def append(self, rows: Sequence[Row], position: Position) -> Position:
        self._check_mark()
        data = self._content.encode(rows)
        end = position.rows + len(rows)
        with asking():
            self._files.pipe_file(self._part(position.rows, end), data)
        return Position(end, position.bytes + self._content.counted(data))

    def publish(self) -> None:
        self._check_mark()
        with self._uploaded(self._path) as out:
            self._content.merge(self._each([path for _, _, path in self._parts()]), out)
        self._remove_parts()

    def settle(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing is held."""

    def read(self, position: Position | None, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        if position is not None and self._is_begun():
            paths = [path for _, end, path in self._parts() if end <= position.rows]
            yield from self._content.entries(self._each(paths), fields, is_whole=False)
        else:
            yield from self._content.entries(self._each([self._path]), fields, is_whole=True)

    # -- objects ------------------------------------------------------------------------------------------------------

    def _part(self, begin: int, end: int) -> str:
        return f"{self._partial}/{begin:012}-{end:012}{self._content.ending}"

    def _parts(self) -> list[tuple[int, int, str]]:
        """Return the parts that are there, in their order: how many rows are before, and after each, and its path."""
        with asking():
            paths = self._files.find(self._partial)
        named = [(path.rpartition("/")[2].partition(".")[0].split("-"), path) for path in paths]
        return sorted((int(name[0]), int(name[1]), path) for name, path in named if len(name) == 2)

    def _is_begun(self) -> bool:
        with asking():
            return bool(self._files.exists(self._mark))

    def _sign(self) -> None:
        """Say that what is unfinished here is ours."""
        self._token = token_hex(8)
        with asking():
            self._files.pipe_file(self._mark, self._token.encode())

    def _check_mark(self) -> None:
        with asking():
            is_ours = self._files.exists(self._mark) and self._files.cat_file(self._mark) == self._token.encode()
        if not is_ours:
            raise OSError("another process has begun to write it, or has removed what is unfinished")

    def _remove_parts(self) -> None:
        with asking():
            if self._files.exists(self._mark):
                self._files.rm_file(self._mark)
        for _, _, path in self._parts():
            with asking():
                self._files.rm_file(path)

    def _each(self, paths: Sequence[str]) -> Iterator[IO[bytes]]:
        for path in paths:
            with self._opened(path) as file:
                yield file

    @contextmanager
    def _opened(self, path: str) -> Iterator[IO[bytes]]:
        with asking(), self._files.open(path, "rb", block_size=BLOCK) as file:
            yield file

    @contextmanager
    def _uploaded(self, path: str) -> Iterator[IO[bytes]]:
        """Write an object that is there when all of it is: a transaction drops what an error has cut short."""
        with asking(), self._files.transaction, self._files.open(path, "wb", block_size=BLOCK) as file:
            yield file


def _rows_in(parts: list[tuple[int, int, str]]) -> int:
    """Count the rows in `parts` up to the first that is missing."""
    rows = 0
    for begin, end, _ in parts:
        if begin != rows:
            break
        rows = end
    return rows

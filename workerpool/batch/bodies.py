"""What a run does with bodies that go to files: it looks at their directory, and sees to it that no two have one name.

A directory whose files are named by their content may be anybody's, as a file's name says what is in it. One with other
names is the run's own: it has to be empty when the run begins, or the job's from its run before, or it may be
overwritten. Then whatever is there under an input's name was put there by that input, also where the process was killed
before its outcome was entered: it is fetched again, and replaced in one step. The run's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

from workerpool.batch.job.database import Database
from workerpool.batch.job.keys import Claims
from workerpool.batch.job.schema import KEY_TABLE, KeyRow
from workerpool.batch.job.states import Identity
from workerpool.batch.sinks.sentences import reason_of
from workerpool.errors import NotSaved, OptionError, SinkError
from workerpool.model import Request
from workerpool.saving import Save, make_ready, tidy
from workerpool.saving.parts import FOLDER


class Bodies:
    """The bodies of a run. `claims`: who has which name; `identity`, `where`: which input it is, and where that is."""

    def __init__(
        self,
        save: Save,
        claims: Claims,
        identity: Callable[[Request], Identity],
        where: Callable[[int, int], str],
    ) -> None:
        # What is there under a name is this input's own: see above.
        self._save = replace(save, overwrite=True)
        self._claims = claims
        self._identity = identity
        self._where = where
        self._folds_case = os.path.exists(os.path.join(save.path, FOLDER.upper()))

    def prepare(self, request: Request) -> Request:
        """Say where the body of a request goes. One whose file's name another input has is not sent."""
        if request.problem is not None or request.save is not None:
            return request
        problem = None if self._save.template.is_by_content else self._claim(request)
        return replace(request, save=self._save, problem=problem)

    def close(self) -> None:
        """Leave nothing but bodies in the directory, if all of them are whole."""
        tidy(self._save.path)

    def _claim(self, request: Request) -> str | None:
        """Note that an input has its name; returns what is wrong if another one had it before."""
        name, identity = self._save.template.of(request), self._identity(request)
        first = self._claims.first("file\0", name.casefold() if self._folds_case else name, identity)
        if first == identity:
            return None
        return (
            f"{self._where(*identity)}: its file would be {name}, as that of {self._where(*first)}: "
            "give --body-name a {query}, {key} or {ordinal}"
        )


def check_directory(save: Save, *, overwrite: bool, is_own: bool = False) -> None:
    """Make the directory of a run's bodies ready. `is_own`: it is known as that of this job.

    Raises `OptionError` for one with files in it that the run could take for its own, `SinkError` for one that cannot
    be written.
    """
    may_write = save.template.is_by_content or save.overwrite or overwrite or is_own
    if not may_write and _has_files(save.path):
        raise OptionError(
            f"the directory {save.path} has something in it already: name an empty one for the bodies, name files by "
            "their content, or give overwrite=True to replace files of the same names"
        )
    try:
        make_ready(save.path)
    except NotSaved as error:
        raise as_sink_error(error) from error


def _has_files(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entry.name != FOLDER for entry in entries)
    except OSError:
        return False  # there is none; or what is wrong with it is told when it is made


def as_sink_error(error: NotSaved) -> SinkError:
    """The end of a run whose bodies have nowhere to go."""
    return SinkError(f"{error}; what is whole is in its place")


@contextmanager
def scratch_bodies(save: Save, paths: Sequence[str], where: Callable[[int, int], str]) -> Iterator[Bodies]:
    """The bodies of a run without a job, for as long as this is entered. `paths`: the sources' names in their requests.

    Raises `SinkError` if there is no room to keep their names in.
    """
    numbers = {path: number for number, path in enumerate(paths)}
    with _scratch_claims() as claims:
        yield Bodies(save, claims, lambda request: (numbers[request.source], request.ordinal), where)


@contextmanager
def _scratch_claims() -> Iterator[Claims]:
    try:
        scratch = TemporaryDirectory(prefix="workerpool-")
    except OSError as error:
        raise SinkError(
            f"no temporary directory can be made to keep names in: {reason_of(error)}; TMPDIR names another place"
        ) from error
    with scratch as directory, closing(Database(f"{directory}/names", KEY_TABLE, 1, is_scratch=True)) as database:
        yield Claims(_Scratch(database))


class _Scratch:
    """Claims in a database of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def key(self, hashed: int) -> Identity | None:
        row = self._database.one("SELECT source, ordinal FROM keys WHERE hash = ?", (hashed,))
        return None if row is None else (row[0], row[1])

    def put_keys(self, rows: Sequence[KeyRow]) -> None:
        with self._database.transaction() as database:
            database.executemany("INSERT INTO keys VALUES (?, ?, ?)", rows)

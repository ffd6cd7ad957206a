"""Where the files of named budgets are: in the user's run directory, where all of a user's processes find them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from workerpool.errors import BudgetError, OptionError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def budget_path(budget: str | os.PathLike[str], environ: Mapping[str, str]) -> str:
    """The file of a budget: the one at that path, or of that name; then it makes the directory.

    A name's is `workerpool/` in ``$XDG_RUNTIME_DIR``, or else in ``/run/user/UID``: the same place, which cron does not
    tell its jobs. Where there is neither, `workerpool-UID` in ``$TMPDIR`` or ``/tmp``.

    Raises `OptionError` for a name that cannot be a file's, `BudgetError` if the directory cannot be used, or could
    be somebody else's.
    """
    if isinstance(budget, os.PathLike):
        return os.fspath(budget)
    if not isinstance(budget, str) or not _NAME.fullmatch(budget):
        raise OptionError(
            f"budget={budget!r} is no name for a budget: write letters, digits, '.', '_' and '-', at most 64 of them, "
            "beginning with a letter or a digit, as in 'github'"
        )
    user = os.getuid()
    for run in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{user}"):
        if os.path.isabs(run) and _is_own(run, user):
            directory = os.path.join(run, "workerpool")
            break
    else:
        directory = os.path.join(environ.get("TMPDIR") or "/tmp", f"workerpool-{user}")
    try:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            pass
        status = os.lstat(directory)
    except OSError as error:
        raise BudgetError(f"the directory {directory} for budgets cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022:
        raise BudgetError(
            f"the directory {directory} for budgets is not safe to use: it must be a directory of user {user}'s own "
            "that nobody else may write to; remove it, or set XDG_RUNTIME_DIR to a directory of your own"
        )
    return os.path.join(directory, f"{budget}.budget")


def _is_own(directory: str, user: int) -> bool:
    try:
        status = os.stat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user

"""A directory for the budget that the processes of one pool share, if they were told of none.

Removed with the pool; or by the processes, should the one that made it be killed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from workerpool.errors import BudgetError


class Scratch:
    """The directory, and `budget`, the file in it. Raises `BudgetError` if it cannot be made."""

    def __init__(self) -> None:
        try:
            self.directory = tempfile.mkdtemp(prefix="workerpool-")
        except OSError as error:
            raise BudgetError(f"no directory for the budget of a pool's processes can be made: {error}") from error
        self.budget = Path(self.directory, "budget")
        self._remover = weakref.finalize(self, _remove, self.directory, os.getpid())

    def remove(self) -> None:
        """Remove it; safe to call again."""
        self._remover()


def _remove(directory: str, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked child, whose parent still uses it
        shutil.rmtree(directory, ignore_errors=True)

"""What a forked child must make anew: threads do not pass a fork, locks may be held for ever, sockets are shared.

The one piece of state that the package keeps for the whole process: which objects want to be told.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """What wants to be told of a fork."""

    def start_anew(self) -> None:
        """Called in the child, on its only thread. Must not take any lock that existed before."""


_members: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell_of_forks(member: Forked) -> None:
    """Call `member.start_anew` in every child that this process forks from now on, as long as `member` lives."""
    _members.add(member)


def _after_fork_in_child() -> None:
    for member in [*_members]:
        member.start_anew()


os.register_at_fork(after_in_child=_after_fork_in_child)

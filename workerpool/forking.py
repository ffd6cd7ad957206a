"""What a forked child must make anew: threads do not pass a fork, locks may be held for ever, sockets are shared.

The one piece of state that the package keeps for the whole process: which objects want to be told.
"""

from __future__ import annotations

import os
import weakref
from functools import partial
from itertools import count
from typing import Protocol


class Forked(Protocol):
    """What wants to be told of a fork."""

    def start_anew(self) -> None:
        """Called in the child, on its only thread. Must not take any lock that existed before."""


_count = count()
_members: dict[int, weakref.ref[Forked]] = {}  # in their order: what a pool is made of is told before the pool


def tell_of_forks(member: Forked) -> None:
    """Call `member.start_anew` in every child that this process forks from now on, as long as `member` lives."""
    number = next(_count)
    _members[number] = weakref.ref(member, partial(_forget, number))


def _forget(number: int, _: object) -> None:
    _members.pop(number, None)


def _after_fork_in_child() -> None:
    fault: Exception | None = None
    for member in [each() for each in [*_members.values()]]:
        try:
            if member is not None:
                member.start_anew()
        except Exception as error:  # one that cannot must not keep the others from it
            fault = fault or error
    if fault is not None:
        raise fault


os.register_at_fork(after_in_child=_after_fork_in_child)

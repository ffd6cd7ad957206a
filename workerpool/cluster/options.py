"""What each worker of a cluster is told: options that can be sent to it, and the budget that all of them keep.

Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workerpool.config import Options
from workerpool.errors import OptionError
from workerpool.options.checking import default_connections
from workerpool.processes.options import check_shared, packed_option

_BUDGETS = ("rate", "host_rate", "max_connections", "host_connections")
"""Budgets that, once somebody asks for them, are those of all workers together."""

WINDOW, WINDOW_OF_EACH = 20_000, 100
"""Requests of one stream in memory, unless it is told otherwise, at least, and for each worker: some seconds of what a
process can take in of their outcomes."""

MANY = 64
"""Workers for whose sockets there is room by default where nobody knows how many there will be."""


def window_of(workers: int) -> int:
    """How many requests of one stream are in memory, for so many workers."""
    return max(WINDOW, WINDOW_OF_EACH * workers)


def check_cluster(given: Mapping[str, Any], options: Options, *, is_local: bool) -> None:
    """Raise `OptionError` for options that the workers of a cluster cannot keep together."""
    check_shared(given, options, "cluster=")
    if is_local or given.get("redis") is not None:
        return
    for name in _BUDGETS:
        if given.get(name) is not None:
            raise OptionError(
                f"{name}={given[name]!r} with cluster=: its workers are on several machines, which have no budget in "
                "common; name a Redis that keeps one, by redis= and budget=, or leave it out"
            )
    if given.get("budget") is not None:
        raise OptionError(
            "budget= with cluster=: it is in a file of this machine, and the workers are on others; name a Redis that "
            "keeps it, by redis="
        )


def options_of_workers(
    given: Mapping[str, Any], options: Options, workers: int | None, shared: Mapping[str, Any]
) -> dict[str, bytes]:
    """Pack the options of each worker's pool; raises `OptionError`, naming the option, for one that cannot be sent.

    `given`: as the pool was given them; `options`: the same, checked, `options.workers` those of one worker. `workers`:
    how many there are of these, None if that is not known. `shared`: where their common budget is, if they have one.
    """
    told = {**given, **shared, "max_workers": options.workers}
    if shared and given.get("max_connections") is None and not options.budgets.learns_connections:
        # One worker's default would be that of all together.
        told["max_connections"] = default_connections((workers or MANY) * options.workers)
    return {name: packed_option(name, value) for name, value in told.items()}

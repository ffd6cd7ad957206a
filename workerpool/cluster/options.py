"""What each worker of a cluster is told: options that can be sent to it, and the budget that all of them keep.

Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workerpool.config import AUTO, Options
from workerpool.errors import OptionError
from workerpool.options.checking import default_connections
from workerpool.processes.options import check_shared, packed_option

_BUDGETS = ("rate", "host_rate", "max_connections", "host_connections")
"""Budgets that, once somebody asks for them, are those of all workers together."""


def check_cluster(given: Mapping[str, Any], options: Options, *, is_local: bool) -> None:
    """Raise `OptionError` for options that the workers of a cluster cannot keep together."""
    check_shared(given, options, "cluster=")
    if is_local:
        return
    asked = [name for name in _BUDGETS if given.get(name) is not None]
    if asked and given.get("redis") is None:
        raise OptionError(
            f"{asked[0]}={given[asked[0]]!r} with cluster=: its workers are on several machines, which have no budget in "
            "common; leave it out, or use cluster='local[4]' or processes=, on one machine"
        )
    if given.get("budget") is not None:
        raise OptionError("budget= with cluster=: it is in a file of this machine, and the workers are on others")


def options_of_workers(
    given: Mapping[str, Any], options: Options, workers: int | None, budget: Path | None
) -> dict[str, bytes]:
    """Pack the options of each worker's pool; raises `OptionError`, naming the option, for one that cannot be sent.

    `given`: as the pool was given them; `options`: the same, checked, `options.workers` those of one worker. `workers`:
    how many there are of these, and `budget` the file of what they share, of a cluster on this machine.
    """
    common = {name: packed_option(name, value) for name, value in given.items()}
    common["max_workers"] = packed_option("max_workers", options.workers)
    if budget is None or workers is None:
        return common
    common["budget"] = packed_option("budget", budget)
    if given.get("max_connections") in (None, AUTO) and not options.budgets.learns_connections:
        most = default_connections(workers * options.workers)
        common["max_connections"] = packed_option("max_connections", most)
    return common

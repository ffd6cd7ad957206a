"""What each process of a pool is told: options that can be sent to it, and its share of what counts in all.

Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workerpool.config import Options, check_count
from workerpool.errors import OptionError
from workerpool.processes.parcels import Unsendable, pack

_HINTS = {
    "clock": "time is each process's own; leave it out",
    "cookies": 'each process would keep a jar of its own; write "worker" or "none"',
}


def check_processes(processes: int, workers: int) -> int:
    """Return the number of processes, if each can have a worker; raises `OptionError`."""
    check_count("processes", processes)
    if processes > workers:
        raise OptionError(
            f"processes={processes} is more than max_workers={workers}, the workers of all processes together: each "
            "needs one at least"
        )
    return processes


def shares(total: int, parts: int) -> list[int]:
    """Divide `total` as evenly as whole numbers can."""
    least, more = divmod(total, parts)
    return [least + (n < more) for n in range(parts)]


def packed_options(given: Mapping[str, Any], options: Options, processes: int) -> list[dict[str, bytes]]:
    """Pack the options of each process; raises `OptionError`, naming the option, for one that cannot be sent.

    `given`: as the pool was given them; `options`: the same, checked.
    """
    if options.cookies == "shared":
        raise OptionError(f'cookies="shared" with processes={processes}: {_HINTS["cookies"]}')
    if given.get("clock") is not None:
        raise OptionError(f"clock={given['clock']!r} with processes={processes}: {_HINTS['clock']}")
    common = {name: _packed(name, value) for name, value in given.items()}
    return [common | {name: pack(value) for name, value in own.items()} for own in _own_options(options, processes)]


def _own_options(options: Options, processes: int) -> list[dict[str, Any]]:
    """What is different from process to process."""
    if options.budgets.max_connections < processes:
        raise OptionError(
            f"max_connections={options.budgets.max_connections} is less than processes={processes}: each needs one"
        )
    workers = shares(options.workers, processes)
    connections = shares(options.budgets.max_connections, processes)
    return [{"max_workers": one, "max_connections": two} for one, two in zip(workers, connections, strict=True)]


def _packed(name: str, value: Any) -> bytes:
    try:
        return pack(value)
    except Unsendable as error:
        raise OptionError(
            f"{name}={value!r} cannot be given to other processes, as it {error}: name a function or a class "
            "of a module that they can import, or use one process"
        ) from error

"""What each process of a pool is told: options that can be sent to it, and its share of what counts in all.

Pure functions, any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workerpool.checks import check_count
from workerpool.config import AUTO, Options
from workerpool.errors import OptionError
from workerpool.processes.parcels import Unsendable, pack

_HINTS = {
    "clock": "time is each process's own; leave it out",
    "key_rate": "what is sent for a key is counted by each process for itself; use one process",
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


def packed_options(
    given: Mapping[str, Any], options: Options, processes: int, budget: Mapping[str, Any]
) -> list[dict[str, bytes]]:
    """Pack the options of each process; raises `OptionError`, naming the option, for one that cannot be sent.

    `given`: as the pool was given them; `options`: the same, checked. `budget`: what says where the budget is that the
    processes share, so that the rate, the sockets and the pauses of all of them together are those of one pool.
    """
    check_shared(given, options, f"processes={processes}")
    common = {name: packed_option(name, value) for name, value in given.items()}
    common |= {name: pack(value) for name, value in budget.items()}
    common["max_connections"] = pack(options.budgets.max_connections)
    if options.budgets.learns_connections:
        if given.get("host_connections") == options.budgets.host_connections:
            common["max_connections"] = pack(AUTO)  # beside which alone a number is the most that is to be found out
        else:
            common["host_connections"] = pack(AUTO)
    return [common | {"max_workers": pack(workers)} for workers in shares(options.workers, processes)]


def check_shared(given: Mapping[str, Any], options: Options, several: str) -> None:
    """Raise `OptionError` for options that several processes cannot keep together. `several`: what asks for these."""
    if options.cookies == "shared":
        raise OptionError(f'cookies="shared" with {several}: {_HINTS["cookies"]}')
    for name in ("clock", "key_rate"):
        if given.get(name) is not None:
            raise OptionError(f"{name}={given[name]!r} with {several}: {_HINTS[name]}")


def packed_option(name: str, value: Any) -> bytes:
    """Pack an option for another process; raises `OptionError`, naming it, if it cannot be."""
    try:
        return pack(value)
    except Unsendable as error:
        raise OptionError(
            f"{name}= is a {type(value).__name__} that cannot be given to other processes, as it {error}: name a "
            "function or a class of a module that they can import, or use one process"
        ) from error

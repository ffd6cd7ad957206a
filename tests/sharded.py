"""What tests of `ShardedPool` share: four hosts, and looks at processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.waiting import LONG, eventually
from workerpool.testing import Origin

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
WORKERS = 4


def origin_of_four() -> Origin:
    return Origin(addresses=ADDRESSES, record_limit=100_000)


def urls(origin: Origin, count: int, path: str = "/bytes/10") -> list[str]:
    """So many URLs, of all the origin's hosts in turn."""
    return [origin.url(f"{path}?i={n}", address=ADDRESSES[n % 4]) for n in range(count)]


def is_there(pid: int) -> bool:
    """Whether a process is there and not just waiting to be waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it goes between being opened and being read
        return False


def none_is_left(pids: list[int], seconds: float = LONG) -> bool:
    return eventually(lambda: not any(map(is_there, pids)), seconds)


def is_still(count: Callable[[], int]) -> bool:
    """Whether a count stays what it is for a moment."""
    before = count()
    return not eventually(lambda: count() != before, 0.3)

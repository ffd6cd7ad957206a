"""What is simulated: the batch, the cluster, and how long things take. Values."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A batch and the cluster that fetches it.

    `zipf`: the exponent of the hosts' sizes. `range`: URLs of a host that are moved as one, at most. `rate`: requests
    a second of all workers together. `window`: URLs in the coordinator at once; None for what the project sets.
    `splits`: whether large hosts are split by range.

    Seconds: `request` a request, on average, exponential; `hang` one that gets no answer, of which there are `hangs` of
    all. `slow_hosts` of the hosts take ten times as long, `slow_workers` of the workers four times. `task` is what
    Dask's scheduler and client need for a task, one after the other, `way` what a message needs; `url` and `chunk`
    what the coordinator's process needs for one of these. `deaths`: workers that die on the way, each replaced.
    """

    workers: int = 1_000
    hosts: int = 1_000_000
    urls: int = 100_000_000
    rate: int = 200_000
    zipf: float = 1.0
    range: int = 32
    threads: int = 32
    window: int | None = None
    splits: bool = True
    request: float = 0.1
    slow_hosts: float = 0.01
    slow_workers: float = 0.02
    hangs: float = 1e-5
    hang: float = 30.0
    task: float = 0.002
    way: float = 0.005
    url: float = 0.0
    chunk: float = 0.0
    deaths: int = 10
    seed: int = 9


def sizes(setting: Setting) -> array[int]:
    """URLs of each host, the largest host first; at least one, and all together as many as the batch has."""
    weights = [rank**-setting.zipf for rank in range(1, setting.hosts + 1)]
    scale = (setting.urls - setting.hosts) / sum(weights)
    if scale < 0:
        raise SystemExit(f"--urls {setting.urls} for --hosts {setting.hosts}: give at least one for each host")
    found = array("I", (1 + int(scale * weight) for weight in weights))
    for rank in range(setting.urls - sum(found)):
        found[rank % setting.hosts] += 1
    return found


def ranges(setting: Setting, dice: random.Random) -> Iterator[tuple[int, int]]:
    """The source: ranges of hosts' URLs, each a host and how many, in random order."""
    left = sizes(setting)
    order = array("I")
    for host, size in enumerate(left):
        order.extend([host] * -(-size // setting.range))
    for at in range(len(order) - 1, 0, -1):  # as `shuffle` does, which is slower
        other = int(dice.random() * (at + 1))
        order[at], order[other] = order[other], order[at]
    for host in order:
        size = min(setting.range, left[host])
        left[host] -= size
        yield host, size

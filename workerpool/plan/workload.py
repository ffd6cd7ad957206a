"""What is to be fetched: how many requests to which hosts, read from the sources once and lazily.

Memory does not grow with the sources: hosts past the first 10,000 are counted together, and of the requests a random
sample is kept, as the host that each one goes to. One thread.
"""

from __future__ import annotations

import random
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress, repeat

from workerpool.model import Request, origin
from workerpool.redact import redact

HOSTS = 10_000
"""Hosts that are counted one by one."""

SAMPLED = 100_000
"""Requests of the sample, at most: a simulation takes some five seconds for them."""

_NO_KEY = 2**63

EXAMPLES = 3
"""Inputs that are no requests, of which it is said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The requests of a batch. `hosts`: how many go to each of the first `HOSTS` hosts; `others`: to all further ones.

    `problems`: inputs that are no requests and are not sent, the first of which are `examples`, sentences with their
    places. `largest_key`: the requests of the key that has the most, where they are counted by keys, which may be
    secrets and are not kept. `order`, `keys`: hosts and keys of a sample of the requests, in the sources' order; see
    `sample`.
    """

    requests: int
    hosts: Mapping[str, int]
    others: int = 0
    problems: int = 0
    examples: tuple[str, ...] = ()
    largest_key: int = 0
    order: array[int] = field(default_factory=lambda: array("Q"), repr=False)
    keys: array[int] | None = field(default=None, repr=False)

    @property
    def scale(self) -> float:
        """How many requests one of the sample stands for."""
        return self.requests / len(self.order) if self.order else 1.0

    def sample(self) -> Iterator[tuple[str, str | None]]:
        """Yield host and key of each request of the sample. Hosts past the first `HOSTS`, and keys, are numbers."""
        names = [*self.hosts]
        keys: Iterable[int] = repeat(_NO_KEY) if self.keys is None else self.keys
        for number, key in zip(self.order, keys, strict=False):
            host = names[number] if number < HOSTS else f"host {number}"
            yield host, None if key == _NO_KEY else str(key)


class Numbers:
    """Gives names numbers, and counts them, up to `HOSTS`. Further ones get numbers that are hardly ever equal."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self.others = 0

    def number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is not None:
            self.counts[name] += 1
            return number
        if len(self._numbers) < HOSTS:
            number = self._numbers[name] = len(self._numbers)
            self.counts[name] = 1
            return number
        self.others += 1
        return HOSTS + zlib.crc32(name.encode(errors="backslashreplace"))


def read_workload(
    requests: Iterable[Request],
    *,
    key_of: Callable[[Request], str | None] | None = None,
    sampled: int = SAMPLED,
    seed: int = 0,
) -> Workload:
    """Read everything. `sampled`: the most requests that are kept of it; above that, at least half as many are.

    `key_of`: what requests are counted by, beside their hosts. Equal sources give an equal sample for an equal `seed`.
    """
    hosts, keys = Numbers(), Numbers()
    order = array("Q")
    key_order = array("Q")
    draw = random.Random(seed)
    share = 1.0  # of the requests that are kept
    problems = total = 0
    examples: list[str] = []
    for request in requests:
        if request.problem is not None:
            problems += 1
            if len(examples) < EXAMPLES:
                examples.append(redact(request.problem))
            continue
        total += 1
        number = hosts.number(origin(request.url))
        key = None if key_of is None else key_of(request)
        key_number = _NO_KEY if key is None else keys.number(key)
        if share < 1.0 and draw.random() >= share:
            continue
        order.append(number)
        if key_of is not None:
            key_order.append(key_number)
        if len(order) > sampled:
            chosen = [draw.random() < 0.5 for _ in order]
            order, key_order = array("Q", compress(order, chosen)), array("Q", compress(key_order, chosen))
            share /= 2
    return Workload(
        requests=total,
        hosts=hosts.counts,
        others=hosts.others,
        problems=problems,
        examples=tuple(examples),
        largest_key=max(keys.counts.values(), default=0),
        order=order,
        keys=None if key_of is None else key_order,
    )

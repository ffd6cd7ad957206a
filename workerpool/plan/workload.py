"""What is to be fetched: how many requests to which hosts, read from the sources once and lazily.

Memory does not grow with the sources: hosts past the first 10,000 are counted together, and of the requests a random
sample is kept, as the host that each one goes to. One thread.
"""

from __future__ import annotations

import random
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from workerpool.model import Request, origin
from workerpool.redact import redact

HOSTS = 10_000
"""Hosts that are counted one by one."""

SAMPLED = 100_000
"""Requests of the sample, at most: a simulation takes some five seconds for them."""

EXAMPLES = 3
"""Inputs that are no requests, of which it is said why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The requests of a batch. `hosts`: how many go to each of the first `HOSTS` hosts; `others`: to all further ones.

    `problems`: inputs that are no requests and are not sent, the first of which are `examples`, sentences with their
    places. `order`: the hosts of a sample of the requests, in the sources' order; see `names`.
    """

    requests: int
    hosts: Mapping[str, int]
    others: int = 0
    problems: int = 0
    examples: tuple[str, ...] = ()
    order: array[int] = field(default_factory=lambda: array("Q"), repr=False)

    @property
    def scale(self) -> float:
        """How many requests one of the sample stands for."""
        return self.requests / len(self.order) if self.order else 1.0

    def names(self) -> Iterator[str]:
        """Yield the host of each request of the sample. Those past the first `HOSTS` are called by a number."""
        names = [*self.hosts]
        for number in self.order:
            yield names[number] if number < HOSTS else f"host {number}"


def read_workload(requests: Iterable[Request], *, sampled: int = SAMPLED, seed: int = 0) -> Workload:
    """Read everything. `sampled`: the most requests that are kept of it; above that, at least half as many are.

    Equal sources give an equal sample for an equal `seed`.
    """
    counts: dict[str, int] = {}
    numbers: dict[str, int] = {}
    order = array("Q")
    draw = random.Random(seed)
    share = 1.0  # of the requests that are kept
    others = problems = total = 0
    examples: list[str] = []
    for request in requests:
        if request.problem is not None:
            problems += 1
            if len(examples) < EXAMPLES:
                examples.append(redact(request.problem))
            continue
        total += 1
        host = origin(request.url)
        number = numbers.get(host)
        if number is not None:
            counts[host] += 1
        elif len(numbers) < HOSTS:
            number = numbers[host] = len(numbers)
            counts[host] = 1
        else:
            others += 1
            number = HOSTS + zlib.crc32(host.encode(errors="backslashreplace"))
        if share == 1.0 or draw.random() < share:
            order.append(number)
            if len(order) > sampled:
                order = array("Q", (one for one in order if draw.random() < 0.5))
                share /= 2
    return Workload(
        requests=total, hosts=counts, others=others, problems=problems, examples=tuple(examples), order=order
    )

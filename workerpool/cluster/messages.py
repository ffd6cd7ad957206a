"""What the process that runs a batch and the workers of a cluster say to each other. Values, any thread.

A chunk is a task of Dask's, a harvest its result. Both travel as bytes: Dask needs to know nothing of what is in them.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple, TypeAlias

from workerpool.processes.parcels import OutcomeParcel, RequestParcel
from workerpool.statistics import PoolStatistics, Wait


class Errand(NamedTuple):
    """One request. `number`: of all that this batch sends; `owner`: the number of the stream that it belongs to."""

    number: int
    owner: int
    host: str
    request: RequestParcel


class Chunk(NamedTuple):
    """Fetch these beside what is there, and say after so many `seconds` what has ended, or once little is left.

    `job`: whose pool it is. `options`: to make that pool of, each of them pickled. `keeps_bodies`: whether bodies are
    to be told. `low`: how many may be left when more is wanted; 0 where there is no more. `doing`: what the streams'
    consumers are at, for the figures.
    """

    job: str
    options: dict[str, bytes]
    keeps_bodies: bool
    errands: list[Errand]
    seconds: float
    low: int
    doing: Wait


Ended: TypeAlias = tuple[int, OutcomeParcel, int]
"""The number of a request, its outcome, and how many bytes of a body were left out of it. Plain, as there are many."""


class Harvest(NamedTuple):
    """What has ended since the last one, whichever chunk it came with.

    `pool`: which pool this was; another one there knows nothing of what it left undone. `left`: requests that it has
    still. `is_hungry`: whether it could send to further hosts. `cpu`: seconds that its process has had.
    """

    pool: str
    ended: list[Ended]
    left: int
    is_hungry: bool
    figures: PoolStatistics
    cpu: float


def packed(message: Chunk | Harvest) -> bytes:
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpacked(data: bytes) -> Any:
    return pickle.loads(data)

"""How far a durable sink has come: a small value, kept as text by whoever resumes the sink. Pure functions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from workerpool.errors import SinkError


@dataclass(frozen=True, slots=True)
class Position:
    """What is in an output: so many `rows`, in files so many `bytes`, the last of which have the checksum `tail`."""

    rows: int = 0
    bytes: int = 0
    tail: int = 0

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def parse(text: str) -> Position:
    """Read what ``str(position)`` has written; raises `SinkError`."""
    try:
        position = Position(**json.loads(text))
        if all(type(value) is int and value >= 0 for value in asdict(position).values()):
            return position
    except (ValueError, TypeError):
        pass
    raise SinkError(f"the position {text[:200]!r} is none of this version's: finish the job with the one that began it")

"""Lets clients meet a hidden limit, and asks its server what it has counted of them."""

from __future__ import annotations

import bisect
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.manners.clients import Client, Ended, Seat
from benchmarks.manners.hidden import Hidden, Serving


@dataclass(frozen=True)
class Row:
    """What the server counted of one client in its time.

    `sockets`: the most that were open. `each`: seconds from a request's head to the end of its answer, on average.
    """

    label: str
    accepted: int
    refused: int
    incidents: int
    sockets: int
    each: float
    ended: Ended


def run(hidden: Hidden, clients: Sequence[Client], seconds: float) -> list[Row]:
    """Run these clients at the same time, each against a server of its own."""
    with ExitStack() as stack:
        servings, seats = [], []
        for client in clients:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            serving = stack.enter_context(hidden.serve(folder, seconds))
            servings.append(serving)
            seats.append(stack.enter_context(Seat(client, hidden, serving.url, seconds)))
        for seat in seats:
            seat.await_ready()
        began = time.monotonic()
        for seat in seats:
            seat.go()
        ended = [seat.leave() for seat in seats]
        span = (began, began + seconds)
        return [
            row_of(client, serving, span, end) for client, serving, end in zip(clients, servings, ended, strict=True)
        ]


def row_of(client: Client, serving: Serving, span: tuple[float, float], ended: Ended) -> Row:
    records = serving.records()
    arrived, refused = (_within(times, span) for times in (records.times, records.refusals))
    return Row(
        label=client.label,
        accepted=arrived - refused,
        refused=refused,
        incidents=records.incidents(1.0),
        sockets=records.sockets.peak,
        each=records.answers.seconds / max(1, records.answers.accepted),
        ended=ended,
    )


def _within(times: Sequence[float], span: tuple[float, float]) -> int:
    return bisect.bisect_left(times, span[1]) - bisect.bisect_left(times, span[0])

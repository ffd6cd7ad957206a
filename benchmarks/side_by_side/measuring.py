"""Lets the clients of a case take turns, and keeps what each took."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.side_by_side.cases import Case
from benchmarks.side_by_side.clients import Client, Setup
from benchmarks.side_by_side.commands import Command, Run
from benchmarks.side_by_side.results import CaseResult, Row, Turn
from benchmarks.side_by_side.servers import Servers
from benchmarks.side_by_side.turns import Seat

WARM_UP = 4
"""Requests for each connection before anything is timed: so many find all of them busy, and make another one."""

LEAST = 8
"""Requests for each connection in a turn: with fewer, its begin and its end are what is measured."""

PROBE = 0.3
"""The share of a turn that its length is told from; of a shorter one, much would be what each turn begins with."""


class Contender(Protocol):
    """What takes turns: a library in its process, or a command line."""

    @property
    def client(self) -> Client | Command: ...

    def turn(self, requests: int) -> Turn: ...


def measure(case: Case, servers: Servers, *, rounds: int, seconds: float, say: Callable[[str], None]) -> CaseResult:
    """Measure one case; raises `TurnFailed` if a client does not get everything."""
    missing = {client.name: client.missing() for client in case.clients}
    result = CaseResult(title=case.title)
    for client in case.clients:
        if missing[client.name] is None:
            result.rows[client.name] = Row(label=client.label)
        else:
            result.left_out.append(f"{client.label}: {missing[client.name]}")
    with seated(case, [client for client in case.clients if missing[client.name] is None], servers) as contenders:
        lengths = {}
        for contender in contenders:
            say(f"{case.name}: {contender.client.label} warms up")
            lengths[contender.client.name] = _turn_length(case, contender, seconds)
        for number in range(rounds):
            for contender in _rotated(contenders, number):
                name = contender.client.name
                say(f"{case.name}: round {number + 1} of {rounds}, {contender.client.label}")
                if case.requests is None:
                    contender.turn(case.concurrency)  # its connections may have been retired since its last turn
                result.rows[name].turns.append(contender.turn(lengths[name]))
    return result


@contextmanager
def seated(case: Case, clients: Sequence[Client | Command], servers: Servers) -> Iterator[list[Contender]]:
    """Start whatever of these stays from turn to turn."""
    url = case.url(servers)
    setup = setup_of(case, servers)
    contenders: list[Contender] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for client in clients:
            if isinstance(client, Client):
                contenders.append(stack.enter_context(Seat(client, setup, url)))
            else:
                contenders.append(Run(client, folder, url, case.concurrency))
        yield contenders


def setup_of(case: Case, servers: Servers) -> Setup:
    ca = str(servers.ca) if case.url(servers).startswith("https:") else None
    return Setup(concurrency=case.concurrency, body_bytes=case.body_bytes, ca=ca)


def _turn_length(case: Case, contender: Contender, seconds: float) -> int:
    """Warm a client up, and return how many requests a turn of about so many seconds has, in whole waves."""
    if case.requests is not None:
        contender.turn(case.requests)
        return case.requests
    contender.turn(WARM_UP * case.concurrency)
    probe = contender.turn(WARM_UP * case.concurrency)
    while probe.seconds < PROBE * seconds:
        probe = contender.turn(3 * probe.requests)
    waves = seconds * probe.requests / probe.seconds / case.concurrency
    return max(LEAST, round(waves)) * case.concurrency


def _rotated(contenders: list[Contender], number: int) -> list[Contender]:
    start = number % len(contenders) if contenders else 0
    return contenders[start:] + contenders[:start]

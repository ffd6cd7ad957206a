"""What is measured: URLs, how many requests at once, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.side_by_side.clients import CLIENTS, Client
from benchmarks.side_by_side.commands import COMMANDS, Command
from benchmarks.side_by_side.servers import LARGE, SMALL, Servers

RUN = "workerpool-run"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`requests`: in each turn; None where a turn is as many as a client does in the time."""

    name: str
    title: str
    url: Callable[[Servers], str]
    body_bytes: int
    concurrency: int
    clients: tuple[Client | Command, ...]
    requests: int | None = None


LIBRARIES = tuple(client for client in CLIENTS if client.name != RUN)

CASES = (
    Case(
        name="http",
        title="1 KiB over HTTP, 16 at a time",
        url=lambda servers: servers.small_http,
        body_bytes=SMALL,
        concurrency=16,
        clients=CLIENTS,
    ),
    Case(
        name="https",
        title="1 KiB over HTTPS, 16 at a time",
        url=lambda servers: servers.small_https,
        body_bytes=SMALL,
        concurrency=16,
        clients=LIBRARIES,
    ),
    Case(
        name="delay",
        title="1 KiB after 50 ms, 256 at a time: 5,120 at most",
        url=lambda servers: servers.delayed,
        body_bytes=SMALL,
        concurrency=256,
        clients=LIBRARIES,
    ),
    Case(
        name="large",
        title="1 MiB over HTTP, 16 at a time",
        url=lambda servers: servers.large,
        body_bytes=LARGE,
        concurrency=16,
        clients=LIBRARIES,
    ),
    Case(
        name="commands",
        title="Command lines: 10,000 URLs of 1 KiB, 16 at a time",
        url=lambda servers: servers.small_http,
        body_bytes=SMALL,
        concurrency=16,
        clients=COMMANDS,
        requests=10_000,
    ),
)


def only(case: Case, names: list[str]) -> Case:
    """Return the case with these clients alone."""
    clients = tuple(client for client in case.clients if client.name in names)
    return replace(case, clients=clients)

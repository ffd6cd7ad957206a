"""The hidden limits: the servers that keep to them, and what each client is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import nginx
from benchmarks.limited_nginx import LimitedNginx, limiting_connections, limiting_rate
from workerpool.testing import OriginProcess
from workerpool.testing.origin import Records

Of = Literal["rate", "connections"]

RATE, BURST = 50, 5
A_MINUTE = 600
PLACES, PLACE_SECONDS = 8, 0.05
SLOTS, SLOT_SECONDS = 8, 0.02
DELAY = 0.01
"""Seconds that an answer takes unless the limit says otherwise."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A server as it runs: `url` is to be followed by anything, and `records` is what it has counted."""

    url: str
    records: Callable[[], Records]


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """A limit that only its server knows.

    `of`: what it is a limit of. `told`: what a pool of ours is told of it. `capacity`: requests that it lets through in
    so many seconds, at most. `demand`: requests that a client would send at once.
    """

    name: str
    title: str
    of: Of
    told: dict[str, Any]
    capacity: Callable[[float], float]
    serve: Callable[[Path, float], AbstractContextManager[Serving]]
    demand: int = 16
    needs_nginx: bool = False


def _origin(path: Callable[[float], str]) -> Callable[[Path, float], AbstractContextManager[Serving]]:
    """An origin's path; it is told how many seconds a client has."""

    @contextmanager
    def serve(folder: Path, seconds: float) -> Iterator[Serving]:
        with OriginProcess() as origin:
            yield Serving(f"{origin.url(path(seconds))}&n=", origin.records)

    return serve


def _nginx(
    limiting: Callable[..., AbstractContextManager[LimitedNginx]], retry_after: int | None = None
) -> Callable[[Path, float], AbstractContextManager[Serving]]:
    @contextmanager
    def serve(folder: Path, seconds: float) -> Iterator[Serving]:
        binary = nginx.find()
        assert binary is not None
        with limiting(binary, folder, retry_after=retry_after) as server:
            yield Serving(server.url, server.records)

    return serve


def _window(dialect: str) -> Hidden:
    def path(seconds: float) -> str:
        length = min(60.0, seconds)  # a shorter run meets a shorter window, so that it does not end within the first
        return f"/window?count={round(A_MINUTE * length / 60)}&seconds={length}&headers={dialect}&delay={DELAY}"

    return Hidden(
        name=f"window-{dialect}",
        title=f"a fixed window of {A_MINUTE} a minute, told in the headers ({dialect}), 429 with Retry-After",
        of="rate",
        told={"host_rate": f"{A_MINUTE}/min"},
        capacity=lambda seconds: A_MINUTE * seconds / 60,
        serve=_origin(path),
    )


def _bucket(name: str, title: str, query: str) -> Hidden:
    return Hidden(
        name=name,
        title=f"a token bucket, {RATE}/s burst {BURST}: {title}",
        of="rate",
        told={"host_rate": f"{RATE}/s"},
        capacity=lambda seconds: RATE * seconds + BURST,
        serve=_origin(lambda seconds: f"/limit?rate={RATE}&burst={BURST}&delay={DELAY}{query}"),
    )


def _nginx_rate(name: str, title: str, retry_after: int | None) -> Hidden:
    return Hidden(
        name=name,
        title=f"nginx limit_req {RATE} r/s burst {BURST} nodelay: {title}",
        of="rate",
        told={"host_rate": f"{RATE}/s"},
        capacity=lambda seconds: RATE * seconds + BURST,
        serve=_nginx(limiting_rate, retry_after),
        needs_nginx=True,
    )


HIDDEN = (
    _nginx_rate("nginx-rate", "503", None),
    _nginx_rate("nginx-rate-hint", "503 with Retry-After 1", 1),
    _bucket("bucket", "429 with Retry-After", ""),
    _bucket("bucket-silent", "429 without Retry-After", "&hint=no"),
    _window("ietf"),
    _window("github"),
    _window("discord"),
    Hidden(
        name="nginx-connections",
        title=f"nginx limit_conn {PLACES}, answers after {PLACE_SECONDS * 1000:g} ms: 503",
        of="connections",
        told={"host_connections": PLACES},
        capacity=lambda seconds: PLACES * seconds / PLACE_SECONDS,
        serve=_nginx(limiting_connections),
        demand=32,
        needs_nginx=True,
    ),
    Hidden(
        name="queue",
        title=f"latency that rises: {SLOTS} slots of {SLOT_SECONDS * 1000:g} ms, the others wait",
        of="connections",
        told={"host_connections": SLOTS},
        capacity=lambda seconds: SLOTS * seconds / SLOT_SECONDS,
        serve=_origin(lambda seconds: f"/queue?slots={SLOTS}&delay={SLOT_SECONDS}"),
        demand=64,
    ),
)

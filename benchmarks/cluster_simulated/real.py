"""What the real coordinator needs for a request, by measuring it: memory, and time of its process.

The line is one that answers each chunk at once, in the coordinator's own thread; its time is taken off.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from requests import Response

from workerpool.agent import version
from workerpool.cluster.berths import MOST, Berth, Given
from workerpool.cluster.books import Books
from workerpool.cluster.coordinator import Coordinator
from workerpool.cluster.line import Told
from workerpool.cluster.messages import Chunk, Errand, Harvest, packed, unpacked
from workerpool.model import Attempt, Outcome, Request
from workerpool.processes.figures import NOTHING
from workerpool.processes.parcels import pack_outcome, pack_request
from workerpool.tickets import Ticket

WINDOW = 20_000
"""Requests in the books at once, while a million hosts go through them."""


@dataclass(frozen=True)
class Need:
    """Bytes for a request in the window, where all are of one host, and where each is of another one; for a worker;
    and what stays after so many hosts. Seconds of the process for a request."""

    request: float
    host: float
    worker: float
    stays: int
    hosts: int
    seconds: float


class _Echo:
    """A cluster of one worker, which answers at once. `seconds`: what that takes."""

    is_local = False
    is_up = True
    is_closed = False
    name = "the cluster"

    def __init__(self) -> None:
        self.seconds = 0.0

    def ask_workers(self, told: Told) -> None:
        told({"worker": 2})

    def greet(self, address: str, told: Told) -> None:
        told((version(), "here"))

    def submit(self, address: str, key: str, data: bytes, told: Told) -> Callable[[], None]:
        began = time.thread_time()
        chunk: Chunk = unpacked(data)
        ended = [(one.number, pack_outcome(_outcome(one.request[0])), 0) for one in chunk.errands]
        answer = packed(Harvest("pool", ended, 0, True, NOTHING, 0.0))
        self.seconds += time.thread_time() - began
        told(answer)
        return lambda: None

    def stop(self, addresses: Sequence[str], job: str, owner: int) -> None: ...

    def close(self, addresses: Sequence[str], job: str) -> None: ...


def _outcome(url: str) -> Outcome:
    """An answer with the usual headers, and no body."""
    response = Response()
    response.status_code, response.url, response._content = 200, url, b""
    response.headers.update(
        {"Content-Type": "text/html", "Content-Length": "0", "Date": "Sat, 01 Jan 2000 00:00:00 GMT"}
    )
    attempt = Attempt(started_at=0.0, elapsed=0.1, status=200)
    return Outcome(Request(url), response=response, attempts=(attempt,), timings=attempt.timings)


class _Counted(Ticket):
    __slots__ = ()

    def deliver(self, outcome: Outcome) -> None: ...


def measured(hosts: int, requests: int = 50_000) -> Need:
    """Measure it all. `hosts`: that go through the books; `requests`: that the rest is measured with."""
    one_host = _in_window(requests, lambda number: "host")
    return Need(
        request=one_host,
        host=_in_window(requests, lambda number: f"host{number}.example"),
        worker=_grown(lambda: _books(1_000)) / 1_000,
        stays=_after(hosts),
        hosts=hosts,
        seconds=_seconds(requests),
    )


def _grown(make: Callable[[], Any]) -> int:
    """Bytes that something takes."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = make()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return after - before


def _books(workers: int) -> Books:
    books = Books(may_split=True)
    for number in range(workers):
        books.join(Berth(f"tcp://10.0.{number // 256}.{number % 256}:40000", 16))
    return books


def _given(number: int, host: str) -> Given:
    request = Request(f"https://{host}/a/page/of/some/length?number={number}")
    return Given(_Counted(request, host), Errand(number, 1, host, pack_request(request)))


def _in_window(requests: int, host: Callable[[int], str]) -> float:
    """Bytes for each request."""

    def fill() -> Books:
        books = _books(10)
        for number in range(requests):
            books.enter(_given(number, host(number)))
        return books

    return _grown(fill) / requests


def _after(hosts: int) -> int:
    """Bytes that are left of so many hosts, each with a request that has ended."""
    books = _books(100)
    for berth in books.berths.values():
        berth.target = MOST
    one = _given(0, "host")  # what a request needs by itself is measured with those in the window

    def go() -> None:
        for start in range(0, hosts, WINDOW):
            for host in range(start, min(hosts, start + WINDOW)):
                books.enter(Given(one.ticket, one.errand._replace(number=host, host=f"host{host}.example")))
            while books.given:
                for berth in books.berths.values():
                    for given in books.fill(berth):
                        books.end(given.number)
        books.changed.clear()

    return _grown(go)


def _seconds(requests: int) -> float:
    """Of the coordinator's process for each request, from when it is given one to when its outcome is delivered."""
    line = _Echo()
    crew = Coordinator(
        line, {}, 16, may_split=True, keeps_bodies=True, may_repeat=lambda request: True
    )  # fmt: skip
    tickets = [
        _Counted(Request(f"https://host{number % 1_000}.example/{number}"), f"host{number % 1_000}.example")
        for number in range(requests)
    ]
    began = time.process_time()
    crew.add(tickets)
    crew.close(cancel=False)
    crew.join()
    return (time.process_time() - began - line.seconds) / requests

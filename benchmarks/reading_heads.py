"""What reading an answer's head costs: the fast path's reader, llhttp by way of httptools, and http.client, in one run.

    python benchmarks/reading_heads.py [--rounds N]

The answer is one of nginx's, 8 headers and 1 KiB of body, in one piece in memory. Readers take turns; each figure is
the median of the rounds, and a ratio that of the ratios within a round. All of them end with the status, the body's
length and a place to look headers up.

Needs httptools (``pip install 'workerpool-http[bench]'``).
"""

import argparse
import http.client
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import httptools

from workerpool.transport.http1 import parse_head

CALLS = 500
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 15:30:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 1024\r\nLast-Modified: Sat, 21 Nov 2026 15:20:00 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "6559a1b2-400"\r\nAccept-Ranges: bytes\r\n\r\n' + 1024 * b"x"
)


class Heard:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)


class Canned:
    """What http.client takes for a socket."""

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(ANSWER)


def by_own_reader() -> tuple[int, int]:
    head = parse_head(ANSWER)
    assert head is not None
    return head.status, head.length


def by_llhttp() -> tuple[int, int]:
    heard = Heard()
    parser = httptools.HttpResponseParser(heard)
    parser.feed_data(ANSWER)
    return parser.get_status_code(), int(heard.headers[b"content-length"])


def by_http_client() -> tuple[int, int]:
    canned: Any = Canned()
    answer = http.client.HTTPResponse(canned)
    answer.begin()
    return answer.status, int(answer.headers["content-length"])


READERS: dict[str, Callable[[], tuple[int, int]]] = {
    "the fast path": by_own_reader,
    "llhttp": by_llhttp,
    "http.client": by_http_client,
}


def microseconds(read: Callable[[], tuple[int, int]]) -> float:
    """What one call takes, of `CALLS`."""
    began = time.perf_counter()
    for _ in range(CALLS):
        read()
    return (time.perf_counter() - began) / CALLS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure three readers of an answer's head, in one run.")
    parser.add_argument("--rounds", type=int, default=100, help="of every reader (100)")
    options = parser.parse_args()
    for name, read in READERS.items():
        if read() != (200, 1024):
            raise SystemExit(f"{name} reads something else")
    rounds = [{name: microseconds(read) for name, read in READERS.items()} for _ in range(options.rounds)]
    print(f"{'reader':16}{'µs':>8}{'of the fast path':>20}")
    for name in READERS:
        median = statistics.median(figures[name] for figures in rounds)
        ratio = statistics.median(figures[name] / figures["the fast path"] for figures in rounds)
        print(f"{name:16}{median:8.1f}{ratio:18.2f} x")


if __name__ == "__main__":
    main()

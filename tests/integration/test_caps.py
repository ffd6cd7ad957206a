"""What a server sends is bounded: bodies once they are decompressed, headers, lines, interim answers and redirects."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
import zlib
from typing import Any

import pytest
import requests

from workerpool import BadBody, ConnectionLost, Outcome, Request, TooLarge, TooManyRedirects, WorkerPool
from workerpool.testing import Origin, Reply
from workerpool.testing.origin import Arrival
from workerpool.transport.reading import MAX_HEAD

MIB = 1024 * 1024

CASES = [
    ("gzip", "answer", "pool", "length"),
    ("deflate", "answer", "pool", "end"),
    ("raw deflate", "answer", "pool", "length"),
    ("gzip in gzip", "answer", "pool", "length"),
    ("gzip members", "answer", "pool", "chunked"),
    ("brotli", "answer", "pool", "length"),
    ("gzip", "redirect", "pool", "chunked"),
    ("gzip", "error", "pool", "length"),
    ("gzip", "challenge", "pool", "length"),
    ("gzip members", "answer", "session", "chunked"),
    ("gzip", "redirect", "session", "length"),
    ("gzip", "challenge", "session", "length"),
    ("gzip", "redirect", "streamed session", "length"),
    ("gzip", "challenge", "streamed session", "length"),
]

PROGRAM = """
import gzip, json, resource, socket, sys, threading, time, zlib

def zeros(wbits, count):
    # `count` MiB of zeros, about 1 KiB for each. Compressing 10 GiB takes a minute: what a full flush makes repeats.
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (count // 16)

bombs = {
    "gzip": ("gzip", zeros(31, 10_000)),
    "deflate": ("deflate", zeros(15, 10_000)),
    "raw deflate": ("deflate", zeros(-15, 10_000)),
    "gzip in gzip": ("gzip, gzip", gzip.compress(zeros(31, 10_000))),
    "gzip members": ("gzip", gzip.compress(bytes(1 << 20)) * 10_000),
}
try:
    import brotlicffi
    bombs["brotli"] = ("br", brotlicffi.compress(bytes(300 << 20), quality=3))
except ImportError:
    pass

STATUSES = {"answer": "200 OK", "redirect": "302 Found", "error": "404 Not Found", "challenge": "401 Unauthorized"}
HEADERS = {
    "redirect": "Location: /\\r\\n",
    "challenge": 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"\\r\\n',
}

def answer(conn, kind, place, framing):
    coding, body = bombs[kind]
    framings = {"length": f"Content-Length: {len(body)}\\r\\n", "chunked": "Transfer-Encoding: chunked\\r\\n"}
    head = f"HTTP/1.1 {STATUSES[place]}\\r\\nContent-Encoding: {coding}\\r\\n"
    conn.sendall((head + HEADERS.get(place, "") + framings.get(framing, "") + "\\r\\n").encode())
    for start in range(0, len(body), 65536):
        piece = body[start : start + 65536]
        conn.sendall(b"%x\\r\\n%b\\r\\n" % (len(piece), piece) if framing == "chunked" else piece)

def serve():
    while True:
        conn, _ = listener.accept()
        conn.recv(65536)
        try:
            answer(conn, kind, place, framing)
        except OSError:
            pass
        conn.close()

import requests
from requests.auth import HTTPDigestAuth
from workerpool import TooLarge, WorkerPool

def fetch():
    options = {"auth": HTTPDigestAuth("me", "pw")} if place == "challenge" else {}
    with WorkerPool(1, retry=None, timeout=30, max_body=16 << 20) as pool:
        if way == "pool":
            return pool.get(url, **options).result()
        return pool.submit(lambda: pool.session.get(url, stream=way == "streamed session", **options)).result()

listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
threading.Thread(target=serve, daemon=True).start()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for kind, place, way, framing in json.loads(sys.argv[1]):
    if kind not in bombs:
        print(json.dumps(None))
        continue
    began = time.monotonic()
    try:
        verdict = f"came to an end: {fetch().status_code}"
    except Exception as error:
        verdict = f"{type(error).__name__} {error}"
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps([verdict, time.monotonic() - began, growth]), flush=True)
"""


@pytest.fixture(scope="module")
def verdicts() -> dict[tuple[str, ...], tuple[str, float, float] | None]:
    """What became of each case, in a process of its own: a sentence, its seconds, and the MiB that memory has grown."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", CASES, ids=", ".join)
def test_a_bomb_of_10_gb_stops_at_the_cap_with_flat_memory(case: tuple[str, ...], verdicts: Any) -> None:
    if verdicts[case] is None:
        pytest.skip("brotlicffi is not installed")
    verdict, seconds, growth = verdicts[case]
    assert verdict == "TooLarge the body is larger than max_body, 16777216 bytes"
    assert seconds < 5
    assert growth < 150


def fetch(pool: WorkerPool, how: str, url: str) -> requests.Response:
    if how == "pool":
        return pool.get(url).result()
    return pool.submit(lambda: pool.session.get(url)).result()  # type: ignore[no-any-return]


WAYS = pytest.mark.parametrize("how", ["pool", "pool.session"])


@WAYS
@pytest.mark.parametrize("framing", ["length", "chunked", "end"])
def test_a_body_of_just_the_cap_is_read_and_one_byte_more_is_not(how: str, framing: str) -> None:
    def reply(count: int) -> Reply:
        if framing == "end":
            return Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * count, close=True)
        return Reply(body=b"x" * count, chunked=framing == "chunked")

    with Origin() as origin, WorkerPool(1, retry=None, max_body=100_000) as pool:
        origin.script("/", reply(100_000), reply(100_001), Reply(body=b"next"))
        assert len(fetch(pool, how, origin.url("/")).content) == 100_000
        with pytest.raises(TooLarge):
            fetch(pool, how, origin.url("/"))
        assert fetch(pool, how, origin.url("/")).content == b"next"


@WAYS
def test_a_length_over_the_cap_fails_without_reading(how: str) -> None:
    """The body would take a minute to come."""
    with Origin() as origin, WorkerPool(1, retry=None, max_body=99) as pool:
        began = time.monotonic()
        with pytest.raises(TooLarge):
            fetch(pool, how, origin.url("/drip?bytes=100&seconds=60"))
        assert time.monotonic() - began < 2
        origin.wait_until(lambda: origin.connections_open == 0)


def test_what_has_no_body_is_not_too_large_for_the_length_that_it_names() -> None:
    with Origin() as origin, WorkerPool(1, retry=None, max_body=10) as pool:
        origin.script("/", Reply(status=200, headers={"Content-Length": "5000"}))
        assert pool.head(origin.url("/")).result().headers["Content-Length"] == "5000"


def test_a_streamed_response_is_not_bounded() -> None:
    with Origin() as origin, WorkerPool(1, max_body=10) as pool:
        assert len(pool.get(origin.url("/bytes/5000"), stream=True).result().content) == 5000


# -- decoding ---------------------------------------------------------------------------------------------------------

TEXT = bytes(range(256)) * 40


def deflated(data: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body", "plain"),
    [
        ("gzip", gzip.compress(TEXT), TEXT),
        ("x-gzip", gzip.compress(TEXT), TEXT),
        ("GZIP", gzip.compress(TEXT), TEXT),
        ("gzip", gzip.compress(TEXT) * 30, TEXT * 30),
        ("gzip", gzip.compress(bytes(MIB)) * 5, bytes(5 * MIB)),  # members that end where a piece does
        ("gzip", gzip.compress(b"") * 5000 + gzip.compress(TEXT), TEXT),
        ("gzip", gzip.compress(TEXT) + b"no gzip at all", TEXT),
        ("gzip", gzip.compress(TEXT)[:-4], TEXT),  # the check sum is cut off
        ("gzip", b"", b""),
        ("deflate", deflated(TEXT, 15), TEXT),
        ("deflate", deflated(TEXT, -15), TEXT),
        ("deflate", deflated(TEXT, 15) + b"rest", TEXT),
        ("deflate", deflated(b"", 15), b""),
        ("gzip, deflate", deflated(gzip.compress(TEXT), 15), TEXT),
        ("deflate,gzip", gzip.compress(deflated(bytes(3 * MIB), -15)), bytes(3 * MIB)),
        ("identity", TEXT, TEXT),
        ("no-such-coding", TEXT, TEXT),
    ],
)
@pytest.mark.parametrize("max_body", [6 * MIB, None])
def test_a_body_comes_out_as_it_went_in(coding: str, body: bytes, plain: bytes, max_body: int | None) -> None:
    """Members of a gzip body that end at one of requests' pieces of 10 KiB are more than requests itself gets right."""
    with Origin() as origin, WorkerPool(1, retry=None, max_body=max_body) as pool:
        origin.script("/", Reply(body=body, headers={"Content-Encoding": coding}, chunked=True))
        assert pool.get(origin.url("/")).result().content == plain
        pool.get(origin.url("/")).result()
        assert pool.statistics().sockets_opened == 1  # read to the end


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, deflate", ", ".join(["gzip"] * 6)])
def test_a_body_that_does_not_decode_is_a_bad_body(coding: str) -> None:
    with Origin() as origin, WorkerPool(1, retry=None, max_body=MIB) as pool:
        origin.script("/", Reply(body=b"this is plain text", headers={"Content-Encoding": coding}))
        (outcome,) = pool.stream([origin.url("/")])
        assert isinstance(outcome.error, BadBody)
        assert isinstance(outcome.error.__cause__, requests.exceptions.ContentDecodingError)


# -- heads, lines, trailers -------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("opening", "endless"),
    [
        (b"HTTP/1.1 200 ", b"O" * 65536),
        (OK + b"X-Long: ", b"x" * 65536),
        (OK, b"X-Header: value\r\n" * 4096),
        (OK, b"X-Header: " + b"v" * 60_000 + b"\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4096),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 4096),
        (CHUNKED, b"0" * 65536),
        (CHUNKED + b"1;x=", b"y" * 65536),
        (CHUNKED + b"0\r\n", b"X-Trailer: value\r\n" * 4096),
        (CHUNKED + b"-1\r\n", b"x" * 65536),
        (CHUNKED + b"0x10\r\n", b"x" * 65536),
        (CHUNKED + b"1_0\r\n", b"x" * 65536),
    ],
    ids=[
        *("status line", "a header", "headers", "large headers", "interim answers", "early hints"),
        *("a chunk's size", "a chunk's extension", "trailers", "a negative size", "a prefixed size", "a size with _"),
    ],
)
@WAYS
def test_a_head_or_line_without_end_is_an_error_and_soon_over(opening: bytes, endless: bytes, how: str) -> None:
    """The server sends until it cannot, and counts what went out: no more than its buffers and ours hold."""
    sent = 0
    is_over = threading.Event()

    def serve() -> None:
        nonlocal sent
        conn, _ = listener.accept()
        with conn:
            conn.recv(65536)
            try:
                conn.sendall(opening)
                while sent < 256 * MIB:
                    conn.sendall(endless)
                    sent += len(endless)
            except OSError:
                pass
        is_over.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with (
            WorkerPool(1, retry=None, timeout=20) as pool,
            pytest.raises((TooLarge, requests.ConnectionError, requests.exceptions.ChunkedEncodingError)) as caught,
        ):
            fetch(pool, how, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert not isinstance(caught.value, requests.Timeout)
        assert is_over.wait(5)
        thread.join()
    assert sent < 16 * MIB


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        (OK + b"X: " + b"x" * 70_000, TooLarge, "longer than 65536 bytes"),
        (
            OK + b"".join(b"X-%d: %b\r\n" % (n, b"x" * 5000) for n in range(90)),
            TooLarge,
            f"longer than {MAX_HEAD} bytes",
        ),
        (OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)), TooLarge, "headers"),
        (CHUNKED + b"0" * 70_000, TooLarge, "longer than 65536 bytes"),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * 100_000, TooLarge, f"trailers are longer than {MAX_HEAD} bytes"),
        (CHUNKED + b"-1\r\nabc", ConnectionLost, "size of a chunk is no number"),
        (CHUNKED + b"\xff\r\n\0", ConnectionLost, "size of a chunk is no number"),
    ],
    ids=["line", "head", "count", "chunk line", "trailers", "negative chunk", "binary chunk"],
)
def test_the_outcome_says_what_was_too_much(raw: bytes, error: type[Exception], words: str) -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Reply(raw=raw, close=True))
        (outcome,) = pool.stream([origin.url("/")])
        assert type(outcome.error) is error
        assert words in str(outcome.error)


def test_a_chunked_body_with_extensions_and_trailers_is_read_whole() -> None:
    raw = CHUNKED + b"5;a=b\r\nhello\r\n0006 ; c\r\n world\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script("/", Reply(raw=raw))
        assert [pool.get(origin.url("/")).result().content for _ in range(2)] == [b"hello world"] * 2
        assert origin.connections_opened == 1


def test_an_interim_answer_is_not_taken_for_the_final_one() -> None:
    """Else the final one would be the answer of the next request over the same socket."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        bodies = [b"one", b"two"]
        origin.script(
            "/", *(Reply(raw=hints + OK + b"Content-Length: 3\r\n\r\n" + body, drip=0.002) for body in bodies)
        )
        responses = [pool.get(origin.url("/")).result() for _ in bodies]
        assert [(response.status_code, response.content) for response in responses] == [(200, body) for body in bodies]


# -- redirects --------------------------------------------------------------------------------------------------------


def end_of(pool: WorkerPool, url: str) -> Outcome:
    (outcome,) = pool.stream([url])
    return outcome


@pytest.mark.parametrize("factory", [None, requests.Session], ids=["own session", "plain session"])
def test_no_more_redirects_are_followed_than_allowed(factory: Any) -> None:
    with Origin() as origin, WorkerPool(1, max_redirects=3, session_factory=factory) as pool:
        assert end_of(pool, origin.url("/redirect/3")).ok
        outcome = end_of(pool, origin.url("/redirect/4"))
        assert isinstance(outcome.error, TooManyRedirects)
        assert str(outcome.error) == "more than 3 redirects"
        assert isinstance(outcome.error.__cause__, requests.TooManyRedirects)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_redirects_ends_at_once_with_a_sentence(length: int) -> None:
    with Origin() as origin, WorkerPool(1) as pool:
        for n in range(length):
            origin.script(f"/{n}", Reply(status=302, headers={"Location": f"/{(n + 1) % length}"}))
        outcome = end_of(pool, origin.url("/0"))
        assert isinstance(outcome.error, TooManyRedirects)
        assert "circle" in str(outcome.error)
        assert origin.requests == length


def test_a_redirect_to_itself_that_sets_a_cookie_is_no_circle() -> None:
    def reply(arrival: Arrival) -> Reply:
        if "seen=1" in arrival.headers.get("cookie", ""):
            return Reply(body=b"welcome")
        return Reply(status=302, headers={"Location": "/", "Set-Cookie": "seen=1"})

    with Origin() as origin, WorkerPool(1) as pool:
        origin.script("/", reply)
        outcome = end_of(pool, origin.url("/"))
        assert outcome.ok
        assert outcome.attempts[0].hops == 1


def test_a_post_that_becomes_a_get_of_the_same_page_is_no_circle() -> None:
    with Origin() as origin, WorkerPool(1) as pool:
        origin.script("/", lambda a: Reply(status=303, headers={"Location": "/"}) if a.method == "POST" else Reply())
        (outcome,) = pool.stream([Request(origin.url("/"), method="POST", data=b"x")])
        assert outcome.ok

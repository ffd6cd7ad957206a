"""The origin's reading of HTTP: strict, in order, and unharmed by whatever bytes come."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plain_client import Client
from workerpool.testing import Origin
from workerpool.testing.origin.http import BadRequest, RequestParser


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def client(origin: Origin) -> Iterator[Client]:
    with Client(origin) as client:
        yield client


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("hello\n", 400),
        ("GET /\n\n", 400),
        ("GET / HTTP/2.0\n\n", 400),
        ("GET  / HTTP/1.1\nHost: here\n\n", 400),
        ("G(T / HTTP/1.1\nHost: here\n\n", 400),
        ("GET / HTTP/1.1\nNo host: here\n\n", 400),
        ("GET / HTTP/1.1\n\n", 400),
        ("GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400),
        ("GET / HTTP/1.1\nHost: here\nno colon\n\n", 400),
        ("GET / HTTP/1.1\nHost: here\n folded: line\n\n", 400),
        ("GET / HTTP/1.1\nHost: here\nContent-Length: -1\n\n", 400),
        ("GET / HTTP/1.1\nHost: here\nContent-Length: 1\nContent-Length: 2\n\n", 400),
        ("GET / HTTP/1.1\nHost: here\nContent-Length: 1\nTransfer-Encoding: chunked\n\n", 400),
        ("GET / HTTP/1.1\nHost: here\nTransfer-Encoding: gzip\n\n", 501),
        ("POST / HTTP/1.1\nHost: here\nTransfer-Encoding: chunked\n\nxyz\n", 400),
        ("POST / HTTP/1.1\nHost: here\nTransfer-Encoding: chunked\n\n1\nab\n", 400),
        ("GET / HTTP/1.1\nX: " + 70_000 * "x", 431),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET / HTTP/1.1\nHost: bare line feeds\n\n", 400),
    ],
)
def test_what_is_malformed_is_refused_and_the_connection_closed(
    origin: Origin, client: Client, sent: str | bytes, status: int
) -> None:
    client.send(sent)
    got, headers, _ = client.response()
    assert (got, headers["connection"]) == (status, "close")
    assert client.is_closed()
    assert origin.requests == 0
    with Client(origin) as other:
        assert other.get("/")[0] == 200


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    paths = ("/bytes/1", "/delay/0.05", "/bytes/2", "/drip?bytes=3&seconds=0.03", "/bytes/400000", "/bytes/4")
    client.send("".join(f"GET {path} HTTP/1.1\nHost: here\n\n" for path in paths))
    assert [len(client.response()[2]) for _ in paths] == [1, 3, 2, 3, 400_000, 4]


def test_what_follows_a_closing_request_is_not_answered(origin: Origin, client: Client) -> None:
    client.send("GET / HTTP/1.1\nHost: here\nConnection: close\n\nGET / HTTP/1.1\nHost: here\n\n")
    client.response()
    assert client.is_closed()
    assert origin.requests == 1


@pytest.mark.parametrize("path", ["/bytes/10", "/gzip", "/chunked", "/status/404", "/drip?bytes=10&seconds=0"])
def test_a_head_request_gets_the_headers_and_no_body(client: Client, path: str) -> None:
    status, headers, _ = client.get(path)
    assert client.get(path, method="HEAD") == (status, headers, b"")
    assert client.get("/")[0] == 200


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(client: Client) -> None:
    client.send("POST /echo HTTP/1.1\nHost: here\nContent-Length: 4\nExpect: 100-continue\n\n")
    assert client.response()[0] == 100
    client.send("body")
    status, _, body = client.response()
    assert status == 200
    assert b'"body": "body"' in body


def test_100_continue_is_said_once_however_slowly_the_body_begins(client: Client) -> None:
    client.send("POST /echo HTTP/1.1\nHost: here\nTransfer-Encoding: chunked\nExpect: 100-continue\n\n")
    assert client.response()[0] == 100
    for piece in ("4", "\n", "body\n", "0\n", "\n"):
        client.send(piece)
    assert client.response()[0] == 200


def test_a_client_that_does_not_wait_for_100_continue_gets_none(client: Client) -> None:
    client.send("POST /echo HTTP/1.1\nHost: here\nContent-Length: 4\nExpect: 100-continue\n\nbody")
    assert client.response()[0] == 200


def test_chunked_request_bodies_are_read_with_extensions_and_trailers(origin: Origin, client: Client) -> None:
    client.send("POST /x HTTP/1.1\nHost: here\nTransfer-Encoding: chunked\n\n4;a=b\nbody\nA \n0123456789\n0\nT: 1\n\n")
    assert client.response()[0] == 404
    assert origin.arrivals[0].body == b"body0123456789"
    assert client.get("/")[0] == 200


def test_http_1_0_closes_unless_asked_to_keep_and_is_never_sent_chunks(client: Client, origin: Origin) -> None:
    client.send("GET /chunked HTTP/1.0\nConnection: keep-alive\n\n")
    _, headers, body = client.response()
    assert "transfer-encoding" not in headers
    assert len(body) == 1000
    assert client.is_closed()
    with Client(origin) as second:
        second.send("GET / HTTP/1.0\nConnection: keep-alive\n\n")
        assert second.response()[1]["connection"] == "keep-alive"
        second.send("GET / HTTP/1.0\n\n")
        assert second.response()[1]["connection"] == "close"
        assert second.is_closed()


def test_a_whole_url_as_target_counts_as_its_host_and_path(origin: Origin, client: Client) -> None:
    client.send("GET http://other:81/bytes/3?x HTTP/1.1\nHost: here\n\nGET http://other HTTP/1.1\nHost: here\n\n")
    assert client.response()[2] == b"\0\1\2"
    assert client.response()[0] == 200
    assert [(arrival.host, arrival.path) for arrival in origin.arrivals] == [
        ("other:81", "/bytes/3?x"),
        ("other", "/"),
    ]


_STREAM = (
    b"\r\nGET /a HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n"
    b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n\r\n\r\nx"
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    b"GET /d HTTP/1.0\r\n\r\n"
)


@given(st.lists(st.integers(1, len(_STREAM) - 1)))
def test_however_the_bytes_are_cut_the_same_requests_are_read(cuts: list[int]) -> None:
    parser = RequestParser(body_cap=100)
    read = []
    edges = [0, *sorted(set(cuts)), len(_STREAM)]
    for start, end in itertools.pairwise(edges):
        parser.feed(_STREAM[start:end])
        while (incoming := parser.next()) is not None:
            read.append((incoming.path, bytes(incoming.body)))
    assert read == [("/a", b""), ("/b", b"\r\n\r\nx"), ("/c", b"abcde"), ("/d", b"")]
    assert parser.buffered == 0


@given(st.lists(st.one_of(st.binary(), st.sampled_from([b"GET ", b"/ ", b"HTTP/1.1", b"\r\n", b":", b"Host", b"0"]))))
def test_no_bytes_at_all_break_the_parser(pieces: list[bytes]) -> None:
    parser = RequestParser(body_cap=10)
    with contextlib.suppress(BadRequest):
        for piece in pieces:
            parser.feed(piece)
            while parser.next() is not None:
                pass

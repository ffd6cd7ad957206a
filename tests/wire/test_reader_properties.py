"""Whatever `parse_head` accepts, http.client reads alike, and what follows it is the same body: for answers of the
table, changed and split at random, in memory."""

from __future__ import annotations

import http.client
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.wire.mutations import examples, split_answers
from workerpool.errors import TooLarge
from workerpool.transport.bodies import read_redirect, read_whole
from workerpool.transport.fast import FastPath
from workerpool.transport.http1 import Body, Head, header_lines, parse_head, reason_of
from workerpool.transport.pending import Pending
from workerpool.transport.reading import Answer, Source
from workerpool.transport.trace import Trace

MAX_BODY = 1_000_000
MOST_READS = 1000
"""Reads after which a reader counts as hanging: an answer has nine pieces at most, and 4 KB."""


class Wire:
    """A socket that gives some pieces, one at each read, and then its end. `sock` of a connection, and connection."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [*pieces]
        self._reads = 0

    @property
    def sock(self) -> Wire:
        return self

    @property
    def is_empty(self) -> bool:
        return not self._pieces

    def recv(self, size: int) -> bytes:
        self._reads += 1
        assert self._reads < MOST_READS, "it reads on and on"
        if not self._pieces:
            return b""
        piece = self._pieces[0]
        if len(piece) > size:
            self._pieces[0] = piece[size:]
        else:
            del self._pieces[0]
        return piece[:size]

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def makefile(self, mode: str, buffering: int = -1) -> Any:
        return io.BufferedReader(_Raw(self)) if buffering else _Raw(self)

    def close(self) -> None:
        pass


class _Raw(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.recv_into(buffer)


@dataclass(frozen=True)
class Read:
    """What one reader made of an answer: its body or its error, and whether the socket is as good as new."""

    body: bytes | None
    error: type[BaseException] | None
    is_clean: bool


def by_fast_path(wire: Wire, first: bytes, head: Head) -> Read:
    """As the fast path does, once it has the head."""
    trace = Trace()
    fast: Any = FastPath(None, MAX_BODY, None)  # type: ignore[arg-type]  # no connection is made
    any_way: Any = None  # the body asks for nothing of that
    pending = Pending(wire, any_way, any_way, trace, (None, None), any_way, waits=True)
    pending.data = first
    try:
        content, _ = fast._content(pending, head)
    except (requests.RequestException, TooLarge) as error:
        return Read(None, type(error), False)
    return Read(content, None, wire.is_empty and not trace.has_leftover)


def by_requests_path(wire: Wire, method: str) -> tuple[Answer, Read]:
    """As our connections read for urllib3 and requests."""
    trace = Trace()
    answer = Answer(Source(wire, trace), method=method)  # type: ignore[arg-type]  # enough of a socket
    answer.begin()
    trace.answered = True
    response = _response(answer, method)
    try:
        (read_redirect if response.is_redirect else read_whole)(response, MAX_BODY)
    except (requests.RequestException, TooLarge) as error:
        return answer, Read(None, type(error), False)
    answer.close()
    return answer, Read(response.content, None, wire.is_empty and not trace.has_leftover)


def by_http_client(wire: Wire, method: str) -> tuple[http.client.HTTPResponse, bytes | None]:
    """As plain http.client, urllib3 and requests do; None for a body that raises."""
    answer = http.client.HTTPResponse(wire, method=method)  # type: ignore[arg-type]
    answer.begin()
    try:
        return answer, _response(answer, method).content
    except (requests.RequestException, ValueError):
        return answer, None


def _response(answer: Any, method: str) -> requests.Response:
    raw = urllib3.HTTPResponse(
        body=answer,
        headers=urllib3.HTTPHeaderDict(answer.msg.items()),
        status=answer.status,
        preload_content=False,
        decode_content=False,
        original_response=answer,
        request_method=method,
    )
    response = requests.Response()
    response.status_code, response.raw = answer.status, raw
    response.headers.update(raw.headers)
    return response


GUESSES = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
"""What both our paths raise where http.client guesses: a chunk's size that is none, an end that does not come."""


@examples(600)
@given(split_answers, st.sampled_from(["GET", "GET", "GET", "HEAD"]))
@example((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n1\r\na\r\n0\r\n\r\n",), "GET")
@example((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abcd"), "GET")
@example((b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",), "HEAD")
@example((b"HTTP/1.1 302 Go\r\nLocation: /\r\nContent-Length: 3\r\n\r\n", b"ab"), "GET")
def test_what_is_accepted_reads_alike_everywhere(pieces: tuple[bytes, ...], method: str) -> None:
    head = parse_head(pieces[0], has_body=method != "HEAD")
    event("accepted" if head else "left to http.client")
    if head is None:
        return
    start = pieces[0][: head.end - 4]
    fast = by_fast_path(Wire(pieces[1:]), pieces[0], head)
    event(f"ends as {fast.error and fast.error.__name__}")
    theirs, their_body = by_http_client(Wire(pieces), method)
    ours, slow = by_requests_path(Wire(pieces), method)
    for answer in (theirs, ours):
        assert (head.status, reason_of(start)) == (answer.status, answer.reason)
        assert [*header_lines(start)] == answer.msg.items()
        assert head.closes == (answer._check_close())  # type: ignore[attr-defined]
    if not {fast.error, slow.error} <= {*GUESSES, TooLarge}:  # of several faults, each path meets its own first
        assert (fast.body, fast.error) == (slow.body, slow.error)
    if fast.error is None:
        # See `differences`: 204 and 304 have no body, a redirect's that is cut short does no harm, and spaces after a
        # coding's name are no part of it.
        has_none = fast.body == b"" and head.status in (204, 301, 302, 303, 304, 307, 308)
        assert fast.is_clean == slow.is_clean or has_none
        assert fast.body == their_body or has_none or head.fields.get(b"content-encoding", b"")[-1:] in (b" ", b"\t")
    else:
        assert their_body is None or issubclass(fast.error, (*GUESSES, TooLarge))


@examples(600)
@given(split_answers)
def test_a_body_ends_or_says_why_not_and_gives_nothing_beyond_its_end(pieces: tuple[bytes, ...]) -> None:
    head = parse_head(pieces[0])
    if head is None:
        return
    wire = Wire(pieces[1:])
    body = Body(pieces[0], head.end, wire.recv)
    taken = 0
    try:
        for piece in body.of_length(head.length) if head.length >= 0 else body.in_chunks():
            assert piece
            taken += len(piece)
    except (urllib3.exceptions.IncompleteRead, http.client.HTTPException):
        assert taken < sum(map(len, pieces))
        return
    assert taken == body.size
    assert head.length < 0 or taken == head.length


@examples(600)
@given(st.binary(max_size=200) | split_answers.map(lambda pieces: pieces[0]), st.booleans())
def test_no_bytes_make_the_reader_of_heads_raise(data: bytes, has_body: bool) -> None:
    head = parse_head(data, has_body=has_body)
    assert head is None or (data[head.end - 4 : head.end] == b"\r\n\r\n" and head.length >= -1)

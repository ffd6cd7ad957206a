"""Answers to requests that a thread carries, cut anywhere, with the client looking between the pieces: the same comes
of them as if they had come whole, and no connection is used again that is out of step. (What comes of them whole is
compared with plain requests' in `test_answers`.)"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import itertools
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.certificates import Authority
from tests.conftest import IN_FULL, some
from tests.tunnels import Tunnels
from tests.wire import paths
from tests.wire.answers import HELLO, SPLIT, Case, End, all_cases, chunked, head, sized
from tests.wire.carrier import BEGINNING, LIMIT, Carrier, Seen
from tests.wire.mutations import examples, split_answers
from tests.wire.scripted import ScriptedServer
from workerpool.config import Timeout
from workerpool.transport.fast import MOST_PIECES

ENDS: tuple[End, ...] = ("close", "reset")
LARGEST = 32_000
"""Bytes of an answer that a socket takes at once, whoever reads it: server and client are one thread here."""


def can_be_carried(case: Case) -> bool:
    is_plain = case.data is None and not case.headers and case.method in ("GET", "HEAD", "DELETE", "OPTIONS")
    return is_plain and case.waits != "everyone" and not case.late and sum(map(len, case.pieces)) <= LARGEST


CASES: dict[tuple[bytes, End, str], str] = {
    (b"".join(case.pieces), case.end, case.method): case.name for case in all_cases().values() if can_be_carried(case)
}
"""The table, each answer once: its bytes, what the server does then, and the method that asks."""

_THERE = b"Location: /land"
USUAL = {
    "sized": SPLIT["sized"],
    "chunks": chunked(b"hello", b" world", trailers=b"X-T: u\r\n"),
    "empty": sized(b""),
    "no content": head(b"X-A: b", start=b"HTTP/1.1 204 No"),
    "gzip": sized(gzip.compress(HELLO, mtime=0), b"Content-Encoding: gzip"),
    "gzip in chunks": SPLIT["gzip in chunks"],
    "redirect": sized(HELLO, _THERE, start=b"HTTP/1.1 302 Found"),
    "redirect in chunks": chunked(HELLO, lines=[_THERE], start=b"HTTP/1.1 302 Found"),
    "cookie": sized(HELLO, b"Set-Cookie: a=b"),
}
"""Answers as most servers give them, which end by themselves."""
ODD = {name: SPLIT[name] for name in ("103 before", "folded", "bare LF")}
"""Answers that http.client reads."""


@pytest.fixture(scope="module")
def carrier() -> Iterator[Carrier]:
    """One for all: what is left of one answer would show in another."""
    with Carrier() as carrier:
        yield carrier


@pytest.fixture(scope="module")
def tls(authority: Authority) -> tuple[ssl.SSLContext, str]:
    """What a server speaks TLS with, and the file of its authority."""
    return authority.context("127.0.0.1"), authority.file


@pytest.fixture(scope="module")
def over_tls(tls: tuple[ssl.SSLContext, str]) -> Iterator[Carrier]:
    """The same under TLS."""
    context, file = tls
    with Carrier(context, verify=file) as carrier:
        yield carrier


@pytest.fixture(scope="module")
def whole(carrier: Carrier) -> dict[str, Seen]:
    """What comes of each answer in one piece."""
    return {name: carrier.run([answer], end, method) for (answer, end, method), name in CASES.items()}


def apart(one: Seen, other: Seen, *, first: int) -> bool:
    """Whether two answers came out differently; `first`: bytes that the client saw first of one of them.

    Where these say too little, http.client reads it, which keeps the socket of a body that does not decode, and finds
    another fault first where there are two.
    """
    if first < BEGINNING:
        causes = {seen.facts[2] for seen in (one, other) if not seen.is_response}
        return one.facts != other.facts and causes != {"ChunkedEncodingError", "ContentDecodingError"}
    return replace(one, was_finished=False) != replace(other, was_finished=False)


PLACES: dict[str, Callable[[bytes], int]] = {
    "in the status line": lambda answer: answer.find(b" ") + 3,
    "in the first header": lambda answer: answer.find(b"\r\n") + 5,
    "in the last line break": lambda answer: answer.find(b"\r\n\r\n") + 1,
    "in the blank line": lambda answer: answer.find(b"\r\n\r\n") + 3,
    "after the blank line": lambda answer: answer.find(b"\r\n\r\n") + 4,
    "after a byte of the body, or of a chunk's size": lambda answer: answer.find(b"\r\n\r\n") + 5,
    "after a chunk's size, or in the body": lambda answer: answer.find(b"\r\n", answer.find(b"\r\n\r\n") + 4) + 2,
    "in the middle of the body": lambda answer: (answer.find(b"\r\n\r\n") + len(answer)) // 2,
    "before the last chunk": lambda answer: answer.rfind(b"0\r\n"),
    "after the size of the last chunk": lambda answer: answer.rfind(b"0\r\n") + 3,
    "before the last byte": lambda answer: len(answer) - 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_where_an_answer_of_the_table_is_cut_makes_no_difference(
    carrier: Carrier, whole: dict[str, Seen], place: str
) -> None:
    different, turn = {}, [*PLACES].index(place)
    for number, ((answer, end, method), name) in enumerate(CASES.items()):
        at = PLACES[place](answer)
        if 0 < at < len(answer) and (IN_FULL or (number + turn) % 11 == 0):  # each answer at one place
            cut = carrier.run([answer[:at], answer[at:]], end, method)
            if apart(whole[name], cut, first=at):
                different[name] = (whole[name], cut)
    assert different == {}


def test_the_table_has_answers_of_all_kinds(whole: dict[str, Seen]) -> None:
    kinds = {(seen.is_response, seen.by_requests, seen.was_finished, seen.is_kept) for seen in whole.values()}
    by_ourselves, by_another_thread = (False, False), (True, True)
    assert {(True, *by, kept) for by in (by_ourselves, by_another_thread) for kept in (True, False)} <= kinds
    assert {(False, *by, False) for by in (by_ourselves, by_another_thread)} <= kinds


@pytest.mark.parametrize("first", [1, BEGINNING])
@pytest.mark.parametrize("name", [*USUAL, *ODD])
def test_an_answer_may_come_byte_by_byte(carrier: Carrier, name: str, first: int) -> None:
    answer = (USUAL | ODD)[name]
    seen = carrier.run([answer[:first], *(answer[at : at + 1] for at in range(first, len(answer)))])
    assert seen.was_finished, "a thread that others wait for comes back for each byte"
    assert carrier.looks <= MOST_PIECES + 1
    assert not apart(carrier.run([answer]), seen, first=first)


def test_a_body_whose_length_is_known_may_come_in_any_number_of_pieces(carrier: Carrier) -> None:
    start, body = head(b"Content-Length: 5000"), random.Random(0).randbytes(5000)
    seen = carrier.run([start, *(body[at : at + 50] for at in range(0, 5000, 50))])
    assert seen.facts[3] == body
    assert not seen.was_finished
    assert seen.is_kept


@pytest.mark.parametrize("name", USUAL)
def test_an_answer_may_come_in_three_pieces(carrier: Carrier, name: str) -> None:
    answer = USUAL[name]
    expected = carrier.run([answer])
    assert expected.is_response
    assert not expected.by_requests
    middle = answer.index(b"\r\n\r\n") + 4
    for first in some((*range(BEGINNING, middle, 12), *range(middle, len(answer), 4)), 3):
        for second in some(range(max(first + 1, middle), len(answer), 3), 2):
            seen = carrier.run([answer[:first], answer[first:second], answer[second:]])
            assert seen == expected, f"cut at {first} and {second}"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", [*USUAL, *ODD])
def test_a_connection_that_ends_in_an_answer_is_an_error_whenever_that_is_seen(
    carrier: Carrier, name: str, end: End
) -> None:
    answer = (USUAL | ODD)[name]
    expected = carrier.run([answer]).facts
    last_chunk = answer.rfind(b"\r\n0\r\n")  # trailers may be missing
    enough = last_chunk + 5 if last_chunk >= 0 else len(answer)
    for at in {*some(range(len(answer) + 1), 4), enough - 1, enough, len(answer)}:
        at_once = carrier.run([answer[:at]], end)
        assert not at_once.is_kept
        if at:
            assert carrier.run([answer[:at], b""], end) == at_once, f"after {at}"
        is_cut_short = at_once.facts[0] == "ConnectionLost"
        is_without_body = at_once.facts[0] == 302 and at_once.facts[3] == b""  # it is followed all the same
        assert at_once.facts == expected or is_cut_short or is_without_body, f"after {at}"
        assert at_once.facts != expected or at >= enough, f"after {at}"
        assert at_once.facts == expected or at < len(answer), f"after {at}"


@pytest.mark.parametrize("name", [*USUAL, *ODD])
def test_a_connection_is_dropped_when_more_comes_than_the_answer(carrier: Carrier, name: str) -> None:
    answer = (USUAL | ODD)[name]
    expected = carrier.run([answer]).facts
    for more in (b"x", sized(b"evil")):
        assert carrier.run([answer, more]) == replace(carrier.run([answer]), is_kept=False)
        for at in (0, *some(range(1, len(answer), 5), 3), len(answer) - 1):
            seen = carrier.run([answer[:at], answer[at:] + more])
            assert (seen.facts, seen.is_kept) == (expected, False), f"cut at {at}"


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("is_over", [False, True], ids=["a silence", "all of its time"])
def test_an_answer_that_is_late_is_a_timeout_wherever_it_stops(carrier: Carrier, name: str, is_over: bool) -> None:
    answer = USUAL[name]
    timeout = Timeout(total=1e-9) if is_over else Timeout()
    for at in some(range(BEGINNING, len(answer), 3), 3):
        for pieces in ([answer[:at]], *([] if is_over else [[answer[:at], b""]])):
            seen = carrier.run(pieces, timeout=timeout, is_late=True)
            assert (seen.facts[0], seen.is_kept) == ("TimedOut", False), f"after {at}"


@pytest.mark.parametrize("name", USUAL)
def test_all_of_it_is_the_same_under_tls(over_tls: Carrier, name: str) -> None:
    answer = USUAL[name]
    expected = over_tls.run([answer])
    assert expected.is_response
    assert expected.is_kept
    for at in some(range(1, len(answer), 5), 2):
        assert not apart(over_tls.run([answer[:at], answer[at:]]), expected, first=at), f"cut at {at}"
    assert over_tls.run([answer + b"x"]) == over_tls.run([answer, b"x"]) == replace(expected, is_kept=False)
    for at in (0, 5, 20, answer.index(b"\r\n\r\n") + 2):
        for end in ENDS:
            at_once = over_tls.run([answer[:at]], end)
            later = over_tls.run([answer[:at], b""], end)
            assert {at_once.facts[0], later.facts[0]} <= {"ConnectionLost", expected.facts[0]} - {200, 204}, f"at {at}"
            assert (at_once.is_kept, later.is_kept) == (False, False), f"after {at}"


@pytest.mark.parametrize("goes_through_tls", [False, True])
@pytest.mark.parametrize("size", [1_200, 9_000, 30_000])
def test_small_records_of_tls_hold_nothing_up(
    tls: tuple[ssl.SSLContext, str], goes_through_tls: bool, size: int
) -> None:
    """Also of TLS inside of TLS, where the socket is empty while there is something to read."""
    context, file = tls
    context.num_tickets = 0  # unread tickets would make the new connection one that is no good
    with contextlib.ExitStack() as stack:
        options = {}
        if goes_through_tls:
            options["proxies"] = {"https": stack.enter_context(Tunnels(context)).url}
        carrier = stack.enter_context(Carrier(context, record=600, verify=file, **options))
        body = random.Random(size).randbytes(size)
        for answer in (sized(body), chunked(body), chunked(*(body[at : at + 100] for at in range(0, size, 100)))):
            seen = carrier.run([answer])
            assert seen.facts[3] == body
            assert seen.is_kept


# -- a whole pool ------------------------------------------------------------------------------------------------------


def test_large_answers_and_small_ones_are_carried_together() -> None:
    large = random.Random(0).randbytes(3_000_000)
    parts = [large[at : at + 100_000] for at in range(0, len(large), 100_000)]
    routes = {
        "/sized": sized(large),
        "/chunks": chunked(*parts),
        "/gzip": sized(gzip.compress(large, 1), b"Content-Encoding: gzip"),
        "/gzip-in-chunks": chunked(*(gzip.compress(part, 1) for part in parts), lines=[b"Content-Encoding: gzip"]),
    }
    with ScriptedServer(routes=routes) as server, server.visit(), paths.carrying_pool(8) as pool:
        small = [f"/{number}" for number in range(40)]
        for path in (small, [*routes, *small] * 3):
            for outcome in pool.stream(map(server.url, path), ordered=False):
                assert outcome.response is not None, outcome.error
                target = outcome.request.url.removeprefix(server.url(""))
                assert outcome.response.content == (large if target in routes else target.encode())
        transport: Any = pool._transport
        assert transport.carried.total() > len(small)
        assert transport.finished.total() > 0, "the large ones in chunks were read while others waited"


LONG = "/" + "x" * 6_000_000
"""A path that no socket takes at once."""


def test_a_request_that_does_not_go_out_at_once_is_sent_by_a_thread_that_waits() -> None:
    with ScriptedServer() as server, server.visit() as visit, paths.carrying_pool() as pool:
        for path in ("/before", LONG, "/after"):
            (outcome,) = pool.stream([server.url(path)])
            assert outcome.response is not None, outcome.error
            assert outcome.response.content == path.encode()
        transport: Any = pool._transport
        assert transport.finished[server.url(LONG)] == transport.carried[server.url(LONG)] == 1
        assert [arrival.connection for arrival in visit.arrivals] == [1, 1, 1]


@pytest.mark.parametrize("way", ["fast", "carried"])
def test_a_server_may_answer_and_close_before_the_request_is_there(way: str) -> None:
    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(LIMIT)
            assert sock.recv(65536).endswith(b"\r\n\r\n")
            sock.sendall(sized(HELLO))
            assert sock.recv(65536).startswith(b"GET /x")
            sock.sendall(sized(b"", b"Connection: close", start=b"HTTP/1.1 202 That will do"))

    make, _ = paths.WAYS[way]
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        concurrent.futures.ThreadPoolExecutor(1) as threads,
        make() as pool,
    ):
        serving = threads.submit(serve)
        site = f"http://127.0.0.1:{listener.getsockname()[1]}"
        outcomes = [outcome for path in ("/", LONG) for outcome in pool.stream([f"{site}{path}"])]
        serving.result(LIMIT)
        assert [outcome.status for outcome in outcomes] == [200, 202], outcomes[1].error


# -- at random ---------------------------------------------------------------------------------------------------------

_names = st.from_regex(r"X-[A-Za-z0-9]{1,8}", fullmatch=True).map(str.encode)
_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(str.encode)
_bodies = st.one_of(
    st.binary(max_size=60), st.integers(0, 20_000).map(lambda size: random.Random(size).randbytes(size))
)


@st.composite
def valid_answers(draw: st.DrawFn) -> tuple[bytes, str, bytes]:
    """An answer, the method that asks for it, and its body."""
    body: bytes = draw(_bodies)
    method = draw(st.sampled_from(["GET", "GET", "GET", "HEAD"]))
    status = draw(st.sampled_from([200, 200, 200, 404, 204, 304]))
    lines = [name + b": " + value for name, value in draw(st.lists(st.tuples(_names, _values), max_size=4))]
    sent = body
    if draw(st.booleans()):
        lines.append(b"Content-Encoding: gzip")
        sent = gzip.compress(body, mtime=0)
    is_in_chunks = draw(st.booleans())
    lines.append(b"Transfer-Encoding: chunked" if is_in_chunks else b"Content-Length: %d" % len(sent))
    answer = head(*lines, start=b"HTTP/1.1 %d Any reason" % status)
    if method == "HEAD" or status in (204, 304):
        return answer, method, b""
    if not is_in_chunks:
        return answer + sent, method, body
    cuts = sorted({0, len(sent), *(place % (len(sent) + 1) for place in draw(st.lists(st.integers(0, 10**6))))})
    extension = draw(st.sampled_from([b"", b"", b";a=b"]))
    for start, end in itertools.pairwise(cuts):
        answer += b"%x%s\r\n%s\r\n" % (end - start, extension, sent[start:end])
    return answer + b"0\r\n" + draw(st.sampled_from([b"", b"", b"X-T: u\r\n"])) + b"\r\n", method, body


def pieces_of(answer: bytes, places: list[int]) -> list[bytes]:
    cuts = sorted({0, len(answer), *(place % len(answer) for place in places)})
    return [answer[start:end] for start, end in itertools.pairwise(cuts)]


_places = st.lists(st.integers(0, 10**6) | st.integers(BEGINNING, 300), max_size=20)


@examples(300)
@given(valid_answers(), _places)
def test_a_valid_answer_gives_its_body_however_it_is_cut(
    carrier: Carrier, valid: tuple[bytes, str, bytes], places: list[int]
) -> None:
    answer, method, body = valid
    pieces = pieces_of(answer, places)
    seen = carrier.run(pieces, method=method)
    event("by another thread" if seen.was_finished else f"carried, in {min(len(pieces), 5)} pieces")
    assert seen.facts[3] == body
    assert seen.is_kept
    assert not apart(seen, carrier.run([answer], method=method), first=len(pieces[0]))


@examples(300)
@given(split_answers, st.sampled_from(["GET", "GET", "GET", "HEAD"]))
@example((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abcHTTP/1.1 200 OK\r\n\r\n"), "GET")
@example((b"HTTP/1.1 302 Go\r\nLocation: /land\r\nContent-Length: 3\r\n\r\n", b"ab"), "GET")
@example((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n"), "GET")
def test_an_answer_that_was_changed_does_no_harm_however_it_is_cut(
    carrier: Carrier, pieces: tuple[bytes, ...], method: str
) -> None:
    whole = carrier.run([b"".join(pieces)], "close", method)
    seen = carrier.run([piece for piece in pieces if piece], "close", method)
    event(str(seen.facts[0]))
    assert not apart(whole, seen, first=len(pieces[0]))
    carrier.run([piece for piece in pieces if piece], "reset", method)  # which takes away what has not been read yet

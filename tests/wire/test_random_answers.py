"""Answers of the table, changed and split at random, over sockets: all ways make the same of them, end in time, and the
next request over the same pool gets its own answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.wire import paths, pictures
from tests.wire.answers import Case, End
from tests.wire.mutations import examples, split_answers
from tests.wire.pictures import Picture
from tests.wire.scripted import ScriptedServer

BOUND = 10.0
"""Seconds within which a request ends whose server has closed the connection: all of them, that is."""
NO_MATTER = frozenset(
    [
        # of a body that does not decode, or a redirect's that is cut short, see `differences.BETWEEN_PATHS`
        *("after", "arrivals", "history / raw / length", "history / raw after / length", "history / raw read"),
        *("raw / tell", "raw after / tell", "history / raw / tell", "history / raw after / tell"),
    ]
)


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[str, paths.Run]]:
    """One pool for each way and for all examples: what is left of one answer would show in another."""
    with contextlib.ExitStack() as stack:
        yield {name: send_by(stack.enter_context(make())) for name, (make, send_by) in paths.WAYS.items()}


def picture(run: paths.Run, server: ScriptedServer, case: Case) -> Picture:
    began = time.monotonic()
    seen = run(server, case)
    assert time.monotonic() - began < BOUND
    assert seen["after"][:3] == (200, b"/after", "None")
    return seen


@examples(60)
@given(split_answers, st.sampled_from(["close", "close", "reset"]), st.sampled_from(["GET", "GET", "HEAD"]))
@example((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abcHTTP/1.1 200 OK\r\n\r\n"), "close", "GET")
@example((b"HTTP/1.1 302 Go\r\nLocation: /land\r\nContent-Length: 3\r\n\r\n", b"ab"), "close", "GET")
@example((b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), "close", "HEAD")
def test_all_ways_make_the_same_of_any_answer(
    ways: dict[str, paths.Run], pieces: tuple[bytes, ...], end: End, method: str
) -> None:
    case = Case("random", pieces, end, method)
    with ScriptedServer(case) as server:
        slow, fast, carried = (picture(ways[name], server, case) for name in ("slow", "fast", "carried"))
    del carried["carried"]
    event(str(fast.get("error") or fast["status"]))
    for one, other in ((slow, fast), (fast, carried)):
        apart = pictures.differences(one, other)
        errors = {one.get("error"), other.get("error")}
        if errors == {"ChunkedEncodingError", "ContentDecodingError"}:
            continue  # both are wrong with it; the fast path decodes each chunk as it comes
        if end == "reset" and apart and errors & {"ConnectionError", "ChunkedEncodingError"}:
            continue  # a reset takes away what the client has not read yet, and which that is is chance
        assert apart <= NO_MATTER

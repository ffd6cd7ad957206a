"""Answers of the table, changed and split at random, over sockets: both paths make the same of them, end in time, and
the next request over the same pool gets its own answer."""

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
from workerpool import WorkerPool

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
def pools() -> Iterator[dict[str, WorkerPool]]:
    """One of each kind, for all examples: what is left of one answer would show in another."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(make()) for name, make in paths.POOLS.items()}


def picture(pool: WorkerPool, server: ScriptedServer, case: Case) -> Picture:
    began = time.monotonic()
    seen = paths.through(pool)(server, case)
    assert time.monotonic() - began < BOUND
    assert seen["after"][:3] == (200, b"/after", "None")
    return seen


@examples(60)
@given(split_answers, st.sampled_from(["close", "close", "reset"]), st.sampled_from(["GET", "GET", "HEAD"]))
@example((b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"abcHTTP/1.1 200 OK\r\n\r\n"), "close", "GET")
@example((b"HTTP/1.1 302 Go\r\nLocation: /land\r\nContent-Length: 3\r\n\r\n", b"ab"), "close", "GET")
@example((b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), "close", "HEAD")
def test_both_paths_make_the_same_of_any_answer(
    pools: dict[str, WorkerPool], pieces: tuple[bytes, ...], end: End, method: str
) -> None:
    case = Case("random", pieces, end, method)
    with ScriptedServer(case) as server:
        slow, fast = (picture(pools[name], server, case) for name in ("slow", "fast"))
    event(str(fast.get("error") or fast["status"]))
    apart = pictures.differences(slow, fast)
    errors = {slow.get("error"), fast.get("error")}
    if errors == {"ChunkedEncodingError", "ContentDecodingError"}:
        return  # both are wrong with it; the fast path decodes each chunk as it comes
    if end == "reset" and apart and errors & {"ConnectionError", "ChunkedEncodingError"}:
        return  # a reset takes away what the client has not read yet, and which that is is chance
    assert apart <= NO_MATTER

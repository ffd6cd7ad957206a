"""Whatever leads to what, and in whatever order answers come: each page once, in its chain's order, in the window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import sample_of
from workerpool.errors import TimedOut
from workerpool.model import Outcome, Request, new_request, origin
from workerpool.paging import Chains, LinkHeader, PageError
from workerpool.stream import Stream
from workerpool.streamed import Maker
from workerpool.tickets import Ticket

FAILS = -1
ENDS = None


class Crew:
    """Ends what it was given in the order that was drawn, one when the stream is about to wait."""

    def __init__(self, graph: list[int | None], order: list[int]) -> None:
        self._graph = graph
        self._order = iter(order)
        self.at_hand: list[Ticket] = []
        self.begun: set[int] = set()

    def add(self, tickets: Any) -> None:
        self.at_hand += tickets
        self.begun |= {ticket.request.ordinal for ticket in tickets}

    def end_one(self) -> None:
        if not self.at_hand:
            return
        ticket = self.at_hand.pop(next(self._order, 0) % len(self.at_hand))
        request = ticket.request
        following = self._graph[node_of(request)]
        if following == FAILS:
            ticket.deliver(Outcome(request, None, TimedOut("it took too long")))
            return
        headers = {} if following is ENDS else {"Link": f"<{url_of(following)}>; rel=next"}
        answer: Any = SimpleNamespace(status_code=200, headers=headers, url=request.url, content=b"")
        ticket.deliver(Outcome(request, answer))

    def needs_more_hosts(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: False


def url_of(node: int) -> str:
    return f"http://h{node % 3}.test/{node}"


def node_of(request: Request) -> int:
    return int(request.url.rpartition("/")[2])


def walk(graph: list[int | None], start: int) -> list[int]:
    """The pages that a chain is to have: to its end, or to the page that leads to one that was there."""
    pages = [start]
    while (following := graph[pages[-1]]) not in (ENDS, FAILS) and following not in pages:
        assert following is not None
        pages.append(following)
    return pages


def graphs() -> st.SearchStrategy[list[int | None]]:
    return st.integers(1, 12).flatmap(
        lambda size: st.lists(
            st.one_of(st.integers(0, size - 1), st.just(ENDS), st.just(FAILS)), min_size=size, max_size=size
        )
    )


@pytest.fixture(scope="module", autouse=True)
def without_patience() -> Iterator[None]:
    """A host's share is read past at once, so that later inputs begin before those that wait for their host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workerpool.window.PATIENCE", 0.0)
        yield


@settings(max_examples=sample_of(300), deadline=None)
@given(
    graph=graphs(),
    starts=st.lists(st.integers(0, 11), max_size=20),
    order=st.lists(st.integers(0, 50), max_size=60),
    window=st.integers(1, 6),
    share=st.integers(1, 3),
    ordered=st.booleans(),
)
def test_each_page_comes_once_in_its_order_within_the_window(
    graph: list[int | None], starts: list[int], order: list[int], window: int, share: int, ordered: bool
) -> None:
    starts = [start % len(graph) for start in starts]
    crew = Crew(graph, order)
    ended = 0

    stream = Stream(
        crew,
        iter([new_request(url_of(start), ordinal=number + 1) for number, start in enumerate(starts)]),
        Maker(lambda item: item, origin, None, lambda request: True),
        refuse_inside=crew.end_one,
        ordered=ordered,
        workers=2,
        window=window,
        share=min(share, window),
        chains=Chains(LinkHeader()),
    )
    pages: dict[int, list[int]] = defaultdict(list)
    turns: list[int] = []
    for outcome in stream.outcomes():
        number = outcome.request.ordinal - 1
        pages[number].append(node_of(outcome.request))
        turns.append(number)
        assert outcome.request.page == len(pages[number])
        assert outcome.request.label == url_of(starts[number])
        ended += outcome.following is None
        if not ordered:
            assert len(crew.begun) - ended <= window + 1
        if outcome.following is None:
            last = graph[node_of(outcome.request)]
            assert isinstance(outcome.error, TimedOut if last == FAILS else type(None) if last is ENDS else PageError)
    assert pages == {number: walk(graph, start) for number, start in enumerate(starts)}
    if ordered:
        assert turns == sorted(turns)

"""`pool.stream(pages=)`: each page is an outcome, those of one input in their order, within the pool's budgets."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

import workerpool
from workerpool import Outcome, Request, StatusError, WorkerPool
from workerpool.credentials import BearerToken
from workerpool.errors import OptionError
from workerpool.paging import Cursor, LinkHeader, NextLink, Offset, PageError, PageNumber, Pages
from workerpool.testing import Answer, Origin, Reply, ScriptedTransport

KINDS: list[Pages] = [
    LinkHeader(),
    NextLink("next"),
    Cursor("next_cursor"),
    PageNumber(total="pages"),
    Offset(total="total"),
]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(8, retry=1) as made:
        yield made


def items_of(outcomes: list[Outcome]) -> list[int]:
    return [item for outcome in outcomes for item in json.loads(outcome.response.content)["items"]]  # type: ignore[union-attr]


@pytest.mark.parametrize("pages", KINDS, ids=str)
def test_every_page_comes_once_and_in_its_order(origin: Origin, pool: WorkerPool, pages: Pages) -> None:
    outcomes = [*pool.stream([origin.url("/pages/7?items=3")], pages=pages)]
    assert items_of(outcomes) == [*range(21)]
    assert [outcome.request.page for outcome in outcomes] == [*range(1, 8)]
    assert [outcome.following is None for outcome in outcomes] == [False] * 6 + [True]
    assert origin.requests == 7


@pytest.mark.parametrize("pages", [PageNumber(), Offset()], ids=str)
def test_without_a_total_pages_are_counted_until_one_has_no_items(
    origin: Origin, pool: WorkerPool, pages: Pages
) -> None:
    outcomes = [*pool.stream([origin.url("/pages/3?items=4")], pages=pages)]
    assert items_of(outcomes) == [*range(12)]
    assert len(outcomes) == 4


def test_an_offset_moves_on_by_what_came_where_the_server_gives_fewer_than_asked_for(
    origin: Origin, pool: WorkerPool
) -> None:
    outcomes = [*pool.stream([origin.url("/pages/3?items=4")], pages=Offset(limit=100))]
    assert items_of(outcomes) == [*range(12)]
    assert all("limit=100" in arrival.path for arrival in origin.arrivals)


@pytest.mark.parametrize("pages", [Cursor("next_cursor"), PageNumber(total="pages"), Offset(limit=4)], ids=str)
def test_a_json_body_says_which_page_where_the_request_has_one(origin: Origin, pool: WorkerPool, pages: Pages) -> None:
    start = Request(origin.url("/pages/3?items=4"), "POST", json={"query": "x"}, idempotent=True)
    outcomes = [*pool.stream([start], pages=pages)]
    assert items_of(outcomes) == [*range(12)]
    assert {arrival.path for arrival in origin.arrivals} == {"/pages/3?items=4"}
    assert all(json.loads(arrival.body)["query"] == "x" for arrival in origin.arrivals)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("window", [None, 1, 4])
def test_many_inputs_are_fetched_at_once_and_each_ones_pages_in_order(
    origin: Origin, pool: WorkerPool, ordered: bool, window: int | None
) -> None:
    counts = [5, 1, 9, 2, 1, 7, 3] * 4
    starts = [Request(origin.url(f"/pages/{n}?i={i}"), key=str(i), ordinal=i + 1) for i, n in enumerate(counts)]
    outcomes = [*pool.stream(starts, pages=LinkHeader(), ordered=ordered, window=window)]
    by_key: dict[str, list[int]] = defaultdict(list)
    for outcome in outcomes:
        by_key[outcome.request.label].append(outcome.request.page)
        assert outcome.request.ordinal == int(outcome.request.label) + 1
    assert by_key == {str(i): [*range(1, n + 1)] for i, n in enumerate(counts)}
    if ordered:
        assert [int(key) for key, _ in itertools.groupby(outcomes, lambda one: one.request.label)] == [*range(28)]


def test_a_page_that_fails_ends_its_chain_and_no_other(origin: Origin, pool: WorkerPool) -> None:
    outcomes = [*pool.stream([origin.url("/pages/5?failing=3"), origin.url("/pages/4")], pages=LinkHeader())]
    first = [outcome for outcome in outcomes if "pages/5" in outcome.url]
    assert [outcome.request.page for outcome in first] == [1, 2, 3]
    assert isinstance(first[-1].error, StatusError)
    assert len(outcomes) == 7


@pytest.mark.parametrize("pages", KINDS, ids=str)
def test_a_page_that_does_not_say_what_follows_is_an_outcome_with_an_error(
    origin: Origin, pool: WorkerPool, pages: Pages
) -> None:
    outcomes = [*pool.stream([origin.url("/pages/5?broken=2&items=10")], pages=pages)]
    assert [outcome.ok for outcome in outcomes] == [True, False]
    assert isinstance(outcomes[-1].error, PageError)
    assert outcomes[-1].status == 200


@pytest.mark.parametrize("pages", [LinkHeader(), NextLink("next"), Cursor("next_cursor"), PageNumber()], ids=str)
def test_pages_that_lead_in_a_circle_end_with_an_error(origin: Origin, pool: WorkerPool, pages: Pages) -> None:
    outcomes = [*pool.stream([origin.url("/pages/9?loop=4")], pages=pages)]
    assert 4 <= len(outcomes) <= 8  # a cursor names the first page by another request than the first
    assert [outcome.ok for outcome in outcomes] == [True] * (len(outcomes) - 1) + [False]
    assert isinstance(outcomes[-1].error, PageError)


def test_a_number_of_pages_that_is_said_is_where_they_end(origin: Origin, pool: WorkerPool) -> None:
    outcomes = [*pool.stream([origin.url("/pages/9")], pages=LinkHeader(max_pages=3))]
    assert [outcome.ok for outcome in outcomes] == [True] * 3
    assert origin.requests == 3


def test_pages_without_end_break_off_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workerpool.paging.chains.MAX_PAGES", 50)
    count = itertools.count(2)
    transport = ScriptedTransport(
        lambda request, url: Answer(headers={"Link": f"<http://a.test/{next(count)}>; rel=next"})
    )
    with WorkerPool(2, transport=transport) as pool:
        outcomes = [*pool.stream(["http://a.test/1"], pages=LinkHeader())]
    assert len(outcomes) == 50
    assert "more than 50 pages" in str(outcomes[-1].error)


def test_a_link_to_another_origin_loses_what_a_redirect_there_would_lose(pool: WorkerPool) -> None:
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin:
        there = origin.url("/there", address="127.0.0.2")
        origin.script("/here", Reply(headers={"Link": f"<{there}>; rel=next"}))
        origin.script("/there", Reply(headers={"Link": f"<{origin.url('/back')}>; rel=next"}))
        origin.script("/back", Reply())
        headers = {"Authorization": "Bearer mine", "Cookie": "a=b", "X-Other": "c"}
        start = Request(origin.url("/here"), headers=headers)
        assert len([*pool.stream([start], pages=LinkHeader())]) == 3
        sent = [(one.path, one.headers.get("authorization"), one.headers.get("x-other")) for one in origin.arrivals]
        cookies = [one.headers.get("cookie") for one in origin.arrivals]
    assert sent == [("/here", "Bearer mine", "c"), ("/there", None, "c"), ("/back", None, "c")]
    assert cookies == ["a=b", None, None]


@pytest.mark.parametrize("auth", [BearerToken("of-the-pool"), ("me", "mine")], ids=["token", "pair"])
@pytest.mark.parametrize("own", [None, ("you", "yours")], ids=["the pool's", "its own"])
def test_a_link_to_another_origin_gets_no_login_of_the_pool(auth: Any, own: Any) -> None:
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin, WorkerPool(2, auth=auth) as pool:
        there = origin.url("/there", address="127.0.0.2")
        origin.script("/here", Reply(headers={"Link": f"<{there}>; rel=next"}))
        origin.script("/there", Reply())
        assert len([*pool.stream([Request(origin.url("/here"), auth=own)], pages=LinkHeader())]) == 2
        here, elsewhere = origin.arrivals
    assert "authorization" in here.headers
    assert "authorization" not in elsewhere.headers


def test_a_link_goes_nowhere_that_the_pool_may_not_go(origin: Origin) -> None:
    origin.script("/here", Reply(headers={"Link": "<http://elsewhere.test/>; rel=next"}))
    with WorkerPool(2, allow_hosts=["127.0.0.1"]) as pool:
        first, second = pool.stream([origin.url("/here")], pages=LinkHeader())
    assert first.ok
    assert isinstance(second.error, workerpool.Denied)


def test_a_login_in_the_first_url_goes_to_its_further_pages(origin: Origin, pool: WorkerPool) -> None:
    url = origin.url("/pages/3").replace("//", "//me:mine@")
    assert len([*pool.stream([url], pages=LinkHeader())]) == 3
    assert len({arrival.headers.get("authorization") for arrival in origin.arrivals} - {None}) == 1
    assert all("authorization" in arrival.headers for arrival in origin.arrivals)


def test_pages_go_before_inputs_that_have_not_begun(origin: Origin) -> None:
    """So no more chains are open than requests are in memory, however many inputs there are."""
    read = 0

    def starts() -> Iterator[str]:
        nonlocal read
        for number in range(100):
            read += 1
            yield origin.url(f"/pages/4?i={number}")

    ended: Counter[str] = Counter()
    with WorkerPool(4) as pool:
        for outcome in pool.stream(starts(), pages=LinkHeader(), window=5):
            ended[outcome.request.label] += outcome.following is None
            assert read - ended.total() <= 6
    assert ended.total() == 100


def test_nothing_runs_ahead_of_a_consumer_but_the_next_page(origin: Origin, pool: WorkerPool) -> None:
    outcomes = pool.stream([origin.url("/pages/50")], pages=LinkHeader())
    for page in range(1, 20):
        assert next(outcomes).request.page == page
        assert origin.requests <= page + 1
    outcomes.close()


def test_a_chain_does_not_wait_for_a_host_that_does_not_answer(origin: Origin) -> None:
    """The window is full of requests that wait for one host, and what is read next is for it, too."""
    slow = [origin.url(f"/delay/5?i={number}") for number in range(300)]
    with WorkerPool(4, host_connections=2) as pool, Origin() as other:
        outcomes = pool.stream([other.url("/pages/30"), *slow], pages=LinkHeader(), window=100)
        began = time.monotonic()
        assert [next(outcomes).request.page for _ in range(30)] == [*range(1, 31)]
        took = time.monotonic() - began
        outcomes.close()
        pool.shutdown(wait=False, cancel_futures=True)
    assert took < 4


def test_ordered_pages_of_many_inputs_of_two_hosts_do_not_wait_for_each_other_for_ever(origin: Origin) -> None:
    """The window fills with pages of later inputs while the next input's host has its share."""
    with WorkerPool(8, host_connections=8) as pool, Origin() as other:
        starts = [one.url(f"/pages/6?i={i}") for i in range(60) for one in ([origin] * 5 if i < 12 else [other])]
        outcomes = [*pool.stream(starts, pages=LinkHeader(), window=8, ordered=True)]
    assert len(outcomes) == 6 * len(starts)
    assert [outcome.request.page for outcome in outcomes] == [1, 2, 3, 4, 5, 6] * len(starts)


def test_lists_with_receipts_have_pages_too(origin: Origin, pool: WorkerPool) -> None:
    starts = [origin.url(f"/pages/4?i={number}") for number in range(30)]
    got: Counter[str] = Counter()
    for items in pool.batches(starts, receipts=True, pages=LinkHeader()):
        got.update(item.request.label for item in items if isinstance(item, Outcome))
    assert got == Counter(dict.fromkeys(starts, 4))


def test_a_stream_that_is_drained_tells_what_it_would_have_asked_for(origin: Origin) -> None:
    with WorkerPool(2) as pool:
        outcomes = pool.stream([origin.url("/pages/1000")], pages=LinkHeader())
        first = next(outcomes)
        pool.drain()
        *_, last = outcomes
    assert first.ok
    assert isinstance(last.error, workerpool.Cancelled)
    assert last.request.page > 1


def test_fetch_takes_pages(origin: Origin) -> None:
    assert len([*workerpool.fetch([origin.url("/pages/3")], pages=LinkHeader(), ordered=True)]) == 3


def test_processes_follow_pages(origin: Origin) -> None:
    starts = [Request(origin.url(f"/pages/3?i={number}"), key=str(number)) for number in range(4)]
    outcomes = [*workerpool.fetch(starts, pages=Cursor("next_cursor"), ordered=True, processes=2)]
    assert [(outcome.request.label, outcome.request.page) for outcome in outcomes] == [
        (str(number), page) for number in range(4) for page in (1, 2, 3)
    ]


def test_what_is_no_policy_is_refused(pool: WorkerPool) -> None:
    for wrong in ("link", LinkHeader, 3):
        with pytest.raises(OptionError, match="LinkHeader\\(\\)"):
            pool.stream([], pages=wrong)  # type: ignore[arg-type]


def test_what_is_no_request_is_an_outcome_among_pages(pool: WorkerPool, origin: Origin) -> None:
    outcomes = [*pool.stream(["no URL", origin.url("/pages/2")], pages=PageNumber(total="pages"), ordered=True)]
    assert [(outcome.ok, outcome.request.page) for outcome in outcomes] == [(False, 1), (True, 1), (True, 2)]

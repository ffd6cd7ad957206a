"""A source that trickles holds up neither the requests that it has given nor the outcomes that have come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from tests.waiting import LONG, eventually, let_pass
from workerpool import Cancelled, Outcome, Request, RetryPolicy, SlotTimeout, WorkerPool
from workerpool.batch.sources.ahead import AHEAD, read_ahead
from workerpool.model import IDLE, Idle
from workerpool.testing import Answer, Origin, ScriptedTransport


def test_a_source_may_say_that_it_has_nothing_yet() -> None:
    """The second URL is only there when the first outcome has been seen."""
    urls: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    urls.put("http://a.test/1")

    def source() -> Iterator[str | Idle]:
        while True:
            try:
                url = urls.get_nowait()
            except queue.Empty:
                yield IDLE
                continue
            if url is None:
                return
            yield url

    seen = []
    with WorkerPool(2, transport=ScriptedTransport()) as pool:
        for outcome in pool.stream(source()):
            seen.append(outcome.url)
            urls.put("http://a.test/2" if len(seen) == 1 else None)
    assert seen == ["http://a.test/1", "http://a.test/2"]


def test_what_a_slow_source_has_given_is_sent_before_it_gives_more() -> None:
    """The source waits until its first URL has been sent, so it would wait forever if the stream waited for it."""
    sent = threading.Event()

    def script(request: Request, url: str) -> Answer:
        sent.set()
        return Answer()

    def source() -> Iterator[str]:
        let_pass(0.01)  # slow: the stream is to notice
        yield "http://a.test/1"
        assert sent.wait(LONG)
        yield "http://a.test/2"

    with WorkerPool(2, transport=ScriptedTransport(script)) as pool:
        assert sum(outcome.ok for outcome in pool.stream(source())) == 2


def test_an_idle_source_can_be_drained() -> None:
    with WorkerPool(2, transport=ScriptedTransport()) as pool:
        stream = pool.stream(iter([*["http://a.test/"] * 3, *[IDLE] * 10_000]))
        first = [next(stream) for _ in range(3)]
        pool.drain()
        assert [*stream] == []
    assert all(outcome.ok for outcome in first)


def test_what_a_drained_stream_has_read_ends_as_cancelled() -> None:
    """Also what stands in the backlog of a host that has its share: every input that was read has one outcome."""
    gate = threading.Event()

    def script(request: Request, url: str) -> Answer:
        gate.wait(LONG)
        return Answer()

    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        for url in [*(f"http://a.test/{n}" for n in range(500)), *(f"http://{n}.test/" for n in range(3))]:
            read += 1
            yield url

    with WorkerPool(8, host_connections=2, transport=ScriptedTransport(script)) as pool:
        outcomes: list[Outcome] = []
        reader = threading.Thread(target=lambda: outcomes.extend(pool.stream(source(), window=40)), daemon=True)
        reader.start()
        assert eventually(lambda: read >= 40)
        pool.drain()
        gate.set()
        reader.join(LONG)
    assert len(outcomes) == read
    assert len({outcome.url for outcome in outcomes}) == read
    assert any(isinstance(outcome.error, Cancelled) for outcome in outcomes)


def test_reading_ahead_yields_idle_and_then_what_came() -> None:
    go = threading.Event()

    def source() -> Iterator[Request]:
        assert go.wait(LONG)
        yield Request("http://a.test/")

    items = read_ahead(source())
    assert next(items) is IDLE
    go.set()
    assert [item for item in items if item is not IDLE] == [Request("http://a.test/")]


def test_reading_ahead_raises_what_the_source_raises_after_what_it_gave() -> None:
    def source() -> Iterator[Request]:
        yield Request("http://a.test/")
        raise LookupError("mine")

    items = read_ahead(source())
    with pytest.raises(LookupError, match="mine"):
        assert [item for item in items if item is not IDLE]


def test_reading_ahead_is_bounded() -> None:
    read = 0
    full = threading.Event()

    def source() -> Iterator[Request]:
        nonlocal read
        for number in range(10 * AHEAD):
            read += 1
            if read == AHEAD + 1:
                full.set()
            yield Request(f"http://a.test/{number}")

    items = read_ahead(source())
    next(items)
    assert full.wait(LONG)
    assert read <= AHEAD + 3
    items.close()  # type: ignore[attr-defined]


def test_code_in_a_worker_waits_for_its_slot_no_longer_than_a_request_may_take() -> None:
    """It takes nothing then: the slot that it did not wait for is there for the next one."""
    with Origin() as origin, WorkerPool(2, rate="1/h", retry=RetryPolicy(total=1.0)) as pool:

        def fetch() -> int:
            return int(pool.session.get(origin.url("/")).status_code)

        assert pool.submit(fetch).result(LONG) == 200
        with pytest.raises(SlotTimeout, match=r"within (1\.0 s|9\d\d ms): a budget is spent"):
            pool.submit(fetch).result(LONG)
        assert pool.statistics().sent == 1
        assert origin.requests == 1

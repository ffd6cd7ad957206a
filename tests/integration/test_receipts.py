"""`pool.batches`: with receipts, never more is sent and not receipted than there are workers, as the server counts.

A `Journal` stands on both sides: the origin, or the script, tells it of each request that arrives, and the consumer of
each list, before it asks for the next one.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from tests.waiting import eventually
from workerpool import (
    Attempt,
    Cancelled,
    InvalidRequest,
    OptionError,
    Outcome,
    Request,
    RetryPolicy,
    Underway,
    WorkerPool,
    WrongThread,
)
from workerpool.stream import Stream
from workerpool.testing import Answer, Arrival, Origin, Reply, ScriptedTransport

LONG = 20.0
"""Seconds that something may take which should be there soon."""
WORKERS = 4

Batch = list[Outcome | Underway]


class Journal:
    """Counts sends that were not receipted; `most` is how many there were at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent: Counter[str] = Counter()  # by the last word of the request's path or its key
        self.noted: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.pending = self.most = 0

    def arrive(self, name: str) -> None:
        with self._lock:
            self.sent[name] += 1
            self.pending += 1
            self.most = max(self.most, self.pending)

    def note(self, batch: Batch) -> None:
        with self._lock:
            for item in batch:
                name = item.request.key or item.request.url.rsplit("/", 1)[1]
                is_underway = isinstance(item, Underway)
                self.outcomes[name] += not is_underway
                if is_underway or not isinstance(item.error, (Cancelled, InvalidRequest)):
                    self.noted[name] += 1
                    self.pending -= 1

    def take(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            assert batch
            self.note(batch)

    def script(self, answer: Callable[[int], Answer] = lambda sends: Answer()) -> ScriptedTransport:
        """A transport that tells of each send, and answers it by how often its request was sent before."""

        def play(request: Request, url: str) -> Answer:
            name = request.key or url.rsplit("/", 1)[1]
            self.arrive(name)
            return answer(self.sent[name] - 1)

        return ScriptedTransport(play)

    def listen(self, origin: Origin, reply: Callable[[Arrival], Reply] = lambda arrival: Reply()) -> None:
        def answer(arrival: Arrival) -> Reply:
            self.arrive(arrival.headers.get("X-Name") or arrival.path.rsplit("/", 1)[1])
            return reply(arrival)

        origin.default = answer


def urls(count: int, hosts: int = 3) -> list[str]:
    return [f"http://h{n % hosts}.test/{n}" for n in range(count)]


def stream_of(pool: WorkerPool) -> Stream:
    (stream,) = pool._streams
    return stream


# -- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receipts", [False, True])
def test_lists_hold_every_outcome_once_and_are_never_empty(receipts: bool) -> None:
    journal = Journal()
    with WorkerPool(WORKERS, transport=journal.script()) as pool:
        journal.take(pool.batches(urls(500), receipts=receipts))
    assert set(journal.outcomes.values()) == {1}
    assert len(journal.outcomes) == 500


def test_a_list_holds_all_that_waits() -> None:
    with WorkerPool(WORKERS, transport=ScriptedTransport()) as pool:
        batches = pool.batches(urls(500))
        first = next(batches)
        assert eventually(lambda: pool.statistics().requests == 500)
        second = next(batches)
        assert len(first) + len(second) == 500


def test_lists_may_be_in_the_order_of_the_source() -> None:
    with WorkerPool(WORKERS, transport=ScriptedTransport()) as pool:
        given = urls(500)
        assert [item.request.url for batch in pool.batches(given, ordered=True) for item in batch] == given


def test_receipts_cannot_be_ordered() -> None:
    with WorkerPool(1, transport=ScriptedTransport()) as pool, pytest.raises(OptionError, match="receipts=True"):
        pool.batches([], receipts=True, ordered=True)


def test_what_is_called_before_a_send_must_be_callable() -> None:
    with WorkerPool(1, transport=ScriptedTransport()) as pool, pytest.raises(OptionError, match="before_send=5"):
        pool.batches([], before_send=5)  # type: ignore[arg-type]


def test_lists_are_not_for_workers() -> None:
    with WorkerPool(2, transport=ScriptedTransport()) as pool, pytest.raises(WrongThread, match=r"pool\.batches"):
        pool.submit(lambda: next(pool.batches(urls(1)))).result(LONG)


# -- the bound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast_path", [True, False])
def test_no_more_than_the_workers_is_sent_beyond_the_receipts(fast_path: bool) -> None:
    """The consumer holds each list until the server has heard all that the pool will send meanwhile."""
    journal = Journal()
    with Origin() as origin, WorkerPool(WORKERS, fast_path=fast_path, host_connections=8) as pool:
        journal.listen(origin)
        for batch in pool.batches([origin.url(f"/{n}") for n in range(60)], receipts=True):
            assert eventually(lambda: journal.pending == min(WORKERS, 60 - journal.noted.total()))
            journal.note(batch)
    assert journal.most == WORKERS
    assert journal.sent == journal.noted
    assert len(journal.sent) == 60


def test_a_request_that_waits_for_a_retry_is_told_of_with_its_attempts() -> None:
    journal = Journal()
    policy = RetryPolicy(attempts=3, backoff=0.01)
    told: list[Outcome | Underway] = []
    with WorkerPool(1, retry=policy, transport=journal.script(lambda sends: Answer(503))) as pool:
        for batch in pool.batches(["http://h.test/a"], receipts=True):
            told += batch
            journal.note(batch)
        assert not pool._streams or stream_of(pool).room == 1
    first, second, last = told
    assert isinstance(first, Underway)
    assert isinstance(second, Underway)
    assert isinstance(last, Outcome)
    assert [attempt.status for attempt in first.attempts] == [503]
    assert last.attempts[:2] == second.attempts
    assert len(last.attempts) == 3
    assert journal.sent == journal.noted


def test_a_redirect_that_goes_on_in_another_lane_is_told_of() -> None:
    journal = Journal()
    told: list[Outcome | Underway] = []
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin, WorkerPool(1) as pool:
        there = origin.url("/b", address="127.0.0.2")
        journal.listen(
            origin, lambda arrival: Reply() if arrival.path == "/b" else Reply(status=302, headers={"Location": there})
        )
        for batch in pool.batches([origin.url("/a")], receipts=True):
            told += batch
    hop, last = told
    assert isinstance(hop, Underway)
    assert hop.attempts == ()
    assert isinstance(last, Outcome)
    assert last.attempts[0].hops == 1


# -- before a send -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast_path", [True, False])
def test_what_may_not_be_repeated_is_told_of_before_it_is_sent_and_nothing_else_is(fast_path: bool) -> None:
    told: list[str] = []
    threads: set[str] = set()
    late: list[str] = []

    def note(request: Request) -> None:
        told.append(request.url)
        threads.add(threading.current_thread().name)

    with Origin() as origin, WorkerPool(WORKERS, fast_path=fast_path, thread_name_prefix="worker") as pool:

        def answer(arrival: Arrival) -> Reply:
            if arrival.method == "POST" and origin.url(arrival.path) not in told:
                late.append(arrival.path)
            return Reply()

        origin.default = answer
        requests = [Request(origin.url(f"/{n}"), "POST" if n % 2 else "GET") for n in range(100)]
        requests.append(Request(origin.url("/safe"), "PUT"))
        assert all(outcome.ok for batch in pool.batches(requests, before_send=note) for outcome in batch)
    assert not late
    assert sorted(told) == sorted(request.url for request in requests[1:100:2])
    assert all(name.startswith("worker") for name in threads)


def test_what_could_not_be_journalled_is_not_sent() -> None:
    def refuse(request: Request) -> None:
        raise OSError("no space left")

    journal = Journal()
    with WorkerPool(1, transport=journal.script()) as pool:
        batches = pool.batches([Request("http://h.test/a", "POST"), *urls(3)], receipts=True, before_send=refuse)
        outcomes = {item.request.label: item for batch in batches for item in batch}
    failed = outcomes.pop("http://h.test/a")
    assert isinstance(failed, Outcome)
    assert isinstance(failed.error, Cancelled)
    assert "could not be journalled" in str(failed.error)
    assert "no space left" in str(failed.error)
    assert isinstance(failed.error.__cause__, OSError)
    assert len(outcomes) == 3
    assert "a" not in journal.sent


# -- earlier runs ------------------------------------------------------------------------------------------------------


def test_attempts_of_an_earlier_run_count() -> None:
    earlier = tuple(Attempt(started_at=float(n), elapsed=1.0, status=503, error="HTTP 503") for n in range(2))
    policy = RetryPolicy(attempts=4, backoff=0.001)
    transport = ScriptedTransport(lambda request, url: Answer(500))
    with WorkerPool(1, retry=policy, transport=transport) as pool:
        (outcome,) = pool.stream([Request("http://h.test/a", earlier=earlier)])
    assert transport.sends == 2
    assert outcome.attempts[:2] == earlier
    assert len(outcome.attempts) == 4
    assert outcome.error is not None
    assert outcome.error.attempts == 4
    assert "attempt 4, after 2 × HTTP 503, 1 × HTTP 500" in str(outcome.error)
    assert outcome.elapsed < 1

"""`pool.batches`: with receipts, never more is sent and not receipted than there are workers, as the server counts.

A `Journal` stands on both sides: the origin, or the script, tells it of each request that arrives, and the consumer of
each list, before it asks for the next one.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import pytest
import requests

from tests.conftest import combined
from tests.waiting import LONG, eventually, let_pass
from workerpool import (
    Attempt,
    Cancelled,
    InvalidRequest,
    OptionError,
    Outcome,
    Request,
    RetryPolicy,
    Timings,
    Underway,
    WorkerPool,
    WrongThread,
)
from workerpool.crew import Door
from workerpool.stream import Stream
from workerpool.testing import Answer, Arrival, Origin, Reply, ScriptedTransport

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
                assert not self.outcomes[name], "told of after its outcome"
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
            self.arrive(arrival.path.rsplit("/", 1)[1].partition("?")[0])
            return reply(arrival)

        origin.default = answer


def urls(count: int, hosts: int = 3) -> list[str]:
    return [f"http://h{n % hosts}.test/{n}" for n in range(count)]


def stream_of(pool: WorkerPool) -> Stream:
    (stream,) = [stream for stream in pool._streams if not stream.is_over]
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
    first_is_taken = threading.Event()

    def play(request: Request, url: str) -> Answer:
        assert url.endswith("/0") or first_is_taken.wait(LONG)
        return Answer()

    with WorkerPool(WORKERS, transport=ScriptedTransport(play)) as pool:
        batches = pool.batches(urls(500))
        first = next(batches)
        first_is_taken.set()
        assert eventually(lambda: len(first) + stream_of(pool)._ended.qsize() == 500)
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
        batches = pool.batches(["http://h.test/a"], receipts=True)
        stream = stream_of(pool)
        for batch in batches:
            told += batch
            journal.note(batch)
        assert stream.room == 1
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


def test_while_its_consumer_stalls_a_request_that_failed_goes_on_no_sooner_than_the_others() -> None:
    """Every send fails at first: each holds its place, though it has left its worker, until the receipt."""
    journal = Journal()
    policy = RetryPolicy(attempts=4, backoff=0.001, backoff_max=0.001)
    transport = journal.script(lambda sends: Answer(503) if sends < 2 else Answer())
    with WorkerPool(WORKERS, retry=policy, transport=transport) as pool:
        batches = pool.batches(urls(30), receipts=True)
        for batch in batches:
            assert eventually(lambda: pool.statistics().active == 0)
            assert journal.pending <= WORKERS
            journal.note(batch)
    assert journal.most == WORKERS
    assert journal.sent == journal.noted
    assert journal.sent.total() == 90


@pytest.mark.parametrize("fast_path", [True, False])
def test_what_goes_again_because_its_socket_had_died_counts_twice(fast_path: bool) -> None:
    """The server takes every third request in, and resets its connection instead of an answer."""
    journal = Journal()
    resets = itertools.count()
    policy = RetryPolicy(attempts=10, backoff=0.001, backoff_max=0.001)
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin:
        journal.listen(origin, lambda arrival: Reply(reset=True) if next(resets) % 3 == 2 else Reply())
        with WorkerPool(WORKERS, retry=policy, fast_path=fast_path) as pool:
            given = [origin.url(f"/{n}", address=f"127.0.0.{1 + n % 2}") for n in range(200)]
            for batch in pool.batches(given, receipts=True):
                if journal.noted.total() < 60:
                    assert eventually(lambda: pool.statistics().active == 0)
                journal.note(batch)
            assert pool.statistics().resent > 10
    assert journal.most == WORKERS
    assert journal.sent == journal.noted


def test_a_pause_of_a_host_keeps_the_places_of_what_it_refused() -> None:
    journal = Journal()
    refusal = Answer(429, headers={"Retry-After": "0.02"})
    transport = journal.script(lambda sends: refusal if sends == 0 else Answer())
    with WorkerPool(WORKERS, transport=transport) as pool:
        journal.take(pool.batches(urls(40), receipts=True))
    assert journal.most <= WORKERS
    assert journal.sent == journal.noted
    assert journal.sent.total() > 40


def test_what_a_host_refuses_beforehand_gives_its_place_back_unsent() -> None:
    """The host wants a pause that is longer than anybody waits: nearly all of its requests end unsent."""
    journal = Journal()
    transport = journal.script(lambda sends: Answer(503, headers={"Retry-After": "9999"}))
    with WorkerPool(2, transport=transport) as pool:
        batches = pool.batches([f"http://h.test/{n}" for n in range(50)], receipts=True)
        stream = stream_of(pool)
        outcomes = [*itertools.chain.from_iterable(batches)]
        assert stream.room == 2
    reasons = Counter(item.error.reason for item in outcomes if isinstance(item, Outcome) and item.error)
    assert reasons.total() == 50
    assert reasons["paused"] >= 48
    assert journal.sent.total() <= 2


def test_what_is_no_request_takes_no_place_and_gives_none_back() -> None:
    journal = Journal()
    with WorkerPool(2, transport=journal.script()) as pool:
        given = [one for url in urls(50) for one in (url, 5, Request(url, problem="odd"))]
        batches = pool.batches(given, receipts=True)  # type: ignore[arg-type]
        stream: Stream | None = None
        for batch in batches:
            stream = stream or stream_of(pool)
            assert eventually(lambda: pool.statistics().active == 0)
            journal.note([item for item in batch if item.request.url.startswith("http") and not item.request.problem])
        assert stream is not None
        assert stream.room == 2
    assert journal.most <= 2
    assert journal.sent == journal.noted


# -- who waits for a consumer that stalls ------------------------------------------------------------------------------


@pytest.fixture
def stalled() -> Iterator[tuple[WorkerPool, Generator[Batch, None, None]]]:
    """A pool of two workers, all of whose places are held by a list that its consumer keeps."""
    with WorkerPool(2, transport=ScriptedTransport()) as pool:
        batches = pool.batches(urls(100), receipts=True)
        next(batches)
        assert eventually(lambda: stream_of(pool).room == 0 and pool.statistics().active == 0)
        yield pool, batches
        batches.close()


def test_others_send_while_a_consumer_stalls(stalled: Any) -> None:
    """Also those that the consumer waits for before it asks for more."""
    pool, batches = stalled
    assert pool.get("http://h0.test/other").result(LONG).ok
    assert pool.submit(pow, 2, 3).result(LONG) == 8
    assert [outcome.ok for outcome in pool.stream(urls(50))] == [True] * 50
    assert sum(len(batch) for batch in pool.batches(urls(50), receipts=True)) == 50
    assert stream_of(pool).room == 0
    assert sum(len(batch) for batch in batches) >= 98


def test_a_session_of_a_callable_gets_leave_while_a_consumer_stalls(stalled: Any) -> None:
    pool, _batches = stalled

    def send() -> int:
        door = Door(pool._crew._turns)
        for _ in range(5):
            door.exit(door.enter("http://h0.test:80", LONG))
        return 5

    callables = [pool.submit(send) for _ in range(2)]
    assert [future.result(LONG) for future in callables] == [5, 5]


def test_shutdown_does_not_wait_for_receipts(stalled: Any) -> None:
    """The consumer itself may call it. What was not sent is cancelled, and told to whoever asks."""
    pool, batches = stalled
    stream = stream_of(pool)
    pool.shutdown()
    rest = [*itertools.chain.from_iterable(batches)]
    cancelled = [item for item in rest if isinstance(item, Outcome) and isinstance(item.error, Cancelled)]
    assert len(cancelled) == 98
    assert stream.room == 2


def test_shutdown_is_told_after_what_had_ended_before() -> None:
    with WorkerPool(2, transport=ScriptedTransport()) as pool:
        batches = pool.batches(urls(100), window=10, receipts=True)
        told = [*next(batches)]
        assert eventually(lambda: stream_of(pool).room == 0 and pool.statistics().active == 0)
        pool.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            told.extend(itertools.chain.from_iterable(batches))
    assert sum(isinstance(item, Outcome) and item.ok for item in told) == 2
    assert sum(isinstance(item, Outcome) and isinstance(item.error, Cancelled) for item in told) >= 8


def test_a_request_that_fails_after_shutdown_is_not_kept_for_receipts_that_never_come() -> None:
    hold = threading.Event()

    def answer(request: Request, url: str) -> Answer:
        assert hold.wait(LONG)
        return Answer(503)

    pool = WorkerPool(1, retry=RetryPolicy(attempts=9, backoff=30), transport=ScriptedTransport(answer))
    batches = pool.batches(urls(1), receipts=True)
    taken: list[Batch] = []
    consumer = threading.Thread(target=lambda: taken.extend(batches))
    consumer.start()
    assert eventually(lambda: pool.statistics().in_flight == 1)
    pool.shutdown(wait=False)
    hold.set()
    pool.shutdown()
    consumer.join(LONG)
    underway, outcome = itertools.chain.from_iterable(taken)
    assert isinstance(underway, Underway)
    assert isinstance(outcome, Outcome)
    assert isinstance(outcome.error, Cancelled)
    assert len(outcome.attempts) == 1


def test_drain_ends_a_stream_whose_consumer_stalls_when_it_asks_again(stalled: Any) -> None:
    pool, batches = stalled
    stream = stream_of(pool)
    pool.drain()
    rest = [*itertools.chain.from_iterable(batches)]
    assert sum(isinstance(item.error, Cancelled) for item in rest) == 98
    assert stream.room == 2


def test_a_consumer_that_leaves_takes_its_requests_along(stalled: Any) -> None:
    pool, batches = stalled
    batches.close()
    assert pool.statistics().queued == 0
    assert sum(len(batch) for batch in pool.batches(urls(50), receipts=True)) == 50


def test_a_pool_whose_consumer_was_lost_shuts_down() -> None:
    """The generator hangs on an error's traceback, as it does when the loop's body raises inside `with pool`."""
    kept: list[Any] = []
    with WorkerPool(2, transport=ScriptedTransport()) as pool:
        batches = pool.batches(urls(100), receipts=True)
        kept += [batches, next(batches)]
    assert pool.statistics().queued == 0


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


def test_what_goes_on_after_a_redirect_is_not_told_of_again() -> None:
    told: list[Request] = []
    transport = ScriptedTransport(
        lambda request, url: Answer(307, headers={"Location": "/b"}) if url.endswith("/a") else Answer()
    )
    with WorkerPool(1, transport=transport) as pool:
        (outcome,) = next(pool.batches([Request("http://h.test/a", "POST")], before_send=told.append))
    assert isinstance(outcome, Outcome)
    assert outcome.ok
    assert transport.sends == 2
    assert len(told) == 1


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
    assert outcome.timings == outcome.attempts[2].timings + outcome.attempts[3].timings + Timings(
        parked=outcome.timings.parked
    )


def test_attempts_of_an_earlier_run_are_not_forgotten_if_nothing_is_sent_in_this_one() -> None:
    earlier = (Attempt(started_at=1.0, elapsed=1.0, status=503),)
    with WorkerPool(1, transport=ScriptedTransport()) as pool:
        (odd,) = pool.stream([Request("http://h.test/", problem="odd", earlier=earlier)])
    assert odd.attempts == earlier
    assert odd.error is not None
    assert odd.error.attempts == 1


def test_earlier_attempts_are_a_batchs_matter() -> None:
    with WorkerPool(1, transport=ScriptedTransport()) as pool, pytest.raises(TypeError, match="earlier"):
        pool.get("http://h.test/", earlier=())


# -- everything at once ------------------------------------------------------------------------------------------------


def unruly(chance: random.Random) -> Answer:
    draw = chance.random()
    if draw < 0.08:
        return Answer(503)
    if draw < 0.18:
        return Answer(302, headers={"Location": f"http://h{int(draw * 1e4) % 5}.test/moved"})
    if draw < 0.22:
        return Answer(429, headers={"Retry-After": "0.005"})
    if draw < 0.27:
        return Answer(error=requests.ConnectionError("gone"))
    if draw < 0.30:
        raise LookupError("a defect of the script")
    return Answer()


class Consumer:
    """A stream with a journal of its own, whose requests' keys begin with its name, and a thread that takes its lists.

    `leaves_after`: lists after which it closes the generator; None takes all.
    """

    def __init__(self, name: str, pool: WorkerPool, seed: int, leaves_after: int | None) -> None:
        self.journal = Journal()
        self.announced: set[str] = set()
        self.early: list[str] = []
        self.failures: list[BaseException] = []
        self._chance = random.Random(seed)
        self._name, self._pool, self._leaves_after = name, pool, leaves_after
        self.has_all = False
        self.room = -1
        self.thread = threading.Thread(target=self._run, daemon=True)

    def arrive(self, request: Request) -> None:
        assert request.key is not None
        self.journal.arrive(request.key)
        if request.method == "POST" and request.key not in self.announced:
            self.early.append(request.key)

    def _announce(self, request: Request) -> None:
        assert request.key is not None
        if self._chance.random() < 0.1:
            raise OSError("no room")
        self.announced.add(request.key)

    def _requests(self) -> Iterator[Any]:
        for number in range(150):
            method = "POST" if number % 4 == 0 else "GET"
            url = "ftp://odd" if number % 31 == 0 else f"http://h{self._chance.randrange(5)}.test/"
            yield Request(url, method, key=f"{self._name}/{number}", problem="odd" if number % 31 == 0 else None)

    def _run(self) -> None:
        try:
            batches = self._pool.batches(self._requests(), window=40, receipts=True, before_send=self._announce)
            stream: Stream = batches.gi_frame.f_locals["self"]
            for count, batch in enumerate(batches):
                if count == self._leaves_after:
                    batches.close()
                    return
                if self._chance.random() < 0.2:
                    let_pass(0.003)
                self.journal.note(batch)
            self.room = stream.room
            self.has_all = True
        except RuntimeError as error:
            if "after shutdown" not in str(error):
                self.failures.append(error)
        except BaseException as error:
            self.failures.append(error)


@pytest.mark.parametrize(("end", "seed"), combined(["in peace", "drain", "shutdown", "cancel"], range(4)))
def test_the_bound_holds_for_each_of_many_streams_whatever_happens(
    tiny_switch_interval: None, seed: int, end: str
) -> None:
    """Streams with receipts, others and callables in one pool, with faults, and consumers that leave in between."""
    chance = random.Random(seed)
    consumers: dict[str, Consumer] = {}

    def script(request: Request, url: str) -> Answer:
        if request.key is not None:
            consumers[request.key.partition("/")[0]].arrive(request)
        return unruly(chance)

    policy = RetryPolicy(attempts=3, backoff=0.004)
    pool = WorkerPool(WORKERS, retry=policy, transport=ScriptedTransport(script), host_connections=3)
    for number in range(5):
        leaves_after = chance.randrange(20) if number == 4 else None
        consumers[f"s{number}"] = Consumer(f"s{number}", pool, seed * 10 + number, leaves_after)
    for consumer in consumers.values():
        consumer.thread.start()
    futures = [pool.get(f"http://h{n % 5}.test/") for n in range(100)] + [pool.submit(pow, 2, n) for n in range(50)]
    assert sum(1 for _ in pool.stream([f"http://h{n % 5}.test/" for n in range(50)])) == 50
    if end == "drain":
        pool.drain()
    elif end != "in peace":
        pool.shutdown(cancel_futures=end == "cancel")
    for consumer in consumers.values():
        consumer.thread.join(LONG)
        assert not consumer.thread.is_alive()
    pool.shutdown()
    assert all(future.done() for future in futures)
    for consumer in consumers.values():
        assert not consumer.failures
        assert not consumer.early
        journal = consumer.journal
        assert journal.most <= WORKERS
        assert set(journal.outcomes.values()) <= {0, 1}
        if consumer.has_all:
            assert journal.sent == journal.noted
            assert consumer.room == WORKERS
            assert set(journal.outcomes.values()) == {1}
            assert end != "in peace" or len(journal.outcomes) == 150
    if end == "in peace":
        assert sum(consumer.has_all for consumer in consumers.values()) >= 4


@pytest.mark.parametrize("fast_path", [True, False])
def test_the_bound_holds_over_sockets_that_die(tiny_switch_interval: None, fast_path: bool) -> None:
    """Carried or not: answers come at once, late, in pieces, as redirects, refusals, or as a reset."""
    chance, journal = random.Random(7), Journal()
    with Origin(addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3")) as origin:

        def reply(arrival: Arrival) -> Reply:
            draw = chance.random()
            if draw < 0.1:
                elsewhere = origin.url(arrival.path, address=f"127.0.0.{1 + chance.randrange(3)}")
                return Reply(status=302, headers={"Location": f"{elsewhere}?{draw}"})
            if draw < 0.2:
                return Reply(reset=True)
            if draw < 0.3:
                return Reply(status=503)
            if draw < 0.4:
                return Reply(body=b"slowly", drip=0.001)
            return Reply(delay=0.002 if draw < 0.6 else 0, close=draw > 0.95)

        journal.listen(origin, reply)
        policy = RetryPolicy(attempts=4, backoff=0.002, backoff_max=0.002)
        with WorkerPool(WORKERS, retry=policy, fast_path=fast_path) as pool:
            methods = ["POST", "GET", "GET", "GET", "GET"]
            given = [Request(origin.url(f"/{n}", f"127.0.0.{1 + n % 3}"), methods[n % 5]) for n in range(300)]
            batches = pool.batches(given, receipts=True, before_send=lambda request: None)
            stream = stream_of(pool)
            for batch in batches:
                if chance.random() < 0.2:
                    let_pass(0.003)
                journal.note(batch)
            assert pool.statistics().resent > 0
            assert pool.statistics().redirects > 0
    assert journal.most <= WORKERS
    assert stream.room == WORKERS
    assert journal.outcomes.total() == 300
    assert all(journal.sent[name] <= journal.noted[name] for name in journal.noted)


def test_a_redirect_is_followed_before_the_next_request_of_its_host_is_sent() -> None:
    with Origin() as origin, WorkerPool(1) as pool:
        paths = [f"/redirect/2?i={number}" for number in range(5)]
        outcomes = [
            item for batch in pool.batches([origin.url(path) for path in paths], receipts=True) for item in batch
        ]
        assert sum(isinstance(item, Outcome) for item in outcomes) == 5
        assert [arrival.path.split("?")[0] for arrival in origin.arrivals] == [
            "/redirect/2",
            "/redirect/1",
            "/redirect/0",
        ] * 5

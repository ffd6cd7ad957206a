"""The coordinator of a cluster over a line that a test holds: what it submits, and what it makes of what it hears."""

from __future__ import annotations

import pickle
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.waiting import LONG, eventually
from workerpool.agent import version
from workerpool.cluster import coordinator as coordinator_module
from workerpool.cluster import dispatch
from workerpool.cluster.coordinator import Coordinator
from workerpool.cluster.dispatch import DEPTH, MOST_LOSSES
from workerpool.cluster.messages import Chunk, Harvest, packed, unpacked
from workerpool.errors import BudgetError, Cancelled, ClusterLost, InvalidRequest
from workerpool.model import Outcome, Request
from workerpool.processes.figures import NOTHING
from workerpool.processes.parcels import pack_outcome, pack_request
from workerpool.tickets import NOBODY, Owner, Ticket

Told = Callable[[Any], None]


class Sent:
    """A chunk on its way to a worker."""

    def __init__(self, address: str, chunk: Chunk, told: Told) -> None:
        self.address = address
        self.chunk = chunk
        self.told = told
        self.is_forgotten = False

    def forget(self) -> None:
        self.is_forgotten = True

    def harvest(self, numbers: Sequence[int] | None = None, pool: str = "pool") -> None:
        """Tell that all requests of the chunk have ended, or those of some numbers."""
        if numbers is None:
            numbers = [errand.number for errand in self.chunk.errands]
        ended = [(number, pack_outcome(Outcome(Request("http://a.test/"))), 0) for number in numbers]
        self.told(packed(Harvest(pool, ended, 0, True, NOTHING, 0.0)))


class Line:
    """A cluster whose workers are a list. `version`: which they have of this library."""

    is_local = False
    name = "the cluster"

    def __init__(self, *addresses: str) -> None:
        self.addresses = [*addresses]
        self.is_up = True
        self.is_closed = False
        self.version = version()
        self.sent: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self.stopped: list[int] = []
        self.closings = 0

    def ask_workers(self, told: Told) -> None:
        told(dict.fromkeys(self.addresses, 2))

    def greet(self, address: str, told: Told) -> None:
        told((self.version, "here"))

    def submit(self, address: str, key: str, data: bytes, told: Told) -> Callable[[], None]:
        sent = Sent(address, unpacked(data), told)
        self.sent.put(sent)
        return sent.forget

    def stop(self, addresses: Sequence[str], job: str, owner: int) -> None:
        self.stopped.append(owner)

    def close(self, addresses: Sequence[str], job: str) -> None:
        self.closings += 1

    def next(self) -> Sent:
        return self.sent.get(timeout=LONG)


class Wanted(Ticket):
    """Keeps its outcomes."""

    __slots__ = ("outcomes",)

    def __init__(self, number: int, owner: Owner = NOBODY, method: str = "GET", host: str = "a") -> None:
        super().__init__(Request(f"http://{host}/{number}", method), host, owner)
        self.outcomes: list[Outcome] = []

    def deliver(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (coordinator_module, dispatch):
        monkeypatch.setattr(module, "LOOK_EVERY", 0.02)


@pytest.fixture
def make() -> Iterator[Callable[..., Coordinator]]:
    made: list[Coordinator] = []

    def start(line: Line) -> Coordinator:
        crew = Coordinator(
            line, {}, 2, may_split=False, keeps_bodies=True, may_repeat=lambda request: request.method == "GET"
        )
        made.append(crew)
        return crew

    yield start
    for crew in made:
        crew._fail(ClusterLost("over"))
        crew.close(cancel=True)
        crew.join()


def test_a_chunk_is_told_once_and_what_is_told_again_is_dropped(make: Callable[..., Coordinator]) -> None:
    line, ticket = Line("w"), Wanted(1)
    crew = make(line)
    crew.add([ticket])
    sent = line.next()
    sent.harvest()
    sent.harvest()
    assert eventually(lambda: bool(ticket.outcomes))
    other = Wanted(2)
    crew.add([other])
    again = line.next()
    again.harvest([sent.chunk.errands[0].number, again.chunk.errands[0].number, again.chunk.errands[0].number])
    assert eventually(lambda: bool(other.outcomes))
    assert len(ticket.outcomes) == len(other.outcomes) == 1


def test_what_a_worker_had_that_is_gone_goes_to_another_one(make: Callable[..., Coordinator]) -> None:
    line = Line("w")
    tickets = [Wanted(number) for number in range(5)]
    make(line).add(tickets)
    lost = line.next()
    lost.harvest([lost.chunk.errands[0].number])
    assert eventually(lambda: bool(tickets[0].outcomes))
    line.addresses = ["x"]
    again = next(sent for sent in iter(line.next, None) if sent.address == "x")
    assert [errand.number for errand in again.chunk.errands] == [errand.number for errand in lost.chunk.errands[1:]]
    lost.harvest()  # too late
    again.harvest()
    assert eventually(lambda: all(ticket.outcomes for ticket in tickets))
    assert all(len(ticket.outcomes) == 1 for ticket in tickets)


def test_what_another_pool_at_the_same_address_does_not_know_is_sent_again(make: Callable[..., Coordinator]) -> None:
    line = Line("w")
    tickets = [Wanted(number) for number in range(3)]
    make(line).add(tickets)
    first = line.next()
    numbers = [errand.number for errand in first.chunk.errands]
    first.harvest(numbers[:1])
    line.next().harvest([], pool="another")
    again = next(sent for sent in iter(line.next, None) if sent.chunk.errands)
    assert [errand.number for errand in again.chunk.errands] == numbers[1:]


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError("no result"), KeyError("lost")])
def test_a_chunk_that_came_to_nothing_is_sent_again(make: Callable[..., Coordinator], error: Exception) -> None:
    line, ticket = Line("w"), Wanted(1)
    make(line).add([ticket])
    line.next().told(error)
    line.next().harvest()
    assert eventually(lambda: bool(ticket.outcomes))
    assert ticket.outcomes[0].ok


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ModuleNotFoundError("no module named workerpool"), "a worker at w cannot work: ModuleNotFoundError"),
        (pickle.UnpicklingError("odd"), "a worker at w cannot work"),
        (BudgetError("the server cannot be asked"), "a worker at w cannot work: BudgetError"),
    ],
)
def test_code_that_fails_at_a_worker_ends_the_batch(
    make: Callable[..., Coordinator], error: Exception, part: str
) -> None:
    line, ticket = Line("w"), Wanted(1)
    crew = make(line)
    crew.add([ticket])
    line.next().told(error)
    assert eventually(lambda: bool(ticket.outcomes))
    assert isinstance(ticket.outcomes[0].error, Cancelled)
    assert part in str(ticket.outcomes[0].error)
    with pytest.raises(ClusterLost, match=part):
        crew.add([Wanted(2)])


def test_a_worker_that_comes_while_the_budget_is_away_is_asked_again_once_others_have_fetched(
    make: Callable[..., Coordinator],
) -> None:
    line, first, second = Line("w"), Wanted(1), Wanted(2)
    crew = make(line)
    crew.add([first])
    line.next().harvest()
    assert eventually(lambda: bool(first.outcomes))
    crew.add([second])
    for _ in range(MOST_LOSSES + 2):  # which are none
        line.next().told(BudgetError("the server cannot be asked"))
    line.next().harvest()
    assert eventually(lambda: bool(second.outcomes))
    assert second.outcomes[0].ok


def test_a_worker_with_another_version_ends_the_batch(make: Callable[..., Coordinator]) -> None:
    line, ticket = Line("w"), Wanted(1)
    line.version = "0.0.1"
    crew = make(line)
    crew.add([ticket])
    assert eventually(lambda: bool(ticket.outcomes))
    assert "the worker at w has workerpool 0.0.1" in str(crew.failure)


def test_a_cluster_without_a_worker_is_waited_for_and_then_given_up(
    make: Callable[..., Coordinator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PATIENCE", 0.2)
    line, ticket = Line(), Wanted(1)
    crew = make(line)
    crew.add([ticket])
    assert eventually(lambda: bool(ticket.outcomes))
    assert "the cluster has no worker: start it again" in str(crew.failure)


def test_a_line_that_is_closed_ends_the_batch_at_once(make: Callable[..., Coordinator]) -> None:
    line, ticket = Line("w"), Wanted(1)
    crew = make(line)
    crew.add([ticket])
    line.next()
    line.is_up, line.is_closed = False, True
    assert eventually(lambda: bool(ticket.outcomes))
    assert "has no scheduler any more" in str(crew.failure)


def test_workers_that_are_lost_again_and_again_end_the_batch(make: Callable[..., Coordinator]) -> None:
    line, ticket = Line("w"), Wanted(1)
    crew = make(line)
    crew.add([ticket])
    while crew.failure is None:
        line.next().told(OSError("gone"))
        assert eventually(lambda: crew.failure is not None or not line.sent.empty())
    assert "workers one after the other, and nothing was fetched" in str(crew.failure)
    assert isinstance(ticket.outcomes[0].error, Cancelled)


def test_workers_that_are_lost_now_and_then_end_nothing(make: Callable[..., Coordinator]) -> None:
    line = Line("w")
    tickets = [Wanted(number) for number in range(2 * MOST_LOSSES)]
    crew = make(line)
    for ticket in tickets:
        crew.add([ticket])
        line.next().told(OSError("gone"))
        line.next().harvest()
        assert eventually(lambda ticket=ticket: bool(ticket.outcomes))  # type: ignore[misc]
    assert all(ticket.outcomes[0].ok for ticket in tickets)


def test_a_worker_has_few_chunks_at_once_however_many_requests_there_are(make: Callable[..., Coordinator]) -> None:
    line = Line("w")
    make(line).add([Wanted(number) for number in range(1000)])
    first = line.next()
    assert len(first.chunk.errands) == 6  # four for each thread, of which a third is kept for other hosts
    for _ in range(5):
        first.harvest()
        first = line.next()
    assert line.sent.qsize() < DEPTH


def test_a_stream_that_is_given_up_ends_what_is_queued_here_and_stops_what_is_there(
    make: Callable[..., Coordinator],
) -> None:
    line, owner = Line("w"), Owner()
    tickets = [Wanted(number, owner) for number in range(20)]
    crew = make(line)
    crew.add(tickets)
    sent = line.next()
    owner.is_over = True
    crew.give_up(owner)
    assert eventually(lambda: sum(bool(ticket.outcomes) for ticket in tickets) == 14)
    assert all(isinstance(ticket.outcomes[0].error, Cancelled) for ticket in tickets if ticket.outcomes)
    assert {*line.stopped} == {sent.chunk.errands[0].owner}  # told again with each look


def test_what_may_not_be_repeated_is_refused(make: Callable[..., Coordinator]) -> None:
    ticket = Wanted(1, method="POST")
    make(Line("w")).add([ticket])
    assert isinstance(ticket.outcomes[0].error, InvalidRequest)


def test_a_shut_down_crew_sees_to_what_it_has_and_takes_no_more(make: Callable[..., Coordinator]) -> None:
    line, ticket = Line("w"), Wanted(1)
    crew = make(line)
    crew.add([ticket])
    crew.close(cancel=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        crew.add([Wanted(2)])
    line.next().harvest()
    crew.join()
    assert ticket.outcomes[0].ok
    assert line.closings == 1


def test_what_comes_while_the_crew_is_shut_down_is_not_lost(
    make: Callable[..., Coordinator], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = make(Line("w"))

    def close_first(request: Request) -> Any:
        crew.close(cancel=False)
        crew.join()
        return pack_request(request)

    monkeypatch.setattr(coordinator_module, "pack_request", close_first)
    with pytest.raises(RuntimeError, match="after shutdown"):
        crew.add([Wanted(1)])


def test_what_came_before_the_thread_broke_is_cancelled(
    make: Callable[..., Coordinator], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew, late = make(Line("w")), Wanted(2)

    def break_down() -> None:
        crew._calls.put(lambda: crew._enter([(late, None)]))
        raise LookupError("a bug")

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    crew.add([Wanted(1)])
    crew._calls.put(break_down)
    crew.join()
    assert isinstance(late.outcomes[0].error, Cancelled)


def test_in_a_forked_child_nothing_is_waited_for(make: Callable[..., Coordinator]) -> None:
    crew = make(Line("w"))
    crew.disown()
    crew.close(cancel=False)
    crew.join()
    assert not crew._thread.is_alive()
    with pytest.raises(ClusterLost, match="forked"):
        crew.add([Wanted(1)])

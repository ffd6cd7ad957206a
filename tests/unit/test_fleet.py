"""A fleet and a process of it, each by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import requests

from workerpool.errors import Cancelled, OutcomeUnknown, ProcessesLost
from workerpool.model import Outcome, Request
from workerpool.processes import supervisor as supervisor_module
from workerpool.processes.child import Child, _ToParent
from workerpool.processes.fleet import Fleet, _log
from workerpool.processes.messages import LIGHT, Forget, Line, Open, Task, Urge, Work
from workerpool.processes.parcels import pack_error, pack_request, unpack_error
from workerpool.processes.telling import ParentTicket
from workerpool.statistics import Wait
from workerpool.tickets import NOBODY, Ticket


class Process:
    """A process that does nothing; the first so many of `may_start` can be started."""

    made: list[Process]
    may_start: int

    def __init__(self, *_: object) -> None:
        if len(self.made) >= self.may_start:
            raise OSError("no more processes")
        self.is_killed = False
        self.told: list[object] = []
        self.fault = self.returncode = None
        self.made.append(self)

    def start(self) -> None: ...

    def kill(self) -> None:
        self.is_killed = True

    def tell(self, message: object) -> None:
        self.told.append(message)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Process]]:
    Process.made, Process.may_start = [], 99
    monkeypatch.setattr(supervisor_module, "Process", Process)
    return Process.made


def fleet_of(berths: int) -> Fleet:
    return Fleet([2] * berths, lambda: ([{}] * berths, None), lambda request: True)


class Owner:
    """A stream that may be left."""

    def __init__(self) -> None:
        self.is_over = self.is_forsaken = self.is_full = self.needs_receipts = False
        self.awaited: Ticket | None = None
        self.room, self.queued = 1, 0
        self.doing = Wait.ANSWERS


def test_a_successor_is_not_given_what_nobody_wants_any_more(processes: list[Process]) -> None:
    fleet, left, stays = fleet_of(1), Owner(), Owner()
    fleet.add([Ticket(Request("http://a.test/"), "a", owner) for owner in (left, left, stays)])
    left.is_forsaken = True
    fleet.forsake(left, has_requests=True)
    fleet.supervisor._lost(fleet._berths[0], processes[0])  # type: ignore[arg-type]
    assert [len(message.tasks) for message in processes[1].told if isinstance(message, Work)] == [1]
    assert len([message for message in processes[1].told if isinstance(message, Open)]) == 1


@pytest.mark.parametrize(
    "end", [lambda fleet: fleet.supervisor.abandon(), lambda fleet: fleet._fail(ProcessesLost("a process cannot work"))]
)
def test_a_process_that_is_started_while_its_fleet_is_given_up_is_ended(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch, end: Callable[[Fleet], None]
) -> None:
    fleet = fleet_of(1)
    fleet.add([Ticket(Request("http://a.test/"), "a", Owner())])
    monkeypatch.setattr(Ticket, "deliver", lambda *_: None)
    monkeypatch.setattr(supervisor_module, "Process", lambda *heard: (Process(*heard), end(fleet))[0])
    fleet.supervisor._lost(fleet._berths[0], processes[0])  # type: ignore[arg-type]
    assert processes[1].is_killed


def test_what_a_stream_waits_for_is_urged_at_the_next_process_too(processes: list[Process]) -> None:
    fleet, owner = fleet_of(1), Owner()
    tickets = [Ticket(Request(f"http://a.test/{n}"), "a", owner) for n in range(2)]
    fleet.add(tickets)
    owner.awaited = tickets[1]
    fleet.supervisor._lost(fleet._berths[0], processes[0])  # type: ignore[arg-type]
    number = next(number for number, given in fleet._berths[0].given.items() if given.ticket is tickets[1])
    assert [message.number for message in processes[1].told if isinstance(message, Urge)] == [number]


def test_a_stream_that_is_left_while_a_process_is_told_of_it_is_forgotten_there(processes: list[Process]) -> None:
    fleet, owner = fleet_of(1), Owner()
    fleet.add([Ticket(Request("http://a.test/"), "a", owner)])
    fleet._consumers._sweep = lambda: setattr(owner, "is_forsaken", True)  # type: ignore[method-assign]
    fleet.supervisor._lost(fleet._berths[0], processes[0])  # type: ignore[arg-type]
    told = [type(message) for message in processes[1].told]
    assert told.index(Open) < told.index(Forget)


def test_the_next_process_may_send_as_many_without_a_receipt_as_there_are_places_left(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was under way and ends as unknown has its place until it is receipted, from before it is told."""
    monkeypatch.setattr(Ticket, "deliver", lambda *_: None)
    fleet, owner = fleet_of(1), Owner()
    owner.needs_receipts = True
    fleet.add([Ticket(Request(f"http://a.test/{n}"), "a", owner) for n in range(3)])
    berth = fleet._berths[0]
    next(iter(berth.given.values())).may_have_been_sent = True
    fleet.supervisor._lost(berth, processes[0])  # type: ignore[arg-type]
    assert [message.room for message in processes[1].told if isinstance(message, Open)] == [1]
    assert [*berth.held.values()] == [1]


def test_a_process_that_nobody_can_hear_ends_the_pool(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: Process) -> None:
        raise RuntimeError("can't start new thread")

    tickets = [Ticket(Request(f"http://a.test/{n}"), "a", Owner()) for n in range(2)]
    outcomes = list[Outcome]()
    monkeypatch.setattr(Ticket, "deliver", lambda _, outcome: outcomes.append(outcome))
    fleet = fleet_of(1)
    fleet.add(tickets)
    next(iter(fleet._berths[0].given.values())).may_have_been_sent = True
    monkeypatch.setattr(Process, "start", start)
    fleet.supervisor._lost(fleet._berths[0], processes[0])  # type: ignore[arg-type]
    assert [type(outcome.error) for outcome in outcomes] == [OutcomeUnknown, Cancelled]
    assert "can't start new thread" in str(fleet.failure)
    assert processes[1].is_killed
    fleet.close(cancel=False)
    fleet.join()


def test_a_fleet_that_could_not_be_started_takes_no_requests_later(processes: list[Process]) -> None:
    Process.may_start = 1
    fleet = fleet_of(2)
    for _ in range(2):
        with pytest.raises(ProcessesLost, match="no process could be started"):
            fleet.add([Ticket(Request("http://a.test/"), "a")])


def test_a_stream_that_begins_while_a_process_holds_all_the_bodies_it_may_waits_as_the_others_do() -> None:
    child: Any = Child(cast(Line, None), 0)
    teller = child._teller
    teller._held_most = 10
    response = requests.Response()
    response._content = b"x" * 20
    outcome = Outcome(Request("http://a.test/"), response, None)
    teller.take(ParentTicket(teller, Task(1, 0, LIGHT, "a", pack_request(outcome.request)), NOBODY), outcome)
    child._handle(Open(1, None))
    assert teller.streams[1].is_full


# -- errors and records on their way -----------------------------------------------------------------------------------


class LoopError(Exception):
    """Has another one as an attribute."""

    other: Exception


def test_errors_that_lead_to_each_other_travel_once() -> None:
    first, second = LoopError("first"), LoopError("second")
    first.other, second.other = second, first
    again = unpack_error(pack_error(first))
    assert (str(again), str(again.other), hasattr(again.other, "other")) == ("first", "second", False)


def test_a_long_chain_of_attributes_takes_no_time() -> None:
    first = last = LoopError("0")
    for number in range(1, 40):  # each once; twice each would take years
        last.other = last = LoopError(str(number))
    assert str(unpack_error(pack_error(first)).other.other.other) == "3"


class Picky(Exception):
    """Can be pickled, and not be made again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


class Told(list[Any]):
    send = list.append


def logged(**record: Any) -> list[bytes]:
    """What a process tells of a record."""
    told: Any = Told()
    record = {"name": "mine", "levelno": logging.WARNING, "levelname": "WARNING", "args": (), **record}
    _ToParent(told).handle(logging.makeLogRecord(record))
    return [message.record for message in told]


def test_a_record_with_what_cannot_be_made_again_comes_without_that(caplog: pytest.LogCaptureFixture) -> None:
    for packed in logged(msg="%s odd", args=(1,), why=Picky("a", "b"), plain=5):
        _log(packed)
    (record,) = caplog.records
    assert (record.getMessage(), record.plain, hasattr(record, "why")) == ("1 odd", 5, False)  # type: ignore[attr-defined]


def test_a_record_that_cannot_be_written_is_told_as_logging_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert logged(msg="%d items", args=("many",)) == []
    assert "not all arguments" in (said := capsys.readouterr().err) or "%d format" in said


def test_a_handler_that_fails_costs_the_processes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging.getLogger("mine"), "handlers", [Full()])
    for packed in logged(msg="hello"):
        _log(packed)
    assert "No space left on device" in capsys.readouterr().err

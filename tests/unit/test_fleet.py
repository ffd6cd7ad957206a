"""A fleet and a process of it, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import requests

from workerpool.errors import ProcessesLost
from workerpool.model import Outcome, Request
from workerpool.processes import supervisor as supervisor_module
from workerpool.processes.child import Child
from workerpool.processes.fleet import Fleet
from workerpool.processes.messages import LIGHT, Line, Open, Task, Work
from workerpool.processes.parcels import pack_request
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
        self.awaited = None
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

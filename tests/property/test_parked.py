"""Requests that wait for a time, or for something with a name: each comes out once, in time, or is discarded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workerpool.clock import NEVER
from workerpool.model import Request
from workerpool.scheduler.parked import Parked
from workerpool.tickets import Ticket

times = st.lists(st.integers(0, 20), max_size=30)
names = st.lists(st.sampled_from("xyz"), max_size=20)


def tickets(count: int) -> list[Ticket]:
    return [Ticket(Request("http://a.test/"), "a") for _ in range(count)]


@given(times, names, st.sets(st.integers(0, 49)))
def test_what_is_not_discarded_comes_out_in_time_or_by_its_name_in_its_order(
    times: list[int], names: list[str], unwanted: set[int]
) -> None:
    parked, made = Parked(), tickets(len(times) + len(names))
    until = dict(zip(made, times, strict=False))
    held = dict(zip(made[len(times) :], names, strict=True))
    gone = [ticket for number, ticket in enumerate(made) if number in unwanted]
    for ticket, at in until.items():
        parked.park(ticket, at)
    for ticket, name in held.items():
        parked.hold(ticket, name)
    assert sorted(map(made.index, parked.discard(lambda ticket: ticket in gone))) == sorted(map(made.index, gone))
    assert len(parked) == len(made) - len(gone)
    for name in "xyz":
        assert parked.free(name) == [ticket for ticket in held if held[ticket] == name and ticket not in gone]
        assert parked.free(name) == []
    assert parked.held == {}
    left = sorted((ticket for ticket in until if ticket not in gone), key=until.__getitem__)
    assert len(parked) == len(left)
    for ticket in left:
        assert parked.wakes_at() == until[ticket]
        assert parked.pop() is ticket
    assert (len(parked), parked.wakes_at()) == (0, NEVER)


@given(st.sets(st.integers(0, 9)))
def test_each_is_asked_about_once(unwanted: set[int]) -> None:
    """As the answer may change between two questions."""
    parked, made, asked = Parked(), tickets(10), list[Ticket]()
    for number, ticket in enumerate(made):
        if number % 2:
            parked.park(ticket, 10 - number)
        else:
            parked.hold(ticket, "xyz"[number % 3])

    def is_unwanted(ticket: Ticket) -> bool:
        asked.append(ticket)
        return made.index(ticket) in unwanted

    assert len(parked.discard(is_unwanted)) == len(unwanted)
    assert sorted(map(made.index, asked)) == [*range(10)]

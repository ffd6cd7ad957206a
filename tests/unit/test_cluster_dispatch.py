"""What a cluster's coordinator does next: decided without a thread, a line or a clock of its own."""

from __future__ import annotations

from itertools import count

import pytest

from workerpool.cluster.berths import AHEAD, SECONDS, Given
from workerpool.cluster.books import TASKS
from workerpool.cluster.dispatch import LOOK_EVERY, MOST_LOSSES, PATIENCE, Assignment, Dispatch
from workerpool.cluster.messages import Errand
from workerpool.cluster.options import WINDOW, window_of
from workerpool.model import Outcome, Request
from workerpool.tickets import Owner, Ticket


class Wanted(Ticket):
    def deliver(self, outcome: Outcome) -> None: ...


NUMBERS = count(1)


def enter(dispatch: Dispatch, host: str, requests: int, owner: Owner | None = None) -> None:
    for _ in range(requests):
        number = next(NUMBERS)
        ticket = Wanted(Request(f"http://{host}/{number}"), host, owner or Owner())
        dispatch.books.enter(Given(ticket, Errand(number, 1, host, (f"http://{host}/{number}", None))))


def dispatch_of(*workers: str, now: float = 0.0) -> Dispatch:
    dispatch = Dispatch(may_split=False, now=now)
    assert dispatch.looks(now)
    news = dispatch.hear_of_workers(dict.fromkeys(workers, 2), now)
    assert news.new == [*workers]
    for worker in workers:
        dispatch.welcome(worker, 2, now)
    return dispatch


def assigned(dispatch: Dispatch) -> list[Assignment]:
    return [*dispatch.assignments()]


def end(dispatch: Dispatch, assignment: Assignment, now: float) -> None:
    numbers = {given.number for given in assignment.given}
    assert dispatch.hear_of_chunk(assignment, "pool", numbers, now)
    for number in numbers:
        dispatch.books.end(number)


def test_nothing_is_assigned_before_a_look_has_told_which_workers_there_are() -> None:
    dispatch = dispatch_of("a")
    enter(dispatch, "h", 4)
    (first,) = assigned(dispatch)
    dispatch.lose_chunk(first)
    assert assigned(dispatch) == []
    dispatch.hear_of_workers({"a": 2}, 1.0)
    assert len(assigned(dispatch)) == 1


def test_a_look_is_due_now_and_then_and_one_at_a_time() -> None:
    dispatch = dispatch_of("a")
    assert not dispatch.looks(LOOK_EVERY / 2)
    assert dispatch.looks(LOOK_EVERY)
    assert not dispatch.looks(2 * LOOK_EVERY)


def test_what_a_full_stream_waits_for_goes_wherever_in_the_queue_it_stands() -> None:
    dispatch, owner = dispatch_of("a"), Owner()
    owner.is_full = True
    enter(dispatch, "h", 5, owner)
    assert assigned(dispatch) == []
    (lane,) = dispatch.books.berths["a"].lanes.values()
    owner.awaited = lane.queue[3].ticket
    dispatch.look_at_all()
    (chunk,) = assigned(dispatch)
    assert [given.ticket for given in chunk.given] == [owner.awaited]
    assert [lane.queued, len(lane.queue)] == [4, 4]


def test_what_a_lost_worker_had_goes_to_others_and_its_chunk_says_nothing_any_more() -> None:
    dispatch = dispatch_of("a", "b")
    enter(dispatch, "h", 3)
    (first,) = assigned(dispatch)
    (other,) = {"a", "b"} - {first.berth.address}
    (lost,) = dispatch.hear_of_workers({other: 2}, 1.0).lost
    assert lost is first.berth
    lost.chunks.clear()
    (again,) = assigned(dispatch)
    assert (again.berth.address, again.given) == (other, first.given)
    assert not dispatch.hear_of_chunk(first, "pool", {first.given[0].number}, 2.0)
    assert not dispatch.lose_chunk(first)


def test_a_stream_that_goes_on_is_seen_to_once_somebody_says_so() -> None:
    dispatch, owner = dispatch_of("a"), Owner()
    owner.is_full = True
    enter(dispatch, "h", 2, owner)
    assert assigned(dispatch) == []
    owner.is_full = False
    dispatch.look_at_all()
    assert len(assigned(dispatch)) == 1


def test_a_worker_without_anything_helps_as_soon_as_there_is_something() -> None:
    dispatch = dispatch_of("a", "b")
    for _ in range(2):
        assert assigned(dispatch) == []
    for number in range(40):
        enter(dispatch, f"h{number}", 1)
    for lane in [*dispatch.books.berths["b"].lanes.values()]:  # as if all hosts had been there before
        dispatch.books._unhouse(lane)
        dispatch.books._house(lane, dispatch.books.berths["a"])
    dispatch.books.changed = {dispatch.books.berths["a"]: None}
    assert {one.berth.address for one in assigned(dispatch)} == {"a", "b"}


def test_a_worker_comes_back_for_more_before_it_has_nothing_where_others_have_it() -> None:
    dispatch = dispatch_of("a", "b")
    enter(dispatch, "small", 2)
    enter(dispatch, "large", 100)
    lows = {one.given[0].errand.host: one.low for one in assigned(dispatch)}
    assert lows["small"] == 1
    assert lows["large"] > 1


def test_a_worker_has_time_for_all_that_it_has_once_nothing_waits() -> None:
    dispatch = dispatch_of("a")
    enter(dispatch, "h", 4)
    (only,) = assigned(dispatch)
    assert len(only.given) == 4
    assert only.low == 0


def test_the_more_workers_there_are_the_less_often_each_speaks_and_the_more_it_has() -> None:
    few, many = dispatch_of("a"), dispatch_of(*(f"w{number}" for number in range(5 * TASKS)))
    assert few.books.seconds == SECONDS
    assert many.books.seconds == pytest.approx(5.0)
    berth = many.books.berths["w0"]
    for second in range(1, 30):
        berth.note_rate(100, float(second), many.books.seconds)
    assert berth.target == pytest.approx(100 * AHEAD * 5, rel=0.01)
    assert window_of(1) == WINDOW
    assert window_of(1_000) > WINDOW


@pytest.mark.parametrize(
    ("now", "is_up", "is_closed", "part"),
    [
        (PATIENCE + 1, True, False, "has no worker"),
        (PATIENCE + 1, False, False, "has no scheduler any more"),
        (0.0, False, True, "has no scheduler any more"),
    ],
)
def test_a_cluster_without_workers_or_a_scheduler_is_given_up(
    now: float, is_up: bool, is_closed: bool, part: str
) -> None:
    assert part in str(dispatch_of("a").why_hopeless(now, is_up=is_up, is_closed=is_closed))


def test_losses_without_an_outcome_in_between_are_counted() -> None:
    dispatch = dispatch_of("a")
    for number in range(3 * MOST_LOSSES):
        enter(dispatch, "h", 1)
        (one,) = assigned(dispatch)
        if number % 2:
            end(dispatch, one, 0.0)
        else:
            dispatch.lose_chunk(one)
            dispatch.hear_of_workers({"a": 2}, 0.0)
            (again,) = assigned(dispatch)
            end(dispatch, again, 0.0)
        assert dispatch.why_hopeless(0.0, is_up=True, is_closed=False) is None
    enter(dispatch, "h", 1)
    for _ in range(MOST_LOSSES + 1):
        (one,) = assigned(dispatch)
        dispatch.lose_chunk(one)
        dispatch.hear_of_workers({"a": 2}, 0.0)
    assert "one after the other" in str(dispatch.why_hopeless(0.0, is_up=True, is_closed=False))

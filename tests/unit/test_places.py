"""The arithmetic of the pool's places: what counts as late, what slow hosts may hold, and whose turn it is."""

from __future__ import annotations

import pytest

from workerpool.config import Budgets
from workerpool.model import Request
from workerpool.scheduler.hosts import Host
from workerpool.scheduler.lanes import Lane
from workerpool.scheduler.places import FAILED, LATE, LATE_SECONDS, PERIOD, Places
from workerpool.tickets import Ticket

NOW = 1000.0


def a_host(name: str = "a", usual_hold: float | None = None) -> Host:
    host = Host(name, Budgets(), None, None)
    host.usual_hold = usual_hold
    return host


def a_lane(host: Host) -> Lane:
    lane = Lane(host, None, None)
    lane.append(Ticket(Request("http://a.test/"), host.name))
    return lane


def slow_host(places: Places, holding: int, usual_hold: float = 9.0) -> Host:
    """One that is slow, and holds so many places; this makes a typical send one of a second."""
    host = a_host("slow", usual_hold)
    for _ in range(holding + 1):
        places.take(host, NOW)
    places.give_back(host, usual_hold, NOW, failed=True)
    assert host.is_slow
    return host


def send(places: Places, host: Host, took: float | None, *, failed: bool = False, at: float = NOW) -> None:
    places.take(host, at)
    places.give_back(host, took, at, failed=failed)


@pytest.mark.parametrize(("workers", "sockets"), [(3, 9), (9, 3)])
def test_as_many_requests_fly_as_there_are_workers_and_sockets(workers: int, sockets: int) -> None:
    places, host = Places(workers, sockets), a_host()
    for _ in range(3):
        assert not places.are_taken
        places.take(host, NOW)
    assert places.are_taken
    assert (places.taken, places.sockets) == (3, sockets)
    places.give_back(host, None, NOW)
    assert (places.are_taken, host.in_flight) == (False, 2)


# -- what is late -----------------------------------------------------------------------------------------------------


def test_what_a_host_usually_takes_follows_its_sends_by_a_quarter_of_each() -> None:
    places, host, holds = Places(9, 9), a_host(), list[float | None]()
    for took in (1.0, 3.0, None, 3.0, 0.375):
        send(places, host, took)
        holds.append(host.usual_hold)
    assert holds == [1.0, 1.5, 1.5, 1.875, 1.5]


def test_a_send_without_an_answer_counts_as_twice_too_late_or_as_what_it_took() -> None:
    places = Places(9, 9)
    for took, holds in ((0.001, FAILED * LATE_SECONDS), (3.0, 3.0)):
        host = a_host()
        send(places, host, took, failed=True)
        assert (host.usual_hold, host.is_slow) == (holds, True)


def test_what_is_typical_is_the_first_send_and_then_moves_with_each_by_less_and_less() -> None:
    places = Places(9, 9)

    def twice_too_late() -> float | None:
        host = a_host()
        send(places, host, 0.0, failed=True)
        return host.usual_hold

    typical = 1.0
    send(places, a_host(), 1.0)
    for ended, took in enumerate([9.0, 9.0, 0.0, 9.0], start=2):
        send(places, a_host(), took)
        typical *= 1 + 1 / ended if took else 1 / (1 + 1 / ended)
        assert twice_too_late() == pytest.approx(FAILED * LATE * typical)
    for _ in range(40):
        send(places, a_host(), 1e6)
    before = twice_too_late()
    assert before is not None
    send(places, a_host(), 1e6)
    assert twice_too_late() == pytest.approx(1.05 * before)
    send(places, a_host(), 0.0)
    assert twice_too_late() == pytest.approx(before)


def test_a_send_that_took_just_what_is_typical_leaves_it_a_little_lower() -> None:
    places = Places(9, 9)
    for _ in range(2):
        send(places, a_host(), 1.0)
    host = a_host()
    send(places, host, 0.0, failed=True)
    assert host.usual_hold == pytest.approx(FAILED * LATE * 1.0 / 1.5)


@pytest.mark.parametrize(("typical", "late"), [(0.001, LATE_SECONDS), (1.0, LATE)])
def test_a_host_is_slow_once_it_usually_takes_longer_than_what_is_late_and_no_more_when_it_does_not(
    typical: float, late: float
) -> None:
    places, host = Places(9, 9), a_host(usual_hold=late)
    send(places, a_host(), typical)
    places.take(host, NOW)
    places.give_back(host, None, NOW)
    assert not host.is_slow
    host.usual_hold = None
    send(places, host, late + 0.01, failed=True)
    assert host.is_slow
    host.usual_hold = 0.0
    send(places, host, typical)
    assert not host.is_slow


def test_what_takes_just_as_long_as_is_late_is_not_late() -> None:
    places, host = Places(9, 9), a_host()
    send(places, a_host(), 0.001)
    send(places, host, LATE_SECONDS)
    assert (host.usual_hold, host.is_slow) == (LATE_SECONDS, False)


# -- who stands back --------------------------------------------------------------------------------------------------


def test_a_host_without_an_answer_stands_back_once_a_quarter_is_taken_unless_it_is_alone() -> None:
    places, host = Places(18, 18), a_host()
    places.note_want(NOW)
    assert not places.judge(host, NOW, is_alone=False), "nothing of it is in flight"
    places.take(host, NOW)
    for _ in range(2):
        places.take(a_host("b"), NOW)
    assert not places.judge(host, NOW, is_alone=False), "three of eighteen are taken"
    places.take(a_host("b"), NOW)
    assert not places.judge(host, NOW, is_alone=True)
    assert not host.is_slow
    assert places.judge(host, NOW + 100, is_alone=False)
    assert host.is_slow
    assert places.judge(host, NOW + 100, is_alone=False), "it is slow by now"
    assert not places.judge(host, NOW + 100 + 5 * PERIOD, is_alone=False), "nobody has wanted its places since"


def test_a_host_that_falls_silent_is_slow_once_nothing_has_come_for_as_long_as_is_late() -> None:
    places, host = Places(4, 4), a_host(usual_hold=0.05)
    places.take(host, NOW)
    places.take(host, NOW + 1)
    places.note_want(NOW + LATE_SECONDS)
    assert not places.judge(host, NOW + LATE_SECONDS, is_alone=False)
    places.note_want(NOW + 0.3)
    assert places.judge(host, NOW + 0.3, is_alone=True)
    places.give_back(host, 0.0, NOW + 5)
    assert not host.is_slow
    places.note_want(NOW + 5 + LATE_SECONDS)
    assert not places.judge(host, NOW + 5 + LATE_SECONDS, is_alone=False)


def test_slow_hosts_hold_a_part_that_doubles_with_each_period_in_which_nobody_wants_it() -> None:
    places = Places(64, 64)
    host = slow_host(places, holding=2)
    places.note_want(NOW)
    held = []
    for at in (NOW, NOW + 1.5 * PERIOD, NOW + 2.5 * PERIOD, NOW + 3.5 * PERIOD, NOW + 5.5 * PERIOD, NOW + 99 * PERIOD):
        while not places.judge(host, at, is_alone=False):
            places.take(host, at)
            if host.in_flight > 70:
                break
        held.append(host.in_flight)
    assert held == [2, 4, 8, 16, 64, 64]
    places.note_want(NOW + 99 * PERIOD)
    for _ in range(62):
        places.give_back(host, None, NOW)
    assert places.judge(host, NOW + 99 * PERIOD, is_alone=False)
    places.give_back(host, None, NOW)
    assert not places.judge(host, NOW + 99 * PERIOD, is_alone=False)


def test_a_host_that_is_well_again_leaves_its_part_to_others_with_what_it_still_holds() -> None:
    places, other = Places(64, 64), a_host("other", 9.0)
    host = slow_host(places, holding=3)
    slow_host(places, holding=0)
    other.is_slow = True
    places.note_want(NOW)
    assert places.judge(other, NOW, is_alone=False)
    host.usual_hold = 0.0
    places.give_back(host, 0.0, NOW)
    assert (host.is_slow, host.in_flight) == (False, 2)
    held = 0
    while not places.judge(other, NOW, is_alone=False):
        places.take(other, NOW)
        held += 1
    assert held == 2


def test_who_waits_for_such_a_part_is_woken_when_it_grows_and_not_once_it_is_all() -> None:
    places = Places(64, 64)
    assert places.wakes_at(NOW) is None
    host = slow_host(places, holding=2)
    places.note_want(NOW)
    places.keep_back(a_lane(host), NOW)
    wakes = [places.wakes_at(NOW + (n + 0.5) * PERIOD) for n in range(6)]
    assert wakes == [pytest.approx(NOW + n * PERIOD) for n in range(1, 6)] + [None]


@pytest.mark.parametrize(
    ("others", "usual_hold", "tries"), [(3, 0.49, True), (4, 0.49, False), (3, 0.5, False), (3, None, False)]
)
def test_a_slow_host_that_is_not_much_too_late_has_a_place_of_a_quarter_in_all(
    others: int, usual_hold: float | None, tries: bool
) -> None:
    places, host = Places(18, 18), a_host(usual_hold=usual_hold)
    slow_host(places, holding=others)
    assert places.may_try(host) is tries
    places.take(host, NOW)
    assert not places.may_try(host), "it has one"


# -- whose turn it is -------------------------------------------------------------------------------------------------


def test_lanes_that_stand_back_go_by_what_their_hosts_have_held_and_hold() -> None:
    places = Places(64, 64)
    places.note_want(NOW)
    two, three, seven = (a_lane(a_host(f"{hold}", float(hold))) for hold in (2, 3, 7))
    for lane in (seven, three, two):
        places.keep_back(lane, NOW)
    assert places.has_waiting
    order = []
    for _ in range(8):
        lane = places.next(NOW)
        assert lane is not None
        assert not lane.stands_back
        order.append(lane.host.name)
        places.keep_back(lane, NOW)
    assert order == [*"23232723"], "at 2, 3, 4, 6, 6, 7, 8, 9; of two at once, who came before"


def test_a_host_that_has_not_answered_stands_back_by_how_long_it_has_been_quiet() -> None:
    places = Places(64, 64)
    places.note_want(NOW)
    silent, slow, slower = a_lane(a_host("silent")), a_lane(a_host("slow", 3.0)), a_lane(a_host("slower", 7.0))
    silent.host.quiet_since = NOW - 5.0
    for lane in (slower, silent, slow):
        places.keep_back(lane, NOW)
    assert [places.next(NOW) for _ in range(4)] == [slow, silent, slower, None]
    assert not places.has_waiting


def test_lanes_that_stand_back_no_more_or_are_empty_are_passed_over_and_forgotten() -> None:
    places = Places(64, 64)
    host = slow_host(places, holding=2)
    places.note_want(NOW)
    gone, empty, waits = a_lane(host), a_lane(host), a_lane(host)
    for lane in (gone, empty, waits):
        places.keep_back(lane, NOW)
    gone.stands_back = False
    empty.queue.clear()
    assert places.next(NOW) is None, "there is no place for it"
    assert (empty.stands_back, waits.stands_back) == (False, True)
    places.give_back(host, None, NOW)
    assert places.next(NOW) is waits
    assert not places.has_waiting

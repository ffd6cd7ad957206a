"""The places of a budget in a file: who has one, for how long, and who gets it next."""

from __future__ import annotations

import pytest

from tests.budgets import HOST, OTHER, Trial
from workerpool.limits.file.account import POLL


def test_members_hold_no_more_places_than_there_are(trial: Trial) -> None:
    members = [trial.open(host_connections=3, max_connections=5) for _ in range(2)]
    assert sum(trial.take_all(member) for member in members) == 3
    assert sum(trial.take_all(member, OTHER) for member in members) == 2


def test_a_place_is_kept_for_the_next_send_until_its_turn_is_over(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first)
    asked: dict[str | None, int] = {}
    turns = 0
    while not asked:
        trial.end(first)
        trial.clock.advance(0.1)
        assert not trial.take(second)
        asked = first.tidy({HOST: 1})
        turns += 1
        assert trial.take(first) is not bool(asked)
    assert turns == 10
    assert asked == {HOST: 1}
    assert not trial.take(second)  # its socket is still open
    assert first.tidy({}) == {}
    assert trial.take(second)
    assert not trial.take(first)


def test_places_that_were_not_used_lately_go_to_whoever_waits(trial: Trial) -> None:
    first, second = trial.open(host_connections=4), trial.open(host_connections=4)
    assert trial.take_all(first, most=2) == 2
    trial.end(first, 2)
    idle = 2
    assert trial.take_all(second) == 2
    for _ in range(12):
        idle -= first.tidy({HOST: idle}).get(HOST, 0)
        first.tidy({HOST: idle})
        trial.clock.advance(0.1)
        trial.take(second)
        second.tidy({HOST: second._table.accounts[HOST].in_flight})
    assert idle == 0
    assert second._table.accounts[HOST].in_flight == 4


def test_a_place_that_is_used_now_and_then_stays_where_it_is(trial: Trial) -> None:
    first, second = trial.open(host_connections=2), trial.open(host_connections=2)
    assert trial.take(first)
    assert trial.take(second)
    for _ in range(20):
        trial.end(first)
        assert first.tidy({HOST: 1}) == {}
        trial.clock.advance(0.4)
        assert not trial.take(second)
        second.tidy({HOST: 1})
        assert trial.take(first)


def test_a_place_without_a_socket_is_given_back(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first)
    trial.end(first)
    first.tidy({})
    assert not first._table.held
    assert trial.take(second)


def test_where_nobody_counts_sockets_a_place_goes_with_its_send(trial: Trial) -> None:
    first, second = (trial.open(host_connections=1, sockets=False) for _ in range(2))
    for _ in range(3):
        assert trial.take(first)
        assert not trial.take(second)
        trial.end(first)
        assert trial.take(second)
        trial.end(second)


def test_who_holds_more_than_its_share_gives_up_what_others_wait_for(trial: Trial) -> None:
    first, second = trial.open(host_connections=6), trial.open(host_connections=6)
    assert trial.take_all(first) == 6
    trial.end(first, 6)
    idle, busy = 6, 0
    for _ in range(40):
        trial.end(first, trial.take_all(first))
        idle -= first.tidy({HOST: idle}).get(HOST, 0)
        first.tidy({HOST: idle})
        busy += trial.take_all(second)
        second.tidy({HOST: busy})
        assert idle + busy <= 6
        trial.clock.advance(0.1)
    assert (idle, busy) == (3, 3)


def test_a_place_goes_to_who_has_waited_longest(trial: Trial) -> None:
    holder, first, second = (trial.open(host_connections=1) for _ in range(3))
    assert trial.take(holder)
    assert not trial.take(first)
    trial.clock.advance(0.05)
    assert not trial.take(second)
    trial.end(holder)
    holder.tidy({})
    assert not trial.take(second)
    assert not trial.take(holder)
    assert trial.take(first)


def test_who_waited_and_went_keeps_nobody_waiting(trial: Trial) -> None:
    holder, first, second = (trial.open(host_connections=1) for _ in range(3))
    assert trial.take(holder)
    assert not trial.take(first)
    trial.clock.advance(0.01)
    trial.end(holder)
    holder.tidy({})
    assert not trial.take(second)
    trial.clock.advance(0.4)
    assert trial.take(second)


def test_a_send_that_has_a_place_takes_only_slots(trial: Trial) -> None:
    budget = trial.open(rate="10/s", host_connections=1)
    assert trial.take(budget)
    trial.clock.advance(0.1)
    now = trial.clock.now()
    assert budget.try_take(HOST, 1, now, since=None) is None
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is not None
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is None


@pytest.mark.parametrize("limits", [{"host_connections": 1}, {"max_connections": 1}])
@pytest.mark.parametrize("others", [0, 1])
def test_a_send_that_has_a_place_waits_for_its_slot_only_and_for_no_other_place(
    trial: Trial, limits: dict[str, int], others: int
) -> None:
    budget = trial.open(rate="10/s", **limits)
    for _ in range(others):
        trial.open(rate="10/s", **limits)
    assert trial.take(budget)
    now = trial.clock.now()
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is None
    assert budget.next_at(HOST, 1, now, has_place=True) == pytest.approx(now + 0.1)
    trial.clock.advance(0.1)
    now = trial.clock.now()
    assert trial.waits(budget) == pytest.approx(POLL)
    assert budget.next_at(HOST, 1, now, has_place=True) <= now
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is not None


def test_a_socket_without_a_send_takes_a_place_that_is_free(trial: Trial) -> None:
    first, second = trial.open(host_connections=2), trial.open(host_connections=2)
    assert first.allows(HOST, 1)
    assert first.allows(None, 1)
    assert first.allows(HOST, 2)
    assert not first.allows(HOST, 3)
    assert not trial.take(second)


def test_a_member_can_tell_that_it_has_all_the_places_that_there_can_be(trial: Trial) -> None:
    first, second = (trial.open(host_connections=10**10, max_connections=10**10) for _ in range(2))
    assert trial.take(first)
    claims = first._table.accounts[HOST].claims
    claims.hold(claims.limit - 1, trial.clock.now())
    assert first.allows(HOST, claims.limit)
    assert not first.allows(HOST, claims.limit + 1)
    assert not trial.take(second)


def test_a_forked_child_has_none_of_its_parents_places(trial: Trial) -> None:
    budget = trial.open(max_connections=2)
    assert trial.take_all(budget) == 2
    budget.start_anew()
    assert not budget.allows(None, 1)

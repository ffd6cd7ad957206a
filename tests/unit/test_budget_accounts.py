"""The accounts of a budget in a file, step by step: what each says and writes, where it is kept, what damage does."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.budgets import HOST, OTHER, Trial
from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import GROUPING
from workerpool.limits.file import FileBudget
from workerpool.limits.file import table as table_module
from workerpool.limits.file.account import MENDED, POLL, USED_LATELY, Account
from workerpool.limits.file.claims import GRACE, TURN, WISH
from workerpool.limits.file.records import Record
from workerpool.testing import ManualClock

HOSTS = [f"http://{number}.test" for number in range(10)]


def account(budget: FileBudget, host: str = HOST) -> Account:
    return budget._table.accounts[host]


def content(trial: Trial) -> bytes:
    with open(trial.path, "rb") as file:
        return file.read()


def damage(trial: Trial, record: Record) -> None:
    with open(trial.path, "r+b") as file:
        file.seek(record.offset)
        file.write(b"\xa5" * (record.end - record.offset))


# -- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "later"), [(1000, 0.001), (2000, 0.0005 + GROUPING)])
def test_only_above_a_thousand_a_second_several_slots_are_waited_for_together(
    trial: Trial, rate: int, later: float
) -> None:
    budget = trial.open(rate=rate)
    assert trial.take(budget)
    assert trial.waits(budget) == pytest.approx(later, abs=1e-9)


def test_a_slot_and_a_quota_are_both_waited_for(trial: Trial) -> None:
    budget = trial.open(rate="1/s and 2/h", host_connections=9)
    assert trial.take(budget)
    assert trial.waits(budget) == 1.0
    trial.clock.advance(1)
    assert trial.take(budget)
    assert trial.waits(budget) > 3500


@pytest.mark.parametrize("limits", [{"host_connections": 1}, {"max_connections": 1}])
def test_who_waits_for_a_place_tells_the_others_and_looks_again_a_moment_later(
    trial: Trial, limits: dict[str, int]
) -> None:
    first, second = trial.open(**limits), trial.open(**limits)
    assert trial.take(first)
    assert trial.waits(first) == pytest.approx(POLL)
    now = trial.clock.now()
    assert second.try_take(HOST, 1, now, since=None) is None
    assert second.next_at(HOST, 1, now) == now + POLL
    before = content(trial)
    assert second.try_take(HOST, 1, now, since=None) is None
    assert content(trial) == before, "they know it already"
    trial.clock.advance(WISH)
    assert second.next_at(HOST, 1, trial.clock.now()) == trial.clock.now(), "it has to be told again"


def test_who_waits_for_a_slot_tells_the_others_once(trial: Trial) -> None:
    first, second = trial.open(host_rate="1/s"), trial.open(host_rate="1/s")
    now = trial.clock.now()
    assert first.try_take(HOST, 1, now, since=None) is not None
    assert second.try_take(HOST, 1, now, since=None) is None
    mine = account(second).claims.mine
    assert (mine.due, mine.waits(now)) == (now + 1, False)
    before = content(trial)
    assert second.try_take(HOST, 1, now, since=None) is None
    assert content(trial) == before


def test_a_send_that_has_a_place_waits_for_slots_only(trial: Trial) -> None:
    limits = {"rate": "1/s", "host_rate": "100/s", "max_connections": 1, "host_connections": 1}
    first, _ = trial.open(**limits), trial.open(**limits)
    assert trial.take(first)
    now = trial.clock.now()
    assert first.try_take(HOST, 1, now, since=None, has_place=True) is None
    claims = first._table.pool.claims
    assert (claims.mine.due, claims.mine.waits(now)) == (now + 1, False)
    before = content(trial)
    assert first.try_take(HOST, 1, now, since=None, has_place=True) is None
    assert content(trial) == before
    trial.clock.advance(1)
    assert first.try_take(HOST, 1, trial.clock.now(), since=None, has_place=True) is not None
    assert [one.claims.mine.held for one in (first._table.pool, account(first))] == [1, 1]
    assert [one.in_flight for one in (first._table.pool, account(first))] == [1, 1]


def test_whoever_asks_sees_what_another_one_has_just_changed(trial: Trial) -> None:
    first, second = trial.open(), trial.open()
    now = trial.clock.now()
    assert trial.take_all(first, most=2) == 2
    assert first.next_at(HOST, 1, now) <= now
    second.pause(HOST, now + 5, now)
    assert first.next_at(HOST, 1, now) == now + 5


def test_whoever_has_looked_at_one_account_still_sees_what_has_changed_in_another(trial: Trial) -> None:
    first, second = trial.open(), trial.open()
    now = trial.clock.now()
    for host in (HOST, OTHER):
        assert trial.take(first, host)
    second.pause(HOST, now + 5, now)
    assert trial.take(first, OTHER)
    assert first.next_at(HOST, 1, now) == now + 5


def test_a_look_sees_what_others_have_changed_and_when(trial: Trial) -> None:
    first, second = trial.open(), trial.open()
    now = trial.clock.now()
    for host in (HOST, OTHER):
        assert trial.take(first, host)
    second.pause(HOST, now + 5, now)
    assert first.next_at(HOST, 1, now) == now + 5
    second.pause(OTHER, now + 7, now)
    assert not trial.take(first, HOST)
    assert first.next_at(OTHER, 1, now) == now + 7


@pytest.mark.parametrize("option", ["rate", "host_rate"])
def test_a_slot_that_comes_right_now_is_left_to_who_has_had_less(trial: Trial, option: str) -> None:
    first, second = trial.open(**{option: "1/s"}), trial.open(**{option: "1/s"})
    assert trial.take(first)
    trial.end(first)
    assert not trial.take(second)
    assert not trial.take(first)
    trial.clock.advance(1)
    assert trial.take(first)
    assert not trial.take(second)
    seen = second._table.pool if option == "rate" else account(second)
    assert seen.claims.others[0].had > 0, "others see what it has had while they waited"
    trial.clock.advance(1)
    now = trial.clock.now()
    assert first.try_take(HOST, 1, now, since=None) is None
    assert first.next_at(HOST, 1, now) == now + GRACE
    assert trial.take(second)


def test_the_later_of_both_slots_is_what_is_given(trial: Trial) -> None:
    for rate, host_rate in (("100/s", "80/s"), ("80/s", "100/s")):
        budget, now = trial.open(rate=rate, host_rate=host_rate), trial.clock.now()
        assert budget.try_take(HOST, 1, now, since=now) == now
        trial.clock.advance(0.014)
        assert budget.try_take(HOST, 1, now + 0.014, since=now) == pytest.approx(now + 0.0125)
        trial.clock.advance(10)
        budget.leave()


def test_who_waited_for_a_rate_that_no_longer_holds_may_take_all_the_same(trial: Trial) -> None:
    first, second, slow = trial.open(), trial.open(), trial.open(rate="1/s")
    assert trial.take(slow)
    assert not trial.take(first)
    assert not trial.take(second)
    slow.leave()
    assert trial.take(first)
    assert trial.take(second)


# -- what is used, and told -------------------------------------------------------------------------------------------


def test_the_places_that_count_as_used_are_the_most_of_this_spell_and_the_one_before(trial: Trial) -> None:
    budget = trial.open()
    assert trial.take(budget)
    one = account(budget)
    assert one.needed(trial.clock.now()) == 1
    assert trial.take_all(budget, most=2) == 2
    trial.end(budget, 3)
    assert trial.take(budget)
    trial.end(budget)
    needed = [one.needed(trial.clock.now())]
    for _ in range(3):
        trial.clock.advance(USED_LATELY + 0.01)
        needed.append(one.needed(trial.clock.now()))
    assert needed == [3, 3, 0, 0]


def test_what_was_never_used_is_not_needed(trial: Trial) -> None:
    budget = trial.open()
    assert budget.allows(HOST, 1)
    assert account(budget).needed(trial.clock.now()) == 0


def test_who_takes_again_what_it_holds_tells_nobody(trial: Trial) -> None:
    budget, _ = trial.open(host_connections=3), trial.open(host_connections=3)
    assert trial.take_all(budget, most=2) == 2
    trial.end(budget)
    where = account(budget).claims._record
    before = content(trial)[where.offset : where.end]
    assert trial.take(budget)
    assert content(trial)[where.offset : where.end] == before


@pytest.mark.parametrize(("in_flight", "sockets"), [(2, 0), (0, 2), (2, 2)])
def test_who_has_nothing_new_to_tell_touches_nothing(trial: Trial, in_flight: int, sockets: int) -> None:
    budget, _ = trial.open(), trial.open()
    assert trial.take_all(budget, most=2) == 2
    trial.end(budget, 2 - in_flight)
    for _ in range(2):
        before = content(trial)
        assert budget.tidy({HOST: sockets}) == {}
    assert content(trial) == before


def test_while_a_host_starts_anew_all_hear_what_is_under_way(trial: Trial) -> None:
    first, second, third = (trial.open(host_connections=4) for _ in range(3))
    assert trial.take_all(first, most=3) == 3
    trial.end(first)
    first.tidy({})
    assert account(first).claims.mine.flying == 0, "there is no need to"
    assert trial.take(first)
    assert trial.take(second)
    assert not account(first).has_to_tell(3)
    assert not trial.take(third)
    first.pause(HOST, trial.clock.now(), trial.clock.now())
    assert account(first).claims.mine.flying == 3
    assert not account(first).has_to_tell(3)
    assert not trial.take(second)
    assert second.next_at(HOST, 1, trial.clock.now()) == trial.clock.now() + POLL
    assert [claim.flying for claim in account(second).claims.others if claim.held] == [3]
    account(first).in_flight -= 1
    assert account(first).has_to_tell(3)
    account(first).in_flight += 1
    trial.end(first, 2)
    assert trial.take(second) is False
    assert [claim.flying for claim in account(second).claims.others if claim.held] == [1]


# -- sockets ----------------------------------------------------------------------------------------------------------


def test_a_socket_is_allowed_by_what_its_own_host_holds(trial: Trial) -> None:
    first, second = trial.open(host_connections=2), trial.open(host_connections=2)
    assert [first.allows(None, 1), first.allows(None, 2), first.allows(HOST, 1)] == [True, True, True]
    assert not first.allows(HOST, 3), "it has asked for the second one first"
    assert first.allows(HOST, 2)
    before = content(trial)
    assert [first.allows(host, sockets) for host in (HOST, None) for sockets in (1, 1, 2)] == [True] * 6
    assert content(trial) == before, "it holds these"
    assert [second.allows(HOST, 1), second.allows(HOST, 1)] == [False, False]
    assert account(first).look(first._table.file.map)  # type: ignore[union-attr]
    assert account(first).claims.others[0].waits(trial.clock.now())
    assert first.tidy({}) == {}
    assert second.allows(HOST, 1)


def test_a_socket_that_has_had_its_turn_is_closed_for_who_waits(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert first.allows(HOST, 1)
    assert not second.allows(HOST, 1)
    first.tidy({HOST: 1})
    trial.clock.advance(TURN)
    assert not second.allows(HOST, 1)
    assert first.tidy({HOST: 1}) == {HOST: 1}


def test_a_socket_over_which_something_is_sent_is_not_asked_for(trial: Trial) -> None:
    first = trial.open(host_connections=3)
    assert trial.take_all(first) == 3
    trial.end(first)
    assert [one.in_flight for one in (first._table.pool, account(first))] == [2, 2]
    trial.open(host_connections=1)
    assert first.tidy({HOST: 3}) == {HOST: 1}


def test_all_sockets_count_against_the_pools_account(trial: Trial) -> None:
    first, second = trial.open(max_connections=2), trial.open(max_connections=2)
    assert trial.take(first, HOST)
    assert trial.take(first, OTHER)
    for host in (HOST, OTHER):
        trial.end(first, host=host)
    first.tidy({HOST: 1, OTHER: 1})
    assert not trial.take(second, HOSTS[0])
    first.tidy({OTHER: 1})
    assert trial.take(second, HOSTS[0])
    assert not trial.take(second, HOSTS[0])


def test_a_stream_that_is_dropped_in_the_middle_of_it_is_told_to_come_later(trial: Trial) -> None:
    """The garbage collector may drop one on any line of the transport's, with this budget's lock held."""
    budget = trial.open()
    now = trial.clock.now()
    with budget._for_transport():
        assert budget.next_at(HOST, 1, now) == now + POLL
        assert budget.try_take(HOST, 1, now, since=None) is None
    assert trial.take(budget)


# -- where accounts are kept ------------------------------------------------------------------------------------------


def owners(budget: FileBudget) -> int:
    """How many of the hosts have an account of their own."""
    table = budget._table
    return sum(its is not table._spare for its in table.accounts.values())


def test_a_host_takes_the_slot_of_one_that_rests_and_of_none_that_anybody_waits_for(
    trial: Trial, one_slot: None
) -> None:
    first, second = (trial.open(host_rate="1/s", host_connections=1) for _ in range(2))
    assert trial.take(first, HOST)
    trial.clock.advance(2)
    assert not trial.take(second, HOST)
    trial.end(first, host=HOST)
    first.tidy({})
    assert trial.take(second, OTHER)
    assert owners(second) == 1, "it waits for a place at the first one"
    trial.clock.advance(2)
    assert trial.take(first, HOSTS[0])
    assert account(first, HOSTS[0]) is not first._table._spare


def test_a_host_takes_a_slot_that_was_never_used_before_one_that_rests(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("_FIRST_SEGMENT", 2), ("_MOST_SEGMENTS", 1), ("PROBES", 2)):
        monkeypatch.setattr(f"workerpool.limits.file.mapped.{name}", number)
    budget, where = trial.open(host_rate="1/s"), []
    for host in (HOSTS[0], HOSTS[2]):
        assert trial.take(budget, host)
        trial.end(budget, host=host)
        budget.tidy({})
        trial.clock.advance(2)
        first = budget._table.file.slots_of(account(budget, host).key)[0]  # type: ignore[union-attr]
        where.append((account(budget, host).state._record.offset, first.state.offset))
    assert where[0][0] == where[0][1] == where[1][1] != where[1][0], "they begin to look at the same one"
    assert trial.take(budget, HOSTS[1])
    assert account(budget, HOSTS[1]).state._record.offset in {found for found, _ in where}
    assert budget._table._spare not in budget._table.accounts.values()


def test_hosts_that_share_an_account_count_all_their_sockets_there(trial: Trial, one_slot: None) -> None:
    first, second = trial.open(host_connections=2), trial.open(host_connections=2)
    assert trial.take(first, OTHER)
    shared = HOSTS[:2]
    assert all(trial.take(first, host) for host in shared)
    for host in shared:
        trial.end(first, host=host)
    opened = dict.fromkeys((OTHER, *shared), 1)
    first.tidy(opened)
    before = content(trial)
    first.tidy(opened)
    assert content(trial) == before
    assert not trial.take(second, HOSTS[2])
    first.tidy({OTHER: 1, shared[1]: 1})
    assert trial.take(second, HOSTS[2])
    assert not trial.take(second, HOSTS[3])


def test_hosts_that_nobody_uses_are_forgotten_here_when_there_are_many(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "REMEMBERED", 3)
    budget = trial.open()
    assert trial.take(budget, HOSTS[0])
    assert budget.allows(HOSTS[1], 1)
    assert trial.take(budget, HOSTS[2])
    trial.end(budget, host=HOSTS[2])
    assert [*budget._table.accounts] == HOSTS[:3]
    budget.tidy({HOSTS[1]: 1})
    assert [*budget._table.accounts] == HOSTS[:3]
    assert trial.take(budget, HOSTS[3])
    assert [*budget._table.accounts] == [HOSTS[0], HOSTS[1], HOSTS[3]]


# -- another file -----------------------------------------------------------------------------------------------------


def test_what_replaces_a_removed_file_gives_out_nothing_until_all_have_entered_again(trial: Trial) -> None:
    budget = trial.open(max_connections=9, host_connections=9)
    assert trial.take(budget)
    old = budget._table.file
    assert old is not None
    os.unlink(trial.path)
    trial.clock.advance(1.1)
    budget.tidy({HOST: 1})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(old.descriptor)
    for host in (HOST, OTHER):
        assert trial.waits(budget, host) == pytest.approx(MENDED)
    assert budget.next_at(None, 1, trial.clock.now()) == trial.clock.now() + MENDED
    trial.clock.advance(MENDED)
    for host in (HOST, OTHER, HOSTS[0]):
        assert trial.take(budget, host)


def test_what_a_removed_file_may_have_counted_holds_for_every_host_for_as_long_as_it_would_have(trial: Trial) -> None:
    budget = trial.open(host_rate="1/min and 4/h")
    os.unlink(trial.path)
    trial.clock.advance(1.1)
    budget.tidy({})
    trial.clock.advance(MENDED)
    assert trial.waits(budget, HOSTS[0]) == pytest.approx(3600 - MENDED, abs=0.1)
    trial.clock.advance(1800)
    assert trial.waits(budget, HOSTS[1]) == pytest.approx(1800 - MENDED, abs=0.1)
    trial.clock.advance(1800)
    for host in HOSTS[:3]:
        assert trial.take(budget, host)
        assert trial.waits(budget, host) == pytest.approx(60)


def test_the_rate_is_as_if_just_used_up_when_its_file_was_removed(trial: Trial) -> None:
    budget = trial.open(host_rate="1/min", burst=2)
    os.unlink(trial.path)
    trial.clock.advance(1.1)
    budget.tidy({})
    trial.clock.advance(30)
    assert trial.waits(budget, HOSTS[0]) == pytest.approx(30)
    trial.clock.advance(60)
    assert [trial.take_all(budget, host) for host in HOSTS[:2]] == [1, 1]
    trial.clock.advance(30)
    assert trial.take_all(budget, HOSTS[2]) == 2


@pytest.mark.parametrize("limits", [{"host_connections": 1}, {"max_connections": 1}])
def test_who_moves_to_another_file_is_known_there_with_all_that_it_holds(trial: Trial, limits: dict[str, int]) -> None:
    first = trial.open(**limits)
    assert trial.take(first)
    os.unlink(trial.path)
    late = trial.open(**limits)
    waiting = trial.open(**limits)
    assert late.allows(HOST, 1)
    assert not waiting.allows(HOST, 1) or "max_connections" in limits
    late.leave()
    trial.clock.advance(1.1)
    first._table.keep_house(trial.clock.now())
    trial.clock.advance(MENDED)
    assert not trial.take(waiting)


def test_hosts_that_find_no_room_in_another_file_are_counted_together_there(trial: Trial, one_slot: None) -> None:
    first = trial.open(host_connections=2)
    assert trial.take(first, HOST)
    assert trial.take(first, OTHER)
    assert owners(first) == 1
    os.unlink(trial.path)
    late = trial.open(host_connections=2)
    assert trial.take(late, HOSTS[0])
    trial.clock.advance(1.1)
    first.tidy({HOST: 1, OTHER: 1})
    assert owners(first) == 0
    assert first._table._spare.in_flight == 2
    assert [first._table.held[host] for host in (HOST, OTHER)] == [first._table._spare] * 2
    assert trial.waits(late, HOSTS[1]) == pytest.approx(MENDED)
    trial.clock.advance(MENDED)
    assert not trial.take(late, HOSTS[1])
    assert not trial.take(first, HOST)
    for host in (HOST, OTHER):
        trial.end(first, host=host)
    first.tidy({})
    assert first._table.held == {}
    assert trial.take(late, HOSTS[1])


def test_a_host_beyond_the_first_segment_is_found_a_place_in_a_new_file(trial: Trial, three_slots: None) -> None:
    budget = trial.open(max_connections=99, host_connections=len(HOSTS))
    for host in HOSTS:
        assert trial.take(budget, host)
    os.unlink(trial.path)
    trial.clock.advance(1.1)
    opened = dict.fromkeys(HOSTS, 1)
    assert budget.tidy(opened) == {}
    assert owners(budget) == 3
    late = trial.open(max_connections=99, host_connections=len(HOSTS))
    trial.clock.advance(MENDED)
    assert trial.take(late, HOSTS[0])
    assert len(late._table.pool.claims.others) == 1
    assert late._table.pool.claims.others[0].held == len(HOSTS)


# -- damage -----------------------------------------------------------------------------------------------------------


DAMAGED: dict[str, Callable[[FileBudget], Record]] = {
    "state": lambda budget: account(budget).state._record,
    "claims": lambda budget: account(budget).claims._record,
    "history": lambda budget: account(budget).history._record,
    "pool": lambda budget: budget._table.pool.state._record,
}
USES: dict[str, Callable[[FileBudget, float], object]] = {
    "take": lambda budget, now: budget.try_take(HOST, 1, now, since=None),
    "give back": lambda budget, now: budget.give_back(HOST, now),
    "pause": lambda budget, now: budget.pause(HOST, now, now),
    "allows": lambda budget, now: budget.allows(HOST, 3),
    "tidy": lambda budget, now: budget.tidy({HOST: 1}),
    "look": lambda budget, now: budget.next_at(HOST, 1, now),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("damaged", DAMAGED)
def test_whoever_meets_damage_mends_it_and_keeps_what_it_has(trial: Trial, damaged: str, use: str) -> None:
    terms = {"host_connections": 3, "host_rate": "1000/s and 9/min", "burst": 9}
    budget = trial.open(**terms)
    budget.pause(HOST, trial.clock.now(), trial.clock.now())
    assert trial.take(budget)
    damage(trial, DAMAGED[damaged](budget))
    trial.clock.advance(0.1)
    budget._table._generation += 1  # as if another one had touched the file
    USES[use](budget, trial.clock.now())
    budget.tidy({HOST: 1})
    trial.clock.advance(61 + 9)
    late = trial.open(**terms)
    assert trial.take_all(late) <= 2
    assert sum(claim.held for claim in account(late).claims.others) == 1


@pytest.mark.parametrize("option", ["rate", "host_rate"])
def test_a_rate_whose_record_is_damaged_begins_as_if_just_used_up(trial: Trial, option: str) -> None:
    terms = {option: "1/min", "burst": 3}
    budget = trial.open(**terms)
    assert trial.take_all(budget) == 3
    damage(trial, (budget._table.pool if option == "rate" else account(budget)).state._record)
    budget.leave()
    assert trial.waits(trial.open(**terms)) == pytest.approx(60)


@pytest.mark.parametrize(("taken", "ended", "sockets", "left"), [(2, 0, 0, 2), (1, 0, 5, 1), (2, 2, 1, 1)])
def test_a_claim_that_was_lost_is_entered_again_as_it_should_be(
    trial: Trial, taken: int, ended: int, sockets: int, left: int
) -> None:
    first, second = trial.open(host_connections=6), trial.open(host_connections=6)
    assert trial.take_all(first, most=taken) == taken
    trial.end(first, ended)
    damage(trial, account(first).claims._record)
    assert trial.waits(second) == pytest.approx(MENDED)
    first.tidy({HOST: sockets})
    trial.clock.advance(MENDED)
    assert trial.take_all(second) == 6 - left


@pytest.mark.parametrize("terms", [{}, {"host_rate": "1000/s"}])
def test_a_claim_that_was_lost_is_entered_again_with_the_next_send(trial: Trial, terms: dict[str, str]) -> None:
    first, second, third = (trial.open(host_connections=2, **terms) for _ in range(3))
    for each in (second, first):
        assert trial.take(each)
        trial.clock.advance(1)
    trial.end(first)
    damage(trial, account(first).claims._record)
    assert trial.waits(second) == pytest.approx(MENDED)
    trial.clock.advance(MENDED + 1)
    assert trial.take(first)
    assert not trial.take(third)


def test_a_claim_that_was_lost_is_entered_again_beside_one_of_who_waits_for_nothing(trial: Trial) -> None:
    first, second, third = (trial.open(host_connections=2, host_rate="1000/s") for _ in range(3))
    for each in (second, first):
        assert trial.take(each)
        trial.clock.advance(1)
    damage(trial, account(first).claims._record)
    assert trial.waits(second) == pytest.approx(MENDED)
    trial.clock.advance(MENDED + 1)
    for each in (second, first):
        trial.end(each)
        assert trial.take(each)
        trial.clock.advance(1)
    assert not trial.take(third)


# -- clocks and forks -------------------------------------------------------------------------------------------------


def test_a_date_that_was_set_is_what_counts_over_the_next_reboot(trial: Trial) -> None:
    budget = trial.open(host_rate="1/min")
    clock = trial.clock
    budget.tidy({})
    clock._epoch += 1e6
    clock.advance(2)
    budget.tidy({})
    assert trial.take(budget)
    trial.clock = ManualClock(5.0, epoch=clock.time() + 20 - 5)
    trial.machine.name = b"boot two"
    assert trial.waits(trial.open(host_rate="1/min")) == pytest.approx(40.0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_lets_go_of_what_the_parent_has(trial: Trial) -> None:
    budget = trial.open()
    child = os.fork()
    if not child:
        os._exit(0 if budget._table.file is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert trial.take(budget)
    assert account(budget).state.not_before == LONG_AGO
